"""The list of flagged wells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, QSize, Qt, Signal

from napari_hcs_qc.gui.widgets.tables import Column, RowTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtWidgets import QWidget

    from napari_hcs_qc.assay.scoring.review_queue import QueueEntry

_COLUMNS = (
    Column("Well", "Plate and well"),
    Column(
        "Severity",
        "How far the flag rule's threshold is exceeded, as a multiple of it",
        is_number=True,
    ),
    Column("Reason", "Why the well is flagged; worst reason first"),
    Column("Verdict", "✓ kept, ✗ excluded, ↻ look again; ! the prediction has changed since"),
)
_REASON, _VERDICT = 2, 3
_SIGNS = {"keep": "✓ keep", "exclude": "✗ exclude", "look again": "↻ again"}


class ReviewTable(RowTable):
    """Wells of the queue, worst first."""

    activated = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(_COLUMNS, stretched=_REASON, parent=parent)
        self.entries: tuple[QueueEntry, ...] = ()
        self.setMinimumHeight(100)
        self.setToolTip("Flagged wells, worst first; move with the arrow keys.")
        self.cellDoubleClicked.connect(lambda row, _column: self._activate(row))

    def value(self) -> QueueEntry | None:
        """Give the current well."""
        row = self.currentRow()
        return self.entries[row] if 0 <= row < len(self.entries) else None

    def set_value(self, plate: str, well: str) -> None:
        """Make a well current; one that is not listed changes nothing."""
        for row, entry in enumerate(self.entries):
            if entry.key == (plate, well):
                self.setCurrentCell(row, 0)
                return

    def set_entries(self, entries: Sequence[QueueEntry]) -> None:
        """List wells; the current one stays current where it is still listed."""
        before, row_before = self.value(), self.currentRow()
        with QSignalBlocker(self):
            self.entries = tuple(entries)
            self.setRowCount(len(self.entries))
            has_plates = len({entry.plate for entry in self.entries}) > 1
            for row, entry in enumerate(self.entries):
                self._write_entry(row, entry, has_plates=has_plates)
            if self.entries:
                keys = [entry.key for entry in self.entries]
                is_listed = before is not None and before.key in keys
                last = len(keys) - 1
                row = keys.index(before.key) if before is not None and is_listed else row_before
                self.setCurrentCell(min(max(row, 0), last), 0)

    def _write_entry(self, row: int, entry: QueueEntry, *, has_plates: bool) -> None:
        name = f"{entry.plate} {entry.well}" if has_plates else entry.well
        verdict = _SIGNS.get(entry.verdict or "", "") + (" !" if entry.change else "")
        texts = (name, f"{entry.severity:.1f}", entry.reason, verdict)
        for column, text in enumerate(texts):
            tip = entry.change if column == _VERDICT and entry.change else entry.reason
            self.write(row, column, text, tip)

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

    def _activate(self, row: int) -> None:
        if 0 <= row < len(self.entries):
            self.activated.emit(self.entries[row])
