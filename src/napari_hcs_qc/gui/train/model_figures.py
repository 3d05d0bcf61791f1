"""How well a model will do: cross-validated figures, and charts of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QGridLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_hcs_qc.gui.widgets.charts import ConfusionChart, LearningCurveChart, ReliabilityChart
from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.store.figures import Figure, Figures
    from napari_hcs_qc.assay.store.saved_model import Model
    from napari_hcs_qc.evaluation.learning_curve import LearningCurve
    from napari_hcs_qc.evaluation.reliability import Reliability


class ModelFigures(QWidget):
    """The figures of one model."""

    measure_asked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model: Model | None = None
        self._is_measuring = False
        self._own, self._shown = _NOTHING, _NOTHING
        self._last: _Read | None = None
        self._title = QLabel()
        font = self._title.font()
        font.setBold(True)
        self._title.setFont(font)
        self._sentence = WrappedLabel()
        self._measure = QPushButton("Measure now")
        self._measure.setToolTip(
            "Cross-validates this model on the cells it was trained on; some seconds."
        )
        self._measure.clicked.connect(self.measure_asked)
        self._numbers = QWidget()
        self._grid = QGridLayout(self._numbers)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(10)
        self._grid.setVerticalSpacing(1)
        self._confusion = ConfusionChart()
        self._reliability = ReliabilityChart()
        self._curve = LearningCurveChart()
        self._verdict = WrappedLabel()
        self._charts = QTabWidget()
        self._charts.setToolTip("What the figures are made of.")
        learning = QWidget()
        column = QVBoxLayout(learning)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._curve, 1)
        column.addWidget(self._verdict)
        self._charts.addTab(learning, "Enough clicks?")
        self._charts.addTab(self._confusion, "Confusion")
        self._charts.addTab(self._reliability, "Reliability")
        for index, tip in enumerate(
            (
                "Weighted F1 over the number of annotated cells: would more clicks help?",
                "Annotated against predicted class of held-out cells",
                "How often cells are abnormal that the model gives this probability",
            )
        ):
            self._charts.setTabToolTip(index, tip)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self._title, self._numbers, self._sentence, self._measure, self._charts):
            layout.addWidget(widget)
        self._show()
        self._look_again()

    def value(self) -> Model | None:
        """Give the model whose figures are shown."""
        return self._model

    def set_value(self, model: Model | None) -> None:
        """Show the figures of a model, as far as they are known."""
        self._model = model
        if model is None:
            self._last = None  # another assay may follow
        else:
            read = _Read.of(model.id, model.manifest.cross_validation)
            self._own = read
            if read.is_measured:
                self._last = read
        self._look_again()

    def set_measuring(self, is_measuring: bool) -> None:
        """Say whether figures are on their way; those before stay in sight until they are here."""
        if is_measuring != self._is_measuring:
            self._is_measuring = is_measuring
            self._look_again()

    def shown(self) -> str:
        """Id of the model whose figures are in sight, which may be the one before; or empty."""
        return self._shown.model

    def _look_again(self) -> None:
        model, own = self._model, self._own
        if model is None:
            shown = _NOTHING
        elif not own.is_measured and self._is_measuring and self._last is not None:
            shown = self._last
        else:
            shown = own
        if shown is not self._shown:
            self._shown = shown
            self._show()
        self._title.setText(f"Figures of model {shown.model}" if shown.model else "No model yet")
        self._numbers.setEnabled(model is None or shown is own)
        self._sentence.setText(self._words())
        # A model of an earlier version has figures, but not all that are drawn here.
        is_partial = not own.is_measured or own.lacks_charts
        self._measure.setVisible(model is not None and is_partial and not self._is_measuring)
        self._measure.setText("Measure the rest" if own.is_measured else "Measure now")

    def _show(self) -> None:
        shown = self._shown
        self._fill_numbers(shown.figures)
        self._confusion.set_value(shown.confusion)
        self._reliability.set_value(shown.reliability)
        self._curve.set_value(shown.curve)
        self._verdict.setText("" if shown.curve is None else shown.curve.verdict())
        self._verdict.setVisible(shown.curve is not None)
        self._charts.setVisible(shown.has_charts)

    def _words(self) -> str:
        if self._model is None:
            return (
                "Annotate normal and abnormal cells, ten of each make a start, then press Retrain."
            )
        if self._own.is_measured:
            # At 50 such cells of BBBC022 by 0.2 of weighted F1, see benchmarks/README.md.
            return (
                f"Held-out cells: {self._own.sentence.rstrip('.')}. Those chosen with Space are "
                "the hard ones: the plate as a whole is judged better than they are."
            )
        if self._is_measuring:
            return f"Model {self._model.id} is in use already; its figures are being measured."
        return "Not yet cross-validated."

    def _fill_numbers(self, figures: Sequence[Figure]) -> None:
        while (item := self._grid.takeAt(0)) is not None:
            old = item.widget()
            if old is not None:
                old.deleteLater()
        self._numbers.setVisible(bool(figures))
        if not figures:
            return
        tips = (
            "Over the repeats of cross-validation: mean ± standard deviation",
            "Over the wells that happen to be annotated, drawn anew",
        )
        self._grid.addWidget(_number("mean ± sd", tips[0], is_heading=True), 0, 1)
        self._grid.addWidget(_number("95 % interval", tips[1], is_heading=True), 0, 2)
        for row, figure in enumerate(figures, start=1):
            name = QLabel(figure.name.replace(" of the abnormal class", ", abnormal"))
            name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            name.setToolTip(_name_tip(figure))
            self._grid.addWidget(name, row, 0)
            self._grid.addWidget(_number(_mean_words(figure), tips[0]), row, 1)
            self._grid.addWidget(_number(_ends_words(figure), tips[1]), row, 2)
        self._grid.setColumnStretch(0, 1)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Read:
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
    def of(cls, model: str, found: Figures | None) -> _Read:
        if found is None:
            return cls(model=model)
        return cls(
            model=model,
            is_measured=True,
            sentence=found.sentence,
            figures=found.figures,
            confusion=None if found.confusion is None else np.asarray(found.confusion),
            reliability=found.reliability,
            curve=found.learning_curve,
        )


_NOTHING = _Read()


def _name_tip(figure: Figure) -> str:
    perfect = figure.perfect
    if perfect is None:
        return figure.name
    return (
        f"{figure.name.capitalize()}: how far, on average, the share of abnormal cells is "
        "from the P(abnormal) they were given, in ten bins of equal width. The lower the better; "
        f"probabilities that are exactly right would give {perfect:.3f} with so many cells."
    )


def _mean_words(figure: Figure) -> str:
    if figure.mean is None:
        return "–"
    sd = "" if figure.sd is None else f" ± {figure.sd:.3f}"
    return f"{figure.mean:.3f}{sd}"


def _ends_words(figure: Figure) -> str:
    low, high = figure.ci95
    return "–" if low is None or high is None else f"{low:.3f}–{high:.3f}"


def _number(text: str, tip: str, *, is_heading: bool = False) -> QLabel:
    label = QLabel(text)
    label.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    label.setToolTip(tip)
    if is_heading:
        font = label.font()
        font.setItalic(True)
        label.setFont(font)
    return label
