"""Histogram of P(abnormal) with the threshold as a line that can be moved."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QPointF, QRectF, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPen, QPolygonF

from napari_hcs_qc.gui.widgets.chart_axes import (
    LEFT,
    RIGHT,
    Axis,
    Chart,
    PlotArea,
    power_ticks,
)
from napari_hcs_qc.gui.widgets.palette import ABNORMAL_COLOUR, NORMAL_COLOUR, faint, ink
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from qtpy.QtWidgets import QWidget

MIN_THRESHOLD, MAX_THRESHOLD = 0.01, 0.99
_N_BINS = 50
_LOG_BASE = 0.5  # a bin of one cell has to be seen, and one of none not
_TICKS = tuple((tenths / 10, f"{tenths / 10:.1f}") for tenths in range(0, 11, 2))
STEPS: dict[Any, float] = {
    Qt.Key.Key_Left: -0.01,
    Qt.Key.Key_Down: -0.01,
    Qt.Key.Key_Right: 0.01,
    Qt.Key.Key_Up: 0.01,
    Qt.Key.Key_PageDown: -0.1,
    Qt.Key.Key_PageUp: 0.1,
    Qt.Key.Key_Home: -1.0,
    Qt.Key.Key_End: 1.0,
}
"""How far a key moves a value between 0 and 1."""


class HistogramChart(Chart):
    """How many cells have which P(abnormal), and the threshold from which a cell is abnormal.

    The line follows the mouse while it is dragged, and the arrow keys (0.01), Page Up and Page
    Down (0.1), Home and End.
    """

    threshold_changed = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(
            "Scores of all cells; drag the line, or use the arrow keys, to set the threshold.",
            "No predictions yet.",
            parent,
        )
        self._p: NDArray[Any] = np.empty(0)
        self._counts: NDArray[np.int64] = np.zeros(_N_BINS, np.int64)
        self._threshold = 0.5
        self._n_abnormal = 0
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def value(self) -> NDArray[Any]:
        """P(abnormal) of all cells, as given."""
        return self._p

    def set_value(self, p_abnormal: ArrayLike) -> None:
        """Show other probabilities."""
        self._p = np.asarray(p_abnormal)
        self._counts, _ = np.histogram(self._p, bins=_N_BINS, range=(0.0, 1.0))
        self._count()

    def threshold(self) -> float:
        """P(abnormal) from which a cell counts as abnormal."""
        return self._threshold

    def set_threshold(self, threshold: float) -> None:
        """Move the line, to 0.01 and within 0.01 to 0.99."""
        moved = min(MAX_THRESHOLD, max(MIN_THRESHOLD, round(threshold, 2)))
        if moved != self._threshold:
            self._threshold = moved
            self._count()
            self.threshold_changed.emit(moved)

    def has_data(self) -> bool:
        """Whether any cell was scored."""
        return bool(self._counts.any())

    def describe_at(self, point: QPointF) -> str:
        """Describe the bin at a place: how many cells."""
        area = self.area()
        if not area.rect.contains(point):
            return ""
        place = min(_N_BINS - 1, int(area.x_at(point.x()) * _N_BINS))
        return (
            f"{count_of(int(self._counts[place]), 'cell')} with score {place / _N_BINS:.2f} "
            f"to {(place + 1) / _N_BINS:.2f};\nthe threshold is {self._threshold:.2f}"
        )

    def draw(self, painter: QPainter) -> None:
        """Draw the bars, those of either class in its colour, and the line between."""
        area = self.area()
        self._draw_header(painter, area)
        self.draw_axes(painter, area)
        line_x = area.at(self._threshold, area.y.low).x()
        rect = area.rect
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        painter.setPen(Qt.PenStyle.NoPen)
        sides = (
            (QRectF(rect.left(), rect.top(), line_x - rect.left(), rect.height()), NORMAL_COLOUR),
            (QRectF(line_x, rect.top(), rect.right() - line_x, rect.height()), ABNORMAL_COLOUR),
        )
        for side, colour in sides:
            painter.setClipRect(side)
            painter.setBrush(QColor(colour))
            for place in np.flatnonzero(self._counts):
                corner = area.at(place / _N_BINS, float(self._counts[place]))
                end = area.at((place + 1) / _N_BINS, area.y.low)
                gap = 1.0 if end.x() - corner.x() > 3 else 0.0
                painter.drawRect(QRectF(corner, end - QPointF(gap, 0)))
        painter.setClipping(False)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._draw_line(painter, rect, line_x)

    def mousePressEvent(self, event: Any) -> None:
        """Move the line to the mouse."""
        if event.button() == Qt.MouseButton.LeftButton and self.has_data():
            self.set_threshold(self.area().x_at(event.position().x()))
        else:
            super().mousePressEvent(event)

    def mouseMoveEvent(self, event: Any) -> None:
        """Let the line follow the mouse."""
        if event.buttons() & Qt.MouseButton.LeftButton and self.has_data():
            self.set_threshold(self.area().x_at(event.position().x()))
        else:
            super().mouseMoveEvent(event)

    def keyPressEvent(self, event: Any) -> None:
        """Move the line with the keys; others are the parent's."""
        step = STEPS.get(event.key())
        if step is None or not self.has_data():
            super().keyPressEvent(event)
        else:
            self.set_threshold(self._threshold + step)

    def _count(self) -> None:
        self._n_abnormal = int(np.count_nonzero(self._p >= self._threshold))
        self.update()

    def area(self) -> PlotArea:
        """Give where the data are drawn."""
        most = float(max(10, self._counts.max()))
        x = Axis(title="abnormal score", low=0.0, high=1.0, ticks=_TICKS)
        y = Axis(
            title="cells (log scale)",
            low=_LOG_BASE,
            high=most * 1.15,
            ticks=power_ticks(most),
            is_log=True,
        )
        return self.plot_area(x, y, header_px=self.metrics().height() + 4)

    def _draw_header(self, painter: QPainter, area: PlotArea) -> None:
        n_scored = int(self._counts.sum())
        metrics = self.metrics()
        line = metrics.height()
        box = line * 0.6
        header = QRectF(0, 0, area.rect.right(), line + 2)
        normal = f"normal {n_scored - self._n_abnormal:,}"
        abnormal = f"abnormal {self._n_abnormal:,}"
        with_share = f"{abnormal} ({_percent(self._n_abnormal / n_scored)})"
        needed = metrics.horizontalAdvance(normal) + metrics.horizontalAdvance(with_share)
        if needed + 2 * (box + 4) + line <= header.width():
            abnormal = with_share
            # Beside the axis where there is room for it.
            header.setLeft(min(area.rect.left(), header.width() - needed - 2 * (box + 4) - line))
        painter.setPen(Qt.PenStyle.NoPen)
        for colour, left in (
            (NORMAL_COLOUR, header.left()),
            (ABNORMAL_COLOUR, header.right() - box),
        ):
            painter.setBrush(QColor(colour))
            painter.drawRect(QRectF(left, header.center().y() - box / 2, box, box))
        painter.setPen(ink(self))
        inner = header.adjusted(box + 4, 0, -box - 4, 0)
        painter.drawText(inner, int(LEFT), normal)
        painter.drawText(inner, int(RIGHT), abnormal)

    def _draw_line(self, painter: QPainter, rect: QRectF, x: float) -> None:
        painter.setPen(QPen(ink(self), 2))
        painter.drawLine(QPointF(x, rect.top()), QPointF(x, rect.bottom()))
        # A grip, hollow until the keys act on it; then the number has a frame as well.
        painter.setBrush(ink(self) if self.hasFocus() else faint(self, 0.0))
        size = 6.0
        top = rect.top() - 2
        painter.drawPolygon(
            QPolygonF([QPointF(x - size, top), QPointF(x + size, top), QPointF(x, top + 9)])
        )
        text = f"{self._threshold:.2f}"
        metrics = self.metrics()
        width, height = metrics.horizontalAdvance(text) + 8, metrics.height()
        left = x + 5 if x + 5 + width < rect.right() else x - 5 - width
        field = QRectF(math.floor(left), rect.top() + 9, width, height)
        painter.setPen(QPen(ink(self), 1) if self.hasFocus() else QPen(Qt.PenStyle.NoPen))
        painter.setBrush(faint(self, 0.0))
        painter.drawRoundedRect(field, 3, 3)
        painter.setPen(ink(self))
        painter.drawText(field, int(Qt.AlignmentFlag.AlignCenter), text)


def _percent(share: float) -> str:
    return "<0.1%" if 0 < share < 0.001 else f"{share:.1%}"
