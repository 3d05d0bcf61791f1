"""One cell of a benchmark's tables: what was confused, and the crops it was wrong about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import QListView, QListWidget, QListWidgetItem, QWidget

from napari_hcs_qc.gui.widgets.charts import ConfusionChart
from napari_hcs_qc.gui.widgets.controls import lay_out, name_parts
from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel
from napari_hcs_qc.study.benchmark.results import Mistake, mean_confusion
from napari_hcs_qc.study.gui.training_view import thumbnail
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_hcs_qc.study.benchmark.results import Planned, Result

MOST_CROPS = 48
"""Crops that are shown, the gravest mistakes first."""

_TILE_PX = 64


class BenchmarkDetail(QWidget):
    """Shows one cell of the tables."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._about = WrappedLabel()
        self._chart = ConfusionChart()
        self._chart.setMinimumHeight(150)
        self._heading = WrappedLabel()
        self._crops = QListWidget()
        self._crops.setToolTip("Misclassified cells, worst first.")
        self._crops.setViewMode(QListView.ViewMode.IconMode)
        self._crops.setIconSize(QSize(_TILE_PX, _TILE_PX))
        self._crops.setResizeMode(QListView.ResizeMode.Adjust)
        self._crops.setMovement(QListView.Movement.Static)
        self._crops.setSpacing(3)
        self._crops.setMinimumHeight(_TILE_PX + 40)
        self._crops.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        lay_out(self, self._about, self._chart, self._heading, self._crops, spacing=None)
        name_parts(self)
        self.set_value(None, None)

    def set_value(self, planned: Planned | None, result: Result | None) -> None:
        """Show a cell; its crops follow by `set_crops`."""
        self._crops.clear()
        self._crops.setVisible(False)
        self._heading.setVisible(False)
        self._chart.setVisible(result is not None)
        self._chart.set_value(None if result is None else mean_confusion(result))
        self._about.setText(_about(planned, result))

    def set_crops(self, wrong: Sequence[Mistake], crops: NDArray[np.float32]) -> None:
        """Show the cells that were misclassified."""
        shown = f", the worst {len(crops)} shown" if len(wrong) > len(crops) else ""
        self._heading.setText(
            f"{count_of(len(wrong), 'cell')} misclassified on average{shown} (P is P(abnormal)):"
            if wrong
            else "Every tested cell is classified correctly on average."
        )
        self._heading.setVisible(True)
        self._crops.clear()
        for mistake, crop in zip(wrong, crops, strict=False):
            item = QListWidgetItem(
                QIcon(thumbnail(crop[np.newaxis], _TILE_PX)),
                f"P {mistake.p_abnormal:.2f}",
                self._crops,
            )
            annotated, scored = (
                ("abnormal", "normal") if mistake.is_abnormal else ("normal", "abnormal")
            )
            item.setToolTip(
                f"{mistake.cell}\nannotated {annotated}, predicted {scored}: P(abnormal) "
                f"{mistake.p_abnormal:.2f}, mean over {count_of(mistake.n_tested, 'draw')} in "
                "which it was tested"
            )
        self._crops.setVisible(bool(len(crops)))

    def n_crops(self) -> int:
        """Count the crops that are shown."""
        return self._crops.count()

    def text(self) -> str:
        """Give the text that is shown."""
        return self._about.text()


def _about(planned: Planned | None, result: Result | None) -> str:
    if planned is None:
        return "Click a row to see its confusion matrix and the misclassified crops."
    cell = planned.cell
    name = f"{cell.encoder}, {cell.recipe}, {cell.head}"
    if result is None:
        why = f"Cannot run: {planned.reason}." if planned.reason else "Not measured yet."
        return f"{name}. {why}"
    figures = []
    for key, shown in (
        ("f1_weighted", "weighted F1"),
        ("auc", "AUC"),
        ("accuracy", "accuracy"),
        ("precision_abnormal", "precision"),
        ("recall_abnormal", "recall of abnormal"),
    ):
        figure = result.summary[key]
        if figure.mean is not None:
            interval = f" ({figure.bounds})" if figure.bounds else ""
            figures.append(f"{shown} {figure.percent}{interval}")
    return (
        f"{name}, percent with 95 % intervals: {', '.join(figures)}. {result.protocol} "
        f"Took {result.seconds:.0f} s."
    )
