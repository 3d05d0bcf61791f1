"""Predict: score every cell of a plate with a model, and say when the plate is unlike training."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_hcs_qc.assay.embeddings.embed_plate import embed_plate
from napari_hcs_qc.assay.embeddings.plate_priors import (
    prior_of_plate,
    prior_offsets,
    why_no_prior,
)
from napari_hcs_qc.assay.models.rule_model import rule_scores
from napari_hcs_qc.assay.models.train_options import model_encoder
from napari_hcs_qc.assay.scoring.novelty_report import novelty_summary
from napari_hcs_qc.assay.scoring.plate_shift import ShiftMeter
from napari_hcs_qc.assay.scoring.saved_prediction import (
    COLUMN,
    Prediction,
    classes_of,
    save_prediction,
)
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.encoders.backends.choice import BF16
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.heads.linear.scoring import score_embeddings
from napari_hcs_qc.heads.prior.plate_prior import stricter
from napari_hcs_qc.heads.threads import n_processors, one_blas_thread
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.text_columns import with_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.scoring.plate_shift import ShiftReference
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.assay.store.saved_model import Model
    from napari_hcs_qc.encoders.encoder import Encoder

    # From embeddings to kinds, None where not known.
    KindsOf = Callable[[NDArray[np.floating[Any]]], NDArray[np.object_]]

_ROWS_OF_KINDS = 2048  # so many at a time, so that memory does not grow with the plate


def predict(
    assay: AssayFolder,
    plates: Sequence[str],
    model: Model,
    *,
    device: str = "auto",
    states: Mapping[str, PlateState] | None = None,
    encoder: Encoder | None = None,
    reference: ShiftReference | None = None,
    job: Job = NO_JOB,
) -> list[Prediction]:
    """Embed and score all cells of plates, and keep the result in the assay."""
    if encoder is None:
        encoder = model_encoder(model.manifest, device=device, job=job)
    check_encoder(model, encoder)
    annotations = assay.journal().annotations()
    known = dict(states or {})

    def state_of(name: str) -> PlateState:
        state = known.get(name) or load_plate(assay, name, annotations)
        if name in model.manifest.plate_names:  # the others are needed once, and a screen has many
            known[name] = state
        return state

    meter = ShiftMeter(assay, model, encoder, state_of, reference)
    predictions = []
    with assay.lock():
        for name in plates:
            state = state_of(assay.plate(name).name)
            predictions.append(predict_plate(assay, state, model, encoder, meter, job=job))
            save_prediction(assay, predictions[-1], state)
    return predictions


def check_encoder(model: Model, encoder: Encoder) -> None:
    """Refuse an encoder that gives other numbers than the one that a model was trained with.

    The same network run by another backend, because the model's is not installed here, gives the
    same numbers to 1e-4 of the largest, unless one of them is bfloat16: it passes, and
    `backend_warning` tells of it. Its embeddings have a store of their own.
    """
    of_model = model.encoder.network_fingerprint or model.encoder.fingerprint
    if encoder.network_fingerprint != of_model:
        raise HcsQcError(
            f"The encoder {encoder.name} is not the one that model {model.id} was trained with "
            f"(weights {encoder.weights_sha256[:12]} instead of "
            f"{model.encoder.weights_sha256[:12]}). Bring back its weights, or train again."
        )


def backend_warning(model: Model, encoder: Encoder) -> tuple[str, ...]:
    """Say that another backend runs the encoder than when the model was trained, if so."""
    trained_by = model.encoder.backend
    if encoder.backend == trained_by:
        return ()
    why = encoder.backend_note or f"{trained_by} cannot be used here"
    agreement = "They agree to 1e-4, and are stored separately."
    if BF16 in (trained_by, encoder.backend):
        agreement = (
            "Bfloat16 numbers have 3 digits, so some cells near the threshold may get the other "
            "class; train again with the backend that you have."
        )
    return (
        f"Model {model.id} was trained on embeddings by {trained_by}; these are by "
        f"{encoder.backend} ({why}). {agreement}",
    )


def predict_plate(
    assay: AssayFolder,
    state: PlateState,
    model: Model,
    encoder: Encoder,
    meter: ShiftMeter,
    *,
    try_again: bool = True,
    novelty: bool = True,
    job: Job = NO_JOB,
) -> Prediction:
    """Score all cells of one plate; nothing is written but embeddings that were missing."""
    embedded = embed_plate(
        state, model.recipe, encoder, assay.embeddings_folder, try_again=try_again, job=job
    )
    no_prior: tuple[str, ...] = ()
    if model.manifest.rule is not None:
        p_abnormal, kinds = rule_scores(assay, model, model.manifest.rule, state)
    else:
        offset, no_prior = _offset_of(assay, state, model, encoder, embedded.rows, job)
        p_abnormal = score_embeddings(model.head, embedded.rows, offset, job=job)
        has_kind = p_abnormal >= min(0.5, assay.threshold)
        kinds_of = _kinds_of(assay, state, model, encoder)
        kinds = _kinds(kinds_of, embedded.rows, has_kind, job)
    table = with_texts(
        pd.DataFrame({"p_abnormal": p_abnormal}),
        {"predicted_class": classes_of(p_abnormal), "predicted_kind": kinds},
    )
    shift = None
    if state.plate.name not in model.manifest.plate_names:
        shift = meter.measure(state, embedded.rows, job)
    shift_warning = (shift.sentence,) if shift is not None and shift.is_novel else ()
    prediction = Prediction(
        plate=state.plate.name,
        model=model.id,
        table=table,
        warnings=(
            *_before_annotations(model),
            *no_prior,
            *shift_warning,
            *backend_warning(model, encoder),
        ),
        unreadable=tuple((problem.where, problem.what) for problem in embedded.unreadable),
        shift=shift,
    )
    return with_novelty(prediction, state, model, embedded.rows, job) if novelty else prediction


def _before_annotations(model: Model) -> tuple[str, ...]:
    return (model.manifest.origin,) if model.manifest.is_before_annotations else ()


def _offset_of(
    assay: AssayFolder,
    state: PlateState,
    model: Model,
    encoder: Encoder,
    rows: NDArray[np.floating[Any]],
    job: Job,
) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
    """Give what is known of cells without annotations, and a warning where that is nothing."""
    if model.manifest.prior is None:
        return None, ()
    stores = assay.embeddings_folder
    offset = prior_offsets(state, rows, model.recipe, encoder, stores, model.linear_prior, job)
    if offset is not None:
        is_alone = model.manifest.is_before_annotations
        return offset + (stricter(model.linear_prior) if is_alone else 0.0), ()
    # Rows that are not finite are too few as well.
    why = why_no_prior(state) or f"Too few cells of plate {state.plate.name} have embeddings"
    if model.manifest.is_before_annotations:
        none = f"{why}, so no cell is classified before there are annotations."
        return np.full(len(rows), np.nan), (none,)
    return np.zeros(len(rows)), (f"{why}, so its cells are classified by annotations alone.",)


def with_novelty(
    prediction: Prediction,
    state: PlateState,
    model: Model,
    rows: NDArray[np.floating[Any]],
    job: Job = NO_JOB,
) -> Prediction:
    """Measure the novelty of each cell; quick, but not as quick as scoring."""
    is_scored = prediction.table["p_abnormal"].notna().to_numpy()
    ratio = np.full(len(prediction.table), np.nan, dtype=np.float32)
    why_not = model.manifest.no_novelty
    if model.novelty is not None:
        measured = model.novelty.ratio(rows, job=job)
        ratio[is_scored] = measured[is_scored]
    elif not why_not:
        why_not = (
            f"Model {model.id} has no novelty scores: it was trained by an earlier version. Train "
            "again to get them."
        )
    counted = np.where(state.is_left_out, np.float32(np.nan), ratio)
    summary = novelty_summary(counted, state.cells["well"], why_not)
    warning = (f"Plate {state.plate.name}: {summary.sentence}",) if summary.is_much else ()
    return replace(
        prediction,
        table=prediction.table.assign(**{COLUMN: ratio}),
        warnings=(*prediction.warnings, *warning),
        novelty=summary,
    )


def _kinds_of(
    assay: AssayFolder, state: PlateState, model: Model, encoder: Encoder
) -> KindsOf | None:
    """Give what knows the kinds of abnormal cells: annotations, else the prior of the plate."""
    if model.kind_head is not None:
        kinds_of: KindsOf = model.kind_head.predict
        return kinds_of
    linear = model.linear_prior
    if model.manifest.prior is None or linear is None:
        return None
    prior = prior_of_plate(state, model.recipe, encoder, assay.embeddings_folder, linear)
    return None if prior is None else prior.kinds


def _kinds(
    kinds_of: KindsOf | None,
    rows: NDArray[np.floating[Any]],
    has_kind: NDArray[np.bool_],
    job: Job,
) -> NDArray[np.object_]:
    kinds = np.full(len(rows), None, dtype=object)
    if kinds_of is None:
        return kinds
    abnormal = np.flatnonzero(has_kind)

    def work(start: int) -> None:
        job.check()
        chosen = abnormal[start : start + _ROWS_OF_KINDS]
        kinds[chosen] = kinds_of(rows[chosen])

    with one_blas_thread(), ThreadPoolExecutor(n_processors(), "hcs-qc kinds") as pool:
        list(pool.map(work, range(0, len(abnormal), _ROWS_OF_KINDS)))
    return kinds
