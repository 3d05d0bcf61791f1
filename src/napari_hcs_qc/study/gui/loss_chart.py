"""The loss of a self-supervised training over its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtGui import QPainter, QPen, QPolygonF

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.gui.widgets.chart_axes import Axis, Chart, PlotArea, even_ticks, nearest
from napari_hcs_qc.gui.widgets.charts import line_colour

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from qtpy.QtCore import QPointF
    from qtpy.QtWidgets import QWidget

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
        found = np.asarray(curve, np.float64)
        if found.ndim != 2 or found.shape[1] != 2:
            raise HcsQcError(f"A curve of shape {found.shape} was given; expected (n, 2).")
        self._curve = found[np.isfinite(found).all(axis=1)]
        self._n_steps = max(1, n_steps)
        self.update()

    def has_data(self) -> bool:
        """Whether there are two points or more."""
        return len(self._curve) > 1

    def describe_at(self, point: QPointF) -> str:
        """Say the loss at the step nearest across."""
        area = self._area()
        place = nearest((area.at(step, area.y.low) for step, _ in self._curve), point)
        step, loss = self._curve[place]
        return f"Step {step:,.0f} of {self._n_steps:,}: loss {loss:.4g}"

    def draw(self, painter: QPainter) -> None:
        """Draw the axes and the line."""
        area = self._area()
        self.draw_axes(painter, area)
        painter.setPen(QPen(line_colour(self), 1.8))
        painter.drawPolyline(QPolygonF([area.at(step, loss) for step, loss in self._curve]))

    def _area(self) -> PlotArea:
        losses = self._curve[:, 1]
        low, high = float(losses.min()), float(losses.max())
        margin = max(_MARGIN * (high - low), 1e-3 * max(abs(low), abs(high)), 1e-9)
        low, high = low - margin, high + margin
        last = float(max(self._n_steps, self._curve[-1, 0]))
        ticks = tuple((step, f"{step:,.0f}") for step, _ in even_ticks(0.0, last))
        return self.plot_area(
            Axis("step", 0.0, last, ticks), Axis("loss", low, high, even_ticks(low, high))
        )
