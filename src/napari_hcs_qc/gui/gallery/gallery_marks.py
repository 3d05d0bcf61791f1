"""Annotations and predictions of the cells of a plate, as codes that a gallery draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.gui.gallery.gallery_tiles import (
    ABNORMAL,
    CONFLICT,
    NORMAL,
    NOT_ANNOTATED,
    UNSURE,
    Marks,
)
from napari_hcs_qc.text_columns import none_if_missing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.scoring.saved_prediction import Prediction
    from napari_hcs_qc.assay.views.annotated_rows import AnnotatedRows
    from napari_hcs_qc.gui.session.selection import CellId

CODES = {"normal": NORMAL, "abnormal": ABNORMAL, "unsure": UNSURE, "conflict": CONFLICT}


class PlateMarks:
    """Marks of the found cells of one plate, updated only where an annotation changes."""

    def __init__(self, n_cells: int) -> None:
        self._prediction: Prediction | None = None
        self._predicted_kind = np.full(n_cells, None, dtype=object)
        self._value = Marks(
            np.full(n_cells, np.nan, dtype=np.float32),
            np.full(n_cells, NOT_ANNOTATED, dtype=np.int8),
            self._predicted_kind.copy(),
        )

    def value(self) -> Marks:
        """Give the marks; the arrays are changed by later calls."""
        return self._value

    def set_prediction(self, prediction: Prediction | None) -> bool:
        """Show predictions; give whether they are new."""
        if prediction is self._prediction:
            return False
        self._prediction = prediction
        n_cells = len(self._value.annotated)
        if prediction is None:
            p_abnormal = np.full(n_cells, np.nan, dtype=np.float32)
            self._predicted_kind[:] = None
        else:  # cells that people added come after those found
            table = prediction.table.iloc[:n_cells]
            p_abnormal = table["p_abnormal"].to_numpy()
            self._predicted_kind[:] = none_if_missing(table["predicted_kind"])
        is_annotated = self._value.annotated != NOT_ANNOTATED
        kind = np.where(is_annotated, self._value.kind, self._predicted_kind)
        self._value = Marks(p_abnormal, self._value.annotated, kind)
        return True

    def model_p(self, rows: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        """Give P(abnormal) of some cells as the model in use predicts it."""
        if self._prediction is None:
            return np.full(len(rows), np.nan, dtype=np.float32)
        p_abnormal: NDArray[np.floating[Any]] = self._prediction.table["p_abnormal"].to_numpy()
        return p_abnormal[rows]

    def set_live(self, rows: NDArray[np.int64], p_abnormal: NDArray[np.floating[Any]]) -> None:
        """Show newer predictions of some cells, until `set_prediction` has all."""
        marks = self._value
        newer = marks.p_abnormal.copy()  # a job may be sorting by those before
        newer[rows] = p_abnormal
        self._value = Marks(newer, marks.annotated, marks.kind)

    def set_annotated(self, annotated: AnnotatedRows, rows: NDArray[np.int64]) -> None:
        """Show the annotations of some cells."""
        marks: Any = self._value
        marks.annotated[rows] = [CODES.get(cls, NOT_ANNOTATED) for cls in annotated.classes[rows]]
        is_annotated = marks.annotated[rows] != NOT_ANNOTATED
        marks.kind[rows] = np.where(is_annotated, annotated.kinds[rows], self._predicted_kind[rows])


def found_rows(cells: Iterable[CellId]) -> list[int]:
    """Rows of those cells that were found, which their ids are."""
    return [cell.cell for cell in cells if isinstance(cell.cell, int)]
