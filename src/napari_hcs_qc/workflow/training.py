"""Train a model: collect annotated cells, fit, validate, score, flag, save; one pipeline for all.

The command and the desk differ in options only: what is scored with the new model before it is
used, and whether its figures are measured now or follow with `add_figures`.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_hcs_qc.assay.embeddings.embed_plate import check_pools, fill_store, stored_plate
from napari_hcs_qc.assay.embeddings.plate_priors import PlatePriors, find_plate_priors
from napari_hcs_qc.assay.embeddings.training_set import (
    AnnotatedCells,
    check_classes,
    collect,
    no_annotated_cells,
)
from napari_hcs_qc.assay.models.finetuning import fine_tuned, forget_training
from napari_hcs_qc.assay.models.train_options import (
    TrainOptions,
    chosen_options,
    requested_encoder,
    with_custom_weights,
)
from napari_hcs_qc.assay.models.training import (
    check_simulated,
    fit_heads,
    inputs_of,
    manifest_of,
    model_being_made,
    prior_record,
    simulated_for,
    sized_recipe,
    use_latest,
)
from napari_hcs_qc.assay.models.validation import validate, validate_fine_tuned
from napari_hcs_qc.assay.scoring.novelty_report import fit_novelty
from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate, score_state, well_roles
from napari_hcs_qc.assay.scoring.plate_shift import ShiftMeter
from napari_hcs_qc.assay.scoring.prediction import predict_plate
from napari_hcs_qc.assay.scoring.saved_prediction import discard_prediction, save_prediction
from napari_hcs_qc.assay.store.plate_state import chosen_plates, load_plate
from napari_hcs_qc.assay.store.saved_model import (
    Model,
    load_model,
    model_folders,
    publish_model,
    save_heads,
)
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.heads.head_names import FINE_TUNED, WITH_PRIOR
from napari_hcs_qc.heads.head_registry import make_head
from napari_hcs_qc.heads.prior.linear_prior import find_prior
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.run_in_thread import run_in_thread
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari_hcs_qc.assay.scoring.saved_prediction import Prediction
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.figures import Figures
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.encoder import Encoder

_STEPS = 5
PATIENCE_S = 5.0  # for another window that is writing


@dataclass(frozen=True, eq=False)
class Trained:
    """What `train` made."""

    model: Model  # the new model, in use from now on
    scored: dict[str, ScoredPlate]  # plates by name, scored with it
    # How long each step took: ``collect``, ``fit``, ``score``, ``flag``, ``save``, ``total``
    seconds: dict[str, float]


def train(
    assay: AssayFolder,
    options: TrainOptions | None = None,
    *,
    states: Mapping[str, PlateState] | None = None,
    encoder: Encoder | None = None,
    figures: bool = True,
    scores: bool = False,
    reuse: bool = False,
    embed_first: bool = False,
    before_annotations: bool = False,
    note: str = "",
    job: Job = NO_JOB,
) -> Trained:
    """Train a model on the annotations of an assay, save it there and use it from then on.

    With `states` on those of these plates, else on those of all plates; with `figures` it is
    cross-validated; with `scores` all cells of `states` are scored and their wells flagged. `reuse`
    gives the latest model where nothing that it depends on has changed. `before_annotations` makes
    the model that judges by the prior of each plate alone.

    The old model serves until the new one is complete: its manifest is written last, so whatever
    fails or is cancelled before leaves all as it was. With `scores` the lock of the assay is held
    only for writing: a person goes on working in it meanwhile.
    """
    options = with_custom_weights(assay, options or TrainOptions())
    make_head(options.head, options.seed)  # a wrong name is reported before hours of work
    check_simulated(options)
    if states is None:
        states = _annotated_plates(assay)
    elif not states:
        raise HcsQcError("No plate is open, so there is nothing to train on; open one first.")
    used = [state for state in states.values() if before_annotations or len(state.training)]
    if before_annotations:
        options = replace(options, head="linear", simulated=())
    else:
        check_classes(states.values())
    if encoder is None:
        encoder = requested_encoder(options, job=job)
    recipe = sized_recipe(assay, options, used)
    check_pools(recipe, encoder)
    job.check()
    stores = assay.embeddings_folder
    if (embed_first or before_annotations) and options.head not in FINE_TUNED:
        for state in used:
            if stored_plate(state, recipe, encoder, stores) is None:
                fill_store(state, recipe, encoder, stores, job=job)
    priors = None
    if options.head == WITH_PRIOR:
        linear = find_prior(encoder, recipe)
        priors = find_plate_priors(used, recipe, encoder, stores, linear)
        if before_annotations:
            priors = priors or PlatePriors(linear, {})
    watch = _Watch()
    inputs = inputs_of(options, recipe, encoder, used, stores, prior_record(priors))
    with nullcontext() if scores else assay.lock():
        latest = _latest_of(assay, inputs) if reuse else None
        if latest is not None:
            use_latest(assay)
            return Trained(latest, {}, watch.seconds())
        training = _Training(
            assay=assay,
            options=options,
            recipe=recipe,
            used=used,
            priors=priors,
            before_annotations=before_annotations,
            inputs=inputs,
            watch=watch,
            job=job,
        )
        return training.run(encoder, states if scores else {}, figures=figures, note=note)


def train_before_annotations(
    assay: AssayFolder,
    plates: Sequence[str],
    options: TrainOptions | None = None,
    *,
    device: str | None = None,
    job: Job = NO_JOB,
) -> Model:
    """Make the model that judges plates by the prior alone; their cells are known."""
    options = options or chosen_options(assay)
    if device is not None:
        options = replace(options, device=device)
    annotations = assay.journal().annotations()
    states = {name: load_plate(assay, name, annotations) for name in plates}
    trained = train(assay, options, states=states, before_annotations=True, reuse=True, job=job)
    return trained.model


def _annotated_plates(assay: AssayFolder) -> dict[str, PlateState]:
    """Load the plates that somebody annotated: others may have vanished, or wait for cells."""
    annotations = assay.journal().annotations()
    annotated = set(annotations["plate"])
    names = [name for name in chosen_plates(assay, None) if name in annotated]
    return {name: load_plate(assay, name, annotations) for name in names}


def _latest_of(assay: AssayFolder, inputs: str) -> Model | None:
    """Give the latest model if it was trained on just these inputs, and validated."""
    folders = model_folders(assay.models_folder)
    latest = load_model(folders[-1]) if folders else None
    if latest is None or latest.manifest.inputs != inputs:
        return None
    is_whole = latest.manifest.cross_validation or latest.manifest.is_before_annotations
    return latest if is_whole else None


@dataclass(frozen=True, kw_only=True)
class _Training:
    """One training, its inputs checked."""

    assay: AssayFolder
    options: TrainOptions
    recipe: CropRecipe
    used: Sequence[PlateState]
    priors: PlatePriors | None
    before_annotations: bool
    inputs: str
    watch: _Watch
    job: Job

    def run(
        self, encoder: Encoder, scored: Mapping[str, PlateState], *, figures: bool, note: str
    ) -> Trained:
        assay, options, recipe, used, job = (
            self.assay, self.options, self.recipe, self.used, self.job
        )  # fmt: skip
        tuned, measured = None, None
        if options.head in FINE_TUNED:
            positions = [(state, state.training) for state in used]
            with self.watch.step("fine-tune"):
                tuned = fine_tuned(positions, recipe, options, folder=assay.path, job=job)
            encoder = tuned.encoder
            if figures:
                measured = validate_fine_tuned(positions, recipe, options, job)
        job.report(0, _STEPS, "Collecting annotated cells")
        with self.watch.step("collect"):
            annotated = self._collected(encoder)
            simulated = simulated_for(options, used, annotated, recipe, encoder, job)
        if figures and tuned is None and not self.before_annotations:
            measured = run_in_thread(lambda job: validate(annotated, options, job, simulated), job)
        job.report(1, _STEPS, f"Fitting on {count_of(len(annotated.classes), 'annotated cell')}")
        with self.watch.step("fit"):
            head, kind_head = run_in_thread(
                lambda _job: fit_heads(annotated, options, tuned, simulated), job.silent()
            )
            novelty, no_novelty = fit_novelty(annotated)
            manifest = manifest_of(
                options,
                recipe,
                encoder,
                used,
                annotated,
                tuned,
                note=note,
                inputs=self.inputs,
                has_kinds=kind_head is not None,
                no_novelty=no_novelty,
            ).model_copy(update={"cross_validation": measured})
        # Its number is known when it is written.
        linear = None if self.priors is None else self.priors.linear
        model = Model(
            id="",
            head=head,
            kind_head=kind_head,
            manifest=manifest,
            novelty=novelty,
            linear_prior=linear,
        )
        with self.watch.step("score"):
            predictions = self._scored(scored, model, encoder)
        job.report(3, _STEPS, "Scoring wells")
        with self.watch.step("flag"):
            flagged = self._flagged(scored, predictions, measured)
        job.check()
        lock = assay.lock(timeout_s=PATIENCE_S)
        with lock, model_being_made(assay) as folder, self.watch.step("save"):
            job.report(4, _STEPS, f"Saving model {folder.name}")
            try:
                save_heads(folder, head, kind_head, tuned, novelty, linear)
                for name, prediction in predictions.items():
                    numbered = replace(prediction, model=folder.name)
                    flagged[name] = replace(flagged[name], prediction=numbered)
                    save_prediction(assay, numbered, scored[name])
                    job.check()
                model = replace(model, id=folder.name, manifest=publish_model(folder, manifest))
                use_latest(assay)
                forget_training(assay.path)
            except BaseException:
                for name in predictions:
                    discard_prediction(assay, name, folder.name)
                raise
        job.report(_STEPS, _STEPS, f"Model {model.id} is in use")
        return Trained(model, flagged, self.watch.seconds())

    def _collected(self, encoder: Encoder) -> AnnotatedCells:
        stores, used = self.assay.embeddings_folder, self.used
        if not self.before_annotations:
            return collect(used, self.recipe, encoder, stores, self.priors, self.job)
        assert self.priors is not None
        n_features = self.recipe.n_views(len(used[0].plate.channels)) * encoder.n_features
        return no_annotated_cells(n_features, self.priors)

    def _scored(
        self, states: Mapping[str, PlateState], model: Model, encoder: Encoder
    ) -> dict[str, Prediction]:
        meter = ShiftMeter(self.assay, model, encoder, lambda name: states[name])
        predictions = {}
        for name, state in states.items():
            self.job.report(2, _STEPS, f"Scoring the cells of {name}")
            predictions[name] = predict_plate(
                self.assay,
                state,
                model,
                encoder,
                meter,
                try_again=False,
                novelty=False,  # follows with `add_novelty`: nobody should have to wait for it
                job=self.job,
            )
        return predictions

    def _flagged(
        self,
        states: Mapping[str, PlateState],
        predictions: Mapping[str, Prediction],
        measured: Figures | None,
    ) -> dict[str, ScoredPlate]:
        if not states:
            return {}
        verdicts, flagged = self.assay.journal().verdicts(), {}
        for name, state in states.items():
            self.job.check()
            flagged[name] = score_state(
                state,
                predictions[name],
                verdicts=verdicts,
                rule=self.assay.flag_rule,
                roles=well_roles(self.assay, state.plate),
                threshold=self.assay.threshold,
                figures=measured,
            )
        return flagged


class _Watch:
    """Measures how long each step takes."""

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
