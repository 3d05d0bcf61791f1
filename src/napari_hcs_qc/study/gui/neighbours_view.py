"""Cells and those that an encoder finds most alike, as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

from napari_hcs_qc.gui.gallery.montage_view import to_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_hcs_qc.study.ssl.training_report import Neighbours

_SIDE_PX = 48
_BRIGHT = 99.0  # percentile of all pixels that is shown white
_GAP_PX = 10  # between a cell and what is found for it


class NeighboursView(QWidget):
    """A few cells, one a row, and beside each those that the encoder finds most alike."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._shown: Neighbours | None = None
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(2)

    def value(self) -> Neighbours | None:
        """Give what is shown."""
        return self._shown

    def set_value(self, found: Neighbours | None) -> None:
        """Show cells and their neighbours; None shows nothing."""
        self._shown = found
        while (item := self._grid.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        if found is None:
            return
        n_columns = found.crops.shape[1]
        # One scale for all, so that a bright cell stays one; most of a plate's range is dark.
        bright = max(float(np.nanpercentile(found.crops, _BRIGHT)), 1e-6)
        self._grid.addWidget(QLabel("Cell"), 0, 0)
        self._grid.addWidget(QLabel("Most similar to the encoder"), 0, 2, 1, n_columns)
        self._grid.setColumnMinimumWidth(1, _GAP_PX)
        self._grid.setColumnStretch(n_columns + 1, 1)
        for row, (crops, likes) in enumerate(
            zip(found.crops / bright, found.similarity, strict=True)
        ):
            for place, (crop, like) in enumerate(zip(crops, likes, strict=True)):
                column = place + 1 if place else 0  # column 1 is the gap
                self._grid.addWidget(_picture(crop, place, float(like)), row + 1, column)


def _picture(crop: NDArray[np.float32], place: int, similarity: float) -> QLabel:
    shown = QLabel()
    pixmap = QPixmap.fromImage(to_image(_colours(crop)))
    shown.setPixmap(
        pixmap.scaled(
            _SIDE_PX,
            _SIDE_PX,
            Qt.AspectRatioMode.KeepAspectRatio,
            Qt.TransformationMode.SmoothTransformation,
        )
    )
    words = "A cell" if place == 0 else f"Rank {place} by similarity, cosine {similarity:.3f}"
    shown.setToolTip(words)
    shown.setAccessibleName(words)
    return shown


def _colours(crop: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Give ``(1 or 3, side, side)`` in [0, 1] as ``(side, side, 3)`` uint8."""
    levels = np.nan_to_num(np.clip(crop, 0, 1) * 255).round().astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(levels, (3, *levels.shape[1:])).transpose(1, 2, 0))
