"""Names in a short list, each of which is ticked or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import QListWidget, QListWidgetItem

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
        self.setToolTip(tip)
        self.setMinimumWidth(60)
        self.setMaximumHeight(118)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def set_lines(self, lines: Iterable[Line]) -> None:
        """Show lines; what was ticked stays so, where it is among them."""
        before = self.chosen()
        grey = self.palette().brush(QPalette.ColorGroup.Disabled, QPalette.ColorRole.Text)
        self.blockSignals(True)
        self.clear()
        for line in lines:
            item = QListWidgetItem(line.name, self)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            item.setToolTip(f"{line.name}: {line.about}" if line.about else line.name)
            if not line.is_ready:
                item.setForeground(grey)
        self.blockSignals(False)
        self.choose(before)

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
