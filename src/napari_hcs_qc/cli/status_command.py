"""Where an assay stands, in words and as data."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.assay.annotations.label_issues_list import label_issues
from napari_hcs_qc.assay.store.saved_model import load_model, model_folders
from napari_hcs_qc.cli.outcome_text import novelty_lines
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder

_DOUBTS = 5  # listed in words; the data hold them all


def status_of(assay: AssayFolder) -> tuple[list[str], dict[str, Any]]:
    """Tell of plates, annotations, verdicts and models; lines for a person, and plain data."""
    journal = assay.journal()
    counts = journal.consensus()
    classes = counts["class"].value_counts().to_dict()
    plates = [steps.plate_status(assay, entry.name) for entry in assay.plates]
    models = [load_model(folder) for folder in model_folders(assay.models_folder)]
    lines = [f"Assay {assay.path}, made {assay.created}"]
    for plate in plates:
        parts = [
            f"{value:,} {word}"
            for value, word in (
                (plate.n_wells, "wells"),
                (plate.n_sites, "sites"),
                (plate.n_cells, "cells"),
                (plate.n_flagged, "wells flagged"),
            )
            if value is not None
        ]
        scored = f", judged by model {plate.predicted_with}" if plate.predicted_with else ""
        if models and not plate.predicted_with and plate.n_cells is not None:
            scored = f", not judged by model {models[-1].id} yet"
        lines.append(f"Plate {plate.name}: {', '.join(parts) or 'not readable'}{scored}")
        lines.extend(f"  {problem}" for problem in plate.problems)
        lines.extend(novelty_lines(plate.novelty))
    told = ", ".join(f"{count} {word}" for word, count in classes.items()) or "none"
    n_conflicts = int(counts["is_conflict"].sum())
    lines.append(f"Annotations: {told}" + (f", {n_conflicts} in conflict" if n_conflicts else ""))
    issues = label_issues(models[-1].manifest, journal.annotations()) if models else ()
    if issues:
        lines.append(f"To look at again, the most doubtful of {len(issues)}:")
        lines.extend(f"  {issue}" for issue in issues[:_DOUBTS])
    lines.append(f"Verdicts: {len(journal.verdicts())}")
    for model in models:
        lines.append(
            f"Model {model.id}: {model.encoder.name}, {model.recipe.name}, "
            f"{model.manifest.head}, by {model.encoder.backend}, "
            f"{model.manifest.created}"
        )
    if not models:
        lines.append("Models: none yet")
    data = {
        "assay": str(assay.path),
        "plates": [
            asdict(replace(plate, novelty=None))
            | {"novelty": {} if plate.novelty is None else plate.novelty.model_dump()}
            for plate in plates
        ],
        "annotations": classes,
        "n_conflicts": n_conflicts,
        "label_issues": [asdict(issue) for issue in issues],
        "n_verdicts": len(journal.verdicts()),
        "models": [
            {
                "id": model.id,
                "created": model.manifest.created,
                "head": model.manifest.head,
                "backend": model.encoder.backend,
            }
            for model in models
        ],
    }
    return lines, data
