"""Retrain: one button, how good the model is, and the models before it."""

from __future__ import annotations

import inspect
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_hcs_qc.gui.canvas.novelty_line import UnlikeLine
from napari_hcs_qc.gui.canvas.workspace import workspace_of
from napari_hcs_qc.gui.session.job_bar import JobBar
from napari_hcs_qc.gui.train.model_figures import ModelFigures
from napari_hcs_qc.gui.train.model_history_view import ModelHistory
from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel
from napari_hcs_qc.heads.head_registry import HEADS

if TYPE_CHECKING:
    import napari.components

    from napari_hcs_qc.assay.models.train_options import TrainOptions

_AUTO_EVERY = 10


class TrainDock(QWidget):
    """Retrains the assay's model, shows its figures, and keeps its history."""

    value_changed = Signal(object)

    # The annotation is what napari looks for, letter by letter, to pass its viewer.
    def __init__(
        self, viewer: napari.components.ViewerModel, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        workspace = workspace_of(viewer)
        self._session, self._tasks = workspace.session, workspace.tasks
        self._make_widgets()
        self._jobs = JobBar(self._session.jobs, ("retrain", "figures", "compare"), parent=self)
        self.figures = ModelFigures()
        self.history = ModelHistory()
        self._lay_out()
        self._connect()
        self.set_value(self._tasks.options)
        self.refresh()
        self._list_models()

    # ---- what is chosen ------------------------------------------------------------------

    def value(self) -> TrainOptions:
        """Options with the head that is shown."""
        return replace(self._tasks.options, head=self._head.currentData())

    def set_value(self, options: TrainOptions) -> None:
        """Show the head that is chosen."""
        index = self._head.findData(options.head)
        self._head.setCurrentIndex(max(0, index))
        self._head.setToolTip(self._head.itemData(max(0, index), Qt.ItemDataRole.ToolTipRole))

    def refresh(self, *_: object) -> None:
        """Say anew what can be done, and show the model in use."""
        session = self._session
        self._retrain.setEnabled(session.state is not None)
        self._clicks.setText(self._click_words())
        if self.figures.value() is not session.model:
            self.figures.set_value(session.model)
        self.figures.set_measuring(session.jobs.newest("figures") is not None)

    # ---- actions -------------------------------------------------------------------------

    def _write_note(self, text: str) -> None:
        self._tasks.next_note = text

    def _choose_head(self) -> None:
        options = self.value()
        self.set_value(options)
        if options != self._tasks.options:
            self._tasks.choose(options)
            self.value_changed.emit(options)

    def _set_auto(self, *_: object) -> None:
        self._every.setEnabled(self._auto.isChecked())
        self._tasks.auto_retrain_every = self._every.value() if self._auto.isChecked() else 0

    def _list_models(self) -> None:
        job = self._tasks.list_models()
        if job is None:
            self.history.set_lines(())
        else:
            job.finished.connect(self.history.set_lines)

    def _compare(self, older: str, newer: str) -> None:
        job = self._tasks.compare(older, newer)
        if job is not None:
            self.history.set_comparison(None)
            job.finished.connect(self.history.set_comparison)

    def _model_changed(self) -> None:
        self.figures.set_value(self._session.model)
        if self._note.text() != self._tasks.next_note:
            self._note.setText(self._tasks.next_note)
        self.refresh()
        self._list_models()

    def _assay_changed(self) -> None:
        self.history.set_comparison(None)
        self.set_value(self._tasks.options)
        self._model_changed()

    def _jobs_changed(self, *_: object) -> None:
        self.figures.set_measuring(self._session.jobs.newest("figures") is not None)

    # ---- words ---------------------------------------------------------------------------

    def _click_words(self) -> str:
        session = self._session
        if session.assay is None:
            return "Open a plate or an assay first (Plate panel)."
        if session.state is None:
            return "The cells of this plate are not known yet; find them first (Plate panel)."
        n = self._tasks.clicks_since_training
        clicks = "no new click" if n == 0 else "1 new click" if n == 1 else f"{n:,} new clicks"
        model = session.model
        used = "No model yet" if model is None else f"Model {model.id} is in use"
        return f"{used}; {clicks} in this session."

    # ---- making --------------------------------------------------------------------------

    def _make_widgets(self) -> None:
        self._retrain = QPushButton("Retrain  (Ctrl+R)")
        self._retrain.setToolTip(
            "Learns from all annotations and judges every cell and well of the assay anew "
            "(Ctrl+R). The model in use serves until the new one is ready."
        )
        font = self._retrain.font()
        font.setBold(True)
        font.setPointSizeF(font.pointSizeF() * 1.2)
        self._retrain.setFont(font)
        self._retrain.setMinimumHeight(44)
        self._clicks = WrappedLabel()
        self._head = QComboBox()
        for name, kind in HEADS.items():
            self._head.addItem(name, name)
            first_line = (inspect.getdoc(kind) or name).partition("\n")[0]
            last = self._head.count() - 1
            self._head.setItemData(last, first_line, Qt.ItemDataRole.ToolTipRole)
        self._auto = QCheckBox("by itself after")
        self._auto.setToolTip("Retrain without the button, after so many clicks.")
        self._every = QSpinBox()
        self._every.setRange(1, 1000)
        self._every.setValue(_AUTO_EVERY)
        self._every.setSuffix(" clicks")
        self._every.setToolTip("Annotation actions after which it retrains by itself.")
        self._every.setEnabled(False)
        self._note = QLineEdit()
        self._note.setPlaceholderText("what is new in it")
        self._note.setToolTip("Kept with the next model, for the list below.")

    def _lay_out(self) -> None:
        auto = QHBoxLayout()
        auto.addWidget(self._auto)
        auto.addWidget(self._every)
        auto.addStretch(1)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Head", self._head)
        form.addRow("Retrain", auto)
        form.addRow("Note", self._note)
        models = QLabel("Models")
        font = models.font()
        font.setBold(True)
        models.setFont(font)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 4, 6, 4)
        layout.setSpacing(6)
        layout.addWidget(self._retrain)
        layout.addWidget(self._clicks)
        layout.addWidget(UnlikeLine(self._session))
        layout.addLayout(form)
        layout.addWidget(self._jobs)
        layout.addWidget(_line())
        layout.addWidget(self.figures)
        layout.addWidget(_line())
        layout.addWidget(models)
        layout.addWidget(self.history)
        layout.addStretch(1)
        order = (self._retrain, self._head, self._auto, self._every, self._note, self.figures)
        for before, after in itertools.pairwise(order):
            QWidget.setTabOrder(before, after)

    def _connect(self) -> None:
        session, tasks = self._session, self._tasks
        self._retrain.clicked.connect(lambda: tasks.retrain())
        self._note.textEdited.connect(self._write_note)
        self._head.activated.connect(self._choose_head)
        self._auto.toggled.connect(self._set_auto)
        self._every.valueChanged.connect(self._set_auto)
        self.figures.measure_asked.connect(lambda: tasks.measure())
        self.history.noted.connect(tasks.set_note)
        self.history.compare_asked.connect(self._compare)
        self.history.restore_asked.connect(tasks.restore)
        tasks.options_changed.connect(lambda: self.set_value(tasks.options))
        tasks.model_changed.connect(self._model_changed)
        session.assay_changed.connect(self._assay_changed)
        session.plate_changed.connect(self.refresh)
        session.settled.connect(self.refresh)
        session.jobs.changed.connect(self._jobs_changed)


def _line() -> QFrame:
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    line.setFrameShadow(QFrame.Shadow.Sunken)
    return line
