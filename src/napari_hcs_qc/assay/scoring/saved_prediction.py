"""Predictions on disk: a table of scores beside a document that names the cells they are of."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np
import pandas as pd

from napari_hcs_qc.documents import Document, Part
from napari_hcs_qc.errors import DamagedError
from napari_hcs_qc.files import atomic_path, fingerprint, sha256_of
from napari_hcs_qc.old_names import RENAMED, with_new_names
from napari_hcs_qc.read_table import read_parquet
from napari_hcs_qc.text import count_of
from napari_hcs_qc.text_columns import with_texts

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.plate_state import PlateState

_TEXTS = ["predicted_class", "predicted_kind"]
COLUMN = "novelty"
"""Of a prediction's table: `Novelty.ratio`, above 1 unlike; NaN where it cannot be said.

Without the column it was not measured yet, as just after Retrain at the desk.
"""


PlateContent: TypeAlias = tuple[str, str, int]
"""Content of a plate: fingerprints of images and of intensity ranges, number of found cells."""


class NoveltySummary(Part):
    """How many cells of a plate are unlike anything annotated."""

    n_measured: int
    n_novel: int
    wells: tuple[tuple[str, int], ...]
    """Wells that have such cells and how many, most first."""
    is_much: bool
    """Whether it is a warning and no mere remark."""
    sentence: str
    """The same as text, or why it was not measured."""


class ShiftRecord(Part):
    """How unlike a plate is to those that its model was trained on."""

    value: float | None
    threshold: float | None
    is_novel: bool
    sentence: str
    of: str
    """Content address of what was compared."""


class PredictionDocument(Document):
    """What is known of a table of scores; the scores count once it is there."""

    remedy: ClassVar[str] = "Predict the plate again: hcs-qc predict."

    format: Literal["napari-hcs-qc prediction"] = "napari-hcs-qc prediction"
    format_version: Literal[2] = 2
    table_sha256: str = ""
    """Of the file of the table; empty in assays of an earlier version."""
    cells: str
    """Content address of all cells it was made for."""
    found: str = ""
    """The same of those that were found; empty where people had added none."""
    added: tuple[tuple[str, int, int, int], ...] = ()
    """Places of the others, see `added_places`."""
    warnings: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]
    shift: ShiftRecord | None = None
    novelty: NoveltySummary | None = None

    @classmethod
    def migrate(cls, data: dict[str, Any]) -> dict[str, Any]:
        """0.1.0 had other names, and wrote `{}` for nothing."""
        renamed: dict[str, Any] = with_new_names(data)
        nothing = {name: renamed.get(name) or None for name in ("shift", "novelty")}
        return {**renamed, **nothing}


@dataclass(frozen=True, eq=False, kw_only=True)
class Prediction:
    """What a model predicts for the cells of one plate."""

    plate: str  # its name
    model: str  # id of the model
    table: pd.DataFrame
    # Sentences: the plate is unlike the training data, or much of it unlike all annotations
    warnings: tuple[str, ...]
    # Sites whose cells could not be embedded: well, site as text, and the reason
    unreadable: tuple[tuple[str, str], ...]
    shift: ShiftRecord | None = None  # of the plate against the training plates
    novelty: NoveltySummary | None = None  # None until it was measured

    @property
    def is_novelty_measured(self) -> bool:
        """Whether its table has the novelty of each cell."""
        return COLUMN in self.table


def prediction_path(assay: AssayFolder, plate: str, model: str) -> Path:
    """Where the document of a prediction lies, its table beside it."""
    return assay.predictions_folder(plate) / f"{model}.json"


def load_prediction(
    assay: AssayFolder, state: PlateState, model: str, *, partial: bool = False
) -> Prediction | None:
    """Read what `save_prediction` wrote; None when there is nothing for these cells and model."""
    path = prediction_path(assay, state.plate.name, model)
    if not path.is_file():
        return None
    document = PredictionDocument.load(path)
    is_of_all = document.cells == cells_mark(state)
    content = document.found or document.cells
    if not is_of_all and not (partial and content == _mark(state, state.plate_cells.cells)):
        return None
    n_cells = len(state.plate_cells.cells) + len(document.added)
    table = _read_table(assay, state.plate.name, model, document.table_sha256, n_cells)
    if not is_of_all:
        table = realigned(table, list(document.added), state)
    return Prediction(
        plate=state.plate.name,
        model=model,
        table=table,
        warnings=document.warnings,
        unreadable=document.unreadable,
        shift=document.shift,
        novelty=document.novelty,
    )


def check_prediction(assay: AssayFolder, plate: str, model: str) -> tuple[int, str]:
    """Read a prediction whatever cells it is of; give their number, and its table's SHA-256."""
    document = PredictionDocument.load(prediction_path(assay, plate, model))
    table = _read_table(assay, plate, model, document.table_sha256, None)
    return len(table), document.table_sha256


def _read_table(
    assay: AssayFolder, plate: str, model: str, sha256: str, n_cells: int | None
) -> pd.DataFrame:
    """Read the table of a prediction, and look whether it can be one."""
    path = assay.predictions_folder(plate) / f"{model}.parquet"
    again = (
        f"Predict the plate again: hcs-qc predict {quote(str(assay.path))} --plate {quote(plate)} "
        f"--model {model}."
    )
    table = read_parquet(path, sha256=sha256, remedy=again)
    table.columns = table.columns.map(lambda name: RENAMED.get(name, name))
    missing = [name for name in ("p_abnormal", *_TEXTS) if name not in table]
    if missing:
        raise DamagedError(f"{path} is damaged: it lacks {', '.join(missing)}. {again}")
    if n_cells is not None and len(table) != n_cells:
        raise DamagedError(
            f"{path} is damaged: it is of {count_of(len(table), 'cell')}; {n_cells:,} were "
            f"expected. {again}"
        )
    p_abnormal = pd.to_numeric(table["p_abnormal"], errors="coerce").to_numpy(np.float32)
    is_wrong = (p_abnormal < 0) | (p_abnormal > 1)
    if is_wrong.any():
        raise DamagedError(
            f"{path} is damaged: a score is {p_abnormal[is_wrong][0]:g}; numbers from 0 to 1 were "
            f"expected. {again}"
        )
    table = with_texts(table, table[_TEXTS])
    if (table["predicted_class"].to_numpy() != classes_of(p_abnormal)).any():
        raise DamagedError(f"{path} is damaged: classes contradict the scores. {again}")
    return table


def classes_of(p_abnormal: NDArray[np.float32], threshold: float = 0.5) -> NDArray[np.object_]:
    """Class of each score: abnormal from the threshold on; None where there is none."""
    # Indexed, so that all cells of a class have the same text, not each its own.
    classes = np.array(["normal", "abnormal", None], dtype=object)
    return classes[np.where(np.isnan(p_abnormal), 2, p_abnormal >= np.float32(threshold))]


def save_prediction(assay: AssayFolder, prediction: Prediction, state: PlateState) -> None:
    """Write a prediction into the assay; the caller holds its lock."""
    path = prediction_path(assay, prediction.plate, prediction.model)
    with atomic_path(path.with_suffix(".parquet")) as temporary:
        prediction.table.to_parquet(temporary, index=False)
        table_sha256 = sha256_of(temporary)
        path.unlink(missing_ok=True)  # the old one does not go with the new table
    PredictionDocument(
        table_sha256=table_sha256,
        cells=cells_mark(state),
        found=_mark(state, state.plate_cells.cells),
        added=tuple(added_places(state.matched.added)),
        warnings=prediction.warnings,
        unreadable=prediction.unreadable,
        shift=prediction.shift,
        novelty=prediction.novelty,
    ).save(path)


def discard_prediction(assay: AssayFolder, plate: str, model: str) -> None:
    """Delete what `save_prediction` wrote for a model that came to nothing."""
    folder = assay.predictions_folder(plate)
    for suffix in (".json", ".parquet"):
        (folder / f"{model}{suffix}").unlink(missing_ok=True)


def cells_mark(state: PlateState) -> str:
    """Content address of the cells that predictions belong to."""
    return _mark(state, state.cells)


def _mark(state: PlateState, cells: pd.DataFrame) -> str:
    positions = cells[["y_px", "x_px"]].to_numpy(dtype=np.float32)
    digest = hashlib.sha256(np.ascontiguousarray(positions).tobytes()).hexdigest()
    return fingerprint({"plate": state.plate.fingerprint, "positions": digest})


def added_places(cells: pd.DataFrame) -> list[tuple[str, int, int, int]]:
    """Give what makes a cell that people added be the same one: its position to 0.01 px."""
    columns = zip(cells["well"], cells["site"], cells["y_px"], cells["x_px"], strict=True)
    return [
        (str(w), int(s), round(float(y) * 100), round(float(x) * 100)) for w, s, y, x in columns
    ]


def realigned(
    table: pd.DataFrame, before: list[tuple[str, int, int, int]], state: PlateState
) -> pd.DataFrame:
    """Give the rows of a prediction to the same cells, NaN to those that were added since."""
    n_found = len(state.plate_cells.cells)
    row_of = {place: n_found + row for row, place in enumerate(before)}
    added = [row_of.get(place, -1) for place in added_places(state.matched.added)]
    if len(table) == n_found + len(added) and added == list(range(n_found, len(table))):
        return table  # as it nearly always is; of many cells a copy takes long
    rows = table.reindex([*range(n_found), *added]).reset_index(drop=True)
    return with_texts(rows, rows[_TEXTS])
