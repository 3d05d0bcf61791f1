"""The benchmark in a panel: which encoder and head do best on the user's own annotations."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_hcs_qc.assay.models.train_options import with_own_weights
from napari_hcs_qc.encoders.registry import DEFAULT_ENCODER, list_own_encoders
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.gui.canvas.workspace import workspace_of
from napari_hcs_qc.gui.session.job_bar import JobBar
from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel
from napari_hcs_qc.heads.head_registry import HEAD_NAMES
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.study.benchmark.benchmark_additions import check_crops, check_encoder
from napari_hcs_qc.study.benchmark.benchmark_spec import (
    BASELINE,
    BenchmarkSpec,
    EncoderSpec,
    SourceSpec,
    read_spec,
)
from napari_hcs_qc.study.benchmark.output.panels import TITLES
from napari_hcs_qc.study.benchmark.output.paper_tables import write_tables
from napari_hcs_qc.study.benchmark.sources import (
    Benchmark,
    run_benchmark,
    wrong_crops,
)
from napari_hcs_qc.study.gui.added_sources import AddedSources
from napari_hcs_qc.study.gui.benchmark_choice import BenchmarkChoice
from napari_hcs_qc.study.gui.benchmark_detail import MOST_CROPS, BenchmarkDetail
from napari_hcs_qc.study.gui.benchmark_dialogs import CropsDialog, EncoderDialog
from napari_hcs_qc.study.gui.benchmark_table import BenchmarkTable

if TYPE_CHECKING:
    import napari.components

    from napari_hcs_qc.encoders.registry import EncoderInfo
    from napari_hcs_qc.gui.session.background_jobs import BackgroundJob
    from napari_hcs_qc.study.benchmark.benchmark_plan import Planned

_FOLDER = "benchmark"
_ADDITION = "benchmark addition"


class _Told(QObject):
    """Carries what the worker's thread tells into the main thread."""

    planned = Signal(object)
    filled = Signal(object, object)


class BenchmarkDock(QWidget):
    """Chooses rows and columns, runs them in the background, shows the cells as they fill in."""

    value_changed = Signal(object)

    # The annotation is what napari looks for, letter by letter, to pass its viewer.
    def __init__(
        self, viewer: napari.components.ViewerModel, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        workspace = workspace_of(viewer)
        self._session, self._tasks = workspace.session, workspace.tasks
        self._found: Benchmark | None = None
        self._results: dict[str, Any] = {}
        self._spec: tuple[Path, BenchmarkSpec] | None = None
        self._make_widgets()
        self._lay_out()
        self._connect()
        self._list_encoders()
        self.refresh()

    # ---- what is chosen ------------------------------------------------------------------

    def value(self) -> Planned | None:
        """Give the cell of the tables that is looked at."""
        return self._table.value()

    def results(self) -> dict[str, Any]:
        """Give the results that are shown, by key."""
        return dict(self._results)

    def refresh(self, *_: object) -> None:
        """Say anew what is compared and what can be done."""
        assay = self._session.assay
        can_run = self._spec is not None or assay is not None
        self._run.setEnabled(can_run)
        is_adding = self._session.jobs.newest(_ADDITION) is not None
        for widget in (self._choice, self._sources):
            widget.setEnabled(self._spec is None)
        for button in (self._add_cells, self._add_encoder):
            button.setEnabled(self._spec is None and not is_adding)
        self._about.setText(self._source_words())
        self._close_spec.setVisible(self._spec is not None)
        self._export.setEnabled(bool(self._results))
        self._use.setEnabled(self._usable() is not None)

    # ---- actions -------------------------------------------------------------------------

    def run(self) -> None:
        """Fill the tables; cells that were filled before are only read."""
        try:
            spec, folder = self._asked()
        except HcsQcError as error:
            self._session.told.emit("warning", str(error))
            return
        told = _Told(self)
        told.planned.connect(self._planned)
        told.filled.connect(self._filled)
        job = self._session.jobs.start(
            "Benchmark",
            run_benchmark,
            spec,
            folder,
            on_plan=told.planned.emit,
            on_cell=told.filled.emit,
            slot="benchmark",
        )
        job.finished.connect(self._planned)
        job.failed.connect(lambda text: self._session.told.emit("error", text))
        for ended in (job.finished, job.failed, job.cancelled):
            ended.connect(told.deleteLater)

    def export(self, folder: Path) -> None:
        """Write the tables, plots and page of what is filled to a folder."""
        found, results = self._found, dict(self._results)
        if found is None:
            return
        job = self._session.jobs.start(
            "Exporting the benchmark", _exported, found, results, folder, slot="benchmark export"
        )
        job.finished.connect(
            lambda paths: self._session.told.emit(
                "info", f"{len(paths)} files of the benchmark written to {folder}."
            )
        )
        job.failed.connect(lambda text: self._session.told.emit("error", text))

    def use(self) -> None:
        """Choose encoder, recipe and head of the line for the assay; Retrain then uses them."""
        one = self._usable()
        if one is None or self._found is None:
            return
        cell = one.cell
        weights = {item.name: item.weights for item in self._found.spec.encoders}.get(cell.encoder)
        own = {info.name: info.weights for info in self._own_encoders()}
        if weights == own.get(cell.encoder):
            weights = None  # found by its name, wherever the assay is moved to
        # Colours and simulated cells that were chosen for something else were not measured here.
        self._tasks.choose(
            replace(
                self._tasks.options,
                encoder=None if cell.encoder == DEFAULT_ENCODER else cell.encoder,
                weights=weights,
                recipe=cell.recipe,
                rgb=(),
                head=cell.head,
                simulated=(),
            )
        )
        self._session.told.emit(
            "info",
            f"Chosen for the assay: {cell.encoder}, recipe {cell.recipe}, head {cell.head}. "
            "Press Retrain to use them.",
        )

    def open_spec(self, path: Path) -> None:
        """Take what is compared from a SPEC.toml, as the command line does."""
        try:
            self._spec = (path, read_spec(path))
        except HcsQcError as error:
            self._session.told.emit("error", str(error))
        self.refresh()

    def add_source(self, source: SourceSpec) -> None:
        """Compare on labelled crops as well, and from the assay's cells to these."""
        job = self._look_into(source.name, check_crops, source)
        job.finished.connect(self._sources.add)

    def add_encoder(self, encoder: EncoderSpec) -> None:
        """Offer an encoder with a weights file of its own."""
        own = {info.name: info.weights for info in self._own_encoders()}
        if encoder.weights != own.get(encoder.name, encoder.weights):
            self._session.told.emit(
                "error",
                f"The assay has an encoder {encoder.name} of its own, which is in the list; give "
                f"{encoder.weights} another name.",
            )
            return
        job = self._look_into(encoder.name, check_encoder, encoder)
        job.finished.connect(self._choice.add_encoder)

    # ---- inside --------------------------------------------------------------------------

    def _asked(self) -> tuple[BenchmarkSpec, Path]:
        if self._spec is not None:
            path, spec = self._spec
            return spec, path.parent / f"{path.stem}-{_FOLDER}"
        assay = self._session.assay
        if assay is None:
            raise HcsQcError("Open an assay, or a SPEC.toml, first.")
        self._list_encoders()  # another program may have trained or imported one
        own = SourceSpec(assay.path.name, "assay", assay.path)
        return self._choice.value((own, *self._sources.value())), assay.path / _FOLDER

    def _usable(self) -> Planned | None:
        """Give the line that is looked at, if it is measured and an assay can be trained so."""
        one = self._table.value()
        if one is None or self._session.assay is None or one.key not in self._results:
            return None
        is_one = one.cell.encoder != BASELINE and one.cell.head in HEAD_NAMES
        return one if is_one else None

    def _own_encoders(self) -> list[EncoderInfo]:
        assay = self._session.assay
        return [] if assay is None else list_own_encoders(assay.encoders_folder)

    def _list_encoders(self, *_: object) -> None:
        """Offer what the assay that is open has, and what it uses."""
        assay, options = self._session.assay, self._tasks.options
        if assay is not None:
            # One that is damaged is in the list, with what is wrong with it.
            with suppress(HcsQcError):
                options = with_own_weights(assay, options)
        in_use = None
        if assay is not None and options.weights is not None:
            in_use = EncoderSpec(options.encoder or DEFAULT_ENCODER, options.weights)
        self._choice.set_own(self._own_encoders(), in_use)

    def _look_into(self, name: str, check: Any, asked: SourceSpec | EncoderSpec) -> BackgroundJob:
        """Find out in the background whether something can be added."""
        job = self._session.jobs.start(f"Looking at {name}", check, asked, slot=_ADDITION)
        job.failed.connect(
            lambda text: self._session.told.emit("error", f"{name} is not added. {text}")
        )
        return job

    def _job_started(self, job: BackgroundJob) -> None:
        if job.slot == "pretrain":
            job.finished.connect(self._list_encoders)

    def _planned(self, found: Benchmark) -> None:
        self._found = found
        self._results = dict(found.results)
        pairs = dict.fromkeys(
            (one.cell.table, one.cell.train, one.cell.test) for one in found.planned
        )
        before = self._which.currentData()
        self._which.blockSignals(True)
        self._which.clear()
        for table, train, test in pairs:
            where = train if train == test else f"{train} → {test}"
            self._which.addItem(f"{TITLES[table].split(':')[0]}: {where}", (table, train, test))
            self._which.setItemData(self._which.count() - 1, TITLES[table], 3)
        index = list(pairs).index(before) if before in pairs else 0
        self._which.setCurrentIndex(index)
        self._which.blockSignals(False)
        self._show()

    def _filled(self, one: Planned, result: dict[str, Any]) -> None:
        self._results[one.key] = result
        self._table.fill(one.key, result)
        self._count()
        self.refresh()

    def _show(self, *_: object) -> None:
        found, which = self._found, self._which.currentData()
        cells = []
        if found is not None and which is not None:
            cells = [
                one
                for one in found.planned
                if (one.cell.table, one.cell.train, one.cell.test) == tuple(which)
            ]
        self._table.set_cells(cells, self._results)
        self._count()
        self.refresh()

    def _count(self) -> None:
        found = self._found
        if found is None:
            self._state.setText("")
            return
        n_cannot = sum(one.state == "cannot run" for one in found.planned)
        n_done = sum(one.key in self._results for one in found.planned)
        cannot = f"; {n_cannot} cannot run (– says why)" if n_cannot else ""
        self._state.setText(
            f"{n_done} of {len(found.planned) - n_cannot} cells of all tables are filled{cannot}."
        )

    def _look_at(self, one: Planned | None) -> None:
        result = None if one is None else self._results.get(one.key)
        self._detail.set_value(one, result)
        self.refresh()
        self.value_changed.emit(one)
        if one is None or result is None or self._found is None:
            return
        job = self._session.jobs.start(
            "Crops", wrong_crops, self._found, one, result, MOST_CROPS, slot="wrong", quiet=True
        )
        job.finished.connect(lambda found: self._detail.set_crops(*found))
        job.failed.connect(lambda text: self._session.told.emit("warning", text))

    def _assay_changed(self) -> None:
        self._found, self._results = None, {}
        self._which.clear()
        self._show()

    def _pick_cells(self) -> None:
        assay = self._session.assay
        taken = [] if assay is None else [assay.path.name]
        dialog = CropsDialog((*taken, *(one.name for one in self._sources.value())), self)
        if dialog.exec():
            self.add_source(dialog.value())

    def _pick_encoder(self) -> None:
        dialog = EncoderDialog(self)
        if dialog.exec():
            self.add_encoder(dialog.value())

    def _pick_spec(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "What is compared", "", "TOML (*.toml)")
        if path:
            self.open_spec(Path(path))

    def _pick_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Write the tables to")
        if folder:
            self.export(Path(folder))

    def _forget_spec(self) -> None:
        self._spec = None
        self._assay_changed()

    def _source_words(self) -> str:
        if self._spec is not None:
            path, spec = self._spec
            return f"As {path.name} says: {', '.join(one.name for one in spec.sources)}."
        if self._session.assay is None:
            return "Open an assay first (Plate panel), or a SPEC.toml."
        return f"On the annotated cells of {self._session.assay.path.name}."

    # ---- making --------------------------------------------------------------------------

    def _make_widgets(self) -> None:
        self._about = WrappedLabel()
        self._open_spec = QToolButton()
        self._open_spec.setText("SPEC.toml…")
        self._open_spec.setToolTip(
            "Take sources, encoders, heads and sizes from a file, as hcs-qc benchmark does."
        )
        self._close_spec = QToolButton()
        self._close_spec.setText("✕")
        self._close_spec.setToolTip("Compare on the assay's annotations again.")
        self._sources = AddedSources()
        self._add_cells = QPushButton("Add labelled cells…")
        self._add_cells.setToolTip(
            "Compare on labelled crops of another screen as well (a folder for each class, or an "
            ".npz or .npy file), and from the assay's cells to these."
        )
        self._add_encoder = QPushButton("Add an encoder…")
        self._add_encoder.setToolTip(
            "Compare an encoder with a weights file (.safetensors) that is not in the list."
        )
        self._choice = BenchmarkChoice()
        self._run = QPushButton("Run")
        self._run.setToolTip(
            "Fills the tables in the background. What was filled before is not computed again, so "
            "a cancelled run goes on where it was."
        )
        self._jobs = JobBar(self._session.jobs, ("benchmark", "benchmark export", _ADDITION))
        self._which = QComboBox()
        self._which.setToolTip("Which of the tables is shown, and of which labelled cells.")
        self._which.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self._which.setMinimumContentsLength(10)
        self._table = BenchmarkTable()
        self._state = WrappedLabel()
        self._use = QPushButton("Use this one for my assay")
        self._use.setToolTip("Chooses encoder, recipe and head of the line; then press Retrain.")
        self._export = QPushButton("Export…")
        self._export.setToolTip(
            "The tables as CSV, Markdown and LaTeX, plots and one page, the paper's figures beside."
        )
        self._detail = BenchmarkDetail()

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.addWidget(self._about, 1)
        top.addWidget(self._open_spec)
        top.addWidget(self._close_spec)
        adding = QHBoxLayout()
        adding.addWidget(self._add_cells, 1)
        adding.addWidget(self._add_encoder, 1)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Show", self._which)
        buttons = QHBoxLayout()
        buttons.addWidget(self._use, 1)
        buttons.addWidget(self._export)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 4, 6, 4)
        layout.setSpacing(6)
        layout.addLayout(top)
        layout.addWidget(self._sources)
        layout.addLayout(adding)
        layout.addWidget(self._choice)
        layout.addWidget(self._run)
        layout.addWidget(self._jobs)
        layout.addLayout(form)
        layout.addWidget(self._table)
        layout.addWidget(self._state)
        layout.addLayout(buttons)
        layout.addWidget(self._detail)
        layout.addStretch(1)

    def _connect(self) -> None:
        self._run.clicked.connect(self.run)
        self._add_cells.clicked.connect(self._pick_cells)
        self._add_encoder.clicked.connect(self._pick_encoder)
        self._open_spec.clicked.connect(self._pick_spec)
        self._close_spec.clicked.connect(self._forget_spec)
        self._which.activated.connect(self._show)
        self._table.value_changed.connect(self._look_at)
        self._use.clicked.connect(self.use)
        self._export.clicked.connect(self._pick_folder)
        self._session.assay_changed.connect(self._assay_changed)
        self._tasks.options_changed.connect(self._list_encoders)  # with each assay as well
        self._session.jobs.started.connect(self._job_started)
        self._session.jobs.changed.connect(self.refresh)


def _exported(
    found: Benchmark,
    results: dict[str, Any],
    folder: Path,
    *,
    job: Job = NO_JOB,
) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    return write_tables(list(found.planned), results, folder)
