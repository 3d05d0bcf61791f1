"""Tables and trees of the panels: columns with tooltips, a whole line is selected at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QTreeWidget,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtWidgets import QWidget

LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
ROLE = Qt.ItemDataRole.UserRole
_HINT_PX, _LEAST_PX = 380, 240
ROW_PX = 22


class Column(NamedTuple):
    """One column."""

    title: str
    tip: str
    is_number: bool = False  # on the right


class RowTable(QTableWidget):
    """A table of which one row is current."""

    value_changed = Signal(object)

    def __init__(
        self, columns: Sequence[Column], *, stretched: int, parent: QWidget | None = None
    ) -> None:
        super().__init__(0, len(columns), parent)
        self.columns = tuple(columns)
        for index, column in enumerate(columns):
            item = QTableWidgetItem(column.title)
            item.setToolTip(column.tip)
            self.setHorizontalHeaderItem(index, item)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTabKeyNavigation(False)
        self.setWordWrap(False)
        rows, header = self.verticalHeader(), self.horizontalHeader()
        assert rows is not None and header is not None
        rows.setVisible(False)
        rows.setDefaultSectionSize(ROW_PX)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(stretched, QHeaderView.ResizeMode.Stretch)
        self.currentCellChanged.connect(self._row_changed)

    def value(self) -> Any:
        """Give what the current row stands for; None for none."""
        raise NotImplementedError

    def write(self, row: int, column: int, text: str, tip: str) -> QTableWidgetItem:
        """Write a field."""
        item = QTableWidgetItem(text)
        item.setToolTip(tip)
        if self.columns[column].is_number:
            item.setTextAlignment(RIGHT)
        self.setItem(row, column, item)
        return item

    def _row_changed(self, row: int, _column: int, before: int, _before_column: int) -> None:
        if row != before:
            self.value_changed.emit(self.value())


class LineTree(QTreeWidget):
    """Lines, perhaps in groups, that take no more height than they need."""

    def __init__(
        self, columns: Sequence[Column], *, stretched: int, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.columns = tuple(columns)
        self.setHeaderLabels([column.title for column in columns])
        heading, header = self.headerItem(), self.header()
        assert heading is not None and header is not None
        header.setStretchLastSection(stretched == len(columns) - 1)
        for index, column in enumerate(columns):
            heading.setToolTip(index, column.tip)
            heading.setTextAlignment(index, RIGHT if column.is_number else LEFT)
            mode = QHeaderView.ResizeMode
            if index != stretched:
                header.setSectionResizeMode(index, mode.ResizeToContents)
            elif index < len(columns) - 1:
                header.setSectionResizeMode(index, mode.Stretch)
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(True)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def line_px(self) -> int:
        """Height of a line; all are as high as the first, see setUniformRowHeights."""
        return self.fontMetrics().height() + 5

    def n_lines(self) -> int:
        """Give the number of lines there is to be room for."""
        return self.topLevelItemCount()

    def sizeHint(self) -> QSize:
        """Give room for the lines, so that only the panel scrolls."""
        header = self.header()
        top = 0 if header is None else header.sizeHint().height()
        line = max(self.sizeHintForRow(0), self.line_px())
        return QSize(_HINT_PX, top + self.n_lines() * line + 2 * self.frameWidth() + 2)

    def minimumSizeHint(self) -> QSize:
        """As `sizeHint`, but narrow."""
        return QSize(_LEAST_PX, self.sizeHint().height())
