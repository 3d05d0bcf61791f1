"""Map of a plate as it is drawn: wells by a value, flags, verdicts, legend, and what is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QFont, QFontMetricsF, QHelpEvent, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_hcs_qc.gui.plate.plate_grid import LEAST_SIDE, PlateGrid, fitting_grid, header_texts
from napari_hcs_qc.gui.plate.plate_picture import PlateLook, centred, draw_plate, header_fields
from napari_hcs_qc.gui.plate.well_marks import Stamps
from napari_hcs_qc.gui.widgets.events import as_event
from napari_hcs_qc.gui.widgets.palette import cornered_pen, faint, ink, paper
from napari_hcs_qc.plates.wells import parse_well

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from qtpy.QtGui import QColor

    from napari_hcs_qc.assay.scoring.well_values import WellValues

_HINT_PX = 400
_LEGEND_GAP_PX = 8
_NO_PLATE = "No plate is open."


class PlateSheet(QWidget):
    """The drawing side of `PlateMap`; nothing can be chosen on it.

    The wells are drawn once into a picture, and again only when they change.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._look: PlateLook | None = None
        self._chosen: frozenset[str] = frozenset()
        self._current: str | None = None
        self._box: QRectF | None = None
        self._picture: QPixmap | None = None
        self._placed: PlateGrid | None = None
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.setSizePolicy(policy)

    # ---- what is shown -------------------------------------------------------------------

    def set_plate(
        self,
        shape: tuple[int, int] | None,
        imaged: Iterable[str] = (),
        unreadable: Mapping[str, str] | Iterable[str] = (),
    ) -> None:
        """Show another plate, as yet without values and marks."""
        wells = frozenset(imaged)
        self._look = (
            None
            if shape is None
            else PlateLook(shape=shape, imaged=wells, unreadable=_reasons(unreadable))
        )
        self.updateGeometry()
        self._redraw()

    def set_values(self, values: WellValues | None) -> None:
        """Colour the wells by a measure; None for none."""
        if self._look is not None:
            self._look = replace(self._look, values=values)
            self.updateGeometry()
            self._redraw()

    def set_marks(
        self, flagged: Mapping[str, str] | Collection[str], verdicts: Mapping[str, str]
    ) -> None:
        """Mark wells."""
        if self._look is not None:
            self._look = replace(self._look, flagged=_reasons(flagged), verdicts=dict(verdicts))
            self.updateGeometry()
            self._redraw()

    def legend_marks(self) -> tuple[str, ...]:
        """Give the marks that the legend explains."""
        return () if self._look is None else self._look.legend().marks

    def describe(self, well: str) -> str:
        """Describe a well: value with unit, flag, verdict."""
        return "\n".join([well] if self._look is None else [well, *self._look.describe(well)])

    # ---- drawing -------------------------------------------------------------------------

    def heightForWidth(self, width: int) -> int:
        """Height that shows wells as wide as can be and the legend; in less, wells get smaller."""
        font = self._small_font()
        if self._look is None:
            return round(3 * QFontMetricsF(font).height())
        grid = self._grid_in(float(width), 1e6)
        legend = self._look.legend().height(width, font)
        return round(grid.area.bottom() + _LEGEND_GAP_PX + legend + 2)

    def sizeHint(self) -> QSize:
        """Width of a dock, and the height for it."""
        return QSize(_HINT_PX, self.heightForWidth(_HINT_PX))

    def minimumSizeHint(self) -> QSize:
        """Give the least width that shows all wells."""
        columns = 12 if self._look is None else self._look.shape[1]
        width = round(self._margins()[0] + columns * LEAST_SIDE) + 2
        return QSize(width, self.heightForWidth(width))

    def paintEvent(self, event: Any) -> None:
        """Draw the wells as they were drawn before, and what is chosen over them."""
        painter = QPainter(self)
        if self._look is None:
            painter.setPen(ink(self))
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, _NO_PLATE)
            return
        if self._picture is None:
            self._picture = self._draw_picture(self._look)
        painter.drawPixmap(0, 0, self._picture)
        self._draw_chosen(painter)

    def _draw_picture(self, look: PlateLook) -> QPixmap:
        ratio = self.devicePixelRatioF()
        picture = QPixmap(self.size() * ratio)
        picture.setDevicePixelRatio(ratio)
        picture.fill(paper(self))
        font, grid = self._small_font(), self.grid()
        painter = QPainter(picture)
        draw_plate(painter, look, grid, font, Stamps(paper(self), ink(self), ratio))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        top = grid.area.bottom() + _LEGEND_GAP_PX
        area = QRectF(1.0, round(top), self.width() - 2.0, self.height() - top)
        look.legend().draw(painter, area, font, paper(self), ink(self))
        painter.end()
        return picture

    def _draw_chosen(self, painter: QPainter) -> None:
        grid = self.grid()
        dark, light = ink(self), paper(self)
        width = 1.0 if grid.side < 14 else 2.0
        self._draw_rings(painter, grid, self._chosen, dark, light, width)
        if self._current is not None:
            self._draw_current(painter, grid, self._current, dark, light, width)
        if self._box is not None:
            shade = faint(self, 0.5)
            painter.setPen(QPen(dark, 1.0))
            shade.setAlpha(70)
            painter.setBrush(shade)
            painter.drawRect(self._box)

    def _draw_rings(
        self,
        painter: QPainter,
        grid: PlateGrid,
        wells: Iterable[str],
        dark: QColor,
        light: QColor,
        width: float,
    ) -> None:
        """Draw a ring about wells: ink in the gap, paper inside, so that it is seen on any fill."""
        painter.setBrush(Qt.BrushStyle.NoBrush)
        squares = [grid.fields[well] for well in wells]
        for colour, grow in ((light, -width / 2), (dark, width / 2)):
            painter.setPen(cornered_pen(colour, width))
            for square in squares:
                painter.drawRect(square.adjusted(-grow, -grow, grow, grow))

    def _draw_current(
        self,
        painter: QPainter,
        grid: PlateGrid,
        well: str,
        dark: QColor,
        light: QColor,
        width: float,
    ) -> None:
        row, column = parse_well(well)
        painter.setFont(self._small_font())
        for rooms, texts, index in zip(
            header_fields(grid), header_texts(grid.shape), (row, column), strict=True
        ):
            metrics = QFontMetricsF(painter.font())
            room = QRectF(0, 0, metrics.horizontalAdvance(texts[index]) + 4, metrics.ascent() + 1)
            room.moveCenter(rooms[index].center())
            painter.fillRect(room, dark)
            painter.setPen(light)
            centred(painter, room, texts[index])
        square = grid.fields[well].adjusted(-width, -width, width, width)
        painter.setPen(QPen(light, 1.0))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRect(square.adjusted(-1.5, -1.5, 1.5, 1.5))
        # Dashed where the keys act, solid where the focus is elsewhere.
        pen = cornered_pen(dark, width)
        if self.hasFocus():
            pen.setDashPattern([2.0, 1.5])
        painter.setPen(pen)
        painter.drawRect(square)
        if self.hasFocus():
            painter.setPen(QPen(dark, 1.0))
            painter.drawRect(grid.area.adjusted(-1.0, -1.0, 0.0, 0.0))

    def event(self, event: Any) -> bool:
        """Describe the well under the mouse."""
        if event.type() == QEvent.Type.ToolTip and self._look is not None:
            event = as_event(event, QHelpEvent)
            well = self.grid().well_at(QPointF(event.pos()))
            if well is not None:
                name, *lines = self.describe(well).split("\n")
                text = "<br>".join([f"<b>{name}</b>", *map(escape, lines)])
                area = self.grid().fields[well].toAlignedRect()
                QToolTip.showText(event.globalPos(), text, self, area)
                return True
        return bool(super().event(event))

    def resizeEvent(self, event: Any) -> None:
        """Lay the wells out again."""
        self._redraw()
        super().resizeEvent(event)

    def changeEvent(self, event: Any) -> None:
        """Follow the theme."""
        if event.type() in (
            QEvent.Type.PaletteChange,
            QEvent.Type.StyleChange,
            QEvent.Type.FontChange,
        ):
            self._redraw()
        super().changeEvent(event)

    def focusOutEvent(self, event: Any) -> None:
        """Show that the keys act elsewhere."""
        super().focusOutEvent(event)
        self.update()

    def _redraw(self) -> None:
        self._picture, self._placed = None, None
        self.update()

    def _small_font(self) -> QFont:
        font = QFont(self.font())
        if font.pointSizeF() > 0:
            font.setPointSizeF(max(7.0, 0.9 * font.pointSizeF()))
        return font

    def _margins(self) -> tuple[float, float]:
        """Room for the letters and for the numbers, px."""
        metrics = QFontMetricsF(self._small_font())
        longest = "P" if self._look is None or self._look.shape[0] <= 26 else "AF"
        return round(metrics.horizontalAdvance(longest)) + 8.0, round(metrics.height()) + 3.0

    def grid(self) -> PlateGrid:
        """Give where the wells lie."""
        if self._placed is None:
            look = self._look
            legend = 0.0 if look is None else look.legend().height(self.width(), self._small_font())
            room = self.height() - legend - _LEGEND_GAP_PX - 2
            self._placed = self._grid_in(float(self.width()), room)
        return self._placed

    def _grid_in(self, width: float, height: float) -> PlateGrid:
        shape = (8, 12) if self._look is None else self._look.shape
        return fitting_grid(shape, width, height, *self._margins())


def _reasons(wells: Mapping[str, str] | Iterable[str]) -> dict[str, str]:
    return dict(wells) if isinstance(wells, Mapping) else dict.fromkeys(wells, "")
