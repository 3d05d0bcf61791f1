"""The cells of a benchmark's tables as lines that can be sorted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QHeaderView, QTableWidgetItem

from napari_hcs_qc.gui.widgets.tables import RIGHT, ROLE, Column, RowTable

if TYPE_CHECKING:
    from collections.abc import Sequence, Set

    from qtpy.QtWidgets import QWidget

    from napari_hcs_qc.study.benchmark.results import Figure, Planned, Result, Results

_COLUMNS = (
    Column("Encoder", "Encoder of the crops"),
    Column("Recipe", "How crops are cut"),
    Column("Head", "Classifier of the embeddings"),
    Column("n", "Annotated cells it was trained on"),
    Column("F1", "Weighted F1 in percent, mean ± standard deviation over the draws"),
    Column("AUC", "Area under the ROC curve in percent, mean over the draws"),
    Column("Recall", "Share of the abnormal cells that are detected, in percent"),
)
_RECIPE, _N, _F1, _AUC, _RECALL = 1, 3, 4, 5, 6
_LAST = math.inf


class _Number(QTableWidgetItem):
    """A figure that is sorted by its value; what has none comes last when the best come first."""

    def __init__(self, text: str, value: float) -> None:
        super().__init__(text)
        self.value = value
        self.setTextAlignment(RIGHT)

    def __lt__(self, other: QTableWidgetItem) -> bool:
        return self.value < other.value if isinstance(other, _Number) else super().__lt__(other)


class BenchmarkTable(RowTable):
    """Cells of the tables, one line each."""

    def __init__(self, parent: QWidget | None = None) -> None:
        columns = [Column(name, f"{tip}. Click to sort.") for name, tip, _ in _COLUMNS]
        super().__init__(columns, stretched=0, parent=parent)
        self._shown: dict[int, Planned] = {}
        self.setMinimumHeight(120)
        header = self.horizontalHeader()
        assert header is not None
        header.setMinimumSectionSize(28)
        header.setHighlightSections(False)  # bold names are wider, and take from the encoders
        self.setSortingEnabled(True)

    def value(self) -> Planned | None:
        """Give the cell of the current line."""
        return self._at(self.currentRow())

    def set_cells(self, planned: Sequence[Planned], results: Results) -> None:
        """Show cells; the current one stays current where it is among them."""
        before = self.value()
        self.blockSignals(True)
        self.setSortingEnabled(False)
        self.setRowCount(len(planned))
        self._shown = dict(enumerate(planned))
        short = _short_names({entry.cell.encoder for entry in planned})
        for row, entry in enumerate(planned):
            cell = entry.cell
            for column, text in enumerate((short[cell.encoder], cell.recipe, cell.head)):
                tip = f"{cell.encoder}, recipe {cell.recipe}" if column == 0 else text
                self.write(row, column, text, tip).setData(ROLE, row)
            self._write(row, entry, results.get(entry.key))
        self.setSortingEnabled(True)
        # One recipe for all says nothing, and its place is the encoders'.
        has_recipes = len({entry.cell.recipe for entry in planned}) > 1
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

    def fill(self, key: str, result: Result) -> None:
        """Show the result of a cell that has just been filled."""
        self.setSortingEnabled(False)  # else a line would move while it is written
        for row in range(self.rowCount()):
            entry = self._at(row)
            if entry is not None and entry.key == key:
                self._write(row, entry, result)
        self.setSortingEnabled(True)
        current = self.value()
        if current is not None and current.key == key:
            self.value_changed.emit(current)

    def _at(self, row: int) -> Planned | None:
        item = self.item(row, 0)
        return None if item is None else self._shown.get(int(item.data(ROLE)))

    def _write(self, row: int, entry: Planned, result: Result | None) -> None:
        n = entry.cell.n_train
        if n == 0 and result is not None:
            n = result.draws[0].n_train
        all_of = entry.cell.n_train == 0
        text = (f"all ({n})" if n else "all") if all_of else str(n)
        self.setItem(row, _N, _Number(text, _LAST if all_of else n))
        for column, name in ((_F1, "f1_weighted"), (_AUC, "auc"), (_RECALL, "recall_abnormal")):
            if result is None:
                item = _empty(entry, column)
            else:
                item = _figure(result.summary[name], with_sd=column == _F1)
            self.setItem(row, column, item)


def _short_names(names: Set[str]) -> dict[str, str]:
    """Leave out which library an architecture is of, so that the figures find room."""
    short = {name: name.rpartition(":")[2] for name in names}
    return short if len(set(short.values())) == len(names) else {name: name for name in names}


def _empty(entry: Planned, column: int) -> _Number:
    if entry.state == "cannot run":
        item = _Number("–", -1.0)
        item.setToolTip(f"Cannot run: {entry.reason}.")
    else:
        item = _Number("…" if column == _F1 else "", -0.5)
        item.setToolTip("Not measured yet.")
    return item


def _figure(figure: Figure, *, with_sd: bool) -> _Number:
    if figure.mean is None:
        item = _Number(figure.percent, -1.0)
        item.setToolTip("No value: a test set had only one class.")
        return item
    sd = f" ± {100 * figure.sd:.1f}" if with_sd and figure.sd is not None else ""
    item = _Number(f"{figure.percent}{sd}", figure.mean)
    if figure.bounds:
        item.setToolTip(f"95 % interval of the mean: {figure.bounds}")
    return item
