"""Training an encoder on the assay's own cells, without any annotation."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QComboBox, QLabel, QWidget

from napari_hcs_qc.encoders.registry import list_custom_encoders, list_encoders
from napari_hcs_qc.gui.session.job_bar import JobBar
from napari_hcs_qc.gui.widgets.controls import form, heading, lay_out, name_parts, push_button, row
from napari_hcs_qc.gui.widgets.following import follow
from napari_hcs_qc.gui.widgets.option_form import Option, OptionForm
from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel
from napari_hcs_qc.job import duration
from napari_hcs_qc.study.gui.training_view import LossChart, NeighboursView
from napari_hcs_qc.study.ssl.collapse_watch import warnings_before
from napari_hcs_qc.study.ssl.pretrain_settings import (
    METHOD_NAMES,
    PRESET_NAMES,
    Pretraining,
    PretrainOptions,
    measured_text,
    preset,
)

if TYPE_CHECKING:
    from napari_hcs_qc.gui.canvas.workspace import Workspace
    from napari_hcs_qc.gui.session.background_jobs import BackgroundJob
    from napari_hcs_qc.study.ssl.training_state import Report

_METHODS = {
    "simclr": ("SimCLR", "Two views of a cell are more similar than views of different cells."),
    "barlow-twins": ("Barlow Twins", "The two views agree, and features are decorrelated."),
    "vicreg": (
        "VICReg",
        "The two views agree, every feature varies, and features are decorrelated.",
    ),
    "deepclusterv2": (
        "DeepClusterV2",
        "Cells are classified by the cluster they were assigned to before.",
    ),
    "swav": ("SwAV", "One view predicts the prototype that the other is assigned to."),
}
_PRESETS = {
    "default": "Settings that work on plates with a few thousand cells or more.",
    "paper": "Settings of Masud, Cohen et al. (2022).",
}
_SCRATCH = "random weights (ResNet18)"
_MOST_EPOCHS, _MOST_CELLS = 1000, 10_000_000

_OFFERED = {
    "method": Option(
        tip="How the encoder learns from unannotated cells.",
        choices={name: _METHODS[name] for name in METHOD_NAMES},
    ),
    "preset": Option(
        tip="Training settings.", choices={name: (name, _PRESETS[name]) for name in PRESET_NAMES}
    ),
    "n_cells": Option(
        tip="Number of cells to train on, drawn from all plates.",
        high=_MOST_CELLS,
        step=1000,
        if_none="all",
    ),
    "input_px": Option(
        tip="Side of the crops in px; smaller trains faster and sees less.",
        high=512,
        step=32,
        if_none="as in the recipe",
    ),
    "start_from": Option(tip="Weights to start from.", choices={"": _SCRATCH}),
    "name": Option(tip="Name of the encoder in the list above."),
}


class _Reports(QObject):
    """Carries reports of the worker's thread into the main thread."""

    report = Signal(object)


class PretrainPanel(QWidget):
    """Chooses a self-supervised method, trains it in the background, and shows how it goes."""

    trained = Signal(str)

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session, self._tasks = workspace.session, workspace.tasks
        self._job: BackgroundJob | None = None
        self._pause_requested = threading.Event()
        self._make_widgets()
        self._jobs = JobBar(self._session.jobs, ("pretrain",))
        self._lay_out()
        name_parts(self)
        self._connect()
        self._use_preset()
        self.refresh()

    # ---- what is chosen ------------------------------------------------------------------

    def value(self) -> PretrainOptions:
        """Give the training as shown."""
        fields = self._options.value()
        epochs = self._settings.value()["epochs"]
        usual = preset(fields["method"], fields["preset"])
        changes = {} if epochs == usual.epochs else {"epochs": epochs}
        chosen = self._session.options.value()
        return PretrainOptions(
            **fields, changes=changes, recipe=chosen.recipe, rgb=chosen.rgb, device=chosen.device
        )

    def set_value(self, options: PretrainOptions) -> None:
        """Show a training; recipe, colours and device are those of the assay."""
        self._options.set_value(**{name: getattr(options, name) for name in _OFFERED})
        self._settings.set_value(epochs=options.settings.epochs)
        self.refresh()

    def refresh(self, *_: object) -> None:
        """Show what would be trained, and what can be done."""
        is_running = self._session.jobs.newest("pretrain") is not None
        has_cells = self._session.selection.state is not None
        self._train.setEnabled(has_cells and not is_running)
        self._pause.setEnabled(is_running)
        for options in (self._options, self._settings):
            options.set_enabled(not is_running)
        self._options["name"].setPlaceholderText(self.value().encoder_name)
        self._about.setText(self._text())

    # ---- actions -------------------------------------------------------------------------

    def train(self) -> None:
        """Train in the background; a training that was stopped goes on where it was."""
        from napari_hcs_qc.study.ssl.pretrain_assay import pretrain_encoder

        options = self.value()
        reports = _Reports(self)
        reports.report.connect(self.show_report)
        self._pause_requested.clear()
        # `on_report` and `is_paused` are called in the worker's thread.
        job = self._tasks.run_on_assay(
            f"Training the encoder {options.encoder_name}",
            pretrain_encoder,
            options,
            slot="pretrain",
            on_report=reports.report.emit,
            is_paused=self._pause_requested.is_set,
        )
        if job is None:
            reports.deleteLater()
            return
        self._job = job
        self._curve.set_value([[0, 0]], 1)
        self._neighbours.set_value(None)
        self._progress.setText("")
        self._warnings.setText("")
        follow(job.finished, self, lambda made: self._trained(made.name))
        for ended in (job.finished, job.failed, job.cancelled):
            ended.connect(reports.deleteLater)
        self.refresh()

    def show_report(self, report: Report) -> None:
        """Show how a training goes."""
        self._curve.set_value(report.curve, report.n_steps)
        if report.neighbours is not None:
            self._neighbours.set_value(report.neighbours)
        self._progress.setText(_progress(report))
        self._warnings.setText("\n".join(f"▲ {item}" for item in report.warnings))
        for part in (self._curve, self._neighbours, self._progress):
            part.setVisible(True)
        self._warnings.setVisible(bool(report.warnings))

    def _pause_or_go_on(self, is_paused: bool) -> None:
        if is_paused:
            self._pause_requested.set()
        else:
            self._pause_requested.clear()
        self._pause.setText("Resume" if is_paused else "Pause")

    def _trained(self, name: str) -> None:
        self.trained.emit(name)
        self._session.message.emit(
            "info", f"The encoder {name} is trained. Choose it in the list, then press Retrain."
        )

    def _jobs_changed(self) -> None:
        if self._session.jobs.newest("pretrain") is None:
            self._pause.setChecked(False)
        self.refresh()

    def _edited(self, name: str) -> None:
        if name in ("method", "preset"):
            self._use_preset()
        else:
            self.refresh()

    def _use_preset(self) -> None:
        fields = self._options.value()
        self._settings.set_value(epochs=preset(fields["method"], fields["preset"]).epochs)
        self.refresh()

    def list_starts(self) -> None:
        """List what a training can start from: those encoders whose weights are here."""
        folder = self._session.assay.folder
        own = [] if folder is None else list_custom_encoders(folder.encoders_folder)
        starts = {"": _SCRATCH}
        for info in (*list_encoders(), *own):
            if info.ready:
                starts[info.name] = f"{info.name} ({info.architecture})"
        self._options.set_choices("start_from", starts)

    # ---- text ----------------------------------------------------------------------------

    def _text(self) -> str:
        session = self._session
        states = [item.state for item in session.assay.plates if item.state is not None]
        if session.assay.folder is None or not states:
            return "Find the cells of a plate first (Plate panel)."
        there = sum(len(state.plate_cells.cells) for state in states)
        n_cells = min(self._options.value()["n_cells"] or there, there)
        settings = self.value().settings
        plates = "1 plate" if len(states) == 1 else f"{len(states)} plates"
        steps = max(1, n_cells // settings.batch_size)
        each = "1 step" if steps == 1 else f"{steps:,} steps"
        lines = [
            f"{n_cells:,} of {there:,} cells of {plates}, {each} per epoch; annotations are not "
            "used.",
            measured_text(settings.method, settings.preset),
        ]
        if session.jobs.newest("pretrain") is None:  # else they stand below, with what came since
            lines += [f"▲ {item}" for item in warnings_before(settings, n_cells)]
        return "\n".join(lines)

    # ---- making --------------------------------------------------------------------------

    def _make_widgets(self) -> None:
        self._options = OptionForm(PretrainOptions, _OFFERED, self)
        epochs = Option(tip="How often each cell is used.", low=1, high=_MOST_EPOCHS)
        self._settings = OptionForm(Pretraining, {"epochs": epochs}, self)
        start = self._options["start_from"]
        start.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        start.setMinimumContentsLength(10)
        self._about = WrappedLabel()
        self._train = push_button(
            "Train encoder",
            "Trains in the background: minutes on a GPU, hours on a CPU. Cancelling keeps the "
            "progress; the same training can be resumed.",
            self.train,
        )
        self._pause = push_button("Pause", "Pauses the training to free the CPU for other work.")
        self._pause.setCheckable(True)
        self._progress = WrappedLabel()
        self._curve = LossChart()
        self._neighbours = NeighboursView()
        self._warnings = WrappedLabel()
        for part in (self._progress, self._curve, self._neighbours, self._warnings):
            part.setVisible(False)
        self.list_starts()

    def _lay_out(self) -> None:
        options, epochs = self._options, self._settings["epochs"]
        lay_out(
            self,
            heading("Train one on this assay's own cells"),
            row((self._train, 1), self._pause),  # in sight, however low the window is
            form(
                ("Method", row((options["method"], 1), options["preset"])),
                ("Epochs", row(epochs, QLabel("Cells"), (options["n_cells"], 1))),
                ("Crops", options["input_px"]),
                ("Start from", options["start_from"]),
                ("Name", options["name"]),
            ),
            self._about,
            self._jobs,
            self._progress,
            self._warnings,
            self._curve,
            self._neighbours,
            spacing=6,
        )

    def _connect(self) -> None:
        self._options.value_changed.connect(self._edited)
        self._settings.value_changed.connect(self.refresh)
        self._pause.toggled.connect(self._pause_or_go_on)
        session = self._session
        session.jobs.changed.connect(self._jobs_changed)
        session.assay.changed.connect(self._assay_changed)
        session.selection.plate_changed.connect(self.refresh)

    def _assay_changed(self) -> None:
        self.list_starts()
        for part in (self._progress, self._curve, self._neighbours, self._warnings):
            part.setVisible(False)
        self.refresh()


def _progress(report: Report) -> str:
    loss = f", loss {report.curve[-1, 1]:.3f}" if len(report.curve) else ""
    speed = f"; {report.crops_per_s:,.0f} views/s" if report.crops_per_s else ""
    is_known = report.seconds_left == report.seconds_left  # NaN while it is unknown
    left = f", {duration(report.seconds_left)} left" if is_known and report.seconds_left else ""
    return f"Epoch {min(report.epoch + 1, report.n_epochs)} of {report.n_epochs}{loss}{speed}{left}"
