"""Retrain: from the annotations of now to every plate judged anew, while a person waits."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.assay.embeddings.embed_plate import check_pools, embed_plate, stored_plate
from napari_hcs_qc.assay.embeddings.training_set import (
    annotated_again,
    check_classes,
    collect,
    collect_again,
)
from napari_hcs_qc.assay.models.finetuning import fine_tuned, forget_training
from napari_hcs_qc.assay.models.model_in_use import chosen_model
from napari_hcs_qc.assay.models.train_options import TrainOptions, asked_recipe
from napari_hcs_qc.assay.models.training import (
    check_simulated,
    fit_heads,
    inputs_of,
    manifest_of,
    model_being_made,
    simulated_for,
    trained_with,
    use_latest,
)
from napari_hcs_qc.assay.models.validation import curve, validate, validate_fine_tuned
from napari_hcs_qc.assay.scoring.novelty_report import fit_novelty
from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate, flag_rule, score_state, well_roles
from napari_hcs_qc.assay.scoring.plate_shift import ShiftMeter
from napari_hcs_qc.assay.scoring.prediction import predict_plate, with_novelty
from napari_hcs_qc.assay.scoring.saved_prediction import (
    discard_prediction,
    load_prediction,
    save_prediction,
)
from napari_hcs_qc.assay.store.assay_folder import AssayBusyError
from napari_hcs_qc.assay.store.plate_state import PlateState, load_plate
from napari_hcs_qc.assay.store.saved_model import (
    Model,
    change_manifest,
    located,
    publish_model,
    save_heads,
)
from napari_hcs_qc.encoders.registry import cached_encoder
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.heads.head_registry import FINE_TUNED, make_head
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.run_in_thread import run_in_thread
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from napari_hcs_qc.assay.scoring.saved_prediction import Prediction
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.encoders.encoder import Encoder
    from napari_hcs_qc.heads.finetune import FineTuned

_STEPS = 5
_PATIENCE_S = 5.0  # for another window that is writing


@dataclass(frozen=True, eq=False)
class Retrained:
    """What `retrain` made."""

    model: Model  # the new model, in use from now on
    scored: dict[str, ScoredPlate]  # every plate, by name, judged by it
    # How long each step took: ``collect``, ``fit``, ``score``, ``score``, ``save``, ``total``
    seconds: dict[str, float]


def retrain(
    assay: AssayFolder,
    states: Mapping[str, PlateState],
    options: TrainOptions,
    *,
    encoder: Encoder,
    note: str = "",
    job: Job = NO_JOB,
) -> Retrained:
    """Fit a head on the annotations of `states`, score and judge all their cells, use the model.

    The old model serves until the new one is complete: its manifest is written last, so whatever
    fails or is cancelled before leaves all as it was. The assay's lock is held only for writing.
    """
    make_head(options.head, options.seed)  # a wrong name is told first
    check_simulated(options)
    if not states:
        raise HcsQcError("No plate is open, so there is nothing to train on; open one first.")
    recipe = asked_recipe(options)
    recipe = recipe.with_diameter(next(iter(states.values())).found.diameter_px)
    check_pools(recipe, encoder)
    used = [state for state in states.values() if len(state.training)]
    check_classes(used)
    job.check()
    watch = _Watch()
    stores = assay.embeddings_folder
    inputs = inputs_of(options, recipe, encoder, used, stores)
    tuned: FineTuned | None = None
    if options.head in FINE_TUNED:
        with watch.step("fine-tune"):
            tuned = fine_tuned(
                [(state, state.training) for state in used],
                recipe,
                options,
                folder=assay.path,
                job=job,
            )
        encoder = tuned.encoder
    job.report(0, _STEPS, "Collecting annotated cells")
    with watch.step("collect"):
        annotated = collect(used, recipe, encoder, stores, job)
        simulated = simulated_for(options, used, annotated, recipe, encoder, job)
    job.report(1, _STEPS, f"Fitting on {count_of(len(annotated.classes), 'cell')}")
    with watch.step("fit"):
        head, kind_head = run_in_thread(
            lambda _job: fit_heads(annotated, options, tuned, simulated), job.silent()
        )
        manifest = {
            **manifest_of(options, recipe, encoder, used, annotated, tuned),
            "note": note.strip(),
            "inputs": inputs,
            "has_kinds": kind_head is not None,
        }
        novelty, manifest["no_novelty"] = fit_novelty(annotated)
    # Its number is known when it is written.
    model = Model("", head, kind_head, recipe, manifest["encoder"], manifest, novelty)
    with watch.step("score"):
        predictions = _scored(assay, states, model, encoder, job)
    job.report(3, _STEPS, "Scoring wells")
    with watch.step("flag"):
        scored = _flagged(assay, states, predictions, job)
    job.check()
    with assay.lock(timeout_s=_PATIENCE_S), model_being_made(assay) as folder, watch.step("save"):
        model = replace(model, id=folder.name)
        job.report(4, _STEPS, f"Saving model {model.id}")
        try:
            save_heads(folder, head, kind_head, tuned, novelty)
            for name, prediction in predictions.items():
                numbered = replace(prediction, model=model.id)
                scored[name] = replace(scored[name], prediction=numbered)
                save_prediction(assay, numbered, states[name])
                job.check()
            published = located(publish_model(folder, manifest), folder)
            model = replace(model, encoder=published["encoder"], manifest=published)
            use_latest(assay)
            forget_training(assay.path)
        except BaseException:
            for name in predictions:
                discard_prediction(assay, name, model.id)
            raise
    job.report(_STEPS, _STEPS, f"Model {model.id} is in use")
    return Retrained(model, scored, watch.seconds())


def add_figures(
    assay: AssayFolder,
    model_id: str,
    states: Mapping[str, PlateState],
    options: TrainOptions,
    *,
    encoder: Encoder,
    job: Job = NO_JOB,
) -> Model:
    """Cross-validate a model on the very cells it was trained on, and keep the figures with it.

    The learning curve follows the other figures; where it is cancelled, these stay. Fine-tuned
    models have none: it would take as long as dozens of trainings.
    """
    model = chosen_model(assay, model_id)
    manifest = model.manifest
    options = replace(options, head=str(manifest["head"]), seed=int(manifest["seed"]))
    names = [plate["name"] for plate in manifest["training_plates"]]
    trained_on = {name: states.get(name) or load_plate(assay, name) for name in names}
    if options.head in FINE_TUNED:
        weights = manifest["fine_tuning"]["started_from_weights"]
        options = replace(
            options,
            encoder=str(manifest["encoder"]["name"]),
            weights=None if weights is None else Path(weights),
        )
        said = annotated_again(manifest, trained_on)
        figures = validate_fine_tuned(said, model.recipe, options, job)
        return _with_figures(assay, model, {**figures, "learning_curve": None})
    if encoder.fingerprint != model.encoder["fingerprint"]:
        encoder = cached_encoder(
            **trained_with(manifest),
            device=options.device,
            job=job,
        )
    stores = assay.embeddings_folder
    annotated = collect_again(manifest, trained_on, model.recipe, encoder, stores, job)
    figures = run_in_thread(
        partial(validate, annotated, options),
        job,
    )
    figures["learning_curve"] = None
    model = _with_figures(assay, model, figures)
    if figures["figures"]:
        found = run_in_thread(
            partial(curve, annotated, options),
            job,
        )
        model = _with_figures(assay, model, {**figures, "learning_curve": found})
    return model


def add_novelty(
    assay: AssayFolder,
    model: Model,
    scored: Mapping[str, ScoredPlate],
    *,
    encoder: Encoder,
    job: Job = NO_JOB,
) -> dict[str, ScoredPlate]:
    """Measure how unlike the annotated cells each cell of some plates is, and keep it if possible.

    Plates that are not embedded are left out; `predict` embeds and measures them.
    """
    missing = {name: one for name, one in scored.items() if not one.prediction.is_novelty_measured}
    if missing and encoder.fingerprint != model.encoder["fingerprint"]:
        encoder = cached_encoder(**trained_with(model.manifest), job=job)
    found = {}
    for name, one in missing.items():
        job.check()
        if stored_plate(one.state, model.recipe, encoder, assay.embeddings_folder) is None:
            continue
        embedded = embed_plate(
            one.state,
            model.recipe,
            encoder,
            assay.embeddings_folder,
            try_again=False,  # as they were when the cells were scored
            job=job,
        )
        measured = with_novelty(one.prediction, one.state, model, embedded.rows, job)
        found[name] = one.with_novelty(one.state, measured)
        # Where another process is at work it is measured again when somebody needs it.
        with suppress(AssayBusyError), assay.lock(timeout_s=_PATIENCE_S):
            is_of_these_cells = load_prediction(assay, one.state, model.id) is not None
            if is_of_these_cells:
                save_prediction(assay, measured, one.state)
    return found


def _with_figures(assay: AssayFolder, model: Model, figures: dict[str, object]) -> Model:
    with assay.lock(timeout_s=_PATIENCE_S):
        folder = assay.models_folder / model.id
        changed = located(change_manifest(folder, cross_validation=figures), folder)
        return replace(model, manifest=changed)


def _scored(
    assay: AssayFolder,
    states: Mapping[str, PlateState],
    model: Model,
    encoder: Encoder,
    job: Job,
) -> dict[str, Prediction]:
    meter = ShiftMeter(assay, model, encoder, lambda name: states[name])
    predictions = {}
    for name, state in states.items():
        job.report(2, _STEPS, f"Scoring the cells of {name}")
        predictions[name] = predict_plate(
            assay,
            state,
            model,
            encoder,
            meter,
            try_again=False,
            novelty=False,  # follows with `add_novelty`: nobody should have to wait for it
            job=job,
        )
    return predictions


def _flagged(
    assay: AssayFolder,
    states: Mapping[str, PlateState],
    predictions: Mapping[str, Prediction],
    job: Job,
) -> dict[str, ScoredPlate]:
    verdicts, rule = assay.journal().verdicts(), flag_rule(assay)
    scored = {}
    for name, state in states.items():
        job.check()
        scored[name] = score_state(
            state,
            predictions[name],
            verdicts=verdicts,
            rule=rule,
            roles=well_roles(assay, state.plate.shape),
            threshold=assay.threshold,
        )
    return scored


class _Watch:
    """Says how long each step took."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._seconds[name] = time.perf_counter() - began

    def seconds(self) -> dict[str, float]:
        return {**self._seconds, "total": time.perf_counter() - self._began}
