"""The benchmark in a panel: which encoder and head do best on the user's own annotations."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QSignalBlocker, Signal
from qtpy.QtWidgets import QFileDialog

from napari_hcs_qc.assay.models.train_options import with_custom_weights
from napari_hcs_qc.encoders.registry import DEFAULT_ENCODER, list_custom_encoders
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.gui.canvas.dock import Dock
from napari_hcs_qc.gui.session.job_bar import JobBar
from napari_hcs_qc.gui.widgets.controls import (
    add_choices,
    combo_box,
    form,
    push_button,
    row,
    tool_button,
)
from napari_hcs_qc.gui.widgets.following import follow
from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel
from napari_hcs_qc.heads.head_names import HEAD_NAMES
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.study.benchmark.benchmark_spec import (
    BASELINE,
    BenchmarkSpec,
    EncoderSpec,
    SourceSpec,
    read_spec,
)
from napari_hcs_qc.study.benchmark.output.panels import TITLES
from napari_hcs_qc.study.benchmark.output.paper_tables import write_tables
from napari_hcs_qc.study.gui.added_sources import AddedSources
from napari_hcs_qc.study.gui.benchmark_choice import BenchmarkChoice
from napari_hcs_qc.study.gui.benchmark_detail import MOST_CROPS, BenchmarkDetail
from napari_hcs_qc.study.gui.benchmark_dialogs import CropsDialog, EncoderDialog
from napari_hcs_qc.study.gui.benchmark_table import BenchmarkTable
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from napari_hcs_qc.encoders.registry import EncoderInfo
    from napari_hcs_qc.gui.session.background_jobs import BackgroundJob
    from napari_hcs_qc.study.benchmark.results import Planned, Result
    from napari_hcs_qc.study.benchmark.sources import Benchmark

_FOLDER = "benchmark"
_ADDITION = "benchmark addition"


class _Progress(QObject):
    """Carries progress of the worker's thread into the main thread."""

    planned = Signal(object)
    filled = Signal(object, object)


class BenchmarkDock(Dock):
    """Chooses rows and columns, runs them in the background, shows the cells as they fill in."""

    value_changed = Signal(object)

    def _make(self) -> None:
        self._benchmark: Benchmark | None = None
        self._results: dict[str, Result] = {}
        self._spec: tuple[Path, BenchmarkSpec] | None = None
        self._make_widgets()
        self._lay_out(
            row((self._about, 1), self._open_spec, self._close_spec),
            self._sources,
            row((self._add_cells, 1), (self._add_encoder, 1)),
            self._choice,
            self._run,
            self._jobs,
            form(("Show", self._which)),
            row((self._use, 1), self._export),  # in sight, however low the window is
            self._table,
            self._state,
            self._detail,
            None,
            spacing=6,
        )
        self._which.activated.connect(self._show)
        self._table.value_changed.connect(self._look_at)
        session = self._session
        session.assay.changed.connect(self._assay_changed)
        session.options.changed.connect(self._list_encoders)  # with each assay as well
        session.jobs.started.connect(self._job_started)
        session.jobs.changed.connect(self.refresh)
        self._list_encoders()
        self.refresh()

    # ---- what is chosen ------------------------------------------------------------------

    def value(self) -> Planned | None:
        """Give the cell of the tables that is looked at."""
        return self._table.value()

    def results(self) -> dict[str, Result]:
        """Give the results that are shown, by key."""
        return dict(self._results)

    def refresh(self, *_: object) -> None:
        """Show what is compared and what can be done."""
        assay = self._session.assay.folder
        can_run = self._spec is not None or assay is not None
        self._run.setEnabled(can_run)
        is_adding = self._session.jobs.newest(_ADDITION) is not None
        for widget in (self._choice, self._sources):
            widget.setEnabled(self._spec is None)
        for button in (self._add_cells, self._add_encoder):
            button.setEnabled(self._spec is None and not is_adding)
        self._about.setText(self._source_text())
        self._close_spec.setVisible(self._spec is not None)
        self._export.setEnabled(bool(self._results))
        self._use.setEnabled(self._usable() is not None)

    # ---- actions -------------------------------------------------------------------------

    def run(self) -> None:
        """Fill the tables; cells that were filled before are only read."""
        from napari_hcs_qc.study.benchmark.sources import run_benchmark

        try:
            spec, folder = self.requested()
        except HcsQcError as error:
            self._session.message.emit("warning", str(error))
            return
        progress = _Progress(self)
        progress.planned.connect(self._planned)
        progress.filled.connect(self._filled)
        job = self._session.start(
            "Benchmark",
            run_benchmark,
            spec,
            folder,
            on_plan=progress.planned.emit,
            on_cell=progress.filled.emit,
            slot="benchmark",
        )
        job.finished.connect(self._planned)
        for ended in (job.finished, job.failed, job.cancelled):
            ended.connect(progress.deleteLater)

    def export(self, folder: Path) -> None:
        """Write the tables, plots and page of what is filled to a folder."""
        benchmark, results = self._benchmark, dict(self._results)
        if benchmark is None:
            return
        job = self._session.start(
            "Exporting the benchmark",
            _exported,
            benchmark,
            results,
            folder,
            slot="benchmark export",
        )
        job.finished.connect(
            lambda paths: self._session.message.emit(
                "info", f"{count_of(len(paths), 'file')} of the benchmark written to {folder}."
            )
        )

    def use(self) -> None:
        """Choose encoder, recipe and head of the line for the assay; Retrain then uses them."""
        entry = self._usable()
        if entry is None or self._benchmark is None:
            return
        cell = entry.cell
        weights = {item.name: item.weights for item in self._benchmark.spec.encoders}.get(
            cell.encoder
        )
        own = {info.name: info.weights for info in self._custom_encoders()}
        if weights == own.get(cell.encoder):
            weights = None  # found by its name, wherever the assay is moved to
        # Colours and simulated cells that were chosen for something else were not measured here.
        self._session.options.set_value(
            replace(
                self._session.options.value(),
                encoder=None if cell.encoder == DEFAULT_ENCODER else cell.encoder,
                weights=weights,
                recipe=cell.recipe,
                rgb=(),
                head=cell.head,
                simulated=(),
            )
        )
        self._session.message.emit(
            "info",
            f"Selected for the assay: {cell.encoder}, recipe {cell.recipe}, head {cell.head}. "
            "Press Retrain to use them.",
        )

    def open_spec(self, path: Path) -> None:
        """Take what is compared from a SPEC.toml, as the command line does."""
        try:
            self._spec = (path, read_spec(path))
        except HcsQcError as error:
            self._session.message.emit("error", str(error))
        self.refresh()

    def add_source(self, source: SourceSpec) -> None:
        """Compare on labelled crops as well, and from the assay's cells to these."""
        from napari_hcs_qc.study.benchmark.benchmark_additions import check_crops

        job = self._check_addition(source.name, check_crops, source)
        job.finished.connect(self._sources.add)

    def add_encoder(self, encoder: EncoderSpec) -> None:
        """Offer an encoder with a weights file of its own."""
        from napari_hcs_qc.study.benchmark.benchmark_additions import check_encoder

        own = {info.name: info.weights for info in self._custom_encoders()}
        if encoder.weights != own.get(encoder.name, encoder.weights):
            self._session.message.emit(
                "error",
                f"The assay already has an encoder {encoder.name}, which is in the list; give "
                f"{encoder.weights} another name.",
            )
            return
        job = self._check_addition(encoder.name, check_encoder, encoder)
        job.finished.connect(self._choice.add_encoder)

    # ---- inside --------------------------------------------------------------------------

    def requested(self) -> tuple[BenchmarkSpec, Path]:
        """Give what is compared, and the folder of the results."""
        if self._spec is not None:
            path, spec = self._spec
            return spec, path.parent / f"{path.stem}-{_FOLDER}"
        assay = self._session.assay.folder
        if assay is None:
            raise HcsQcError("Open an assay, or a SPEC.toml, first.")
        self._list_encoders()  # another program may have trained or imported one
        own = SourceSpec(name=assay.path.name, kind="assay", path=assay.path)
        return self._choice.value((own, *self._sources.value())), assay.path / _FOLDER

    def _usable(self) -> Planned | None:
        """Give the line that is looked at, if it is measured and an assay can be trained so."""
        entry = self._table.value()
        if entry is None or self._session.assay.folder is None or entry.key not in self._results:
            return None
        is_trainable = entry.cell.encoder != BASELINE and entry.cell.head in HEAD_NAMES
        return entry if is_trainable else None

    def _custom_encoders(self) -> list[EncoderInfo]:
        assay = self._session.assay.folder
        return [] if assay is None else list_custom_encoders(assay.encoders_folder)

    def _list_encoders(self, *_: object) -> None:
        """Offer what the assay that is open has, and what it uses."""
        assay, options = self._session.assay.folder, self._session.options.value()
        if assay is not None:
            # One that is damaged is in the list, with what is wrong with it.
            with suppress(HcsQcError):
                options = with_custom_weights(assay, options)
        in_use = None
        if assay is not None and options.weights is not None:
            in_use = EncoderSpec(options.encoder or DEFAULT_ENCODER, options.weights)
        self._choice.set_custom(self._custom_encoders(), in_use)

    def _check_addition(
        self, name: str, check: Any, addition: SourceSpec | EncoderSpec
    ) -> BackgroundJob:
        """Find out in the background whether something can be added."""
        job = self._session.jobs.start(f"Reading {name}", check, addition, slot=_ADDITION)
        job.failed.connect(
            lambda text: self._session.message.emit("error", f"{name} was not added. {text}")
        )
        return job

    def _job_started(self, job: BackgroundJob) -> None:
        if job.slot == "pretrain":
            job.finished.connect(self._list_encoders)

    def _planned(self, benchmark: Benchmark) -> None:
        self._benchmark = benchmark
        self._results = dict(benchmark.results)
        before = self._which.currentData()
        choices = {}
        for entry in benchmark.planned:
            table, train, test = entry.cell.table, entry.cell.train, entry.cell.test
            where = train if train == test else f"{train} → {test}"
            title = f"{TITLES[table].split(':')[0]}: {where}"
            choices[table, train, test] = (title, TITLES[table])
        with QSignalBlocker(self._which):
            self._which.clear()
            add_choices(self._which, choices)
            self._which.setCurrentIndex([*choices].index(before) if before in choices else 0)
        self._show()

    def _filled(self, entry: Planned, result: Result) -> None:
        self._results[entry.key] = result
        self._table.fill(entry.key, result)
        self._count()
        self.refresh()

    def _show(self, *_: object) -> None:
        planned = () if self._benchmark is None else self._benchmark.planned
        which = self._which.currentData() or ()
        cells = [
            entry
            for entry in planned
            if (entry.cell.table, entry.cell.train, entry.cell.test) == tuple(which)
        ]
        self._table.set_cells(cells, self._results)
        self._count()
        self.refresh()

    def _count(self) -> None:
        benchmark = self._benchmark
        if benchmark is None:
            self._state.setText("")
            return
        n_cannot = sum(entry.state == "cannot run" for entry in benchmark.planned)
        n_done = sum(entry.key in self._results for entry in benchmark.planned)
        cannot = f"; {n_cannot} cannot run (see – for the reason)" if n_cannot else ""
        n_all = len(benchmark.planned) - n_cannot
        self._state.setText(f"{n_done} of {n_all} entries of all tables are filled{cannot}.")

    def _look_at(self, entry: Planned | None) -> None:
        result = None if entry is None else self._results.get(entry.key)
        self._detail.set_value(entry, result)
        self.refresh()
        self.value_changed.emit(entry)
        if entry is None or result is None or self._benchmark is None:
            return
        from napari_hcs_qc.study.benchmark.sources import wrong_crops

        job = self._session.start(
            "Crops",
            wrong_crops,
            self._benchmark,
            entry,
            result,
            MOST_CROPS,
            slot="wrong",
            quiet=True,
            failure="warning",
        )
        follow(job.finished, self, lambda crops: self._detail.set_crops(*crops))

    def _assay_changed(self) -> None:
        self._benchmark, self._results = None, {}
        self._which.clear()
        self._show()

    def _pick_cells(self) -> None:
        assay = self._session.assay.folder
        taken = [] if assay is None else [assay.path.name]
        dialog = CropsDialog((*taken, *(entry.name for entry in self._sources.value())), self)
        if dialog.exec():
            self.add_source(dialog.value())

    def _pick_encoder(self) -> None:
        dialog = EncoderDialog(self)
        if dialog.exec():
            self.add_encoder(dialog.value())

    def _pick_spec(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Benchmark specification", "", "TOML (*.toml)")
        if path:
            self.open_spec(Path(path))

    def _pick_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Write the tables to")
        if folder:
            self.export(Path(folder))

    def _forget_spec(self) -> None:
        self._spec = None
        self._assay_changed()

    def _source_text(self) -> str:
        if self._spec is not None:
            path, spec = self._spec
            return f"From {path.name}: {', '.join(source.name for source in spec.sources)}."
        if self._session.assay.folder is None:
            return "Open an assay first (Plate panel), or a SPEC.toml."
        return f"On the annotated cells of {self._session.assay.folder.path.name}."

    # ---- making --------------------------------------------------------------------------

    def _make_widgets(self) -> None:
        self._about = WrappedLabel()
        self._open_spec = tool_button(
            "SPEC.toml…",
            "Read sources, encoders, heads and sizes from a file, like hcs-qc benchmark.",
            self._pick_spec,
        )
        self._close_spec = tool_button(
            "✕", "Compare on the assay's annotations again.", self._forget_spec
        )
        self._sources = AddedSources()
        self._add_cells = push_button(
            "Add labelled cells…",
            "Also compare on labelled crops of another screen (one folder per class, or an .npz "
            "or .npy file), and from the assay's cells to these.",
            self._pick_cells,
        )
        self._add_encoder = push_button(
            "Add an encoder…",
            "Add an encoder that is not in the list, with a weights file (.safetensors).",
            self._pick_encoder,
        )
        self._choice = BenchmarkChoice()
        self._run = push_button(
            "Run",
            "Fills the tables in the background. Nothing is computed twice, so a cancelled run "
            "can be resumed.",
            self.run,
        )
        self._jobs = JobBar(self._session.jobs, ("benchmark", "benchmark export", _ADDITION))
        self._which = combo_box({}, "Table to show, and its labelled cells.", least=10)
        self._table = BenchmarkTable()
        self._state = WrappedLabel()
        self._use = push_button(
            "Use for my assay",
            "Selects encoder, recipe and head of the row; then press Retrain.",
            self.use,
        )
        self._export = push_button(
            "Export…",
            "The tables as CSV, Markdown and LaTeX, plots and an HTML page, with the paper's "
            "figures.",
            self._pick_folder,
        )
        self._detail = BenchmarkDetail()


def _exported(
    benchmark: Benchmark,
    results: dict[str, Result],
    folder: Path,
    *,
    job: Job = NO_JOB,
) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    return write_tables(list(benchmark.planned), results, folder)
