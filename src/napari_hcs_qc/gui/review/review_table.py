"""The list of flagged wells, or of all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from qtpy.QtCore import QSignalBlocker, QSize, Qt, Signal
from qtpy.QtGui import QIcon

from napari_hcs_qc.gui.widgets.tables import ROW_PX, Column, RowTable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qtpy.QtGui import QPixmap
    from qtpy.QtWidgets import QWidget

    from napari_hcs_qc.assay.scoring.review_queue import QueueEntry

_Key: TypeAlias = "Callable[[QueueEntry], Any]"
_COLUMNS = (
    Column("Well", "Plate and well"),
    Column(
        "Cells",
        "Cells found on its readable sites; those that the image border cuts count in no share",
        is_number=True,
    ),
    Column("Abnormal", "Share of its cells that are abnormal", is_number=True),
    Column(
        "Severity",
        "How far the flag rule's threshold is exceeded, as a multiple of it",
        is_number=True,
    ),
    Column("Reason", "Why the well is flagged; worst reason first"),
    Column("Verdict", "✓ kept, ✗ excluded, ↻ look again; ! the prediction has changed since"),
)
_REASON, _VERDICT = 4, 5
_TALL_PX = 40
_KEYS: tuple[_Key, ...] = (
    lambda entry: entry.key,
    lambda entry: -entry.n_cells,
    lambda entry: -entry.share_abnormal if np.isfinite(entry.share_abnormal) else np.inf,
    lambda entry: -entry.severity,
    lambda entry: entry.reason or "~",  # those without one last
    lambda entry: entry.verdict or "~",
)
_SEVERITY = 3
_SIGNS = {"keep": "✓ keep", "exclude": "✗ exclude", "look again": "↻ again"}


class ReviewTable(RowTable):
    """Wells of the queue, worst first."""

    activated = Signal(object)
    rows_changed = Signal()  # those in sight, or what is written in them

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(_COLUMNS, stretched=_REASON, parent=parent)
        self.entries: tuple[QueueEntry, ...] = ()
        self._sorted_by, self._is_reversed = _SEVERITY, False
        self.setMinimumHeight(100)
        self.setToolTip(
            "Wells, worst first; click a heading to sort by it. The row of the well on screen is "
            "marked. Click a row or move with the arrow keys to see its well."
        )
        header = self.horizontalHeader()
        assert header is not None
        header.setSectionsClickable(True)
        header.sectionClicked.connect(self.sort_by)
        self.cellClicked.connect(lambda row, _column: self._activate(row))

    def value(self) -> QueueEntry | None:
        """Give the current well."""
        row = self.currentRow()
        return self.entries[row] if 0 <= row < len(self.entries) else None

    def set_value(self, key: tuple[str, str] | None) -> None:
        """Mark the row of a plate's well, or none where it is not listed; sends no signal."""
        keys = [entry.key for entry in self.entries]
        row = keys.index(key) if key in keys else -1
        with QSignalBlocker(self):
            self.setCurrentCell(row, 0 if row >= 0 else -1)
            if row < 0:
                self.clearSelection()

    def set_entries(self, entries: Sequence[QueueEntry]) -> None:
        """List wells."""
        with QSignalBlocker(self):
            self.entries = self._sorted(entries)
            self.setRowCount(len(self.entries))
            has_plates = len({entry.plate for entry in self.entries}) > 1
            for row, entry in enumerate(self.entries):
                self._write_entry(row, entry, has_plates=has_plates)
        self.rows_changed.emit()

    def sort_by(self, column: int) -> None:
        """Sort by a column, the other way round when it is chosen again."""
        current = self.value()
        self._is_reversed = column == self._sorted_by and not self._is_reversed
        self._sorted_by = column
        self.set_entries(self.entries)
        self.set_value(None if current is None else current.key)

    def _sorted(self, entries: Sequence[QueueEntry]) -> tuple[QueueEntry, ...]:
        return tuple(sorted(entries, key=_KEYS[self._sorted_by], reverse=self._is_reversed))

    def _write_entry(self, row: int, entry: QueueEntry, *, has_plates: bool) -> None:
        name = f"{entry.plate} {entry.well}" if has_plates else entry.well
        verdict = _SIGNS.get(entry.verdict or "", "") or _sites_text(entry)
        verdict += " !" if entry.change else ""
        texts = (
            name,
            f"{entry.n_cells:,}",
            f"{entry.share_abnormal:.0%}" if np.isfinite(entry.share_abnormal) else "–",
            f"{entry.severity:.1f}" if entry.is_flagged else "–",
            entry.reason,
            verdict,
        )
        for column, text in enumerate(texts):
            tip = entry.change if column == _VERDICT and entry.change else entry.reason
            self.write(row, column, text, tip)

    def set_tall(self, is_tall: bool) -> None:
        """Make the rows high enough for pictures, or as high as their texts."""
        rows = self.verticalHeader()
        assert rows is not None
        rows.setDefaultSectionSize(_TALL_PX if is_tall else ROW_PX)
        self.setIconSize(QSize(_TALL_PX, _TALL_PX - 4) if is_tall else QSize(0, 0))

    def rows_in_sight(self) -> range:
        """Give the rows that can be seen without scrolling."""
        first = self.rowAt(0)
        if first < 0:
            return range(0)
        view = self.viewport()
        last = -1 if view is None else self.rowAt(view.height() - 1)
        return range(first, len(self.entries) if last < 0 else last + 1)

    def set_picture(self, row: int, picture: QPixmap) -> None:
        """Show the picture of a well."""
        item = self.item(row, 0)
        if item is not None:
            item.setIcon(QIcon(picture))

    def resizeEvent(self, event: object) -> None:
        """Report that other rows are in sight."""
        super().resizeEvent(event)  # type: ignore[arg-type]
        self.rows_changed.emit()

    def sizeHint(self) -> QSize:
        """Ask for a few rows; what is below (pictures, buttons) matters as much."""
        return QSize(300, 126)

    def keyPressEvent(self, event: object) -> None:
        """Show the current well, or else the first, on Enter."""
        key = event.key() if hasattr(event, "key") else None
        if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._activate(max(0, self.currentRow()))
            return
        super().keyPressEvent(event)  # type: ignore[arg-type]

    def _activate(self, row: int) -> None:
        if 0 <= row < len(self.entries):
            self.activated.emit(self.entries[row])


def _sites_text(entry: QueueEntry) -> str:
    """Say which single sites are excluded."""
    sites = [str(word.site) for word in entry.site_verdicts if word.verdict == "exclude"]
    return f"✗ s{', s'.join(sites)}" if sites else ""
