"""Marks on wells and sites: flag, verdict, not imaged, unreadable; the same on maps and legends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPen, QPixmap, QPolygonF

from napari_hcs_qc.gui.widgets.palette import FLAG_COLOUR, mixed

if TYPE_CHECKING:
    from collections.abc import Callable

FLAG_SHARE = 0.42
"""Side of the triangle of a flag, as a share of its field."""

SITE_EXCLUDED = "site excluded"
"""Mark of a well of which single sites are excluded, and itself is not."""

_LEAST_FLAG_PX = 5.0
_RIM = QColor("white")
# Strokes of each sign, in a square from 0 to 1.
_SIGNS: dict[str, tuple[tuple[tuple[float, float], ...], ...]] = {
    "keep": (((0.10, 0.55), (0.40, 0.85), (0.92, 0.15)),),
    "exclude": (((0.12, 0.12), (0.88, 0.88)), ((0.88, 0.12), (0.12, 0.88))),
    SITE_EXCLUDED: (((0.0, 0.6), (0.4, 1.0)), ((0.4, 0.6), (0.0, 1.0))),  # small, in a corner
}


def draw_flag(painter: QPainter, field: QRectF) -> None:
    """Draw a flag: a triangle in the upper right corner of a field."""
    side = min(max(FLAG_SHARE * field.width(), _LEAST_FLAG_PX), 14.0)
    corner = field.topRight()
    rim = side + (1.5 if field.width() >= 12 else 1.0)
    for colour, length in ((_RIM, rim), (QColor(FLAG_COLOUR), side)):
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(colour)
        painter.drawPolygon(
            QPolygonF([corner, corner - QPointF(length, 0.0), corner + QPointF(0.0, length)])
        )


def draw_verdict(painter: QPainter, field: QRectF, verdict: str, colour: QColor) -> None:
    """Draw the sign of a verdict in the middle of a field."""
    side = max(5.0, min(0.46 * field.width(), 18.0))
    area = QRectF(0.0, 0.0, side, side)
    area.moveCenter(field.center())
    pen = QPen(colour, max(1.4, 0.16 * side))
    pen.setCapStyle(Qt.PenCapStyle.RoundCap)
    pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    painter.setPen(pen)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    strokes = _SIGNS.get(verdict)
    if strokes is None:
        painter.drawEllipse(area.adjusted(0.08 * side, 0.08 * side, -0.08 * side, -0.08 * side))
        return
    for stroke in strokes:
        points = [QPointF(area.x() + x * side, area.y() + y * side) for x, y in stroke]
        painter.drawPolyline(QPolygonF(points))


def draw_not_imaged(painter: QPainter, field: QRectF, paper: QColor, ink: QColor) -> None:
    """Draw a field of which there are no images: thin lines one way."""
    painter.fillRect(field, paper)
    _hatch(painter, field, mixed(paper, ink, 0.28), crosses=False)


def draw_unreadable(painter: QPainter, field: QRectF, paper: QColor, ink: QColor) -> None:
    """Draw a field whose images cannot be read: strong lines both ways, in a frame."""
    painter.fillRect(field, mixed(paper, ink, 0.12))
    _hatch(painter, field, mixed(paper, ink, 0.85), crosses=True)
    painter.setPen(QPen(mixed(paper, ink, 0.85), 1.0))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawRect(field.adjusted(0.5, 0.5, -0.5, -0.5))


def draw_no_value(painter: QPainter, field: QRectF, paper: QColor, ink: QColor) -> None:
    """Draw a field that has images and no value: an empty frame."""
    painter.fillRect(field, paper)
    painter.setPen(QPen(mixed(paper, ink, 0.6), 1.0))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawRect(field.adjusted(0.5, 0.5, -0.5, -0.5))


def _hatch(painter: QPainter, field: QRectF, colour: QColor, *, crosses: bool) -> None:
    """Draw diagonals a third of the field apart, at least 3 px: dense enough in a tiny well."""
    step = max(3.0, min(field.width() / 3, 7.0))
    painter.save()
    painter.setClipRect(field, Qt.ClipOperation.IntersectClip)
    painter.setPen(QPen(colour, 1.0))
    left, top, width, height = field.x(), field.y(), field.width(), field.height()
    at = step / 2
    while at < width + height:
        painter.drawLine(QPointF(left + at - height, top + height), QPointF(left + at, top))
        if crosses:
            painter.drawLine(QPointF(left + at - height, top), QPointF(left + at, top + height))
        at += step
    painter.restore()


class Stamps:
    """The marks as small pictures, each drawn once: a plate has up to 1536 wells."""

    def __init__(self, paper: QColor, ink: QColor, pixel_ratio: float) -> None:
        self.paper, self.ink = paper, ink
        self._ratio = pixel_ratio
        self._drawn: dict[tuple[str, int, int, str], QPixmap] = {}

    def put(
        self, painter: QPainter, field: QRectF, mark: str, colour: QColor | None = None
    ) -> None:
        """Put a mark on a field: ``flag``, a verdict, or one of `FIELD_MARKS`."""
        width, height = round(field.width()), round(field.height())
        key = (mark, width, height, "" if colour is None else colour.name())
        picture = self._drawn.get(key)
        if picture is None:
            picture = self._drawn[key] = self._draw(mark, width, height, colour)
        painter.drawPixmap(field.topLeft(), picture)

    def _draw(self, mark: str, width: int, height: int, colour: QColor | None) -> QPixmap:
        picture = QPixmap(round(width * self._ratio), round(height * self._ratio))
        picture.setDevicePixelRatio(self._ratio)
        picture.fill(Qt.GlobalColor.transparent)
        field = QRectF(0.0, 0.0, width, height)
        painter = QPainter(picture)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if mark == "flag":
            draw_flag(painter, field)
        elif mark in FIELD_MARKS:
            FIELD_MARKS[mark](painter, field, self.paper, self.ink)
        else:
            draw_verdict(painter, field, mark, self.ink if colour is None else colour)
        painter.end()
        return picture


FIELD_MARKS: dict[str, Callable[[QPainter, QRectF, QColor, QColor], None]] = {
    "not imaged": draw_not_imaged,
    "unreadable": draw_unreadable,
    "no value": draw_no_value,
}
"""What stands in the place of a value."""
