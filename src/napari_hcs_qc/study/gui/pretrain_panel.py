"""Training an encoder on the assay's own cells, without any annotation."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_hcs_qc.encoders.registry import list_custom_encoders, list_encoders
from napari_hcs_qc.gui.session.job_bar import JobBar
from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel
from napari_hcs_qc.job import duration
from napari_hcs_qc.study.gui.loss_chart import LossChart
from napari_hcs_qc.study.gui.neighbours_view import NeighboursView
from napari_hcs_qc.study.ssl.collapse_watch import warnings_before
from napari_hcs_qc.study.ssl.pretrain_assay import PretrainOptions, pretrain_encoder
from napari_hcs_qc.study.ssl.pretrain_settings import (
    DEFAULT_METHOD,
    METHOD_NAMES,
    PRESET_NAMES,
    measured_words,
    preset,
)

if TYPE_CHECKING:
    from napari_hcs_qc.gui.canvas.workspace import Workspace
    from napari_hcs_qc.gui.session.background_jobs import BackgroundJob
    from napari_hcs_qc.study.ssl.training_report import Report

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


class _Told(QObject):
    """Carries what the worker's thread tells into the main thread."""

    report = Signal(object)


class PretrainPanel(QWidget):
    """Chooses a self-supervised method, trains it in the background, and shows how it goes."""

    trained = Signal(str)

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session, self._tasks = workspace.session, workspace.tasks
        self._job: BackgroundJob | None = None
        self._pause_asked = threading.Event()
        self._make_widgets()
        self._jobs = JobBar(self._session.jobs, ("pretrain",))
        self._lay_out()
        self._connect()
        self._take_preset()
        self.refresh()

    # ---- what is chosen ------------------------------------------------------------------

    def value(self) -> PretrainOptions:
        """Give the training as shown."""
        method, name = self._method.currentData(), self._preset.currentData()
        usual = preset(method, name)
        epochs = self._epochs.value()
        chosen = self._tasks.options
        return PretrainOptions(
            method=method,
            preset=name,
            changes={} if epochs == usual.epochs else {"epochs": epochs},
            name=self._name.text().strip() or None,
            n_cells=self._cells.value() or None,
            recipe=chosen.recipe,
            rgb=chosen.rgb,
            input_px=self._side.value() or None,
            start_from=self._start.currentData() or None,
            device=chosen.device,
        )

    def set_value(self, options: PretrainOptions) -> None:
        """Show a training; recipe, colours and device are those of the assay."""
        for box, data in ((self._method, options.method), (self._preset, options.preset)):
            box.setCurrentIndex(max(0, box.findData(data)))
        self._take_preset()
        self._epochs.setValue(options.settings.epochs)
        self._name.setText(options.name or "")
        self._cells.setValue(options.n_cells or 0)
        self._side.setValue(options.input_px or 0)
        self._start.setCurrentIndex(max(0, self._start.findData(options.start_from or "")))
        self.refresh()

    def refresh(self, *_: object) -> None:
        """Say anew what would be trained, and what can be done."""
        is_running = self._session.jobs.newest("pretrain") is not None
        has_cells = self._session.state is not None
        self._train.setEnabled(has_cells and not is_running)
        self._pause.setEnabled(is_running)
        for box in self._chosen:
            box.setEnabled(not is_running)
        self._name.setPlaceholderText(self.value().encoder_name)
        self._about.setText(self._words())

    # ---- actions -------------------------------------------------------------------------

    def train(self) -> None:
        """Train in the background; a training that was stopped goes on where it was."""
        options = self.value()
        told = _Told(self)
        told.report.connect(self.show_report)
        self._pause_asked.clear()
        # `on_report` and `is_paused` are called in the worker's thread.
        job = self._tasks.run_on_assay(
            f"Training the encoder {options.encoder_name}",
            pretrain_encoder,
            options,
            slot="pretrain",
            on_report=told.report.emit,
            is_paused=self._pause_asked.is_set,
        )
        if job is None:
            told.deleteLater()
            return
        self._job = job
        self._curve.set_value([[0, 0]], 1)
        self._alike.set_value(None)
        self._goes.setText("")
        self._warnings.setText("")
        job.finished.connect(lambda made: self._trained(made.name))
        for ended in (job.finished, job.failed, job.cancelled):
            ended.connect(told.deleteLater)
        self.refresh()

    def show_report(self, report: Report) -> None:
        """Show how a training goes."""
        self._curve.set_value(report.curve, report.n_steps)
        if report.neighbours is not None:
            self._alike.set_value(report.neighbours)
        self._goes.setText(_goes(report))
        self._warnings.setText("\n".join(f"▲ {one}" for one in report.warnings))
        for part in (self._curve, self._alike, self._goes):
            part.setVisible(True)
        self._warnings.setVisible(bool(report.warnings))

    def _pause_or_go_on(self, is_paused: bool) -> None:
        if is_paused:
            self._pause_asked.set()
        else:
            self._pause_asked.clear()
        self._pause.setText("Resume" if is_paused else "Pause")

    def _trained(self, name: str) -> None:
        self.trained.emit(name)
        self._session.told.emit(
            "info", f"The encoder {name} is trained. Choose it in the list, then press Retrain."
        )

    def _jobs_changed(self) -> None:
        if self._session.jobs.newest("pretrain") is None:
            self._pause.setChecked(False)
        self.refresh()

    def _take_preset(self, *_: object) -> None:
        usual = preset(self._method.currentData(), self._preset.currentData())
        self._epochs.setValue(usual.epochs)
        self.refresh()

    def list_starts(self) -> None:
        """List what a training can start from: those encoders whose weights are here."""
        before = self._start.currentData()
        assay = self._session.assay
        own = [] if assay is None else list_custom_encoders(assay.encoders_folder)
        self._start.clear()
        self._start.addItem(_SCRATCH, "")
        for info in (*list_encoders(), *own):
            if info.ready:
                self._start.addItem(f"{info.name} ({info.architecture})", info.name)
        self._start.setCurrentIndex(max(0, self._start.findData(before)))

    # ---- words ---------------------------------------------------------------------------

    def _words(self) -> str:
        session = self._session
        states = [one.state for one in session.plates if one.state is not None]
        if session.assay is None or not states:
            return "Find the cells of a plate first (Plate panel)."
        there = sum(len(state.found.cells) for state in states)
        n_cells = min(self._cells.value() or there, there)
        settings = self.value().settings
        plates = "1 plate" if len(states) == 1 else f"{len(states)} plates"
        steps = max(1, n_cells // settings.batch_size)
        each = "1 step" if steps == 1 else f"{steps:,} steps"
        lines = [
            f"{n_cells:,} of {there:,} cells of {plates}, {each} per epoch; annotations are not "
            "used.",
            measured_words(settings.method, settings.preset),
        ]
        if session.jobs.newest("pretrain") is None:  # else they stand below, with what came since
            lines += [f"▲ {one}" for one in warnings_before(settings, n_cells)]
        return "\n".join(lines)

    # ---- making --------------------------------------------------------------------------

    def _make_widgets(self) -> None:
        self._title = QLabel("Train one on this assay's own cells")
        font = self._title.font()
        font.setBold(True)
        self._title.setFont(font)
        self._method = QComboBox()
        for name in METHOD_NAMES:
            shown, tip = _METHODS[name]
            self._method.addItem(shown, name)
            last = self._method.count() - 1
            self._method.setItemData(last, tip, Qt.ItemDataRole.ToolTipRole)
        self._method.setCurrentIndex(METHOD_NAMES.index(DEFAULT_METHOD))
        self._method.setToolTip("How the encoder learns from unannotated cells.")
        self._preset = QComboBox()
        for name in PRESET_NAMES:
            self._preset.addItem(name, name)
            last = self._preset.count() - 1
            self._preset.setItemData(last, _PRESETS[name], Qt.ItemDataRole.ToolTipRole)
        self._preset.setToolTip("Training settings.")
        self._epochs = _spin(1, _MOST_EPOCHS, "", "How often each cell is used.")
        self._cells = _spin(
            0, _MOST_CELLS, "all", "Number of cells to train on, drawn from all plates."
        )
        self._cells.setSingleStep(1000)
        self._side = _spin(
            0,
            512,
            "as in the recipe",
            "Side of the crops in px; smaller trains faster and sees less.",
        )
        self._side.setSingleStep(32)
        self._start = QComboBox()
        self._start.setToolTip("Weights to start from.")
        self._start.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self._start.setMinimumContentsLength(10)
        self._name = QLineEdit()
        self._name.setToolTip("Name of the encoder in the list above.")
        self._chosen = (
            self._method, self._preset, self._epochs, self._cells, self._side, self._start,
            self._name,
        )  # fmt: skip
        self._about = WrappedLabel()
        self._train = QPushButton("Train encoder")
        self._train.setToolTip(
            "Trains in the background: minutes on a GPU, hours on a CPU. Cancelling keeps the "
            "progress; the same training can be resumed."
        )
        self._pause = QPushButton("Pause")
        self._pause.setCheckable(True)
        self._pause.setToolTip("Pauses the training to free the CPU for other work.")
        self._goes = WrappedLabel()
        self._curve = LossChart()
        self._alike = NeighboursView()
        self._warnings = WrappedLabel()
        for part in (self._goes, self._curve, self._alike, self._warnings):
            part.setVisible(False)
        self.list_starts()

    def _lay_out(self) -> None:
        how = QHBoxLayout()
        how.addWidget(self._method, 1)
        how.addWidget(self._preset)
        much = QHBoxLayout()
        much.addWidget(self._epochs)
        much.addWidget(QLabel("Cells"))
        much.addWidget(self._cells, 1)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Method", how)
        form.addRow("Epochs", much)
        form.addRow("Crops", self._side)
        form.addRow("Start from", self._start)
        form.addRow("Name", self._name)
        buttons = QHBoxLayout()
        buttons.addWidget(self._train, 1)
        buttons.addWidget(self._pause)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self._title)
        layout.addLayout(form)
        layout.addWidget(self._about)
        layout.addLayout(buttons)
        layout.addWidget(self._jobs)
        layout.addWidget(self._goes)
        layout.addWidget(self._warnings)
        layout.addWidget(self._curve)
        layout.addWidget(self._alike)

    def _connect(self) -> None:
        self._method.activated.connect(self._take_preset)
        self._preset.activated.connect(self._take_preset)
        for spin in (self._epochs, self._cells, self._side):
            spin.valueChanged.connect(self.refresh)
        self._train.clicked.connect(self.train)
        self._pause.toggled.connect(self._pause_or_go_on)
        session = self._session
        session.jobs.changed.connect(self._jobs_changed)
        session.assay_changed.connect(self._assay_changed)
        session.plate_changed.connect(self.refresh)

    def _assay_changed(self) -> None:
        self.list_starts()
        for part in (self._goes, self._curve, self._alike, self._warnings):
            part.setVisible(False)
        self.refresh()


def _spin(low: int, high: int, if_low: str, tip: str) -> QSpinBox:
    spin = QSpinBox()
    spin.setRange(low, high)
    spin.setGroupSeparatorShown(True)
    spin.setSpecialValueText(if_low)
    spin.setToolTip(tip)
    line = spin.lineEdit()
    if line is not None:
        line.setToolTip(tip)  # which covers all of it but the arrows
    return spin


def _goes(report: Report) -> str:
    loss = f", loss {report.curve[-1, 1]:.3f}" if len(report.curve) else ""
    speed = f"; {report.crops_per_s:,.0f} views/s" if report.crops_per_s else ""
    is_known = report.seconds_left == report.seconds_left  # NaN while it is unknown
    left = f", {duration(report.seconds_left)} left" if is_known and report.seconds_left else ""
    return f"Epoch {min(report.epoch + 1, report.n_epochs)} of {report.n_epochs}{loss}{speed}{left}"
