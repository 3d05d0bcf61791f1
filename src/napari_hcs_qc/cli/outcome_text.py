"""Outcomes in lines that a person reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.cli.command import Outcome
from napari_hcs_qc.errors import some_lines
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate
    from napari_hcs_qc.assay.scoring.saved_prediction import NoveltySummary, ShiftRecord
    from napari_hcs_qc.assay.store.saved_model import Model
    from napari_hcs_qc.workflow.export import Exported
    from napari_hcs_qc.workflow.steps import RunResult


def figures(model: Model, threshold: float) -> list[str]:
    """List the cross-validated figures of a model at a threshold, with their intervals."""
    validation, origin = model.manifest.cross_validation, model.manifest.origin
    if model.manifest.is_before_annotations:
        return []  # the plates say so
    if validation is None:
        return ["Cross-validation: not yet done"]
    validation = validation.at(threshold)
    lines = [origin] if origin else []
    lines.append(f"Cross-validation: {validation.explained()}")
    for figure in validation.figures:
        spread = "" if figure.sd is None else f" ± {figure.sd:.3f}"
        mean = figure.mean
        if mean is None:
            lines.append(f"  {figure.name}: not defined")
            continue
        has_interval = None not in figure.ci95
        limits = f" ({'95 % interval ' if has_interval else ''}{figure.interval_text()})"
        perfect = figure.perfect
        usual = "" if perfect is None else f"; if perfectly calibrated: {perfect:.3f}"
        lines.append(f"  {figure.name}: {mean:.3f}{spread}{limits}{usual}")
    return lines


def scored_lines(scored: Sequence[ScoredPlate]) -> list[str]:
    """Count abnormal cells and flagged wells, and list each flagged well with its reason."""
    lines = []
    for plate in scored:
        wells = plate.scores.wells
        flagged = wells[wells["is_flagged"]].sort_values("severity", ascending=False)
        n_added, n_cut = len(plate.state.matched.added), int(wells["n_cut"].sum())
        remarks = [f"{n_added:,} added by annotations"] if n_added else []
        remarks += [f"{n_cut:,} cut by the image border and not counted"] if n_cut else []
        of_them = f" ({'; '.join(remarks)})" if remarks else ""
        lines.append(
            f"Plate {plate.state.plate.name}: {count_of(len(plate.state.cells), 'cell')}{of_them}, "
            f"{plate.n_abnormal:,} of {plate.n_counted:,} abnormal by model "
            f"{plate.prediction.model}; {len(flagged)} of {count_of(len(wells), 'well')} flagged"
        )
        lines.extend(
            f"  {well}: {reason}"
            for well, reason in zip(flagged["well"], flagged["flag_reason"], strict=True)
        )
        lines.extend(f"  Warning: {warning}" for warning in plate.warnings)
        lines.extend(novelty_lines(plate.prediction.novelty))
        lines.extend(f"  Not read: {problem}" for problem in some_lines(plate.unreadable))
    return lines


def counts(plate: ScoredPlate) -> dict[str, int | dict[str, int]]:
    """Count the cells of a plate for ``--json``, as everything else does."""
    return {
        "n_cells": len(plate.state.cells),
        "n_added": len(plate.state.matched.added),
        "n_cut": int(plate.scores.wells["n_cut"].sum()),
        "n_counted": plate.n_counted,
        "n_abnormal": plate.n_abnormal,
        "n_of_kind": plate.n_of_kind,
    }


def novelty_lines(summary: NoveltySummary | None) -> list[str]:
    """Say which cells are unlike anything annotated, where that is no warning already."""
    if summary is None or summary.is_much or not summary.sentence:
        return []
    return [f"  {summary.sentence}"]


def as_data(part: NoveltySummary | ShiftRecord | None) -> dict[str, Any]:
    """Give plain data for ``--json``, empty where it was not measured."""
    return {} if part is None else part.model_dump(mode="json")


def shown_path(path: Path) -> str:
    """Give a path that can be pasted: absolute."""
    return str(Path(path).resolve())


def exported_outcome(exported: Exported) -> Outcome:
    """List the files of an export."""
    folder = exported.files[0].parent
    tables = [path.name for path in exported.files if path.parent == folder]
    n_geojson = sum(path.suffix == ".geojson" for path in exported.files)
    n_labels = sum(path.suffix == ".zarr" for path in exported.files)
    names = ", ".join(tables)
    names += f", and {count_of(n_geojson, 'GeoJSON file')}" if n_geojson else ""
    names += f", and labels of {count_of(n_labels, 'plate')}" if n_labels else ""
    lines = [f"Tables in {shown_path(folder)}: {names}"]
    data: dict[str, Any] = {"files": [str(path) for path in exported.files]}
    if exported.onto is not None:
        joined = exported.onto
        lines.extend(str(joined).splitlines())
        data["onto"] = {
            "out": str(joined.out),
            "n_profiles": joined.n_profiles,
            "n_matched": joined.n_matched,
            "check": joined.check,
        }
    return Outcome(lines, data)


def run_outcome(result: RunResult) -> Outcome:
    """List what a whole run made."""
    exported = exported_outcome(result.exported)
    lines = [
        *scored_lines(result.scored),
        *figures(result.model, result.assay.threshold),
        *exported.lines,
        f"Report: {shown_path(result.report)}",
    ]
    validation = result.model.manifest.plain()["cross_validation"]
    if validation is not None:
        del validation["held_out"]  # numbers of every cell, which model.json has
    data = exported.data | {
        "assay": str(result.assay.path),
        "model": result.model.id,
        "cross_validation": validation,
        "report": str(result.report),
        "plates": [
            {
                "name": plate.state.plate.name,
                **counts(plate),
                "n_wells": len(plate.scores.wells),
                "flagged": plate.scores.wells.loc[
                    plate.scores.wells["is_flagged"], ["well", "flag_reason"]
                ].to_dict("records"),
                "unreadable": [str(problem) for problem in plate.unreadable],
                "warnings": list(plate.warnings),
                "novelty": as_data(plate.prediction.novelty),
            }
            for plate in result.scored
        ],
    }
    return Outcome(lines, data)
