"""A sheet of tiles that scrolls: as many as there are cells, only those in view are drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QEvent, QRect, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QPainter, QPen
from qtpy.QtWidgets import QAbstractScrollArea, QScrollBar, QWidget

from napari_hcs_qc.gui.gallery.gallery_choice import Choice
from napari_hcs_qc.gui.gallery.gallery_painter import Tile, TilePainter
from napari_hcs_qc.gui.gallery.gallery_tiles import Grid, Marks, Pictures
from napari_hcs_qc.gui.widgets.palette import ink, paper

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import ArrayLike, NDArray

MIN_TILE_PX, MAX_TILE_PX = 32, 256
_REQUEST_MS = 40  # so often, while scrolling, are pictures asked for
_LARGEST_STEP_PX = 40  # of the scroll bar; a notch of the wheel is three


class TileSheet(QAbstractScrollArea):
    """Tiles of cells in rows, and the pictures on them.

    It holds no pictures but those used last: it asks for those in and near view by
    `pictures_wanted` and is given them by `add_pictures`.
    """

    pictures_requested = Signal(object)
    tile_px_changed = Signal(int)
    sight_changed = Signal()  # other tiles are in view

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._choice = Choice(np.zeros(0, dtype=np.int64))
        self._targets: frozenset[int] = frozenset()
        self._marks = Marks.none()
        self._pictures = Pictures()
        self._failed: set[int] = set()
        self._tile_px = 64
        self._threshold = 0.5
        self._is_blind = False
        self._message = "No cells to show."
        self._painter: TilePainter | None = None
        self._box: QRect | None = None  # being drawn with the mouse, on the whole sheet
        self._top = 0  # position kept in view when rows are arranged again
        self._is_arranging = False
        self._missing = np.zeros(0, dtype=np.int64)
        self._request_timer = QTimer(self)
        self._request_timer.setSingleShot(True)
        self._request_timer.setInterval(_REQUEST_MS)
        self._request_timer.timeout.connect(self._request_pictures)
        # Made here: what Qt gives back of its own is typed as if it might not be there.
        self._view, self._bar = QWidget(), QScrollBar(Qt.Orientation.Vertical)
        self.setViewport(self._view)
        self.setVerticalScrollBar(self._bar)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        # Always there: else showing it would change the width, and by that the columns.
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)
        self.setFrameShape(QAbstractScrollArea.Shape.NoFrame)
        self._view.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self._arrange()

    # ---- what is shown -------------------------------------------------------------------

    def cells(self) -> NDArray[np.int64]:
        """Give the ids of all cells in the order shown."""
        return self._choice.ids

    def set_cells(self, ids: ArrayLike, *, keep_view: bool = False) -> None:
        """Show other cells, or the same in another order. What is selected stays so."""
        before = self._choice.ids
        top = int(before[self._top]) if len(before) else -1
        self._choice = self._choice.with_ids(np.asarray(ids, dtype=np.int64))
        place = self._choice.position(top) if keep_view else None
        self._top = place or 0
        self._arrange()

    def tile_px(self) -> int:
        """Side of a picture, px."""
        return self._tile_px

    def set_tile_px(self, tile_px: int) -> None:
        """Show larger or smaller tiles, within `MIN_TILE_PX` and `MAX_TILE_PX`."""
        self._zoom(tile_px, self._top, 0)

    def _zoom(self, tile_px: int, place: int, y: int) -> None:
        """Change the size of the tiles, and have the tile at a position y px below the top."""
        tile_px = min(MAX_TILE_PX, max(MIN_TILE_PX, int(tile_px)))
        if tile_px == self._tile_px:
            return
        self._tile_px = tile_px
        self._painter = None
        self._top = place
        self._arrange(y)
        self.tile_px_changed.emit(tile_px)

    def set_marks(self, marks: Marks) -> None:
        """Show annotations and predictions."""
        self._marks = marks
        self._view.update()

    def targets(self) -> frozenset[int]:
        """Give the ids of the cells that a key would annotate."""
        return self._targets

    def set_targets(self, cells: Collection[int]) -> None:
        """Frame the cells that a key would annotate."""
        changed = self._targets.symmetric_difference(cells)
        self._targets = frozenset(cells)
        self._update_tiles(changed)

    def set_threshold(self, threshold: float) -> None:
        """Change the P(abnormal) from which a cell is shown as abnormal."""
        self._threshold = threshold
        self._view.update()

    def is_blind(self) -> bool:
        """Whether predictions are hidden."""
        return self._is_blind

    def set_blind(self, blind: bool) -> None:
        """Hide predictions, or show them; annotations are shown always."""
        self._is_blind = blind
        self._view.update()

    def message(self) -> str:
        """Give what is written where no cells are."""
        return self._message

    def set_message(self, message: str) -> None:
        """Change what is written where no cells are."""
        self._message = message
        self._view.update()

    # ---- pictures ------------------------------------------------------------------------

    def add_pictures(self, ids: ArrayLike, images: NDArray[np.uint8]) -> None:
        """Show pictures."""
        cells = [int(cell) for cell in np.atleast_1d(np.asarray(ids))]
        for cell, image in zip(cells, images, strict=True):
            self._pictures.add(cell, image)
        self._failed.difference_update(cells)
        self._pictures.trim(set(self._near().tolist()))
        self._update_tiles(cells)

    def set_failed(self, ids: ArrayLike) -> None:
        """Mark cells without pictures, whose sites cannot be read."""
        cells = [int(cell) for cell in np.atleast_1d(np.asarray(ids))]
        self._failed.update(cells)
        self._update_tiles(cells)

    def has_picture(self, cell: int) -> bool:
        """Whether the picture of a cell is there."""
        return cell in self._pictures

    def clear_pictures(self) -> None:
        """Forget all pictures and request them again, for another plate or other colours."""
        self._pictures.clear()
        self._failed.clear()
        self._missing = self._missing[:0]
        self._view.update()
        self._schedule_request()

    # ---- arrangement ---------------------------------------------------------------------

    def grid(self) -> Grid:
        """Give where the tiles lie."""
        return Grid(len(self._choice.ids), self._tile_px, self._view.width())

    def _arrange(self, y: int = 0) -> None:
        """Fit rows to the room there is, with the tile `_top` y px below the top of it."""
        grid = self.grid()
        bar, room = self._bar, self._view.height()
        self._is_arranging = True
        try:
            bar.setRange(0, max(0, grid.height - room))
            bar.setPageStep(max(1, room))
            bar.setSingleStep(min(_LARGEST_STEP_PX, grid.pitch // 2))
            if grid.n:
                bar.setValue(grid.corner(min(self._top, grid.n - 1))[1] - y)
        finally:
            self._is_arranging = False
        self._view.update()
        self._schedule_request()
        self.sight_changed.emit()

    def in_sight(self) -> NDArray[np.int64]:
        """Give the ids of the tiles whose middle can be seen."""
        seen = self._view.visibleRegion().boundingRect() if self.isVisible() else QRect()
        grid, top = self.grid(), self._bar.value()
        places = [
            place
            for place in grid.between(seen.top() + top, seen.bottom() + 1 + top)
            if seen.contains(self.tile_rect(place).center())
        ]
        return self._choice.ids[places]

    def tile_rect(self, place: int) -> QRect:
        """Where the tile at a position is in the view."""
        grid = self.grid()
        x, y = grid.corner(place)
        return QRect(x, y - self._bar.value(), grid.pitch, grid.pitch)

    def _first_in_view(self) -> int:
        """Position of the first tile that is in view as a whole."""
        grid = self.grid()
        row = -(-self._bar.value() // grid.pitch)
        return max(0, min(row * grid.columns, grid.n - 1))

    def _show(self, place: int) -> None:
        """Scroll no further than is needed to see a tile as a whole."""
        grid, bar = self.grid(), self._bar
        top = grid.corner(place)[1]
        lowest = top + grid.pitch - self._view.height()
        bar.setValue(min(top, max(lowest, bar.value())))

    def _update_tiles(self, cells: Collection[int]) -> None:
        """Redraw those of some cells that are in view."""
        grid, top = self.grid(), self._bar.value()
        shown = grid.between(top, top + self._view.height())
        changed = set(cells)
        for place in shown:
            if int(self._choice.ids[place]) in changed:
                self._view.update(self.tile_rect(place))

    def _near(self) -> NDArray[np.int64]:
        """Ids in view, then those a page below, then above."""
        grid, top = self.grid(), self._bar.value()
        room = self._view.height()
        inside = grid.between(top, top + room)
        below = grid.between(top + room, top + 2 * room)
        above = grid.between(top - room, top)
        places = [*inside, *(p for p in below if p >= inside.stop)]
        places += [p for p in above if p < inside.start]
        return self._choice.ids[np.array(places, dtype=np.intp)]

    def _schedule_request(self) -> None:
        if not self._request_timer.isActive():  # not put off while scrolling goes on
            self._request_timer.start()

    def _request_pictures(self) -> None:
        if not self.isVisible():
            return
        near = self._near()
        for cell in near[::-1].tolist():
            self._pictures.use(cell)
        has_none = [c not in self._pictures and c not in self._failed for c in near.tolist()]
        missing = near[np.array(has_none, dtype=bool)]
        if not np.array_equal(missing, self._missing):
            self._missing = missing
            self.pictures_requested.emit(missing)

    # ---- drawing -------------------------------------------------------------------------

    def paintEvent(self, event: Any) -> None:
        """Draw the tiles that touch what is to be redrawn."""
        pixel_ratio = self.devicePixelRatioF()
        tiles = self._painter
        if tiles is None or tiles.pixel_ratio != pixel_ratio:
            tiles = TilePainter(self._tile_px, paper(self), ink(self), self.font(), pixel_ratio)
            self._painter = tiles
        tiles.threshold, tiles.is_blind = self._threshold, self._is_blind
        painter = QPainter(self._view)
        area = event.rect()
        painter.fillRect(area, tiles.paper)
        grid, choice = self.grid(), self._choice
        if not grid.n:
            painter.setPen(tiles.ink)
            wrapped = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            painter.drawText(self._view.rect().adjusted(12, 12, -12, -12), wrapped, self._message)
        top = self._bar.value()
        current = choice.current if self.hasFocus() else None
        for place in grid.between(area.top() + top, area.bottom() + 1 + top):
            x, y = grid.corner(place)
            if x > area.right() or x + grid.pitch <= area.left():
                continue
            cell = int(choice.ids[place])
            picture = self._pictures.scaled(cell, self._tile_px, pixel_ratio)
            tile = Tile(
                self._marks.of(cell),
                picture,
                cell in self._failed,
                cell in self._targets,
                bool(choice.is_chosen[place]),
                place == current,
            )
            tiles.draw(painter, x, y - top, tile)
        if self._box is not None:
            self._draw_box(painter, self._box.translated(0, -top), tiles.ink)
        painter.end()

    def _draw_box(self, painter: QPainter, box: QRect, ink: QColor) -> None:
        veil = QColor(ink)
        veil.setAlpha(40)
        painter.setPen(QPen(ink, 1, Qt.PenStyle.DashLine))
        painter.setBrush(veil)
        painter.drawRect(box)

    def scrollContentsBy(self, dx: int, dy: int) -> None:
        """Move what is drawn already; only what comes into view is drawn."""
        if not self._is_arranging:
            self._top = self._first_in_view()
        is_whole = self.devicePixelRatioF().is_integer()  # else what is moved would be blurred
        if self._box is None and not self._is_arranging and is_whole:
            self._view.scroll(0, dy)
        else:
            self._view.update()
        self._schedule_request()
        if not self._is_arranging:
            self.sight_changed.emit()

    def resizeEvent(self, event: Any) -> None:
        """Fit the rows to the new room."""
        super().resizeEvent(event)
        self._arrange()

    def showEvent(self, event: Any) -> None:
        """Ask for pictures, which is not done while hidden."""
        super().showEvent(event)
        self._schedule_request()
        self.sight_changed.emit()

    def hideEvent(self, event: Any) -> None:
        """Tell that no tile is in sight."""
        super().hideEvent(event)
        self.sight_changed.emit()

    def changeEvent(self, event: Any) -> None:
        """Take over the colours and letters of another theme."""
        super().changeEvent(event)
        changes = (QEvent.Type.PaletteChange, QEvent.Type.StyleChange, QEvent.Type.FontChange)
        if event.type() in changes:
            self._painter = None
            self._view.update()

    def sizeHint(self) -> QSize:
        """Five columns by five rows."""
        side = 5 * (self.grid().pitch + 2)
        return QSize(side + self._bar.sizeHint().width(), side)
