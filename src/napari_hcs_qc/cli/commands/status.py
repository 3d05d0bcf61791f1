"""``hcs-qc status``: where an assay stands."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.cli.arguments import add_assay
from napari_hcs_qc.cli.command import DAMAGED, Command, Outcome
from napari_hcs_qc.cli.outcome_text import as_data, novelty_lines
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars
    from napari_hcs_qc.workflow.status import AssayStatus, ModelStatus, PlateStatus

_LABEL_ISSUES = 5  # listed in lines; the data hold them all


def _run(options: argparse.Namespace, _bars: Bars) -> Outcome:
    from napari_hcs_qc.cli.status_cache import keep_status, kept_status

    kept = kept_status(options.assay)
    if kept is not None:
        return Outcome(list(kept.lines), dict(kept.data))
    started = time.time()
    # Not by way of the public API, which imports every step.
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.workflow.status import assay_status

    status = assay_status(AssayFolder.open(options.assay))
    outcome = _outcome(status)
    places = _places(status)
    if places is not None:
        keep_status(options.assay, places, started, outcome.lines, outcome.data)
    return outcome


def _places(status: AssayStatus) -> list[str] | None:
    """Give where the files of the plates lie; None where that, or a plate, is not whole."""
    from napari_hcs_qc.plates.readers.registry import readers

    places: list[str] = []
    for plate in status.plates:
        if plate.places is None or plate.problems or plate.damage:
            return None
        places += plate.places
    # What a reader of somebody else looks at is not known.
    modules = [str(getattr(reader.open, "__module__", "")) for reader in readers()]
    return places if all(module.startswith("napari_hcs_qc.") for module in modules) else None


def _outcome(status: AssayStatus) -> Outcome:
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
            _without_places(plate) | {"novelty": as_data(plate.novelty)} for plate in status.plates
        ],
        "annotations": dict(status.annotations),
        "n_conflicts": status.n_conflicts,
        "label_issues": [asdict(issue) for issue in issues],
        "n_verdicts": status.n_verdicts,
        "models": [asdict(model) for model in status.models],
    }
    is_damaged = any(plate.damage for plate in status.plates)
    return Outcome(lines, data, DAMAGED if is_damaged else 0)


def _without_places(plate: PlateStatus) -> dict[str, Any]:
    data = asdict(replace(plate, novelty=None))
    del data["places"]
    return data


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
