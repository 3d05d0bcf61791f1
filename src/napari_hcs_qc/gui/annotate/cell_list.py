"""Cells that want a second look, as a list that is out of the way until asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QToolButton, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_hcs_qc.assay.annotations.label_issues_list import LabelIssue
    from napari_hcs_qc.assay.views.annotation_summary import Conflict

_HEIGHT_PX = 84


class CellList(QWidget):
    """A line with the number of cells, not there when there are none, and the list below."""

    activated = Signal(object)

    def __init__(
        self, words: Callable[[int], str], tip: str, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._cells: tuple[Conflict | LabelIssue, ...] = ()
        self._words = words
        self._title = QToolButton()
        self._title.setCheckable(True)
        self._title.setAutoRaise(True)
        self._title.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._title.setToolTip(tip)
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

    def value(self) -> tuple[Conflict | LabelIssue, ...]:
        """Give the cells listed."""
        return self._cells

    def set_value(self, cells: tuple[Conflict | LabelIssue, ...]) -> None:
        """List cells."""
        if cells != self._cells:
            self._cells = cells
            current = self._list.currentRow()
            self._list.clear()
            for cell in cells:
                item = QListWidgetItem(str(cell))
                item.setToolTip(str(cell))
                self._list.addItem(item)
            self._list.setCurrentRow(min(current, len(cells) - 1))
        self._title.setText(self._words(len(cells)))
        self.setVisible(bool(cells))

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
        self.activated.emit(self._cells[self._list.row(item)])
