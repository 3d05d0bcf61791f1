"""The cells of a benchmark's tables as lines that can be sorted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

    from qtpy.QtWidgets import QWidget

    from napari_hcs_qc.study.benchmark.benchmark_plan import Planned

_COLUMNS = (
    ("Encoder", "Encoder of the crops"),
    ("Recipe", "How crops are cut"),
    ("Head", "Classifier of the embeddings"),
    ("n", "Annotated cells it was trained on"),
    ("F1", "Weighted F1 in percent, mean ± standard deviation over the draws"),
    ("AUC", "Area under the ROC curve in percent, mean over the draws"),
    ("Recall", "Share of the abnormal cells that are detected, in percent"),
)
_RECIPE, _N, _F1, _AUC, _RECALL = 1, 3, 4, 5, 6
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
_ROLE = Qt.ItemDataRole.UserRole
_LAST = math.inf


class _Number(QTableWidgetItem):
    """A figure that is sorted by its value; what has none comes last when the best come first."""

    def __init__(self, text: str, value: float) -> None:
        super().__init__(text)
        self.value = value
        self.setTextAlignment(_RIGHT)

    def __lt__(self, other: QTableWidgetItem) -> bool:
        return self.value < other.value if isinstance(other, _Number) else super().__lt__(other)


class BenchmarkTable(QTableWidget):
    """Cells of the tables, one line each."""

    value_changed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, len(_COLUMNS), parent)
        self._shown: dict[int, Planned] = {}
        for column, (name, tip) in enumerate(_COLUMNS):
            item = QTableWidgetItem(name)
            item.setToolTip(f"{tip}. Click to sort.")
            self.setHorizontalHeaderItem(column, item)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTabKeyNavigation(False)
        self.setWordWrap(False)
        self.setMinimumHeight(190)
        rows = self.verticalHeader()
        if rows is not None:
            rows.setVisible(False)
            rows.setDefaultSectionSize(22)
        header = self.horizontalHeader()
        if header is not None:
            header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
            header.setMinimumSectionSize(28)
            header.setHighlightSections(False)  # bold names are wider, and take from the encoders
        self.setSortingEnabled(True)
        self.currentCellChanged.connect(self._row_changed)

    def value(self) -> Planned | None:
        """Give the cell of the current line."""
        return self._at(self.currentRow())

    def set_cells(
        self, planned: Sequence[Planned], results: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Show cells; the current one stays current where it is among them."""
        before = self.value()
        self.blockSignals(True)
        self.setSortingEnabled(False)
        self.setRowCount(len(planned))
        self._shown = dict(enumerate(planned))
        short = _short_names({one.cell.encoder for one in planned})
        for row, one in enumerate(planned):
            cell = one.cell
            for column, text in enumerate((short[cell.encoder], cell.recipe, cell.head)):
                item = QTableWidgetItem(text)
                tip = f"{cell.encoder}, recipe {cell.recipe}" if column == 0 else text
                item.setToolTip(tip)
                item.setData(_ROLE, row)
                self.setItem(row, column, item)
            self._write(row, one, results.get(one.key))
        self.setSortingEnabled(True)
        # One recipe for all says nothing, and its place is the encoders'.
        has_recipes = len({one.cell.recipe for one in planned}) > 1
        self.setColumnHidden(_RECIPE, not has_recipes)
        header = self.horizontalHeader()
        if header is not None:
            # With a column more the names would be left three letters; rather scroll.
            mode = QHeaderView.ResizeMode
            header.setSectionResizeMode(0, mode.ResizeToContents if has_recipes else mode.Stretch)
        self.clearSelection()
        self.setCurrentItem(None)
        for row in range(self.rowCount()):
            if before is not None and self._at(row) == before:
                self.setCurrentCell(row, 0)
        self.blockSignals(False)
        self.value_changed.emit(self.value())

    def fill(self, key: str, result: Mapping[str, Any]) -> None:
        """Show the result of a cell that has just been filled."""
        self.setSortingEnabled(False)  # else a line would move while it is written
        for row in range(self.rowCount()):
            one = self._at(row)
            if one is not None and one.key == key:
                self._write(row, one, result)
        self.setSortingEnabled(True)
        current = self.value()
        if current is not None and current.key == key:
            self.value_changed.emit(current)

    def _at(self, row: int) -> Planned | None:
        item = self.item(row, 0)
        return None if item is None else self._shown.get(int(item.data(_ROLE)))

    def _row_changed(self, row: int, _column: int, before: int, _before: int) -> None:
        if row != before:
            self.value_changed.emit(self.value())

    def _write(self, row: int, one: Planned, result: Mapping[str, Any] | None) -> None:
        n = one.cell.n_train
        if n == 0 and result is not None:
            n = int(result["seeds"][0]["n_train"])
        all_of = one.cell.n_train == 0
        text = (f"all ({n})" if n else "all") if all_of else str(n)
        self.setItem(row, _N, _Number(text, _LAST if all_of else n))
        for column, name in ((_F1, "f1_weighted"), (_AUC, "auc"), (_RECALL, "recall_abnormal")):
            if result is None:
                item = _empty(one, column)
            else:
                found = result["summary"][name]
                item = _figure(found, with_sd=column == _F1)
            self.setItem(row, column, item)


def _short_names(names: Set[str]) -> dict[str, str]:
    """Leave out which library an architecture is of, so that the figures find room."""
    short = {name: name.rpartition(":")[2] for name in names}
    return short if len(set(short.values())) == len(names) else {name: name for name in names}


def _empty(one: Planned, column: int) -> _Number:
    if one.state == "cannot run":
        item = _Number("–", -1.0)
        item.setToolTip(f"Cannot run: {one.reason}.")
    else:
        item = _Number("…" if column == _F1 else "", -0.5)
        item.setToolTip("Not measured yet.")
    return item


def _figure(found: Mapping[str, Any], *, with_sd: bool) -> _Number:
    mean, sd, bounds = found["mean"], found["sd"], found["interval"]
    if mean is None:
        item = _Number("–", -1.0)
        item.setToolTip("No value: a test set had only one class.")
        return item
    text = f"{100 * mean:.1f}"
    item = _Number(f"{text} ± {100 * sd:.1f}" if with_sd and sd is not None else text, mean)
    if bounds is not None:
        low, high = (f"{100 * end:.1f}" for end in bounds)
        item.setToolTip(f"95 % interval of the mean: {low} to {high}")
    return item
