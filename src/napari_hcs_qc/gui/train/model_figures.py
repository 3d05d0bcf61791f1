"""How well a model will do: cross-validated figures, and charts of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QSizePolicy, QTabWidget, QWidget

from napari_hcs_qc.assay.store.assay_folder import DEFAULT_THRESHOLD
from napari_hcs_qc.gui.widgets.charts import ConfusionChart, LearningCurveChart, ReliabilityChart
from napari_hcs_qc.gui.widgets.controls import (
    clear,
    column,
    heading,
    holder,
    lay_out,
    name_parts,
    push_button,
    row,
)
from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.store.figures import Figure, Figures
    from napari_hcs_qc.assay.store.saved_model import Model
    from napari_hcs_qc.evaluation.curves import LearningCurve, Reliability


class ModelFigures(QWidget):
    """The figures of one model."""

    measure_requested = Signal()
    errors_toggled = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model: Model | None = None
        self.threshold = DEFAULT_THRESHOLD
        self._is_measuring = False
        self._recorded, self._displayed = _NOTHING, _NOTHING
        self._last: _Recorded | None = None
        self._title = heading("")
        self._errors = push_button(
            "",
            "The annotated cells on a map of the embedding, and pictures of those that models "
            "trained without them call otherwise; a click goes to the cell.",
        )
        self._errors.setCheckable(True)
        self._errors.toggled.connect(self._toggle)
        self._sentence = WrappedLabel()
        self._measure = push_button(
            "Measure now",
            "Cross-validates this model on the cells it was trained on; takes some seconds.",
            self.measure_requested.emit,
        )
        self._grid = QGridLayout()
        self._numbers = holder(self._grid)
        self._grid.setHorizontalSpacing(10)
        self._grid.setVerticalSpacing(1)
        self._confusion, self._reliability = ConfusionChart(), ReliabilityChart()
        self._curve = LearningCurveChart()
        self._verdict = WrappedLabel()
        self._charts = QTabWidget()
        self._charts.setToolTip("Details of the figures.")
        for page, title, tip in (
            (
                holder(column((self._curve, 1), self._verdict)),
                "Enough annotations?",
                "Weighted F1 over the number of annotated cells: would more annotations help?",
            ),
            (self._confusion, "Confusion", "Annotated against predicted class of held-out cells"),
            (
                self._reliability,
                "Reliability",
                "Share of abnormal cells among those with this score",
            ),
        ):
            self._charts.setTabToolTip(self._charts.addTab(page, title), tip)
        self._details = holder(column(self._numbers, self._sentence, self._measure, self._charts))
        lay_out(self, row(self._title, None, self._errors), self._details)
        name_parts(self)
        self._display()
        self._refresh()

    def value(self) -> Model | None:
        """Give the model whose figures are shown."""
        return self._model

    def set_value(self, model: Model | None, threshold: float = DEFAULT_THRESHOLD) -> None:
        """Show the figures of a model at a threshold, as far as they are known."""
        self._model, self.threshold = model, threshold
        if model is None:
            self._last = None  # another assay may follow
        else:
            recorded = _Recorded.of(model.id, model.manifest.cross_validation, threshold)
            self._recorded = recorded
            if recorded.is_measured:
                self._last = recorded
        self._refresh()

    def set_measuring(self, is_measuring: bool) -> None:
        """Show whether figures are being measured; those before stay in sight until then."""
        if is_measuring != self._is_measuring:
            self._is_measuring = is_measuring
            self._refresh()

    def shown(self) -> str:
        """Id of the model whose figures are in sight, which may be the one before; or empty."""
        return self._displayed.model

    def _refresh(self) -> None:
        model, own = self._model, self._recorded
        if model is None:
            shown = _NOTHING
        elif not own.is_measured and self._is_measuring and self._last is not None:
            shown = self._last
        else:
            shown = own
        if shown is not self._displayed:
            self._displayed = shown
            self._display()
        title = f"Figures of model {shown.model}" if shown.model else "No model yet"
        shows_errors = self._errors.isChecked()
        if shows_errors and model is not None:
            title = f"Errors of model {model.id}"
        self._title.setText(title)
        self._errors.setText("Back to figures" if shows_errors else "Map and errors")
        self._errors.setVisible(shows_errors or shown.is_measured)
        self._numbers.setEnabled(model is None or shown is own)
        self._sentence.setText(self._text())
        # A model of an earlier version has figures, but not all that are drawn here.
        is_partial = model is not None and not model.manifest.is_before_annotations
        is_partial &= not own.is_measured or own.lacks_charts
        self._measure.setVisible(is_partial and not self._is_measuring)
        self._measure.setText("Measure the rest" if own.is_measured else "Measure now")

    def _toggle(self, shows_errors: bool) -> None:
        self._details.setVisible(not shows_errors)
        self._refresh()
        self.errors_toggled.emit(shows_errors)

    def _display(self) -> None:
        shown = self._displayed
        self._fill_numbers(shown.figures)
        self._confusion.set_value(shown.confusion)
        self._reliability.set_value(shown.reliability)
        self._curve.set_value(shown.curve)
        self._verdict.setText("" if shown.curve is None else shown.curve.verdict())
        self._verdict.setVisible(shown.curve is not None)
        self._charts.setVisible(shown.has_charts)

    def _text(self) -> str:
        if self._model is None:
            return (
                "Annotate normal and abnormal cells, for a start ten of each, then press Retrain."
            )
        origin = self._model.manifest.origin
        if self._model.manifest.is_before_annotations:
            return origin
        if self._recorded.is_measured:
            return f"{origin} {self._recorded.sentence}".strip()
        if self._is_measuring:
            return f"Model {self._model.id} is in use already; its figures are being measured."
        return "Not yet cross-validated."

    def _fill_numbers(self, figures: Sequence[Figure]) -> None:
        clear(self._grid)
        self._numbers.setVisible(bool(figures))
        if not figures:
            return
        tips = (
            "Over the repeats of cross-validation: mean ± standard deviation",
            "How far the figure may be off on other wells, from how the annotated wells differ",
        )
        self._grid.addWidget(_number("mean ± sd", tips[0], is_heading=True), 0, 1)
        self._grid.addWidget(_number("95 % interval", tips[1], is_heading=True), 0, 2)
        for line, figure in enumerate(figures, start=1):
            name = QLabel(_short(figure.name))
            name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            name.setToolTip(_name_tip(figure))
            self._grid.addWidget(name, line, 0)
            self._grid.addWidget(_number(_mean_text(figure), tips[0]), line, 1)
            self._grid.addWidget(
                _number(figure.interval_text().removesuffix(" to say"), tips[1]), line, 2
            )
        self._grid.setColumnStretch(0, 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Recorded:
    """The figures of a model, as far as it has them."""

    model: str = ""
    is_measured: bool = False
    sentence: str = ""
    figures: tuple[Figure, ...] = ()
    confusion: NDArray[np.float64] | None = None
    reliability: Reliability | None = None
    curve: LearningCurve | None = None

    @property
    def has_charts(self) -> bool:
        charts = (self.confusion, self.reliability, self.curve)
        return any(chart is not None for chart in charts)

    @property
    def lacks_charts(self) -> bool:
        """Whether more could be measured; not with a single cell of a class."""
        charts = (self.confusion, self.reliability, self.curve)
        return bool(self.figures) and any(chart is None for chart in charts)

    @classmethod
    def of(cls, model: str, recorded: Figures | None, threshold: float) -> _Recorded:
        if recorded is None:
            return cls(model=model)
        figures = recorded.at(threshold)
        return cls(
            model=model,
            is_measured=True,
            sentence=figures.explained(),
            figures=figures.figures,
            confusion=None if figures.confusion is None else np.asarray(figures.confusion),
            reliability=figures.reliability,
            curve=figures.learning_curve,
        )


_NOTHING = _Recorded()


def _name_tip(figure: Figure) -> str:
    perfect = figure.perfect
    if perfect is None:
        return figure.name
    return (
        f"{figure.name.capitalize()}: how far, on average, the share of abnormal cells is "
        "from the score they were given, in ten bins of equal width. The lower the better; "
        f"scores that are exactly right would give {perfect:.3f} with so many cells."
    )


def _short(name: str) -> str:
    """Name of a figure that fits its column; all of it is in the tooltip."""
    for whole, short in (
        (" of the abnormal class", ", abnormal"),
        (" of the normal class", ", normal"),
        ("expected calibration", "calibration"),
    ):
        name = name.replace(whole, short)
    return name


def _mean_text(figure: Figure) -> str:
    if figure.mean is None:
        return "–"
    sd = "" if figure.sd is None else f" ± {figure.sd:.3f}"
    return f"{figure.mean:.3f}{sd}"


def _number(text: str, tip: str, *, is_heading: bool = False) -> QLabel:
    label = QLabel(text)
    label.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    label.setToolTip(tip)
    if is_heading:
        font = label.font()
        font.setItalic(True)
        label.setFont(font)
    return label
