"""What a model says about the cells of a plate, as an assay keeps it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.files import atomic_path, fingerprint, read_json, write_json
from napari_hcs_qc.old_names import RENAMED, with_new_names
from napari_hcs_qc.read_table import read_parquet
from napari_hcs_qc.text_columns import with_texts

if TYPE_CHECKING:
    import pandas as pd

    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.plate_state import PlateState

_TEXTS = ["predicted_class", "predicted_kind"]
COLUMN = "novelty"
"""Of a prediction's table: `Novelty.ratio`, above 1 unlike; NaN where it cannot be said.

Without the column it was not measured yet, as just after Retrain at the desk.
"""


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


def cells_mark(state: PlateState) -> str:
    """Content address of the cells that predictions belong to."""
    return _mark(state, state.cells)


def _mark(state: PlateState, cells: pd.DataFrame) -> str:
    positions = cells[["y_px", "x_px"]].to_numpy(dtype=np.float32)
    digest = hashlib.sha256(np.ascontiguousarray(positions).tobytes()).hexdigest()
    return fingerprint({"plate": state.plate.fingerprint, "positions": digest})


def load_prediction(
    assay: AssayFolder, state: PlateState, model: str, *, partial: bool = False
) -> Prediction | None:
    """Read what `predict` kept; None when there is nothing for these cells and this model."""
    folder = assay.predictions_folder(state.plate.name)
    manifest_path = folder / f"{model}.json"
    if not manifest_path.is_file():
        return None
    manifest = with_new_names(read_json(manifest_path))
    is_of_all = manifest.get("cells") == cells_mark(state)
    # Without the entry no cell had been added by people, so that all were found ones.
    found = manifest.get("found", manifest.get("cells"))
    if not is_of_all and not (partial and found == _mark(state, state.found.cells)):
        return None
    table = read_parquet(folder / f"{model}.parquet").rename(columns=RENAMED)
    table = with_texts(table, table[_TEXTS])
    if not is_of_all:
        table = realigned(table, [tuple(place) for place in manifest.get("added", [])], state)
    return Prediction(
        state.plate.name,
        model,
        table,
        tuple(manifest["warnings"]),
        tuple((str(where), str(what)) for where, what in manifest["unreadable"]),
        dict(manifest["shift"]),
        dict(manifest.get("novelty", {})),
    )


def save_prediction(assay: AssayFolder, prediction: Prediction, state: PlateState) -> None:
    """Keep a prediction in the assay; the caller holds its lock."""
    folder = assay.predictions_folder(prediction.plate)
    with atomic_path(folder / f"{prediction.model}.parquet") as temporary:
        prediction.table.to_parquet(temporary, index=False)
    # Last: the scores count once it is there.
    write_json(
        folder / f"{prediction.model}.json",
        {
            "cells": cells_mark(state),
            "found": _mark(state, state.found.cells),
            "added": [list(place) for place in added_places(state.matched.added)],
            "warnings": list(prediction.warnings),
            "unreadable": [list(item) for item in prediction.unreadable],
            "shift": prediction.shift,
            "novelty": prediction.novelty,
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
