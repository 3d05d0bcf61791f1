"""Legend of a map of a plate: what the colours and marks mean, as far as they occur."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QFont, QFontMetricsF, QLinearGradient, QPen

from napari_hcs_qc.gui.plate.well_marks import FIELD_MARKS, draw_flag, draw_verdict
from napari_hcs_qc.gui.widgets.palette import (
    category_colours,
    mixed,
    quiet_colour,
    readable_on,
    sequential_colour,
)
from napari_hcs_qc.text import number

if TYPE_CHECKING:
    from qtpy.QtGui import QColor, QPainter

    from napari_hcs_qc.assay.scoring.well_values import WellValues

_SWATCH_PX, _BAR_PX, _MOST_BAR_PX = 13, 10, 260
_GAP_PX, _SPACE_PX = 5, 14
_STOPS = 16


@dataclass(frozen=True)
class PlateLegend:
    """What a legend has to explain."""

    values: WellValues | None  # the values shown; None for none
    # ``flag``, verdicts, ``not imaged``, ``unreadable``, ``no value``: those that occur
    marks: tuple[str, ...]

    def height(self, width: float, font: QFont) -> float:
        """Room it needs in a given width, px."""
        metrics = QFontMetricsF(font)
        line = _line_px(metrics)
        rows = self._rows(width, metrics)
        return self._head_px(metrics) + (1 + max((row for row, _, _ in rows), default=-1)) * line

    def draw(
        self, painter: QPainter, area: QRectF, font: QFont, paper: QColor, ink: QColor
    ) -> None:
        """Draw it at the top of an area."""
        metrics = QFontMetricsF(font)
        painter.setFont(font)
        if self.values is not None:
            self._draw_title(painter, area, metrics, ink)
        limits = None if self.values is None else self.values.limits()
        if limits is not None:
            self._draw_bar(painter, area, metrics, limits, ink)
        line = _line_px(metrics)
        top = area.y() + self._head_px(metrics)
        names = () if self.values is None else self.values.categories or ()
        colours = category_colours(names, quiet_colour(paper, ink))
        for row, x, entry in self._rows(area.width(), metrics):
            y = top + row * line
            swatch = QRectF(
                area.x() + x, round(y + (line - _SWATCH_PX) / 2), _SWATCH_PX, _SWATCH_PX
            )
            self._draw_swatch(painter, swatch, entry, colours, paper, ink)
            painter.setPen(ink)
            text = QRectF(swatch.right() + _GAP_PX, y, area.width(), line)
            painter.drawText(text, Qt.AlignmentFlag.AlignVCenter, _TEXTS.get(entry, entry))

    def _entries(self) -> list[str]:
        names = [] if self.values is None else list(self._categories())
        return [*names, *(mark for mark in self.marks if mark not in names)]

    def _categories(self) -> tuple[str, ...]:
        """Categories that some well has."""
        if self.values is None or self.values.categories is None:
            return ()
        used = {int(value) for value in self.values.values.values()}
        return tuple(entry for i, entry in enumerate(self.values.categories) if i in used)

    def _head_px(self, metrics: QFontMetricsF) -> float:
        if self.values is None:
            return 0.0
        bar = 0.0 if self.values.limits() is None else _BAR_PX + 2 + metrics.height() + 4
        return metrics.height() + 4 + bar

    def _rows(self, width: float, metrics: QFontMetricsF) -> list[tuple[int, float, str]]:
        """Line, x and name of each entry, going on to the next line where one is full."""
        placed = []
        row, x = 0, 0.0
        for entry in self._entries():
            room = _SWATCH_PX + _GAP_PX + metrics.horizontalAdvance(_TEXTS.get(entry, entry))
            if x > 0 and x + room > width:
                row, x = row + 1, 0.0
            placed.append((row, x, entry))
            x += room + _SPACE_PX
        return placed

    def _draw_title(
        self, painter: QPainter, area: QRectF, metrics: QFontMetricsF, ink: QColor
    ) -> None:
        assert self.values is not None
        unit = f" ({self.values.unit})" if self.values.unit else ""
        painter.setPen(ink)
        title = QRectF(area.x(), area.y(), area.width(), metrics.height())
        painter.drawText(title, Qt.AlignmentFlag.AlignVCenter, self.values.title + unit)

    def _draw_bar(
        self,
        painter: QPainter,
        area: QRectF,
        metrics: QFontMetricsF,
        limits: tuple[float, float],
        ink: QColor,
    ) -> None:
        low, high = limits
        width = min(area.width() - 1, _MOST_BAR_PX)
        bar = QRectF(area.x(), area.y() + metrics.height() + 4, width, _BAR_PX)
        if high > low:
            ramp = QLinearGradient(bar.topLeft(), bar.topRight())
            for step in range(_STOPS + 1):
                ramp.setColorAt(step / _STOPS, sequential_colour(step / _STOPS))
            painter.fillRect(bar, ramp)
        else:
            bar.setWidth(_SWATCH_PX)
            painter.fillRect(bar, sequential_colour(0.0))
        painter.setPen(QPen(ink, 0.5))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRect(bar)
        painter.setPen(ink)
        below = QPointF(0.0, bar.bottom() + 2 + metrics.ascent())
        ends = [number(low)] if high == low else [number(low), number(high)]
        painter.drawText(QPointF(bar.x(), below.y()), ends[0])
        if len(ends) == 2:
            x = bar.right() - metrics.horizontalAdvance(ends[1])
            painter.drawText(QPointF(x, below.y()), ends[1])
            middle = number((low + high) / 2)
            if middle not in ends:
                x = bar.center().x() - metrics.horizontalAdvance(middle) / 2
                painter.drawText(QPointF(x, below.y()), middle)

    def _draw_swatch(
        self,
        painter: QPainter,
        field: QRectF,
        entry: str,
        colours: dict[str, QColor],
        paper: QColor,
        ink: QColor,
    ) -> None:
        if entry in FIELD_MARKS:
            FIELD_MARKS[entry](painter, field, paper, ink)
        elif entry == "flag":
            painter.fillRect(field, mixed(paper, ink, 0.25))
            draw_flag(painter, field)
        else:
            ground = colours.get(entry, mixed(paper, ink, 0.25))
            painter.fillRect(field, ground)
            painter.setPen(QPen(mixed(paper, ink, 0.4), 1.0))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(field)
            if entry in self.marks:
                draw_verdict(painter, field, entry, readable_on(ground))


_TEXTS = {"flag": "flagged"}


def _line_px(metrics: QFontMetricsF) -> float:
    return float(max(_SWATCH_PX, round(metrics.height())) + 4)
