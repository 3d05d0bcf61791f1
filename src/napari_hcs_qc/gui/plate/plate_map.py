"""Map of a plate: its wells by a value, with flags and verdicts, to be looked at and chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QPointF, QRectF, Qt, Signal
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QApplication, QWidget

from napari_hcs_qc.gui.plate.plate_grid import in_plate_order, next_well
from napari_hcs_qc.gui.plate.plate_sheet import PlateSheet
from napari_hcs_qc.plates.wells import parse_well

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_hcs_qc.gui.plate.plate_grid import Direction

_ARROWS: dict[Any, Direction] = {
    Qt.Key.Key_Left: "left",
    Qt.Key.Key_Right: "right",
    Qt.Key.Key_Up: "up",
    Qt.Key.Key_Down: "down",
}
_CTRL = Qt.KeyboardModifier.ControlModifier
_SHIFT = Qt.KeyboardModifier.ShiftModifier
_BY_KEY = (Qt.FocusReason.TabFocusReason, Qt.FocusReason.BacktabFocusReason)


class PlateMap(PlateSheet):
    """A plate of 6 to 1536 wells; its imaged wells can be selected, and one is the current one.

    With the mouse: a click selects a well, with Ctrl beside others, with Shift all up to it; a drag
    selects all it touches; a letter or number selects its row or column. With the keyboard: arrows,
    Home and End (with Ctrl of the whole plate) go to a well, with Shift select up to it, with Ctrl
    do not select; Ctrl+A selects all, Enter activates.
    """

    value_changed = Signal(object)
    current_changed = Signal(str)
    activated = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._anchor: str | None = None
        self._pressed: QPointF | None = None
        self._before_box: frozenset[str] = frozenset()
        self._signalled: frozenset[str] = frozenset()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setAccessibleName("Map of the plate")
        self.setToolTip("Wells of the plate: click one to see it; hover over it to read its value.")

    def set_plate(
        self,
        shape: tuple[int, int] | None,
        imaged: Iterable[str] = (),
        unreadable: Mapping[str, str] | Iterable[str] = (),
    ) -> None:
        """Show another plate, see `PlateSheet.set_plate`; wells that it has too stay selected."""
        self._pressed, self._box = None, None
        super().set_plate(shape, imaged, unreadable)
        self._choose(self._chosen & self.imaged)
        if self._current not in self.imaged:
            self._go(None)
        self._anchor = self._current

    # ---- what is chosen ------------------------------------------------------------------

    def value(self) -> tuple[str, ...]:
        """Names of the selected wells, by row and column."""
        return in_plate_order(self._chosen)

    def set_value(self, wells: Iterable[str]) -> None:
        """Select wells; those that are not imaged are left out."""
        self._choose(frozenset(wells) & self.imaged)

    def current(self) -> str | None:
        """Give the well that keys act on."""
        return self._current

    def set_current(self, well: str | None) -> None:
        """Make a well the current one, without selecting it; one that is not imaged is ignored.

        A single well that was selected as the current one is so no longer.
        """
        if well is None or well in self.imaged:
            if well != self._current and self._chosen == {self._current}:
                self._choose(frozenset())
            self._anchor = well
            self._go(well)

    @property
    def imaged(self) -> frozenset[str]:
        """Names of the imaged wells."""
        return frozenset() if self._look is None else self._look.imaged

    def _choose(self, wells: frozenset[str]) -> None:
        if wells != self._chosen:
            self._chosen = wells
            self.update()
            if self._box is None:  # a box tells once, when it is let go
                self._emit_value()

    def _emit_value(self) -> None:
        if self._chosen != self._signalled:
            self._signalled = self._chosen
            self.value_changed.emit(self.value())

    def _go(self, well: str | None) -> None:
        if well != self._current:
            self._current = well
            self.setAccessibleDescription("" if well is None else self.describe(well))
            self.update()
            self.current_changed.emit(well or "")

    def _choose_to(self, well: str, *, adds: bool = False) -> None:
        """Select the rectangle from where a range begins to a well."""
        self._anchor = self._anchor or self._current or well
        span = self.imaged.intersection(self.grid().between(self._anchor, well))
        self._choose(span | self._chosen if adds else span)
        self._go(well)

    # ---- mouse ---------------------------------------------------------------------------

    def mousePressEvent(self, event: Any) -> None:
        """Select a well, row or column, or begin a box."""
        if event.button() != Qt.MouseButton.LeftButton or self._look is None:
            super().mousePressEvent(event)
            return
        point, keys = event.position(), event.modifiers()
        grid = self.grid()
        well = grid.well_at(point)
        if well is None:
            self._choose_line(*grid.header_at(point), adds=bool(keys & _CTRL))
            return
        self._pressed = point
        self._before_box = self._chosen if keys & _CTRL else frozenset()
        if well not in self.imaged:
            if not keys & (_CTRL | _SHIFT):
                self._choose(frozenset())
        elif keys & _SHIFT:
            self._choose_to(well, adds=bool(keys & _CTRL))
        else:
            self._choose(self._chosen ^ {well} if keys & _CTRL else frozenset({well}))
            self._anchor = well
            self._go(well)

    def _choose_line(self, row: int | None, column: int | None, *, adds: bool) -> None:
        if row is None and column is None:
            return
        line = {
            well
            for well in self.imaged
            if (parse_well(well).column if row is None else parse_well(well).row)
            == (column if row is None else row)
        }
        self._choose(frozenset(line) | (self._chosen if adds else frozenset()))

    def mouseMoveEvent(self, event: Any) -> None:
        """Stretch the box."""
        if self._pressed is None or not event.buttons() & Qt.MouseButton.LeftButton:
            return
        point = event.position()
        way = (point - self._pressed).manhattanLength()
        if self._box is None and way < QApplication.startDragDistance():
            return
        self._box = QRectF(self._pressed, point).normalized()
        touched = self.imaged.intersection(self.grid().in_box(self._box))
        self._choose(touched | self._before_box)
        self.update()

    def mouseReleaseEvent(self, event: Any) -> None:
        """End the box."""
        self._pressed = None
        if self._box is not None:
            self._box = None
            self.update()
            self._emit_value()

    def mouseDoubleClickEvent(self, event: Any) -> None:
        """Activate a well."""
        well = self.grid().well_at(event.position())
        if event.button() == Qt.MouseButton.LeftButton and well in self.imaged:
            self.activated.emit(well)

    # ---- keyboard ------------------------------------------------------------------------

    def keyPressEvent(self, event: Any) -> None:
        """Go to a well; other keys are left to the parent."""
        if not self.imaged:
            event.ignore()
        elif event.matches(QKeySequence.StandardKey.SelectAll):
            self._choose(self.imaged)
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self._current is not None:
            self.activated.emit(self._current)
        elif event.key() in _ARROWS or event.key() in (Qt.Key.Key_Home, Qt.Key.Key_End):
            self._go_by_key(event.key(), event.modifiers())
        else:
            event.ignore()

    def _go_by_key(self, key: Any, keys: Any) -> None:
        wells = in_plate_order(self.imaged)
        if self._current is None:
            well = wells[0]
        elif key in _ARROWS:
            well = next_well(self._current, _ARROWS[key], wells)
        else:
            row = parse_well(self._current).row
            line = wells if keys & _CTRL else [w for w in wells if parse_well(w).row == row]
            well = line[0] if key == Qt.Key.Key_Home else line[-1]
        if keys & _SHIFT:
            self._choose_to(well)
            return
        self._anchor = well
        if not (keys & _CTRL and key in _ARROWS):
            self._choose(frozenset({well}))
        self._go(well)

    def focusInEvent(self, event: Any) -> None:
        """Show where the keys act."""
        super().focusInEvent(event)
        if self._current is None and self.imaged and event.reason() in _BY_KEY:
            self._go(in_plate_order(self.imaged)[0])
        self.update()
