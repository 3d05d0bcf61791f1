"""The models of an assay in a list: notes, which is in use, comparing two, restoring one."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, QSize, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QSizePolicy,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hcs_qc.workflow.model_history import Comparison, ModelLine, PlateChange

_ID, _MADE, _HEAD, _CELLS, _F1, _NOTE = range(6)
_HEADINGS = ("Model", "Made", "Head", "Cells", "F1", "Note")
_TIPS = (
    "Number of the model; ● is in use",
    "When it was trained",
    "Its head",
    "Cells it was trained on",
    "Cross-validated weighted F1; – where it was not measured",
    "Your note; double-click or press F2 to edit",
)
_ROLE = Qt.ItemDataRole.UserRole
_LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
_LINES_SHOWN = 6
_WELLS_LISTED = 6


class ModelHistory(QWidget):
    """The models of an assay, newest first."""

    value_changed = Signal(object)
    noted = Signal(str, str)
    compare_asked = Signal(str, str)
    restore_asked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._lines: tuple[ModelLine, ...] = ()
        self._list = _List()
        self._list.itemSelectionChanged.connect(self._selected)
        self._list.itemChanged.connect(self._changed)
        self._compare = QPushButton("Compare two")
        self._compare.setToolTip(
            "Figures of the two selected models (Ctrl+click), and the cells and wells they "
            "classify differently."
        )
        self._compare.clicked.connect(self._ask_compare)
        self._restore = QPushButton("Restore")
        self._restore.setToolTip(
            "Use the selected model again; the next Retrain creates and uses a new one."
        )
        self._restore.clicked.connect(self._ask_restore)
        self._text = WrappedLabel()
        buttons = QHBoxLayout()
        buttons.addWidget(self._compare)
        buttons.addWidget(self._restore)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._list)
        layout.addLayout(buttons)
        layout.addWidget(self._text)
        self.set_lines(())

    def set_lines(self, lines: Sequence[ModelLine]) -> None:
        """Show models; those that were selected stay so."""
        before = self.value()
        with QSignalBlocker(self._list):
            self._list.clear()
            for line in lines:
                _add(self._list, line)
        self._lines = tuple(lines)
        self._list.updateGeometry()
        if not lines:
            self.set_comparison(None)
        self.set_value(before)

    def value(self) -> tuple[str, ...]:
        """Ids of the selected models, oldest first."""
        return tuple(sorted(str(item.data(_ID, _ROLE)) for item in self._list.selectedItems()))

    def set_value(self, ids: Sequence[str]) -> None:
        """Select models; those that are not in the list are left out."""
        with QSignalBlocker(self._list):
            for row in range(self._list.topLevelItemCount()):
                item = self._list.topLevelItem(row)
                if item is not None:
                    item.setSelected(item.data(_ID, _ROLE) in ids)
        self._look_at_buttons()

    def set_comparison(self, found: Comparison | None) -> None:
        """Say how two models differ; None takes it away."""
        self._text.setText("" if found is None else comparison_words(found))
        self._text.setVisible(found is not None)

    def comparison(self) -> str:
        """Words of the comparison shown."""
        return self._text.text()

    def _selected(self) -> None:
        self._look_at_buttons()
        self.value_changed.emit(self.value())

    def _look_at_buttons(self) -> None:
        chosen = self.value()
        in_use = {line.id for line in self._lines if line.is_in_use}
        damaged = {line.id for line in self._lines if line.problem}
        is_sound = not damaged.intersection(chosen)
        self._compare.setEnabled(len(chosen) == 2 and is_sound)
        self._restore.setEnabled(len(chosen) == 1 and is_sound and chosen[0] not in in_use)

    def _changed(self, item: QTreeWidgetItem, column: int) -> None:
        if column == _NOTE:
            self.noted.emit(str(item.data(_ID, _ROLE)), item.text(_NOTE))

    def _ask_compare(self) -> None:
        older, newer = self.value()
        self.compare_asked.emit(older, newer)

    def _ask_restore(self) -> None:
        self.restore_asked.emit(self.value()[0])


def comparison_words(found: Comparison) -> str:
    """Say in words how two models differ."""
    a, b = found.a, found.b
    lines = [
        f"Model {a.id} → {b.id}",
        f"Annotated cells: {_n_cells(a)} → {_n_cells(b)}",
        f"Weighted F1: {_figure(a.f1, a.f1_ci)} → {_figure(b.f1, b.f1_ci)}",
        f"AUC: {_figure(a.auc)} → {_figure(b.auc)}",
    ]
    if (a.encoder, a.recipe, a.head) != (b.encoder, b.recipe, b.head):
        lines.append(f"{a.encoder}, {a.recipe}, {a.head} → {b.encoder}, {b.recipe}, {b.head}")
    lines.extend(_plate_words(change, found.threshold) for change in found.plates)
    return "\n".join(lines)


def _plate_words(change: PlateChange, threshold: float) -> str:
    return (
        f"Plate {change.plate}: {change.n_changed:,} of {change.n_cells:,} cells "
        f"({change.share_changed:.1%}) change their class at threshold {threshold:.2f}: "
        f"{change.n_to_abnormal:,} to abnormal, {change.n_to_normal:,} to normal. Newly flagged: "
        f"{_wells(change.newly_flagged)}; no longer flagged: {_wells(change.no_longer_flagged)}."
    )


def _wells(wells: tuple[str, ...]) -> str:
    if not wells:
        return "none"
    listed = ", ".join(wells[:_WELLS_LISTED])
    more = len(wells) - _WELLS_LISTED
    return f"{listed} and {more} more" if more > 0 else listed


def _figure(value: float | None, ends: tuple[float, float] | None = None) -> str:
    if value is None:
        return "not measured"
    return f"{value:.3f}" if ends is None else f"{value:.3f} ({ends[0]:.3f}–{ends[1]:.3f})"


def _n_cells(line: ModelLine) -> str:
    return ", ".join(f"{n} {cls}" for cls, n in sorted(line.n_annotated.items())) or "none"


def _add(owner: QTreeWidget, line: ModelLine) -> None:
    mark = "● " if line.is_in_use else "    "
    f1 = "–" if line.f1 is None else f"{line.f1:.3f}"
    n_cells = f"{sum(line.n_annotated.values()):,}"
    shown = [f"{mark}{line.id}", _when(line.created), line.head, n_cells, f1, line.note]
    item = QTreeWidgetItem(owner, shown)
    item.setData(_ID, _ROLE, line.id)
    item.setSizeHint(_NOTE, QSize(0, owner.fontMetrics().height() + 5))
    for column in (_CELLS, _F1):
        item.setTextAlignment(column, _RIGHT)
    if not line.problem:
        item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
    told = line.problem or (
        f"Model {line.id}{', in use' if line.is_in_use else ''}: {line.encoder}, recipe "
        f"{line.recipe}, head {line.head}; {_n_cells(line)}; weighted F1 "
        f"{_figure(line.f1, line.f1_ci)}, AUC {_figure(line.auc)}"
    )
    for column in range(len(_HEADINGS)):
        item.setToolTip(column, f"{told}\n{line.note}" if line.note else told)
    font = item.font(_ID)
    font.setBold(line.is_in_use)
    item.setFont(_ID, font)


def _when(created: str) -> str:
    """Say a moment as short as it can be told apart: the time of today, else the day."""
    if not created:
        return ""
    at = datetime.fromisoformat(created).astimezone()
    today = datetime.now().astimezone().date()
    return f"{at:%H:%M}" if at.date() == today else f"{at:%Y-%m-%d}"


class _List(QTreeWidget):
    """Lines of which only the note can be written, and by the keyboard too."""

    def __init__(self) -> None:
        super().__init__()
        self.setHeaderLabels(_HEADINGS)
        heading = self.headerItem()
        assert heading is not None
        for column, tip in enumerate(_TIPS):
            heading.setToolTip(column, tip)
            heading.setTextAlignment(column, _RIGHT if column in (_CELLS, _F1) else _LEFT)
        header = self.header()
        assert header is not None
        header.setMinimumSectionSize(30)
        header.setStretchLastSection(True)
        for column in range(_NOTE):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setToolTip("Models of this assay, newest first.")
        self.itemDoubleClicked.connect(lambda item, _: self._write_note(item))

    def keyPressEvent(self, event: Any) -> None:
        """F2 writes the note of the current model."""
        item = self.currentItem()
        if event.key() == Qt.Key.Key_F2 and item is not None:
            self._write_note(item)
        else:
            super().keyPressEvent(event)

    def sizeHint(self) -> QSize:
        """Give room for some lines; more are scrolled to."""
        header = self.header()
        top = 0 if header is None else header.sizeHint().height()
        line = max(self.sizeHintForRow(0), self.fontMetrics().height() + 5)
        n_lines = min(_LINES_SHOWN, max(1, self.topLevelItemCount()))
        return QSize(380, top + n_lines * line + 2 * self.frameWidth() + 2)

    def minimumSizeHint(self) -> QSize:
        """As `sizeHint`, but narrow."""
        return QSize(240, self.sizeHint().height())

    def _write_note(self, item: QTreeWidgetItem) -> None:
        if item.flags() & Qt.ItemFlag.ItemIsEditable:
            self.editItem(item, _NOTE)
