"""What is said of the cells of a plate, as the codes that a gallery draws; no widget needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_hcs_qc.assay.annotations.annotation import KINDS
from napari_hcs_qc.gui.gallery.gallery_tiles import (
    ABNORMAL,
    CONFLICT,
    NO_KIND,
    NORMAL,
    NOT_ANNOTATED,
    UNSURE,
    Marks,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.scoring.prediction_files import Prediction
    from napari_hcs_qc.assay.views.annotated_rows import AnnotatedRows

CODES = {"normal": NORMAL, "abnormal": ABNORMAL, "unsure": UNSURE, "conflict": CONFLICT}
_KIND_CODES = {kind: code for code, kind in enumerate(KINDS)}


class PlateMarks:
    """Marks of the found cells of one plate, changed only where something else is said."""

    def __init__(self, n_cells: int) -> None:
        self._prediction: Prediction | None = None
        self._predicted_kind = np.full(n_cells, NO_KIND, dtype=np.int8)
        self._value = Marks(
            np.full(n_cells, np.nan, dtype=np.float32),
            np.full(n_cells, NOT_ANNOTATED, dtype=np.int8),
            self._predicted_kind.copy(),
        )

    def value(self) -> Marks:
        """Give the marks; the arrays are changed by later calls."""
        return self._value

    def set_prediction(self, prediction: Prediction | None) -> bool:
        """Take in what the model says; tell whether that is new."""
        if prediction is self._prediction:
            return False
        self._prediction = prediction
        n_cells = len(self._value.annotated)
        if prediction is None:
            p_abnormal = np.full(n_cells, np.nan, dtype=np.float32)
            self._predicted_kind[:] = NO_KIND
        else:  # cells that people added come after those found
            table = prediction.table.iloc[:n_cells]
            p_abnormal = table["p_abnormal"].to_numpy()
            kinds = pd.Categorical(table["predicted_kind"], categories=KINDS)
            self._predicted_kind[:] = kinds.codes
        is_said = self._value.annotated != NOT_ANNOTATED
        kind = np.where(is_said, self._value.kind, self._predicted_kind)
        self._value = Marks(p_abnormal, self._value.annotated, kind)
        return True

    def set_annotated(self, said: AnnotatedRows, rows: NDArray[np.int64]) -> None:
        """Take in what people say of some cells."""
        marks: Any = self._value
        marks.annotated[rows] = [CODES.get(word, NOT_ANNOTATED) for word in said.classes[rows]]
        kinds = [_KIND_CODES.get(kind, NO_KIND) for kind in said.kinds[rows]]
        is_said = marks.annotated[rows] != NOT_ANNOTATED
        marks.kind[rows] = np.where(is_said, kinds, self._predicted_kind[rows])
