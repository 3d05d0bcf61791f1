"""The cells about which people disagree, as a list that is out of the way until asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QToolButton, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from napari_hcs_qc.assay.annotation_overview import Conflict

_HEIGHT_PX = 84


class ConflictList(QWidget):
    """A line with the number of conflicts, not there when there are none, and the list below.

    Parameters
    ----------
    parent
        Qt parent.

    Attributes
    ----------
    activated : Signal(object)
        `Conflict` that was clicked, or current when Enter was pressed.
    """

    activated = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._conflicts: tuple[Conflict, ...] = ()
        self._title = QToolButton()
        self._title.setCheckable(True)
        self._title.setAutoRaise(True)
        self._title.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._title.setToolTip(
            "Cells that one annotator calls normal and another abnormal; no model is trained on "
            "them until they agree."
        )
        self._list = QListWidget()
        self._list.setFixedHeight(_HEIGHT_PX)
        self._list.setToolTip("Click a cell to see it in its site.")
        self._list.setTextElideMode(Qt.TextElideMode.ElideRight)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self._title)
        layout.addWidget(self._list)
        self._title.toggled.connect(self.set_open)
        self._list.itemClicked.connect(self._tell)
        self._list.itemActivated.connect(self._tell)
        self.set_open(False)
        self.set_value(())

    def value(self) -> tuple[Conflict, ...]:
        """Give the conflicts listed."""
        return self._conflicts

    def set_value(self, conflicts: tuple[Conflict, ...]) -> None:
        """List conflicts."""
        if conflicts != self._conflicts:
            self._conflicts = conflicts
            current = self._list.currentRow()
            self._list.clear()
            for conflict in conflicts:
                item = QListWidgetItem(str(conflict))
                item.setToolTip(str(conflict))
                self._list.addItem(item)
            self._list.setCurrentRow(min(current, len(conflicts) - 1))
        n = len(conflicts)
        self._title.setText(f"≠ Annotators disagree about {n:,} cell{'' if n == 1 else 's'}")
        self.setVisible(n > 0)

    def is_open(self) -> bool:
        """Tell whether the list is unfolded."""
        return self._title.isChecked()

    def set_open(self, is_open: bool) -> None:
        """Unfold the list, or fold it."""
        self._title.setChecked(is_open)
        arrow = Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow
        self._title.setArrowType(arrow)
        self._list.setVisible(is_open)

    def _tell(self, item: QListWidgetItem) -> None:
        self.activated.emit(self._conflicts[self._list.row(item)])
