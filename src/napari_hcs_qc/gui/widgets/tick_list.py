"""Names in a short list, each of which is ticked or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QListWidget, QListWidgetItem

from napari_hcs_qc.gui.widgets.palette import faint

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from qtpy.QtWidgets import QWidget


@dataclass(frozen=True)
class Line:
    """One line of the list."""

    name: str  # what is shown
    about: str = ""  # what there is to know of it, for the tooltip
    is_ready: bool = True  # whether it can be used as it is


class TickList(QListWidget):
    """Names that are ticked or not."""

    def __init__(self, tip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._waiting: set[str] = set()  # names of lines that cannot be used as they are
        self.setToolTip(tip)
        self.setMinimumWidth(60)
        self.setMaximumHeight(118)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def set_lines(self, lines: Iterable[Line]) -> None:
        """Show lines; what was ticked stays so, where it is among them."""
        before = self.chosen()
        self._waiting = set()
        self.blockSignals(True)
        self.clear()
        for line in lines:
            item = QListWidgetItem(line.name, self)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setToolTip(f"{line.name}: {line.about}" if line.about else line.name)
            if not line.is_ready:
                self._waiting.add(line.name)
        self.blockSignals(False)
        self.choose(before)
        self._thin()

    def changeEvent(self, event: Any) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange):
            self._thin()

    def _thin(self) -> None:
        """Write thinly what cannot be used as it is."""
        thin = faint(self, 0.6)
        self.blockSignals(True)
        for item in self._items():
            if item.text() in self._waiting:
                item.setForeground(thin)
        self.blockSignals(False)

    def choose(self, names: Collection[str]) -> None:
        """Tick names, and no others; no signal is sent."""
        self.blockSignals(True)
        for item in self._items():
            is_chosen = item.text() in names
            item.setCheckState(Qt.CheckState.Checked if is_chosen else Qt.CheckState.Unchecked)
        self.blockSignals(False)

    def chosen(self) -> tuple[str, ...]:
        """Give the names that are ticked."""
        return tuple(
            item.text() for item in self._items() if item.checkState() == Qt.CheckState.Checked
        )

    def _items(self) -> list[QListWidgetItem]:
        items = (self.item(row) for row in range(self.count()))
        return [item for item in items if item is not None]
