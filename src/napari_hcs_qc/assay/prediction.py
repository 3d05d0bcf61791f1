"""Predict: score every cell of a plate with a model, and say when the plate is unlike training."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_hcs_qc.assay.embedding import embed_plate
from napari_hcs_qc.assay.model import load_model, model_folders
from napari_hcs_qc.assay.plate_state import load_plate
from napari_hcs_qc.assay.training import trained_with
from napari_hcs_qc.encoders.registry import load_encoder
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.shift import measure_shift
from napari_hcs_qc.files import atomic_path, fingerprint, read_json, write_json
from napari_hcs_qc.heads.scoring import score_embeddings
from napari_hcs_qc.jobs import OnProgress, ShouldStop, never_stop, no_progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.folder import AssayFolder
    from napari_hcs_qc.assay.model import Model
    from napari_hcs_qc.assay.plate_state import PlateState
    from napari_hcs_qc.encoders.encoder import Encoder

_SHIFT_CELLS = 2000
"""Cells of a plate that are enough to tell whether it is unlike another."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says about the cells of one plate.

    Parameters
    ----------
    plate, model
        Name and id.
    table
        Row i is cell i: ``p_abnormal`` (NaN where it could not be scored), ``predicted_class``,
        ``predicted_kind`` (None where normal, or the model knows no kinds).
    warnings
        Sentences: the plate is unlike the training data.
    unreadable
        Sites whose cells could not be embedded: well, site as text, and the reason.
    shift
        `Shift` of the plate against the training plates as plain data; empty for a training
        plate.
    """

    plate: str
    model: str
    table: pd.DataFrame
    warnings: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]
    shift: dict[str, Any]


def chosen_model(assay: AssayFolder, model: str | None = None) -> Model:
    """Load a model of an assay, the latest by default.

    Raises
    ------
    HcsQcError
        When there is no such model.
    """
    folders = {folder.name: folder for folder in model_folders(assay.models_folder)}
    if not folders:
        raise HcsQcError(f"No model was trained yet; run: hcs-qc train {assay.path}.")
    if model is None:
        return load_model(folders[max(folders)])
    if model not in folders:
        raise HcsQcError(
            f"The assay {assay.path} has no model {model!r}; it has {', '.join(folders)}."
        )
    return load_model(folders[model])


def predict(
    assay: AssayFolder,
    plates: Sequence[str],
    model: Model,
    *,
    device: str = "auto",
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> list[Prediction]:
    """Score every cell of some plates of an assay, and keep the scores in the assay.

    Parameters
    ----------
    assay
        The assay, with the cells of these plates found.
    plates
        Their names.
    model
        The model.
    device
        Where the encoder runs.
    on_progress, should_stop
        See `napari_hcs_qc.jobs`.

    Raises
    ------
    HcsQcError
        When a plate's files are gone, or the model's encoder is not at hand as it was.
    WriteError
        When the disk is full or read-only.
    Cancelled
        When `should_stop` said so; plates that were finished stay so.
    """
    encoder = load_encoder(
        **trained_with(model.manifest),
        device=device,
        on_progress=on_progress,
        should_stop=should_stop,
    )
    if encoder.fingerprint != model.encoder["fingerprint"]:
        raise HcsQcError(
            f"The encoder {encoder.name} is not the one that model {model.id} was trained with "
            f"(weights {encoder.weights_sha256[:12]} instead of "
            f"{str(model.encoder['weights_sha256'])[:12]}). Bring back its weights, or train again."
        )
    annotations = assay.journal().annotations()
    training = {plate["name"] for plate in model.manifest["training_plates"]}
    reference: _Reference | None = None
    predictions = []
    with assay.lock():
        for name in plates:
            state = load_plate(assay, name, annotations)
            rows, unreadable = _embed(assay, state, model, encoder, on_progress, should_stop)
            p_abnormal = score_embeddings(
                model.head, rows, on_progress=on_progress, should_stop=should_stop
            )
            table = pd.DataFrame(
                {
                    "p_abnormal": p_abnormal,
                    "predicted_class": classes_of(p_abnormal),
                    "predicted_kind": _kinds(model, rows, p_abnormal),
                }
            )
            shift: dict[str, Any] = {}
            if state.plate.name not in training:
                reference = reference or _reference(
                    assay, model, encoder, annotations, on_progress, should_stop
                )
                shift = reference.compare(rows, state, int(model.manifest["seed"]))
            found = Prediction(
                state.plate.name,
                model.id,
                table,
                (shift["sentence"],) if shift.get("is_unlike") else (),
                unreadable,
                shift,
            )
            _save(assay.predictions_folder(name), found, cells_mark(state))
            predictions.append(found)
    return predictions


def classes_of(p_abnormal: NDArray[np.float32]) -> NDArray[np.object_]:
    """Class of each probability: abnormal from one half on; None where there is none."""
    classes = np.where(p_abnormal >= 0.5, "abnormal", "normal").astype(object)
    classes[np.isnan(p_abnormal)] = None
    return classes


def cells_mark(state: PlateState) -> str:
    """Content address of the cells that predictions belong to."""
    positions = state.cells[["y_px", "x_px"]].to_numpy(dtype=np.float32)
    digest = hashlib.sha256(np.ascontiguousarray(positions).tobytes()).hexdigest()
    return fingerprint({"plate": state.plate.fingerprint, "positions": digest})


def load_prediction(assay: AssayFolder, state: PlateState, model: Model) -> Prediction | None:
    """Read what `predict` kept; None when there is nothing for these cells and this model."""
    folder = assay.predictions_folder(state.plate.name)
    manifest_path = folder / f"{model.id}.json"
    if not manifest_path.is_file():
        return None
    manifest = read_json(manifest_path)
    if manifest.get("cells") != cells_mark(state):
        return None
    return Prediction(
        state.plate.name,
        model.id,
        pd.read_parquet(folder / f"{model.id}.parquet"),
        tuple(manifest["warnings"]),
        tuple((str(where), str(what)) for where, what in manifest["unreadable"]),
        dict(manifest["shift"]),
    )


def _save(folder: Path, found: Prediction, cells: str) -> None:
    with atomic_path(folder / f"{found.model}.parquet") as temporary:
        found.table.to_parquet(temporary, index=False)
    # Last: the scores count once it is there.
    write_json(
        folder / f"{found.model}.json",
        {
            "cells": cells,
            "warnings": list(found.warnings),
            "unreadable": [list(item) for item in found.unreadable],
            "shift": found.shift,
        },
    )


def _embed(
    assay: AssayFolder,
    state: PlateState,
    model: Model,
    encoder: Encoder,
    on_progress: OnProgress,
    should_stop: ShouldStop,
) -> tuple[NDArray[np.float32], tuple[tuple[str, str], ...]]:
    embedded = embed_plate(
        state,
        model.recipe,
        encoder,
        assay.embeddings_folder,
        on_progress=on_progress,
        should_stop=should_stop,
    )
    return embedded.rows, tuple((one.where, one.what) for one in embedded.unreadable)


def _kinds(
    model: Model, rows: NDArray[np.float32], p_abnormal: NDArray[np.float32]
) -> NDArray[np.object_]:
    kinds = np.full(len(rows), None, dtype=object)
    if model.kind_head is None:
        return kinds
    abnormal = np.flatnonzero(p_abnormal >= 0.5)
    step = 4096  # so many at a time, so that memory does not grow with the plate
    for start in range(0, len(abnormal), step):
        chosen = abnormal[start : start + step]
        kinds[chosen] = model.kind_head.predict(rows[chosen])
    return kinds


@dataclass(frozen=True, eq=False)
class _Reference:
    """Embeddings of a sample of the training plates' cells, and their wells."""

    rows: NDArray[np.float32]
    wells: NDArray[np.str_]

    def compare(self, rows: NDArray[np.float32], state: PlateState, seed: int) -> dict[str, Any]:
        """Measure how unlike a plate is, as plain data."""
        chosen = _sample(len(rows), seed)
        shift = measure_shift(self.rows, _finite(rows[chosen]), seed=seed, groups=self.wells)
        return {
            "value": _number(shift.value),
            "threshold": _number(shift.threshold),
            "is_unlike": bool(shift.is_unlike),
            "sentence": f"Plate {state.plate.name}: {shift.sentence}",
        }


def _reference(
    assay: AssayFolder,
    model: Model,
    encoder: Encoder,
    annotations: pd.DataFrame,
    on_progress: OnProgress,
    should_stop: ShouldStop,
) -> _Reference:
    """Sample the training plates; their embeddings lie in the store already."""
    seed = int(model.manifest["seed"])
    parts, wells = [], []
    for plate in model.manifest["training_plates"]:
        state = load_plate(assay, plate["name"], annotations)
        rows, _ = _embed(assay, state, model, encoder, on_progress, should_stop)
        chosen = _sample(len(rows), seed)
        sampled = np.asarray(rows[chosen], dtype=np.float32)
        usable = np.isfinite(sampled).all(axis=1)
        parts.append(sampled[usable])
        wells.append(state.groups(state.cells["well"].iloc[chosen[usable]]))
    return _Reference(np.concatenate(parts), np.concatenate(wells))


def _sample(n: int, seed: int) -> NDArray[np.int64]:
    if n <= _SHIFT_CELLS:
        return np.arange(n, dtype=np.int64)
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(n, _SHIFT_CELLS, replace=False)).astype(np.int64)


def _number(value: float) -> float | None:
    """Give a number that JSON can hold; None where a plate has too few cells for one."""
    return float(value) if np.isfinite(value) else None


def _finite(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    found = np.asarray(rows, dtype=np.float32)
    kept: NDArray[np.float32] = found[np.isfinite(found).all(axis=1)]
    return kept
