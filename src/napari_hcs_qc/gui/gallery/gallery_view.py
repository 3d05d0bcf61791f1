"""A gallery of cells, to be selected by mouse and keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QEvent, QPoint, QRect, Qt, QTimer, Signal
from qtpy.QtGui import QHelpEvent
from qtpy.QtWidgets import QApplication, QToolTip

from napari_hcs_qc.gui.gallery.gallery_sheet import TileSheet
from napari_hcs_qc.gui.gallery.gallery_tiles import ANNOTATED
from napari_hcs_qc.gui.widgets.events import as_event, as_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray
    from qtpy.QtWidgets import QWidget

_ZOOM = 1.15  # a notch of the wheel
_NOTCH = 120  # Qt's angle of one
_AUTOSCROLL_MS = 30
_HINT = (
    "Cells of the plate. Click, Ctrl+click, Shift+click or drag to select; Ctrl+A for all; "
    "double-click or Enter to see a cell in its site; Ctrl+wheel for larger or smaller tiles."
)
_SIDEWAYS = (Qt.Key.Key_Left, Qt.Key.Key_Right)
_STEPS = (*_SIDEWAYS, Qt.Key.Key_Up, Qt.Key.Key_Down)
_LEAPS = (Qt.Key.Key_PageUp, Qt.Key.Key_PageDown, Qt.Key.Key_Home, Qt.Key.Key_End)
_OPEN = (Qt.Key.Key_Return, Qt.Key.Key_Enter)
_BY_TAB = (Qt.FocusReason.TabFocusReason, Qt.FocusReason.BacktabFocusReason)
_SHIFT = Qt.KeyboardModifier.ShiftModifier
_CTRL = Qt.KeyboardModifier.ControlModifier


class GalleryView(TileSheet):
    """Crops of cells in a grid that scrolls, to be selected by mouse and keys.

    Cells are known by their row in the plate's table, here called ids. Keys that are not used
    here go to the parent.
    """

    value_changed = Signal(object)
    current_changed = Signal(int)
    activated = Signal(int)

    def __init__(
        self, parent: QWidget | None = None, *, describe: Callable[[int], str] | None = None
    ) -> None:
        super().__init__(parent)
        self.describe = describe
        self._signalled: tuple[NDArray[np.int64], int] = (self.value(), -1)
        self._turned = 0  # of the wheel, since the last whole notch
        self._mouse = QPoint()
        self._pressed: QPoint | None = None  # on the whole sheet, where a box may begin
        self._before: NDArray[np.bool_] | None = None  # selected before the box
        self._pull = QTimer(self)
        self._pull.setInterval(_AUTOSCROLL_MS)
        self._pull.timeout.connect(self._scroll_to_mouse)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setToolTip(_HINT)
        self.setAccessibleName("Gallery of cells")

    def set_cells(self, ids: ArrayLike, *, keep_view: bool = False) -> None:
        """Show other cells, see `TileSheet.set_cells`."""
        self._end_box()  # it would go on over other cells
        super().set_cells(ids, keep_view=keep_view)
        self._emit_changes()

    # ---- selection -----------------------------------------------------------------------

    def value(self) -> NDArray[np.int64]:
        """Give the ids selected, in the order shown."""
        return self._choice.value()

    def set_value(self, ids: ArrayLike) -> None:
        """Select these cells and no others; those that are not shown are left out."""
        self._choice.choose_ids(np.asarray(ids, dtype=np.int64))
        self._choice_changed()

    def current(self) -> int | None:
        """Give the id of the cell that the keys act on, None for none."""
        return self._choice.current_id()

    def set_current(self, cell: int) -> None:
        """Let the keys act on a cell and scroll to it; what is selected stays so."""
        place = self._choice.position(cell)
        if place is not None:
            self._choice.current = self._choice.anchor = place
            self._show(place)
            self._choice_changed()

    def step(self, by: int) -> None:
        """Go on from the current cell by so many, and select that one alone."""
        if not len(self._choice.ids):
            return
        current = self._choice.current
        self._go(self._first_in_view() if current is None else current + by)

    # ---- mouse ---------------------------------------------------------------------------

    def mousePressEvent(self, event: Any) -> None:
        """Select the cell under the mouse; the other buttons keep what is selected."""
        point = self._on_sheet(event.position().toPoint())
        place = self.grid().at(point.x(), point.y())
        keys = event.modifiers()
        if event.button() != Qt.MouseButton.LeftButton:
            # A menu that the parent opens is to be about what was pressed.
            if place is not None and not self._choice.is_chosen[place]:
                self._choice.choose(place)
                self._choice_changed()
            event.ignore()
            return
        adds = bool(keys & (_CTRL | _SHIFT))
        self._pressed = point
        self._before = self._choice.is_chosen.copy() if adds else None
        if place is not None:
            if keys & _SHIFT:
                self._choice.choose_to(place, adds=bool(keys & _CTRL))
            elif keys & _CTRL:
                self._choice.toggle(place)
            else:
                self._choice.choose(place)
        elif not adds:
            self._choice.clear()
        self._choice_changed()

    def mouseMoveEvent(self, event: Any) -> None:
        """Draw a box and select the cells that it touches."""
        if self._pressed is None:
            return
        self._mouse = event.position().toPoint()
        point = self._on_sheet(self._mouse)
        moved = (point - self._pressed).manhattanLength()
        if self._box is None and moved < QApplication.startDragDistance():
            return
        self._stretch_box(point)
        if self._view.rect().contains(self._mouse):
            self._pull.stop()
        elif not self._pull.isActive():
            self._pull.start()

    def mouseReleaseEvent(self, event: Any) -> None:
        """End the box."""
        if self._end_box():
            self._choice_changed()

    def mouseDoubleClickEvent(self, event: Any) -> None:
        """Open the cell; with Ctrl or Shift, or between cells, it is a press like any other."""
        point = self._on_sheet(event.position().toPoint())
        place = self.grid().at(point.x(), point.y())
        is_plain = event.button() == Qt.MouseButton.LeftButton
        if place is None or not is_plain or event.modifiers() & (_CTRL | _SHIFT):
            self.mousePressEvent(event)
            return
        self.activated.emit(int(self._choice.ids[place]))

    def wheelEvent(self, event: Any) -> None:
        """Scroll; with Ctrl, change the size of the tiles around the one under the mouse."""
        if not event.modifiers() & _CTRL:
            super().wheelEvent(event)
            return
        self._turned += event.angleDelta().y()
        notches = int(self._turned / _NOTCH)
        self._turned -= notches * _NOTCH
        if notches:
            at = event.position().toPoint()
            point = self._on_sheet(at)
            place = self.grid().at(point.x(), point.y())
            tile_px = round(self._tile_px * _ZOOM**notches)
            if place is None:
                self.set_tile_px(tile_px)
            else:
                self._zoom(tile_px, place, max(0, at.y() - tile_px // 2))
                self._top = self._first_in_view()
        event.accept()

    def _on_sheet(self, point: QPoint) -> QPoint:
        return point + QPoint(0, self._bar.value())

    def _stretch_box(self, point: QPoint) -> None:
        assert self._pressed is not None
        box = QRect(self._pressed, point).normalized()
        self._box = box
        inside = self.grid().inside(box.left(), box.top(), box.right(), box.bottom())
        self._choice.choose_all(inside, self._before)
        here = self.grid().at(point.x(), point.y())
        if here is not None:
            self._choice.current = here
        self._view.update()

    def _end_box(self) -> bool:
        """Forget the box; give whether there was one."""
        had_box = self._box is not None
        self._pull.stop()
        self._box = self._pressed = self._before = None
        return had_box

    def _scroll_to_mouse(self) -> None:
        """Scroll towards a mouse that has drawn a box out of the view."""
        y, pitch = self._mouse.y(), self.grid().pitch
        beyond = max(0, y - self._view.height()) + min(0, y)
        self._bar.setValue(self._bar.value() + max(-pitch, min(pitch, beyond)))
        if self._pressed is not None:
            self._stretch_box(self._on_sheet(self._mouse))

    # ---- keys ----------------------------------------------------------------------------

    def event(self, event: Any) -> bool:
        """Keep shortcuts of the window from taking the keys that are used here."""
        if event.type() == QEvent.Type.ShortcutOverride and self._uses(as_key(event)):
            event.accept()
            return True
        return bool(super().event(event))

    def keyPressEvent(self, event: Any) -> None:
        """Move, select, open; other keys go to the parent."""
        if not self._uses(event) or not len(self._choice.ids):
            event.ignore()
            return
        key = Qt.Key(event.key())
        if key == Qt.Key.Key_A:
            self._choice.choose_all(np.arange(len(self._choice.ids)), None)
            self._choice_changed()
        elif key in _OPEN:
            current = self.current()
            if current is not None:
                self.activated.emit(current)
        else:
            self._go(self._from_current(key), extends=bool(event.modifiers() & _SHIFT))

    def focusInEvent(self, event: Any) -> None:
        """Show where the keys act."""
        super().focusInEvent(event)
        by_tab = event.reason() in _BY_TAB
        if by_tab and self._choice.current is None and len(self._choice.ids):
            self._choice.current = self._choice.anchor = self._first_in_view()
            self._emit_changes()
        self._view.update()

    def focusOutEvent(self, event: Any) -> None:
        """Hide where the keys act."""
        super().focusOutEvent(event)
        self._view.update()

    @staticmethod
    def _uses(event: Any) -> bool:
        held = event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
        if event.key() == Qt.Key.Key_A:
            return bool(held == _CTRL)
        if event.key() in _OPEN:
            return bool(held == Qt.KeyboardModifier.NoModifier)
        return event.key() in _STEPS + _LEAPS and not held & ~_SHIFT

    def _from_current(self, key: Qt.Key) -> int:
        grid, current = self.grid(), self._choice.current
        if key == Qt.Key.Key_Home:
            return 0
        if key == Qt.Key.Key_End:
            return grid.n - 1
        if current is None:
            return self._first_in_view()
        page = max(1, self._view.height() // grid.pitch) * grid.columns
        by = {
            Qt.Key.Key_Left: -1,
            Qt.Key.Key_Right: 1,
            Qt.Key.Key_Up: -grid.columns,
            Qt.Key.Key_Down: grid.columns,
            Qt.Key.Key_PageUp: -page,
            Qt.Key.Key_PageDown: page,
        }[key]
        aim = current + by
        if key in _SIDEWAYS or 0 <= aim < grid.n:
            return aim
        # Up and down stay in their column, but for a last row that is shorter.
        column = current % grid.columns
        return column if aim < 0 else min(grid.n - 1, (grid.rows - 1) * grid.columns + column)

    def _go(self, place: int, *, extends: bool = False) -> None:
        place = max(0, min(place, len(self._choice.ids) - 1))
        if extends:
            self._choice.choose_to(place)
        else:
            self._choice.choose(place)
        self._show(place)
        self._choice_changed()

    # ---- signals -------------------------------------------------------------------------

    def _choice_changed(self) -> None:
        self._view.update()
        self._emit_changes()

    def _emit_changes(self) -> None:
        """Signal what has changed since the last signal."""
        value, current = self.value(), self.current()
        before, was = self._signalled
        now = -1 if current is None else current
        self._signalled = (value, now)
        if now != was:
            self.current_changed.emit(now)
        if not np.array_equal(value, before):
            self.value_changed.emit(value)

    def viewportEvent(self, event: Any) -> bool:
        """Describe the cell on which the mouse rests."""
        if event.type() == QEvent.Type.ToolTip:
            event = as_event(event, QHelpEvent)
            point = self._on_sheet(event.pos())
            place = self.grid().at(point.x(), point.y())
            if place is not None:
                text = self.describe_cell(int(self._choice.ids[place]))
                QToolTip.showText(event.globalPos(), text, self._view, self.tile_rect(place))
                return True
        return bool(super().viewportEvent(event))

    def describe_cell(self, cell: int) -> str:
        """Describe a cell."""
        if self.describe is not None:
            return self.describe(cell)
        mark = self._marks.of(cell)
        lines = [f"cell {cell}"]
        if mark.is_scored and not self._is_blind:
            lines.append(f"abnormal score {mark.p_abnormal:.2f}")
        if mark.annotated in ANNOTATED:
            lines.append(f"annotated {ANNOTATED[mark.annotated]}")
        if cell in self._failed:
            lines.append("its site cannot be read")
        return "\n".join(lines)
