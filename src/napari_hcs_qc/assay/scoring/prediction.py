"""Predict: score every cell of a plate with a model, and say when the plate is unlike training."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_hcs_qc.assay.embeddings.embed_plate import embed_plate
from napari_hcs_qc.assay.models.training import trained_with
from napari_hcs_qc.assay.scoring.novelty_report import COLUMN, novelty_summary
from napari_hcs_qc.assay.scoring.plate_shift import ShiftMeter
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.assay.store.saved_model import load_model, model_folders
from napari_hcs_qc.encoders.backends.choice import TORCH
from napari_hcs_qc.encoders.registry import cached_encoder
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import atomic_path, fingerprint, read_json, write_json
from napari_hcs_qc.heads.linear.scoring import score_embeddings
from napari_hcs_qc.heads.threads import n_processors, one_blas_thread
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.text_columns import with_texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.scoring.plate_shift import ShiftReference
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.assay.store.saved_model import Model
    from napari_hcs_qc.encoders.encoder import Encoder

_TEXTS = ["predicted_class", "predicted_kind"]
_ROWS_OF_KINDS = 2048  # so many at a time, so that memory does not grow with the plate


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says about the cells of one plate."""

    plate: str  # name and id
    model: str  # name and id
    table: pd.DataFrame
    # Sentences: the plate is unlike the training data, or much of it unlike all annotations
    warnings: tuple[str, ...]
    # Sites whose cells could not be embedded: well, site as text, and the reason
    unreadable: tuple[tuple[str, str], ...]
    shift: dict[str, Any]  # `Shift` of the plate against the training plates as plain data
    # Cells unlike anything annotated, as `novelty_summary` counts them
    novelty: dict[str, Any] = field(default_factory=dict)

    @property
    def is_novelty_measured(self) -> bool:
        """Whether its table says of each cell how unlike the annotated ones it is."""
        return COLUMN in self.table


def model_in_use(assay: AssayFolder, model: str | None = None) -> tuple[Model, str]:
    """Load the model that judges an assay: the one restored by a person, else the latest."""
    folders = {folder.name: folder for folder in model_folders(assay.models_folder)}
    if not folders:
        raise HcsQcError(f"No model was trained yet; run: hcs-qc train {assay.path}.")
    latest = max(folders)
    if model is None:
        restored = assay.settings.get("model", latest)
        if restored in folders:
            return load_model(folders[restored]), ""
        told = f"Model {restored}, which was restored, no longer exists; {latest} is used."
        return load_model(folders[latest]), told
    if model not in folders:
        raise HcsQcError(
            f"The assay {assay.path} has no model {model!r}; it has {', '.join(folders)}."
        )
    return load_model(folders[model]), ""


def chosen_model(assay: AssayFolder, model: str | None = None) -> Model:
    """Load a model of an assay, by default the one in use, see `model_in_use`."""
    return model_in_use(assay, model)[0]


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
        encoder = cached_encoder(
            **trained_with(model.manifest),
            device=device,
            job=job,
        )
    check_encoder(model, encoder)
    annotations = assay.journal().annotations()
    known = dict(states or {})
    trained_on = {plate["name"] for plate in model.manifest["training_plates"]}

    def state_of(name: str) -> PlateState:
        state = known.get(name) or load_plate(assay, name, annotations)
        if name in trained_on:  # the others are asked for once, and a screen has many
            known[name] = state
        return state

    meter = ShiftMeter(assay, model, encoder, state_of, reference)
    predictions = []
    with assay.lock():
        for name in plates:
            state = state_of(assay.plate(name).name)
            found = predict_plate(
                assay,
                state,
                model,
                encoder,
                meter,
                job=job,
            )
            save_prediction(assay, found, state)
            predictions.append(found)
    return predictions


def check_encoder(model: Model, encoder: Encoder) -> None:
    """Refuse an encoder that gives other numbers than the one that a model was trained with.

    The same network run by another backend, because the model's is not installed here, gives the
    same numbers to 1e-4 of the largest: it passes, and `backend_warning` tells of it. Its
    embeddings have a store of their own.
    """
    of_model = model.encoder.get("network_fingerprint", model.encoder["fingerprint"])
    if encoder.network_fingerprint != of_model:
        raise HcsQcError(
            f"The encoder {encoder.name} is not the one that model {model.id} was trained with "
            f"(weights {encoder.weights_sha256[:12]} instead of "
            f"{str(model.encoder['weights_sha256'])[:12]}). Bring back its weights, or train again."
        )


def backend_warning(model: Model, encoder: Encoder) -> tuple[str, ...]:
    """Say that another backend runs the encoder than when the model was trained, if so."""
    trained_by = str(model.encoder.get("backend", TORCH))
    if encoder.backend == trained_by:
        return ()
    why = encoder.backend_note or f"{trained_by} is not installed"
    return (
        f"Model {model.id} was trained on embeddings by {trained_by}; these are by "
        f"{encoder.backend} ({why}). They agree to 1e-4, and are stored separately.",
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
        state,
        model.recipe,
        encoder,
        assay.embeddings_folder,
        try_again=try_again,
        job=job,
    )
    p_abnormal = score_embeddings(model.head, embedded.rows, job=job)
    is_kind_told = p_abnormal >= min(0.5, assay.threshold)
    kinds = _kinds(model, embedded.rows, is_kind_told, job)
    table = with_texts(
        pd.DataFrame({"p_abnormal": p_abnormal}),
        {"predicted_class": classes_of(p_abnormal), "predicted_kind": kinds},
    )
    shift: dict[str, Any] = {}
    if state.plate.name not in {plate["name"] for plate in model.manifest["training_plates"]}:
        shift = meter.measure(state, embedded.rows, job)
    found = Prediction(
        state.plate.name,
        model.id,
        table,
        (
            *((shift["sentence"],) if shift.get("is_novel") else ()),
            *backend_warning(model, encoder),
        ),
        tuple((one.where, one.what) for one in embedded.unreadable),
        shift,
    )
    if not novelty:
        return found
    return with_novelty(found, state, model, embedded.rows, job)


def with_novelty(
    found: Prediction,
    state: PlateState,
    model: Model,
    rows: NDArray[np.floating[Any]],
    job: Job = NO_JOB,
) -> Prediction:
    """Say of each cell how unlike the annotated ones it is; quick, but not as quick as scoring."""
    is_scored = found.table["p_abnormal"].notna().to_numpy()
    ratio = np.full(len(found.table), np.nan, dtype=np.float32)
    why_not = str(model.manifest.get("no_novelty", ""))
    if model.novelty is not None:
        measured = model.novelty.ratio(rows, job=job)
        ratio[is_scored] = measured[is_scored]
    elif not why_not:
        why_not = (
            f"Model {model.id} has no novelty scores: it was trained by an earlier version. Train "
            "again to get them."
        )
    summary = novelty_summary(ratio, state.cells["well"], why_not)
    warning = (f"Plate {state.plate.name}: {summary['sentence']}",) if summary["is_much"] else ()
    return replace(
        found,
        table=found.table.assign(**{COLUMN: ratio}),
        warnings=(*found.warnings, *warning),
        novelty=summary,
    )


def classes_of(p_abnormal: NDArray[np.float32]) -> NDArray[np.object_]:
    """Class of each probability: abnormal from one half on; None where there is none."""
    classes = np.where(p_abnormal >= 0.5, "abnormal", "normal").astype(object)
    classes[np.isnan(p_abnormal)] = None
    return classes


def cells_mark(state: PlateState) -> str:
    """Content address of the cells that predictions belong to."""
    return _mark(state, state.cells)


def _mark(state: PlateState, cells: pd.DataFrame) -> str:
    positions = cells[["y_px", "x_px"]].to_numpy(dtype=np.float32)
    digest = hashlib.sha256(np.ascontiguousarray(positions).tobytes()).hexdigest()
    return fingerprint({"plate": state.plate.fingerprint, "positions": digest})


def load_prediction(
    assay: AssayFolder, state: PlateState, model: Model, *, partial: bool = False
) -> Prediction | None:
    """Read what `predict` kept; None when there is nothing for these cells and this model."""
    folder = assay.predictions_folder(state.plate.name)
    manifest_path = folder / f"{model.id}.json"
    if not manifest_path.is_file():
        return None
    manifest = read_json(manifest_path)
    is_of_all = manifest.get("cells") == cells_mark(state)
    # Without the entry no cell had been added by people, so that all were found ones.
    found = manifest.get("found", manifest.get("cells"))
    if not is_of_all and not (partial and found == _mark(state, state.found.cells)):
        return None
    table = pd.read_parquet(folder / f"{model.id}.parquet")
    table = with_texts(table, table[_TEXTS])
    if not is_of_all:
        table = realigned(table, [tuple(place) for place in manifest.get("added", [])], state)
    return Prediction(
        state.plate.name,
        model.id,
        table,
        tuple(manifest["warnings"]),
        tuple((str(where), str(what)) for where, what in manifest["unreadable"]),
        dict(manifest["shift"]),
        dict(manifest.get("novelty", {})),
    )


def save_prediction(assay: AssayFolder, found: Prediction, state: PlateState) -> None:
    """Keep a prediction in the assay; the caller holds its lock."""
    folder = assay.predictions_folder(found.plate)
    with atomic_path(folder / f"{found.model}.parquet") as temporary:
        found.table.to_parquet(temporary, index=False)
    # Last: the scores count once it is there.
    write_json(
        folder / f"{found.model}.json",
        {
            "cells": cells_mark(state),
            "found": _mark(state, state.found.cells),
            "added": [list(place) for place in added_places(state.matched.added)],
            "warnings": list(found.warnings),
            "unreadable": [list(item) for item in found.unreadable],
            "shift": found.shift,
            "novelty": found.novelty,
        },
    )


def added_places(cells: pd.DataFrame) -> list[tuple[str, int, int, int]]:
    """Give what makes a cell that people added be the same one: its position to 0.01 px."""
    columns = zip(cells["well"], cells["site"], cells["y_px"], cells["x_px"], strict=True)
    return [
        (str(w), int(s), round(float(y) * 100), round(float(x) * 100)) for w, s, y, x in columns
    ]


def realigned(table: pd.DataFrame, before: list[Any], state: PlateState) -> pd.DataFrame:
    """Give the rows of a prediction to the same cells, NaN to those that were added since."""
    n_found = len(state.found.cells)
    row_of = {place: n_found + row for row, place in enumerate(before)}
    added = [row_of.get(place, -1) for place in added_places(state.matched.added)]
    realigned = table.reindex([*range(n_found), *added]).reset_index(drop=True)
    return with_texts(realigned, realigned[_TEXTS])


def discard_prediction(assay: AssayFolder, plate: str, model: str) -> None:
    """Take away what `save_prediction` wrote for a model that came to nothing."""
    folder = assay.predictions_folder(plate)
    for suffix in (".json", ".parquet"):
        (folder / f"{model}{suffix}").unlink(missing_ok=True)


def _kinds(
    model: Model,
    rows: NDArray[np.floating[Any]],
    is_told: NDArray[np.bool_],
    job: Job,
) -> NDArray[np.object_]:
    kinds = np.full(len(rows), None, dtype=object)
    kind_head = model.kind_head
    if kind_head is None:
        return kinds
    told = np.flatnonzero(is_told)

    def work(start: int) -> None:
        job.check()
        chosen = told[start : start + _ROWS_OF_KINDS]
        kinds[chosen] = kind_head.predict(rows[chosen])

    with one_blas_thread(), ThreadPoolExecutor(n_processors(), "hcs-qc kinds") as pool:
        list(pool.map(work, range(0, len(told), _ROWS_OF_KINDS)))
    return kinds
