"""Thumbnails of the sites of a well, of which one is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QFont, QFontMetricsF, QHelpEvent, QPainter, QPixmap
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.gui.plate.well_marks import draw_flag, draw_unreadable, draw_verdict
from napari_hcs_qc.gui.widgets.controls import to_image
from napari_hcs_qc.gui.widgets.events import as_event
from napari_hcs_qc.gui.widgets.palette import cornered_pen, faint, ink, paper

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from napari_hcs_qc.plates.plate import SiteKey

MOST_TILE_PX, LEAST_TILE_PX = 84, 44
_GOOD_TILE_PX = 60
_STEP_PX = 4
_GAP_PX = 6
_FRAME_PX = 3
_USUAL_HEIGHT_PX = 120
_HINT_PX = 400
_SHADE = QColor(0, 0, 0, 170)  # under a number on a picture, in either theme


class SiteStrip(QWidget):
    """Tiles of the sites of a well, as many beside one another as there is room for.

    A click chooses a site, and so do the arrow keys, Home and End.
    """

    value_changed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._sites: tuple[SiteKey, ...] = ()
        self._flagged: dict[SiteKey, str] = {}
        self._unreadable: dict[SiteKey, str] = {}
        self._verdicts: dict[SiteKey, str] = {}
        self._pictures: dict[SiteKey, QPixmap] = {}
        self._value: SiteKey | None = None
        self._aspect = 1.0  # height to width of the pictures, once one is there
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.setSizePolicy(policy)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setAccessibleName("Sites of the well")
        self.setToolTip("Sites of the well: click one to see it.")

    # ---- what is shown -------------------------------------------------------------------

    @property
    def sites(self) -> tuple[SiteKey, ...]:
        """The sites shown."""
        return self._sites

    def set_sites(
        self,
        sites: Sequence[SiteKey],
        flagged: Mapping[SiteKey, str] | Iterable[SiteKey] = (),
        unreadable: Mapping[SiteKey, str] | Iterable[SiteKey] = (),
        verdicts: Mapping[SiteKey, str] = MappingProxyType({}),
    ) -> None:
        """Show other sites; pictures of those that stay are kept, and so is the chosen one."""
        self._sites = tuple(sites)
        self._flagged, self._unreadable = _reasons(flagged), _reasons(unreadable)
        self._verdicts = dict(verdicts)
        self._pictures = {
            site: picture for site, picture in self._pictures.items() if site in self._sites
        }
        self._fit_height()
        self.update()
        if self._value not in self._sites:
            self.set_value(None)

    def set_picture(self, site: SiteKey, picture: NDArray[np.uint8]) -> None:
        """Show the picture of a site; ignored where the site is not shown (any more)."""
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            raise HcsQcError(
                f"The thumbnail of {site} has shape {picture.shape} and dtype {picture.dtype}; "
                "(height, width, 3) and uint8 were expected. Make it with site_thumbnail."
            )
        if site not in self._sites:
            return
        height, width, _ = picture.shape
        self._pictures[site] = QPixmap.fromImage(to_image(picture))
        aspect = min(max(height / width, 0.5), 1.0)
        if aspect != self._aspect:
            self._aspect = aspect
            self._fit_height()
        self.update()

    def clear_pictures(self) -> None:
        """Forget all pictures, as when channels or contrast have changed."""
        self._pictures.clear()
        self.update()

    def describe(self, site: SiteKey) -> str:
        """Describe a site."""
        lines = [str(site)]
        if site in self._unreadable:
            lines.append(_joined("Unreadable", self._unreadable[site]))
        if site in self._flagged:
            lines.append(_joined("Flagged", self._flagged[site]))
        if site in self._verdicts:
            lines.append(_joined("Verdict", self._verdicts[site]))
        return "\n".join(lines)

    # ---- what is chosen ------------------------------------------------------------------

    def value(self) -> SiteKey | None:
        """Give the site chosen."""
        return self._value

    def set_value(self, site: SiteKey | None) -> None:
        """Choose a site; one that is not shown is ignored."""
        if site == self._value or (site is not None and site not in self._sites):
            return
        self._value = site
        self.setAccessibleDescription("" if site is None else self.describe(site))
        self.update()
        self.value_changed.emit(site)

    def mousePressEvent(self, event: Any) -> None:
        """Choose the site under the mouse."""
        site = self._site_at(event.position())
        if event.button() == Qt.MouseButton.LeftButton and site is not None:
            self.set_value(site)
        else:
            super().mousePressEvent(event)

    def keyPressEvent(self, event: Any) -> None:
        """Choose another site; other keys are left to the parent."""
        place = self._place_by_key(event.key())
        if place is None or not self._sites:
            event.ignore()
        else:
            self.set_value(self._sites[min(max(place, 0), len(self._sites) - 1)])

    def _place_by_key(self, key: Any) -> int | None:
        if key in (Qt.Key.Key_Home, Qt.Key.Key_End):
            return 0 if key == Qt.Key.Key_Home else len(self._sites) - 1
        columns, _ = self._layout(self.width())
        steps = {
            Qt.Key.Key_Left: -1,
            Qt.Key.Key_Right: 1,
            Qt.Key.Key_Up: -columns,
            Qt.Key.Key_Down: columns,
        }
        if key not in steps:
            return None
        if self._value is None:
            return 0
        here = self._sites.index(self._value)
        there = here + steps[key]
        # Up and down stay where there is no tile, so that the column is not lost.
        is_beyond = not 0 <= there < len(self._sites)
        return here if is_beyond else there

    # ---- drawing -------------------------------------------------------------------------

    def resizeEvent(self, event: Any) -> None:
        """Take the height that the tiles need in the new width."""
        super().resizeEvent(event)
        self._fit_height()

    def _fit_height(self) -> None:
        # Not by height-for-width, which would make every panel around it scroll.
        self.setFixedHeight(self.heightForWidth(self.width()))

    def heightForWidth(self, width: int) -> int:
        """Height that shows all tiles in a given width, px."""
        columns, side = self._layout(width)
        return self._height_of(columns, side)

    def sizeHint(self) -> QSize:
        """Width of a dock, and the height for it."""
        return QSize(_HINT_PX, self.heightForWidth(_HINT_PX))

    def minimumSizeHint(self) -> QSize:
        """Give room for three small tiles beside one another."""
        width = 3 * (LEAST_TILE_PX + _GAP_PX) + _GAP_PX
        return QSize(width, LEAST_TILE_PX + 2 * _GAP_PX)

    def _layout(self, width: int) -> tuple[int, int]:
        """Columns, and width of a tile: one row of good size, else as large as leaves it low."""
        n = max(len(self._sites), 1)
        one_row = (width - _GAP_PX) // n - _GAP_PX
        if one_row >= _GOOD_TILE_PX:
            return n, min(one_row, MOST_TILE_PX)
        for side in range(MOST_TILE_PX, LEAST_TILE_PX, -_STEP_PX):
            columns = self._columns(width, side)
            if self._height_of(columns, side) <= _USUAL_HEIGHT_PX:
                return columns, side
        return self._columns(width, LEAST_TILE_PX), LEAST_TILE_PX

    @staticmethod
    def _columns(width: int, side: int) -> int:
        return max(1, (width - _GAP_PX) // (side + _GAP_PX))

    def _height_of(self, columns: int, side: int) -> int:
        rows = -(-max(len(self._sites), 1) // columns)
        return rows * (round(side * self._aspect) + _GAP_PX) + _GAP_PX

    def tiles(self) -> dict[SiteKey, QRectF]:
        """Give where each site is drawn."""
        columns, side = self._layout(self.width())
        height = round(side * self._aspect)
        return {
            site: QRectF(
                _GAP_PX + place % columns * (side + _GAP_PX),
                _GAP_PX + place // columns * (height + _GAP_PX),
                side,
                height,
            )
            for place, site in enumerate(self._sites)
        }

    def _site_at(self, point: QPointF) -> SiteKey | None:
        return next((site for site, tile in self.tiles().items() if tile.contains(point)), None)

    def paintEvent(self, event: Any) -> None:
        """Draw the tiles."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        if not self._sites:
            painter.setPen(ink(self))
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, "No well is selected.")
        for site, tile in self.tiles().items():
            self._draw_tile(painter, site, tile)

    def _draw_tile(self, painter: QPainter, site: SiteKey, tile: QRectF) -> None:
        picture = self._pictures.get(site)
        area = tile
        if site in self._unreadable:
            draw_unreadable(painter, tile, paper(self), ink(self))
        elif picture is None:
            painter.fillRect(tile, faint(self, 0.12))
        else:
            size = QSize(picture.size())
            size.scale(tile.size().toSize(), Qt.AspectRatioMode.KeepAspectRatio)
            area = QRectF(0, 0, size.width(), size.height())
            area.moveCenter(tile.center())
            painter.drawPixmap(area, picture, QRectF(picture.rect()))
        if site in self._flagged:
            draw_flag(painter, area)
        if site in self._verdicts:
            for colour in (_SHADE, QColor("white")):  # a white sign that is seen on any picture
                field = area if colour == _SHADE else area.translated(-1.0, -1.0)
                draw_verdict(painter, field, self._verdicts[site], colour)
        self._draw_number(painter, site, area)
        if site == self._value:
            self._draw_ring(painter, area)

    def _draw_number(self, painter: QPainter, site: SiteKey, area: QRectF) -> None:
        font = QFont(self.font())
        font.setBold(True)
        metrics = QFontMetricsF(font)
        text = str(site.site)
        room = QRectF(0, 0, metrics.horizontalAdvance(text) + 6, metrics.height())
        room.moveTopLeft(area.topLeft())
        painter.fillRect(room, _SHADE)
        painter.setFont(font)
        painter.setPen(QColor("white"))
        painter.drawText(room, Qt.AlignmentFlag.AlignCenter, text)

    def _draw_ring(self, painter: QPainter, area: QRectF) -> None:
        """Draw ink about a line of paper; dashed where the keys act, as on the plate map."""
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(cornered_pen(paper(self), 1.0))
        painter.drawRect(area.adjusted(0.5, 0.5, -0.5, -0.5))
        pen = cornered_pen(ink(self), _FRAME_PX)
        if self.hasFocus():
            pen.setDashPattern([2.0, 1.0])
            pen.setCapStyle(Qt.PenCapStyle.FlatCap)
        painter.setPen(pen)
        out = _FRAME_PX / 2
        painter.drawRect(area.adjusted(-out, -out, out, out))

    def event(self, event: Any) -> bool:
        """Describe the site under the mouse."""
        if event.type() == QEvent.Type.ToolTip:
            event = as_event(event, QHelpEvent)
            site = self._site_at(QPointF(event.pos()))
            if site is not None:
                text = "<br>".join(map(escape, self.describe(site).split("\n")))
                area = self.tiles()[site].toAlignedRect()
                QToolTip.showText(event.globalPos(), f"<p>{text}</p>", self, area)
                return True
        return bool(super().event(event))

    def focusInEvent(self, event: Any) -> None:
        """Show where the keys act."""
        super().focusInEvent(event)
        self.update()

    def focusOutEvent(self, event: Any) -> None:
        """Show that the keys act elsewhere."""
        super().focusOutEvent(event)
        self.update()


def _joined(title: str, reason: str) -> str:
    return f"{title}: {reason}" if reason else title


def _reasons(sites: Mapping[SiteKey, str] | Iterable[SiteKey]) -> dict[SiteKey, str]:
    return dict(sites) if isinstance(sites, Mapping) else dict.fromkeys(sites, "")
