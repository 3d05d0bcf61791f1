"""What the charts share: a widget that explains itself, axes with titles, and their ticks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QFontMetricsF, QHelpEvent, QPainter, QPen
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_hcs_qc.gui.widgets.events import as_event
from napari_hcs_qc.gui.widgets.palette import faint, ink

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_GAP_PX = 4.0
_HINT = QSize(380, 240)
_LEAST = QSize(220, 150)
CENTRE = Qt.AlignmentFlag.AlignCenter
LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of a chart."""

    title: str  # what it shows, with the unit
    low: float  # its ends, in data units
    high: float  # its ends, in data units
    ticks: tuple[tuple[float, str], ...]  # values with their text, in data units
    is_log: bool = False  # whether equal ratios are equally long; the ends are above 0 then

    def share(self, value: float) -> float:
        """Where a value lies: 0 at the lower end, 1 at the upper."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        return (self._scaled(value) - low) / (high - low)

    def value(self, share: float) -> float:
        """Give the value at a share of the axis, the inverse of `share`."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        scaled = low + share * (high - low)
        return math.exp(scaled) if self.is_log else scaled

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.is_log else value


@dataclass(frozen=True)
class PlotArea:
    """Where the data of a chart are drawn."""

    rect: QRectF  # in px of the widget
    x: Axis  # its axes, to the right and up
    y: Axis  # its axes, to the right and up

    def at(self, x: float, y: float) -> QPointF:
        """Point of a pair of values, in px of the widget."""
        across, up = self.x.share(x), self.y.share(y)
        return QPointF(
            self.rect.left() + across * self.rect.width(),
            self.rect.bottom() - up * self.rect.height(),
        )

    def x_at(self, px: float) -> float:
        """Give the value on the x axis at a place, within the axis."""
        share = (px - self.rect.left()) / max(1.0, self.rect.width())
        return self.x.value(min(1.0, max(0.0, share)))


class Sign(NamedTuple):
    """An entry of a legend: how it is drawn, in which colour, and what it means."""

    shape: Literal["dot", "box", "dash", "cross", "none"]
    colour: QColor
    text: str


def even_ticks(low: float, high: float, n_most: int = 6) -> tuple[tuple[float, str], ...]:
    """Ticks at multiples of 1, 2 or 5 times a power of ten, from `low` to `high`."""
    step = 10.0 ** math.floor(math.log10((high - low) / n_most))
    step *= next(times for times in (1, 2, 5, 10, 20) if (high - low) / (times * step) <= n_most)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple((n * step, f"{n * step:.{decimals}f}") for n in range(first, last + 1))


def power_ticks(high: float) -> tuple[tuple[float, str], ...]:
    """Ticks at the powers of ten from 1 to `high`."""
    return tuple(
        (float(10**n), f"{10**n:,}") for n in range(math.floor(math.log10(max(1.0, high))) + 1)
    )


class Chart(QWidget):
    """A painted chart, or a text where there is nothing to draw."""

    def __init__(self, name: str, nothing: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._nothing = nothing
        self.setToolTip(name)
        self.setAccessibleName(name)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)

    def sizeHint(self) -> QSize:
        """Fit a dock of about 400 px."""
        return QSize(_HINT)

    def minimumSizeHint(self) -> QSize:
        """Give the size below which the numbers would run into each other."""
        return QSize(_LEAST)

    def has_data(self) -> bool:
        """Whether there is something to draw."""
        raise NotImplementedError

    def describe_at(self, point: QPointF) -> str:
        """Describe what is drawn at a place; empty where nothing is."""
        raise NotImplementedError

    def draw(self, painter: QPainter) -> None:
        """Draw what there is."""
        raise NotImplementedError

    def paintEvent(self, event: Any) -> None:
        """Draw the chart, or why there is none."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self.has_data():
            self.draw(painter)
        else:
            painter.setPen(faint(self, 0.75))
            room = QRectF(self.rect()).adjusted(12, 12, -12, -12)
            painter.drawText(room, int(CENTRE | Qt.TextFlag.TextWordWrap), self._nothing)
        painter.end()

    def event(self, event: Any) -> bool:
        """Show the values under the mouse in place of the tooltip."""
        if event.type() == QEvent.Type.ToolTip and self.has_data():
            event = as_event(event, QHelpEvent)
            text = self.describe_at(QPointF(event.pos()))
            if text:
                QToolTip.showText(event.globalPos(), text, self)
                return True
        return bool(super().event(event))

    def changeEvent(self, event: Any) -> None:
        """Redraw in another theme or font."""
        super().changeEvent(event)
        self.update()

    def metrics(self) -> QFontMetricsF:
        """Measures of the text on the chart."""
        return QFontMetricsF(self.font())

    def plot_area(self, x: Axis, y: Axis, *, header_px: float = 0.0) -> PlotArea:
        """Lay out two axes so that ticks and titles have their room."""
        metrics = self.metrics()
        line = metrics.height()
        y_text = max((metrics.horizontalAdvance(text) for _, text in y.ticks), default=0.0)
        last = metrics.horizontalAdvance(x.ticks[-1][1]) if x.ticks else 0.0
        left = _GAP_PX + line + _GAP_PX + y_text + _GAP_PX
        right = max(_GAP_PX * 2, last / 2)
        top = header_px + max(_GAP_PX, line / 2)
        bottom = 2 * line + 2 * _GAP_PX
        width, height = self.width() - left - right, self.height() - top - bottom
        return PlotArea(QRectF(left, top, max(1.0, width), max(1.0, height)), x, y)

    def draw_axes(self, painter: QPainter, area: PlotArea) -> None:
        """Draw grid, ticks and titles of both axes."""
        rect, line = area.rect, self.metrics().height()
        grid = QPen(faint(self, 0.18), 1)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        painter.setPen(grid)
        for value, _ in area.y.ticks:
            level = area.at(area.x.low, value).y()
            painter.drawLine(QPointF(rect.left(), level), QPointF(rect.right(), level))
        for value, _ in area.x.ticks:
            across = area.at(value, area.y.low).x()
            painter.drawLine(QPointF(across, rect.top()), QPointF(across, rect.bottom()))
        painter.setPen(QPen(faint(self, 0.6), 1))
        painter.drawLine(rect.bottomLeft(), rect.bottomRight())
        painter.drawLine(rect.bottomLeft(), rect.topLeft())
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(ink(self))
        for value, text in area.y.ticks:
            level = area.at(area.x.low, value).y()
            room = QRectF(0, level - line / 2, rect.left() - _GAP_PX, line)
            painter.drawText(room, int(RIGHT), text)
        below = rect.bottom() + _GAP_PX
        for value, text in self._with_room(area):
            across = area.at(value, area.y.low).x()
            painter.drawText(QRectF(across - 60, below, 120, line), int(CENTRE), text)
        metrics = self.metrics()
        width = self.width() - _GAP_PX
        title = metrics.elidedText(area.x.title, Qt.TextElideMode.ElideRight, width)
        # In the middle below the axis, or as near to it as the widget's edges allow.
        half = metrics.horizontalAdvance(title) / 2
        middle = min(max(rect.center().x(), half), width - half)
        painter.drawText(
            QRectF(middle - half, below + line, 2 * half + 1, line), int(CENTRE), title
        )
        room_px = self.height() - _GAP_PX
        title = metrics.elidedText(area.y.title, Qt.TextElideMode.ElideRight, room_px)
        half = metrics.horizontalAdvance(title) / 2
        middle = min(max(rect.center().y(), half), room_px - half)
        painter.save()
        painter.translate(_GAP_PX + line / 2, middle)
        painter.rotate(-90)
        painter.drawText(QRectF(-half, -line / 2, 2 * half + 1, line), int(CENTRE), title)
        painter.restore()

    def draw_legend(self, painter: QPainter, signs: Sequence[Sign]) -> None:
        """Write what the signs mean along the upper edge; the last are left out without room."""
        metrics = self.metrics()
        line = metrics.height()
        mark, gap = 0.7 * line, 1.2 * line
        widths = [
            metrics.horizontalAdvance(sign.text) + (0 if sign.shape == "none" else mark + _GAP_PX)
            for sign in signs
        ]
        while len(widths) > 1 and sum(widths) + gap * (len(widths) - 1) > self.width():
            widths.pop()
        left = self.width() - _GAP_PX - sum(widths) - gap * (len(widths) - 1)
        for sign, width in zip(signs, widths, strict=False):
            room = QRectF(left, 0, width + 1, line + 2)
            middle = QPointF(left + mark / 2, room.center().y())
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(sign.colour)
            if sign.shape == "dot":
                painter.drawEllipse(middle, 4.0, 4.0)
            elif sign.shape == "box":
                painter.drawRect(QRectF(left, middle.y() - mark / 2, mark, mark))
            elif sign.shape == "dash":
                pen = QPen(sign.colour, 1.5)
                pen.setDashPattern([2.0, 1.5])  # so short a line shows two dashes
                painter.setPen(pen)
                painter.drawLine(middle - QPointF(mark / 2, 0), middle + QPointF(mark / 2, 0))
            elif sign.shape == "cross":
                painter.setPen(QPen(sign.colour, 2))
                draw_cross(painter, middle, mark / 2)
            painter.setPen(ink(self))
            painter.drawText(room, int(RIGHT), sign.text)
            left += width + gap

    def _with_room(self, area: PlotArea) -> Sequence[tuple[float, str]]:
        """Ticks of the x axis whose texts do not run into each other; the last one always."""
        metrics, spaced = self.metrics(), list[tuple[float, str]]()
        free = math.inf
        for value, text in reversed(area.x.ticks):
            middle, half = area.at(value, area.y.low).x(), metrics.horizontalAdvance(text) / 2
            if middle + half + _GAP_PX <= free:
                spaced.append((value, text))
                free = middle - half
        return spaced


def draw_cross(painter: QPainter, middle: QPointF, half_px: float) -> None:
    """Draw a diagonal cross."""
    for corner in (QPointF(half_px, half_px), QPointF(half_px, -half_px)):
        painter.drawLine(middle - corner, middle + corner)


def nearest(points: Iterable[QPointF], point: QPointF) -> int:
    """Index of the point that lies nearest across, which is how a chart is read."""
    away = [abs(each.x() - point.x()) for each in points]
    return away.index(min(away))
