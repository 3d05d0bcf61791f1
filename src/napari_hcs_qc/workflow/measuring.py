"""What follows a training while its model is in use already: figures, and the cells' novelty."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.assay.embeddings.embed_plate import embed_plate, stored_plate
from napari_hcs_qc.assay.embeddings.plate_priors import find_plate_priors
from napari_hcs_qc.assay.embeddings.training_set import collect_again, positions_again
from napari_hcs_qc.assay.models.model_in_use import chosen_model
from napari_hcs_qc.assay.models.train_options import model_encoder
from napari_hcs_qc.assay.models.validation import curve, validate, validate_fine_tuned
from napari_hcs_qc.assay.scoring.prediction import with_novelty
from napari_hcs_qc.assay.scoring.saved_prediction import load_prediction, save_prediction
from napari_hcs_qc.assay.store.assay_folder import AssayBusyError
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.assay.store.saved_model import change_manifest
from napari_hcs_qc.heads.head_names import FINE_TUNED
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.run_in_thread import run_in_thread
from napari_hcs_qc.workflow.training import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_hcs_qc.assay.embeddings.training_set import AnnotatedCells
    from napari_hcs_qc.assay.models.train_options import TrainOptions
    from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.figures import Figures
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.assay.store.saved_model import Model


def add_figures(
    assay: AssayFolder,
    model_id: str,
    states: Mapping[str, PlateState],
    options: TrainOptions,
    *,
    job: Job = NO_JOB,
) -> Model:
    """Cross-validate a model on the very cells it was trained on, and keep the figures with it."""
    model = chosen_model(assay, model_id)
    manifest = model.manifest
    options = _as_trained(model, options)
    if manifest.fine_tuning is not None and options.head in FINE_TUNED:
        weights = manifest.fine_tuning.started_from_weights
        options = replace(
            options,
            encoder=manifest.encoder.name,
            weights=None if weights is None else Path(weights),
        )
        positions = positions_again(manifest, _trained_on(assay, model, states))
        return _with_figures(
            assay, model, validate_fine_tuned(positions, model.recipe, options, job)
        )
    annotated = _annotated_again(assay, model, states, options, job)
    figures = run_in_thread(lambda job: validate(annotated, options, job), job)
    return _with_figures(assay, model, figures)


def add_learning_curve(
    assay: AssayFolder,
    model_id: str,
    states: Mapping[str, PlateState],
    options: TrainOptions,
    *,
    job: Job = NO_JOB,
) -> Model:
    """Measure how a model's figures grow with the annotations, and keep that with its figures.

    A model that has none, see `ModelManifest.has_curve`, is given as it is.
    """
    model = chosen_model(assay, model_id)
    figures = model.manifest.cross_validation
    if figures is None or not model.manifest.has_curve:
        return model
    options = _as_trained(model, options)
    annotated = _annotated_again(assay, model, states, options, job)
    rising = run_in_thread(lambda job: curve(annotated, options, job), job)
    return _with_figures(assay, model, figures.model_copy(update={"learning_curve": rising}))


def _as_trained(model: Model, options: TrainOptions) -> TrainOptions:
    return replace(options, head=model.manifest.head, seed=model.manifest.seed)


def _trained_on(
    assay: AssayFolder, model: Model, states: Mapping[str, PlateState]
) -> dict[str, PlateState]:
    return {
        name: states.get(name) or load_plate(assay, name) for name in model.manifest.plate_names
    }


def _annotated_again(
    assay: AssayFolder,
    model: Model,
    states: Mapping[str, PlateState],
    options: TrainOptions,
    job: Job,
) -> AnnotatedCells:
    """Gather the cells that a model was trained on, as its head saw them."""
    trained_on = _trained_on(assay, model, states)
    encoder = model_encoder(model.manifest, device=options.device, job=job)
    stores, priors = assay.embeddings_folder, None
    if model.manifest.prior is not None:
        priors = find_plate_priors(
            trained_on.values(), model.recipe, encoder, stores, model.linear_prior
        )
    return collect_again(model.manifest, trained_on, encoder, stores, priors, job)


def _with_figures(assay: AssayFolder, model: Model, figures: Figures) -> Model:
    with assay.lock(timeout_s=PATIENCE_S):
        folder = assay.models_folder / model.id
        return replace(model, manifest=change_manifest(folder, cross_validation=figures))


def add_novelty(
    assay: AssayFolder,
    model: Model,
    scored: Mapping[str, ScoredPlate],
    *,
    device: str = "auto",
    job: Job = NO_JOB,
) -> dict[str, ScoredPlate]:
    """Measure the novelty of the cells of some plates, and keep it if possible.

    Plates that are not embedded are left out; `predict` embeds and measures them.
    """
    missing = {
        name: plate for name, plate in scored.items() if not plate.prediction.is_novelty_measured
    }
    if not missing:
        return {}
    encoder = model_encoder(model.manifest, device=device, job=job)
    stores = assay.embeddings_folder
    measured_plates = {}
    for name, plate in missing.items():
        job.check()
        state = plate.state
        if stored_plate(state, model.recipe, encoder, stores) is None:
            continue
        embedded = embed_plate(
            state,
            model.recipe,
            encoder,
            stores,
            try_again=False,  # as they were when the cells were scored
            job=job,
        )
        measured = with_novelty(plate.prediction, state, model, embedded.rows, job)
        measured_plates[name] = plate.with_novelty(state, measured)
        # Where another process is at work it is measured again when somebody needs it.
        with suppress(AssayBusyError), assay.lock(timeout_s=PATIENCE_S):
            if load_prediction(assay, state, model.id) is not None:  # else of other cells by now
                save_prediction(assay, measured, state)
    return measured_plates
