"""Predictions that are what a rule of another program says, such as those of coSMicQC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hcs_qc.assay.models.model_in_use import chosen_model
from napari_hcs_qc.assay.models.rule_model import save_rule_model
from napari_hcs_qc.assay.scoring.prediction import predict
from napari_hcs_qc.assay.store.plate_state import chosen_plates, load_plate
from napari_hcs_qc.assay.store.saved_model import model_folders
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.workflow.steps import cells
from napari_hcs_qc.workflow.training import train_before_annotations

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.assay.scoring.saved_prediction import Prediction
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.cells.imported.options import ImportOptions


def predict_by_rule(
    assay: AssayFolder,
    table: Path,
    importing: ImportOptions,
    *,
    device: str = "auto",
    job: Job = NO_JOB,
) -> list[Prediction]:
    """Take what the rules in a table of cells say as predictions, from then on."""
    names = chosen_plates(assay, None)
    cells(assay, plates=names, again=False, job=job)
    if model_folders(assay.models_folder):
        base = chosen_model(assay)
    else:
        base = train_before_annotations(assay, names, device=device, job=job)
    states = {name: load_plate(assay, name) for name in names}
    model = save_rule_model(assay, base, table, states, importing)
    return predict(assay, names, model, device=device, states=states, job=job)
