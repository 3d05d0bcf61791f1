"""How one tile of a gallery is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qtpy.QtCore import QRect, QRectF, QSize, Qt
from qtpy.QtGui import QBrush, QColor, QFont, QFontMetrics, QPainter, QPen, QPixmap

from napari_hcs_qc.gui.gallery.gallery_tiles import (
    ABNORMAL,
    BORDER,
    CONFLICT,
    GAP,
    MARGIN,
    NORMAL,
    NOT_ANNOTATED,
    RING,
    UNSURE,
)
from napari_hcs_qc.gui.widgets.palette import (
    ABNORMAL_COLOUR,
    NEUTRAL_COLOUR,
    NORMAL_COLOUR,
    UNSURE_COLOUR,
    mixed,
    readable_on,
)

if TYPE_CHECKING:
    from napari_hcs_qc.gui.gallery.gallery_tiles import CellMark

_COLOURS = {
    NOT_ANNOTATED: NEUTRAL_COLOUR,
    NORMAL: NORMAL_COLOUR,
    ABNORMAL: ABNORMAL_COLOUR,
    UNSURE: UNSURE_COLOUR,
    CONFLICT: UNSURE_COLOUR,
}
# Annotations are capitals, predictions small letters: nobody needs the colour.
_LETTERS = {NORMAL: "N", ABNORMAL: "A", UNSURE: "?", CONFLICT: "≠"}
_SHADE = QColor(0, 0, 0, 170)  # under text on pictures, in either theme
_TINY_PX, _LARGE_PX = 9, 13  # text
_ROOMY_PX = 48  # tiles smaller than this have no room for numbers beside the cell
_PADDING_PX = 5
_MIDDLE = Qt.AlignmentFlag.AlignCenter


class Tile(NamedTuple):
    """One tile as it is to look."""

    mark: CellMark  # annotation and prediction of the cell
    picture: QPixmap | None  # of the cell; None while it is on its way
    has_failed: bool  # whether there will be no picture
    is_target: bool  # whether a key would annotate it
    is_chosen: bool  # whether it is selected
    is_current: bool  # whether the arrow keys start from it and the gallery has the focus


class TilePainter:
    """Draws tiles of one size in one theme; to be made again when either changes."""

    def __init__(
        self, tile_px: int, paper: QColor, ink: QColor, font: QFont, pixel_ratio: float
    ) -> None:
        self.tile_px = tile_px
        self.pixel_ratio = pixel_ratio
        self.paper, self.ink = paper, ink
        self.threshold = 0.5
        self.is_blind = False
        self._waiting = mixed(paper, ink, 0.12)
        self._dim = mixed(paper, ink, 0.4)
        self._hatch = QBrush(mixed(paper, ink, 0.55), Qt.BrushStyle.BDiagPattern)
        self._font = QFont(font)
        self._font.setPixelSize(min(_LARGE_PX, max(_TINY_PX, round(0.17 * tile_px))))
        self._labels: dict[tuple[int, int, str], QPixmap] = {}
        self._thick = {code: _pen(name, BORDER) for code, name in _COLOURS.items()}
        self._thin = {code: _pen(name, 1) for code, name in _COLOURS.items()}
        # Of the current tile: dashes in place of the ring, or within it where it is selected too.
        self._dashes = _dashed(self.ink, RING, 2.0)
        self._dashes_on_ring = _dashed(self.paper, 1, 6.0)

    def draw(self, painter: QPainter, x: int, y: int, tile: Tile) -> None:
        """Draw a tile with its upper left corner at (x, y), px."""
        px = self.tile_px
        has_ring = tile.is_target or tile.is_chosen
        if has_ring:
            side = px + 2 * (MARGIN - GAP)
            painter.fillRect(
                x + GAP, y + GAP, side, side, self.ink if tile.is_target else self._dim
            )
            side -= 2 * RING
            painter.fillRect(x + GAP + RING, y + GAP + RING, side, side, self.paper)
        if tile.is_current:
            painter.setPen(self._dashes_on_ring if has_ring else self._dashes)
            middle = GAP + RING / 2
            painter.drawRect(_square(x + middle, y + middle, px + 2 * (MARGIN - middle)))
        self._draw_picture(painter, x + MARGIN, y + MARGIN, tile)
        self._draw_class(painter, x + MARGIN, y + MARGIN, tile.mark)

    def _draw_picture(self, painter: QPainter, x: int, y: int, tile: Tile) -> None:
        px = self.tile_px
        if tile.picture is not None:
            size = tile.picture.deviceIndependentSize()
            dx, dy = (px - round(size.width())) // 2, (px - round(size.height())) // 2
            if dx or dy:
                painter.fillRect(x, y, px, px, self._waiting)
            painter.drawPixmap(x + dx, y + dy, tile.picture)
            return
        painter.fillRect(x, y, px, px, self.paper if tile.has_failed else self._waiting)
        if tile.has_failed:
            painter.fillRect(x, y, px, px, self._hatch)

    def _draw_class(self, painter: QPainter, x: int, y: int, mark: CellMark) -> None:
        px = self.tile_px
        shows_prediction = mark.is_scored and not self.is_blind
        predicted = NOT_ANNOTATED
        if shows_prediction:
            predicted = ABNORMAL if mark.p_abnormal >= self.threshold else NORMAL
        is_annotated = mark.annotated in _LETTERS
        if is_annotated:
            painter.setPen(self._thick[mark.annotated])
            out = BORDER / 2
        else:
            painter.setPen(self._thin[predicted])
            out = 0.5
        painter.drawRect(_square(x - out, y - out, px + 2 * out))
        if is_annotated:
            painter.drawPixmap(x, y, self._annotated_label(mark))
        if shows_prediction:
            text = self._predicted_label(mark, predicted)
            painter.drawPixmap(x, y + px - round(text.height() / self.pixel_ratio), text)

    # Texts are kept as pictures, since drawing text is slow.

    def _annotated_label(self, mark: CellMark) -> QPixmap:
        kind = mark.kind if mark.annotated == ABNORMAL else ""
        key = (mark.annotated, -1, kind)
        if key not in self._labels:
            letter, colour = _LETTERS[mark.annotated], QColor(_COLOURS[mark.annotated])
            self._labels[key] = self._drawn((f"{letter} {kind}", letter), colour, is_bold=True)
        return self._labels[key]

    def _predicted_label(self, mark: CellMark, predicted: int) -> QPixmap:
        is_abnormal = predicted == ABNORMAL
        # The kind of an annotated cell is the annotator's.
        kind = mark.kind if is_abnormal and mark.annotated == NOT_ANNOTATED else ""
        percent = round(100 * mark.p_abnormal)
        key = (predicted, percent, kind)
        if key not in self._labels:
            letter = _LETTERS[predicted].lower()
            short = f"{letter} {percent / 100:.2f}"
            texts = (f"{short} {kind}", short) if self.tile_px >= _ROOMY_PX else (letter,)
            # What the model finds abnormal is to be found at a glance.
            ground = QColor(_COLOURS[predicted]) if is_abnormal else _SHADE
            self._labels[key] = self._drawn(texts, ground, is_bold=False)
        return self._labels[key]

    def _drawn(self, texts: tuple[str, ...], ground: QColor, *, is_bold: bool) -> QPixmap:
        """Draw the first text that fits on the tile, or else the last."""
        font = QFont(self._font)
        font.setBold(is_bold)
        metrics, room = QFontMetrics(font), self.tile_px - _PADDING_PX
        fitting = (text for text in texts if metrics.horizontalAdvance(text.strip()) <= room)
        text = next(fitting, texts[-1]).strip()
        size = QSize(metrics.horizontalAdvance(text) + _PADDING_PX, metrics.height())
        drawn = QPixmap(size * self.pixel_ratio)
        drawn.setDevicePixelRatio(self.pixel_ratio)
        drawn.fill(ground)
        painter = QPainter(drawn)
        painter.setFont(font)
        painter.setPen(readable_on(ground))
        painter.drawText(QRect(0, 0, size.width(), size.height()), _MIDDLE, text)
        painter.end()
        return drawn


def _pen(colour: str, width: int) -> QPen:
    pen = QPen(QColor(colour), width)
    pen.setJoinStyle(Qt.PenJoinStyle.MiterJoin)
    return pen


def _square(x: float, y: float, side: float) -> QRectF:
    return QRectF(x, y, side, side)


def _dashed(colour: QColor, width: int, length: float) -> QPen:
    pen = QPen(colour, width)
    pen.setDashPattern([length, length])
    pen.setCapStyle(Qt.PenCapStyle.FlatCap)
    return pen
