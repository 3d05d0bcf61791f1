"""The list of flagged wells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtWidgets import QWidget

    from napari_hcs_qc.assay.scoring.review_queue import QueueEntry

_COLUMNS = (
    ("Well", "Plate and well"),
    ("Severity", "How far the flag rule's threshold is exceeded, as a multiple of it"),
    ("Reason", "Why the well is flagged; worst reason first"),
    ("Verdict", "✓ kept, ✗ excluded, ↻ look again; ! the prediction has changed since"),
)
_SIGNS = {"keep": "✓ keep", "exclude": "✗ exclude", "look again": "↻ again"}


class ReviewTable(QTableWidget):
    """Wells of the queue, gravest first."""

    value_changed = Signal(object)
    activated = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, len(_COLUMNS), parent)
        self.entries: tuple[QueueEntry, ...] = ()
        for column, (name, tip) in enumerate(_COLUMNS):
            item = QTableWidgetItem(name)
            item.setToolTip(tip)
            self.setHorizontalHeaderItem(column, item)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTabKeyNavigation(False)
        self.setWordWrap(False)
        self.setMinimumHeight(100)
        rows = self.verticalHeader()
        if rows is not None:
            rows.setVisible(False)
            rows.setDefaultSectionSize(22)
        header = self.horizontalHeader()
        if header is not None:
            header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            header.setSectionResizeMode(2, QHeaderView.ResizeMode.Stretch)
        self.setToolTip("Flagged wells, worst first; move with the arrow keys.")
        self.currentCellChanged.connect(self._row_changed)
        self.cellDoubleClicked.connect(lambda row, _column: self._activate(row))

    def value(self) -> QueueEntry | None:
        """Give the current well."""
        row = self.currentRow()
        return self.entries[row] if 0 <= row < len(self.entries) else None

    def set_value(self, plate: str, well: str) -> None:
        """Make a well current; one that is not listed changes nothing."""
        for row, entry in enumerate(self.entries):
            if (entry.plate, entry.well) == (plate, well):
                self.setCurrentCell(row, 0)
                return

    def set_entries(self, entries: Sequence[QueueEntry]) -> None:
        """List wells; the current one stays current where it is still listed."""
        before, row_before = self.value(), self.currentRow()
        was_blocked = self.blockSignals(True)
        self.entries = tuple(entries)
        self.setRowCount(len(self.entries))
        several = len({entry.plate for entry in self.entries}) > 1
        for row, entry in enumerate(self.entries):
            name = f"{entry.plate} {entry.well}" if several else entry.well
            verdict = _SIGNS.get(entry.verdict or "", "")
            if entry.change:
                verdict += " !"
            texts = (name, f"{entry.severity:.1f}", entry.reason, verdict)
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setToolTip(entry.change if column == 3 and entry.change else entry.reason)
                if column == 1:
                    item.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                self.setItem(row, column, item)
        if self.entries:
            places = [(entry.plate, entry.well) for entry in self.entries]
            known = before is not None and (before.plate, before.well) in places
            row = (
                places.index((before.plate, before.well))
                if before is not None and known
                else min(max(row_before, 0), len(places) - 1)
            )
            self.setCurrentCell(row, 0)
        self.blockSignals(was_blocked)

    def sizeHint(self) -> QSize:
        """Ask for a few rows; what is below (pictures, buttons) matters as much."""
        return QSize(300, 126)

    def keyPressEvent(self, event: object) -> None:
        """Show the current well on Enter."""
        key = event.key() if hasattr(event, "key") else None
        if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._activate(self.currentRow())
            return
        super().keyPressEvent(event)  # type: ignore[arg-type]

    def _row_changed(self, row: int, _column: int, before: int, _before_column: int) -> None:
        if row != before:
            self.value_changed.emit(self.value())

    def _activate(self, row: int) -> None:
        if 0 <= row < len(self.entries):
            self.activated.emit(self.entries[row])
