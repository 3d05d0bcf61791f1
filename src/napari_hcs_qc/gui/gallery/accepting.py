"""Annotating many cells at once as the model predicts them, after a question."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtWidgets import QMessageBox

from napari_hcs_qc.gui.gallery.gallery_tiles import NOT_ANNOTATED
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qtpy.QtWidgets import QWidget

    from napari_hcs_qc.gui.gallery.gallery_tiles import Marks
    from napari_hcs_qc.gui.session.session import Session


def accept_predictions(
    session: Session, rows: NDArray[np.int64], marks: Marks, parent: QWidget
) -> bool:
    """Annotate those of some cells that nobody has annotated as they are predicted."""
    rows = rows[(marks.annotated[rows] == NOT_ANNOTATED) & np.isfinite(marks.p_abnormal[rows])]
    if not len(rows) or session.annotations.is_blind:
        session.message.emit("info", "No tile in sight has a prediction and no annotation.")
        return False
    is_abnormal = marks.p_abnormal[rows] >= session.models.threshold
    n_abnormal = int(is_abnormal.sum())
    text = (
        f"Annotate {count_of(len(rows), 'cell')} in sight as predicted: {len(rows) - n_abnormal} "
        f"normal, {n_abnormal} abnormal? You can undo this."
    )
    if QMessageBox.question(parent, "Accept predictions", text) != QMessageBox.StandardButton.Yes:
        return False
    return session.annotations.annotate_rows(
        rows, np.where(is_abnormal, "abnormal", "normal").tolist()
    )
