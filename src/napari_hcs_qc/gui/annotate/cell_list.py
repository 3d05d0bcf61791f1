"""Cells that need a second look, as a list that is folded until somebody opens it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QListWidget, QListWidgetItem
from superqt import QCollapsible

from napari_hcs_qc.gui.widgets.controls import name_parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

    from napari_hcs_qc.assay.views.annotation_summary import Conflict
    from napari_hcs_qc.assay.views.label_issues_list import LabelIssue

_HEIGHT_PX = 84


class CellList(QCollapsible):
    """A line with the number of cells, not there when there are none, and the list below."""

    activated = Signal(object)

    def __init__(
        self, title: Callable[[int], str], tip: str, parent: QWidget | None = None
    ) -> None:
        super().__init__("", parent)
        self._cells: tuple[Conflict | LabelIssue, ...] = ()
        self._title = title
        self.toggleButton().setToolTip(tip)
        self._list = QListWidget()
        self._list.setFixedHeight(_HEIGHT_PX)
        self._list.setToolTip("Click a cell to see it in its site.")
        self._list.setTextElideMode(Qt.TextElideMode.ElideRight)
        self._list.itemClicked.connect(self._activate)
        self._list.itemActivated.connect(self._activate)
        self.addWidget(self._list)
        self.setDuration(0)  # a fold that moves repaints the whole window
        self._list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.toggled.connect(self._show_focus)
        name_parts(self)
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
        self.setText(self._title(len(cells)))
        self.setVisible(bool(cells))

    def _show_focus(self, is_open: bool) -> None:
        """Let the Tab key reach the list only when it is open: folded, it has no height."""
        policy = Qt.FocusPolicy.StrongFocus if is_open else Qt.FocusPolicy.NoFocus
        self._list.setFocusPolicy(policy)

    def _activate(self, item: QListWidgetItem) -> None:
        self.activated.emit(self._cells[self._list.row(item)])
