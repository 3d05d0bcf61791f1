"""``hcs-qc status``: where an assay stands."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from napari_hcs_qc.cli.arguments import add_assay
from napari_hcs_qc.cli.command import DAMAGED, Command, Outcome
from napari_hcs_qc.cli.outcome_text import as_data, novelty_lines
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.api.assay import Assay
    from napari_hcs_qc.cli.bars import Bars
    from napari_hcs_qc.workflow.status import AssayStatus, ModelStatus, PlateStatus

_LABEL_ISSUES = 5  # listed in lines; the data hold them all


def _run(options: argparse.Namespace, _bars: Bars) -> Outcome:
    from napari_hcs_qc.cli.status_cache import keep_status, kept_status, stamp_of

    kept = kept_status(options.assay)
    if kept is not None:
        return Outcome(list(kept.lines), dict(kept.data))
    from napari_hcs_qc.api.assay import Assay

    assay = Assay.open(options.assay)
    plates = _folders(assay)
    files = "" if plates is None else stamp_of(options.assay, plates)
    outcome, is_whole = _outcome(assay.status())
    if plates is not None and is_whole:
        keep_status(options.assay, plates, files, outcome.lines, outcome.data)
    return outcome


def _folders(assay: Assay) -> tuple[str, ...] | None:
    """Give the folders that hold all files of the plates; None where others may be read too."""
    from napari_hcs_qc.plates.readers.registry import readers

    entries = assay.plates
    is_ours = all(_is_ours(reader.open) for reader in readers())
    in_folders = all(each.image_root is None and each.source.is_dir() for each in entries)
    return tuple(str(each.source) for each in entries) if is_ours and in_folders else None


def _is_ours(function: object) -> bool:
    return str(getattr(function, "__module__", "")).startswith("napari_hcs_qc.")


def _outcome(status: AssayStatus) -> tuple[Outcome, bool]:
    """Write where an assay stands, and tell whether all of it could be read."""
    lines = [f"Assay {status.path}, made {status.created}"]
    for plate in status.plates:
        lines.extend(_plate_lines(plate, status))
    counts = ", ".join(f"{count} {name}" for name, count in status.annotations.items()) or "none"
    conflicts = f", {status.n_conflicts} in conflict" if status.n_conflicts else ""
    lines.append(f"Annotations: {counts}{conflicts}")
    issues = status.label_issues
    if issues:
        lines.append(f"{count_of(len(issues), 'annotation')} to review, most likely wrong first:")
        lines.extend(f"  {issue}" for issue in issues[:_LABEL_ISSUES])
        if len(issues) > _LABEL_ISSUES:
            lines.append(f"  … and {len(issues) - _LABEL_ISSUES:,} more, see hcs-qc open or --json")
    lines.append(f"Verdicts: {status.n_verdicts}")
    lines.extend(f"Model {model.id}: {_how(model)}, {model.created}" for model in status.models)
    if not status.models:
        lines.append("Models: none yet")
    data = {
        "assay": str(status.path),
        "plates": [
            asdict(replace(plate, novelty=None)) | {"novelty": as_data(plate.novelty)}
            for plate in status.plates
        ],
        "annotations": dict(status.annotations),
        "n_conflicts": status.n_conflicts,
        "label_issues": [asdict(issue) for issue in issues],
        "n_verdicts": status.n_verdicts,
        "models": [asdict(model) for model in status.models],
    }
    is_damaged = any(plate.damage for plate in status.plates)
    is_whole = not any(plate.damage or plate.problems for plate in status.plates)
    return Outcome(lines, data, DAMAGED if is_damaged else 0), is_whole


def _plate_lines(plate: PlateStatus, status: AssayStatus) -> list[str]:
    parts = [
        count_of(count, *nouns)
        for count, nouns in (
            (plate.n_wells, ["well"]),
            (plate.n_sites, ["site"]),
            (plate.n_cells, ["cell"]),
            (plate.n_flagged, ["well flagged", "wells flagged"]),
        )
        if count is not None
    ]
    scored = f", classified by model {plate.predicted_with}" if plate.predicted_with else ""
    if status.models and not plate.predicted_with and plate.n_cells is not None:
        scored = f", not yet classified by model {status.models[-1].id}"
    return [
        f"Plate {plate.name}: {', '.join(parts) or 'not readable'}{scored}",
        *([f"  Plate map {plate.platemap}"] if plate.platemap else []),
        *(f"  {problem}" for problem in (*plate.damage, *plate.problems, *plate.warnings)),
        *novelty_lines(plate.novelty),
    ]


def _how(model: ModelStatus) -> str:
    if model.rule:
        return f"the rules in {model.rule}"
    return f"{model.encoder}, {model.recipe}, {model.head}, by {model.backend}"


STATUS = Command(
    "status", "Show plates, annotations, models, and what could not be read.", add_assay, _run
)
