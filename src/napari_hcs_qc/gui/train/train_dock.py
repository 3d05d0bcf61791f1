"""Retrain: a button, how good the model is, and the models before it."""

from __future__ import annotations

from dataclasses import replace

from qtpy.QtCore import QSignalBlocker, Signal

from napari_hcs_qc.assay.models.train_options import TrainOptions
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.gui.canvas.dock import Dock
from napari_hcs_qc.gui.canvas.novelty_line import NoveltyLine
from napari_hcs_qc.gui.keys.key_names import RETRAIN
from napari_hcs_qc.gui.keys.own_keys import shown
from napari_hcs_qc.gui.session.job_bar import JobBar
from napari_hcs_qc.gui.train.model_errors import ModelErrors
from napari_hcs_qc.gui.train.model_figures import ModelFigures
from napari_hcs_qc.gui.train.model_history_view import ModelHistory
from napari_hcs_qc.gui.widgets.controls import (
    check_box,
    column,
    divider,
    form,
    heading,
    holder,
    line_edit,
    push_button,
    row,
    set_tab_order,
    spin_box,
)
from napari_hcs_qc.gui.widgets.following import follow
from napari_hcs_qc.gui.widgets.option_form import Option, OptionForm
from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel
from napari_hcs_qc.heads.head_names import ABOUT_HEADS
from napari_hcs_qc.text import count_of

_AUTO_EVERY = 10


class TrainDock(Dock):
    """Retrains the assay's model, shows its figures, and keeps its history."""

    value_changed = Signal(object)

    def _make(self) -> None:
        self._training = self._workspace.training
        self._make_widgets()
        self._jobs = JobBar(self._session.jobs, ("retrain", "figures", "compare"), parent=self)
        self.figures = ModelFigures()
        self.errors = ModelErrors(self._workspace)
        self.errors.hide()
        self.history = ModelHistory()
        options = form(
            ("Head", self._options["head"]),
            ("Retrain", row(self._auto, self._every, None)),
            ("Cut cells", self._include_cut),
            ("Note", self._note),
        )
        self._above = holder(column(NoveltyLine(self._session), options))
        self._below = holder(column(divider(), heading("Models"), self.history, None))
        self._lay_out(
            self._retrain,
            self._clicks,
            self._above,
            self._jobs,
            divider(),
            self.figures,
            (self.errors, 1),
            (self._below, 1),
            spacing=6,
        )
        set_tab_order(
            self._retrain,
            self._options["head"],
            self._auto,
            self._every,
            self._include_cut,
            self._note,
            self.figures,
            self.errors,
        )
        self._connect()
        self.set_value(self._session.options.value())
        self.refresh()
        self._list_models()

    # ---- what is chosen ------------------------------------------------------------------

    def value(self) -> TrainOptions:
        """Options with the head that is shown."""
        return replace(self._session.options.value(), **self._options.value())

    def set_value(self, options: TrainOptions) -> None:
        """Show the head that is chosen."""
        self._options.set_value(head=options.head)
        self._options["head"].setToolTip(ABOUT_HEADS.get(options.head, options.head))

    def refresh(self, *_: object) -> None:
        """Show what can be done, and the model in use."""
        session = self._session
        self._retrain.setEnabled(session.selection.state is not None)
        self._clicks.setText(self._click_text())
        models = session.models
        shown = (self.figures.value(), self.figures.threshold)
        if shown != (models.model, models.threshold):
            self.figures.set_value(models.model, models.threshold)
        self.figures.set_measuring(session.jobs.newest("figures") is not None)
        self._include_cut.setEnabled(session.assay.folder is not None)
        with QSignalBlocker(self._include_cut):
            self._include_cut.setChecked(session.assay.include_cut)

    # ---- actions -------------------------------------------------------------------------

    def _write_note(self, text: str) -> None:
        self._training.next_note = text

    def _choose_head(self) -> None:
        options = self.value()
        self.set_value(options)
        if options != self._session.options.value():
            self._session.options.set_value(options)
            self.value_changed.emit(options)

    def _set_auto(self, *_: object) -> None:
        self._every.setEnabled(self._auto.isChecked())
        self._training.auto_retrain_every = self._every.value() if self._auto.isChecked() else 0

    def _set_include_cut(self, include_cut: bool) -> None:
        try:
            self._session.assay.set_include_cut(include_cut)
        except HcsQcError as error:  # while cells are being found, for example
            self._session.message.emit("error", str(error))
            self.refresh()

    def _show_errors(self, are_shown: bool) -> None:
        """Give the room of options, figures and models to the errors, or back."""
        for part in (self._above, self._below):
            part.setVisible(not are_shown)
        self.errors.setVisible(are_shown)

    def _list_models(self) -> None:
        job = self._training.list_models()
        if job is None:
            self.history.set_lines(())
        else:
            job.finished.connect(self.history.set_lines)

    def _compare(self, older: str, newer: str) -> None:
        job = self._training.compare(older, newer)
        if job is not None:
            self.history.set_comparison(None)
            job.finished.connect(self.history.set_comparison)

    def _model_changed(self) -> None:
        self.figures.set_value(self._session.models.model, self._session.models.threshold)
        if self._note.text() != self._training.next_note:
            self._note.setText(self._training.next_note)
        self.refresh()
        self._list_models()

    def _assay_changed(self) -> None:
        self.history.set_comparison(None)
        self.set_value(self._session.options.value())
        self._model_changed()

    def _jobs_changed(self, *_: object) -> None:
        self.figures.set_measuring(self._session.jobs.newest("figures") is not None)

    # ---- text ----------------------------------------------------------------------------

    def _click_text(self) -> str:
        session = self._session
        if session.assay.folder is None:
            return "Open a plate or an assay first (Plate panel)."
        if session.selection.state is None:
            return "The cells of this plate have not been found yet; find them first (Plate panel)."
        n = self._training.clicks_since_training
        clicks = count_of(n, "new annotation") if n else "no new annotations"
        model = session.models.model
        used = "No model yet" if model is None else f"Model {model.id} is in use"
        left_out = "" if model is None else f" {model.manifest.left_out}"
        return f"{used}; {clicks} in this session.{left_out}".strip()

    # ---- making --------------------------------------------------------------------------

    def _write_keys(self) -> None:
        self._retrain.setText(f"Retrain  ({shown(RETRAIN)})")
        self._retrain.setToolTip(
            "Trains on all annotations and classifies every cell and well of the assay again "
            f"({shown(RETRAIN)}). The previous model stays in use until the new one is ready."
        )

    def _make_widgets(self) -> None:
        self._retrain = push_button("Retrain", "", lambda: self._training.retrain())
        font = self._retrain.font()
        font.setBold(True)
        font.setPointSizeF(font.pointSizeF() * 1.2)
        self._retrain.setFont(font)
        self._retrain.setMinimumHeight(44)
        self._clicks = WrappedLabel()
        heads = {name: (name, about) for name, about in ABOUT_HEADS.items()}
        self._options = OptionForm(TrainOptions, {"head": Option(tip="", choices=heads)}, self)
        self._auto = check_box(
            "after every", "Retrain automatically after this number of annotations."
        )
        self._every = spin_box(
            1,
            1000,
            "Number of annotation actions after which the model is retrained automatically.",
            suffix=" annotations",
        )
        self._every.setValue(_AUTO_EVERY)
        self._every.setEnabled(False)
        self._include_cut = check_box(
            "train on them and count them",
            "Cells that the image border cuts look abnormal to the model, so they are left out of "
            "training, shares, flags and suggestions. Tick to treat them like whole cells. Wells "
            "follow at once, the model with the next Retrain. Kept with the assay.",
        )
        self._note = line_edit(
            "Stored with the next model and shown in the list below.", "what has changed"
        )

    def _connect(self) -> None:
        session, training = self._session, self._training
        self._note.textEdited.connect(self._write_note)
        self._options.value_changed.connect(self._choose_head)
        self._auto.toggled.connect(self._set_auto)
        self._every.valueChanged.connect(self._set_auto)
        self._include_cut.toggled.connect(self._set_include_cut)
        self.figures.measure_requested.connect(lambda: training.measure())
        self.figures.errors_toggled.connect(self._show_errors)
        self.history.noted.connect(training.set_note)
        self.history.compare_requested.connect(self._compare)
        self.history.restore_requested.connect(training.restore)
        follow(session.options.changed, self, lambda: self.set_value(session.options.value()))
        training.model_changed.connect(self._model_changed)
        session.assay.changed.connect(self._assay_changed)
        session.assay.include_cut_changed.connect(self.refresh)
        session.selection.plate_changed.connect(self.refresh)
        session.settled.connect(self.refresh)
        session.models.scored_changed.connect(self.refresh)
        session.jobs.changed.connect(self._jobs_changed)
