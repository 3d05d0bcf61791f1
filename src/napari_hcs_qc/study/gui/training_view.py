"""How a training goes: its loss, and cells beside those that the encoder finds similar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QPainter, QPen, QPixmap, QPolygonF
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.gui.widgets.chart_axes import Axis, Chart, PlotArea, even_ticks, nearest
from napari_hcs_qc.gui.widgets.charts import line_colour
from napari_hcs_qc.gui.widgets.controls import clear, to_image

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from qtpy.QtCore import QPointF

    from napari_hcs_qc.study.ssl.training_state import Neighbours

_MARGIN = 0.05  # of the range of the losses, above and below


class LossChart(Chart):
    """Loss over steps; the axis ends at the last planned step, so it shows what is left."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(
            "Training loss: it should fall, and level out towards the end",
            "The loss appears here while an encoder is trained.",
            parent,
        )
        self._curve = np.empty((0, 2))
        self._n_steps = 1

    def value(self) -> NDArray[np.float64]:
        """Give the curve shown, ``(n, 2)`` step and loss."""
        return self._curve.copy()

    def set_value(self, curve: ArrayLike, n_steps: int) -> None:
        """Show a curve."""
        points = np.asarray(curve, np.float64)
        if points.ndim != 2 or points.shape[1] != 2:
            raise HcsQcError(f"A curve of shape {points.shape} was given; expected (n, 2).")
        self._curve = points[np.isfinite(points).all(axis=1)]
        self._n_steps = max(1, n_steps)
        self.update()

    def has_data(self) -> bool:
        """Whether there are two points or more."""
        return len(self._curve) > 1

    def describe_at(self, point: QPointF) -> str:
        """Describe the step nearest across: its loss."""
        area = self.area()
        place = nearest((area.at(step, area.y.low) for step, _ in self._curve), point)
        step, loss = self._curve[place]
        return f"Step {step:,.0f} of {self._n_steps:,}: loss {loss:.4g}"

    def draw(self, painter: QPainter) -> None:
        """Draw the axes and the line."""
        area = self.area()
        self.draw_axes(painter, area)
        painter.setPen(QPen(line_colour(self), 1.8))
        painter.drawPolyline(QPolygonF([area.at(step, loss) for step, loss in self._curve]))

    def area(self) -> PlotArea:
        """Give where the data are drawn."""
        losses = self._curve[:, 1]
        low, high = float(losses.min()), float(losses.max())
        margin = max(_MARGIN * (high - low), 1e-3 * max(abs(low), abs(high)), 1e-9)
        low, high = low - margin, high + margin
        last = float(max(self._n_steps, self._curve[-1, 0]))
        ticks = tuple((step, f"{step:,.0f}") for step, _ in even_ticks(0.0, last))
        return self.plot_area(
            Axis(title="step", low=0.0, high=last, ticks=ticks),
            Axis(title="loss", low=low, high=high, ticks=even_ticks(low, high)),
        )


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

    def set_value(self, neighbours: Neighbours | None) -> None:
        """Show cells and their neighbours; None shows nothing."""
        self._shown = neighbours
        clear(self._grid)
        if neighbours is None:
            return
        n_columns = neighbours.crops.shape[1]
        # One scale for all, so that a bright cell stays one; most of a plate's range is dark.
        bright = max(float(np.nanpercentile(neighbours.crops, _BRIGHT)), 1e-6)
        self._grid.addWidget(QLabel("Cell"), 0, 0)
        self._grid.addWidget(QLabel("Most similar to the encoder"), 0, 2, 1, n_columns)
        self._grid.setColumnMinimumWidth(1, _GAP_PX)
        self._grid.setColumnStretch(n_columns + 1, 1)
        for row, (crops, similarities) in enumerate(
            zip(neighbours.crops / bright, neighbours.similarity, strict=True)
        ):
            for place, (crop, similarity) in enumerate(zip(crops, similarities, strict=True)):
                column = place + 1 if place else 0  # column 1 is the gap
                self._grid.addWidget(_picture(crop, place, float(similarity)), row + 1, column)


def _picture(crop: NDArray[np.float32], place: int, similarity: float) -> QLabel:
    shown = QLabel()
    shown.setPixmap(thumbnail(crop, _SIDE_PX))
    text = "A cell" if place == 0 else f"Rank {place} by similarity, cosine {similarity:.3f}"
    shown.setToolTip(text)
    shown.setAccessibleName(text)
    return shown


def thumbnail(crop: NDArray[np.float32], side_px: int) -> QPixmap:
    """Draw ``(1 or 3, side, side)`` in [0, 1]."""
    levels = np.nan_to_num(np.clip(crop, 0, 1) * 255).round().astype(np.uint8)
    picture = np.broadcast_to(levels, (3, *levels.shape[1:])).transpose(1, 2, 0)
    smooth = Qt.TransformationMode.SmoothTransformation
    return QPixmap.fromImage(to_image(picture)).scaled(
        side_px, side_px, Qt.AspectRatioMode.KeepAspectRatio, smooth
    )
