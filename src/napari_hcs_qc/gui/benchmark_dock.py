"""The benchmark in a panel: which encoder and head do best on the user's own annotations."""

from __future__ import annotations

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

from napari_hcs_qc.assay.benchmark import (
    Benchmark,
    run_benchmark,
    wrong_crops,
)
from napari_hcs_qc.assay.training import with_own_weights
from napari_hcs_qc.encoders.registry import DEFAULT_ENCODER
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.benchmark.panels import TITLES
from napari_hcs_qc.evaluation.benchmark.spec import (
    BASELINE,
    BenchmarkSpec,
    EncoderSpec,
    SourceSpec,
    read_spec,
)
from napari_hcs_qc.evaluation.benchmark.tables import write_tables
from napari_hcs_qc.gui.benchmark_choice import BenchmarkChoice
from napari_hcs_qc.gui.benchmark_detail import MOST_CROPS, BenchmarkDetail
from napari_hcs_qc.gui.benchmark_table import BenchmarkTable
from napari_hcs_qc.gui.job_bar import JobBar
from napari_hcs_qc.gui.workspace import workspace_of
from napari_hcs_qc.gui.wrapped_label import WrappedLabel
from napari_hcs_qc.heads.registry import HEAD_NAMES
from napari_hcs_qc.jobs import OnProgress, ShouldStop, never_stop, no_progress

if TYPE_CHECKING:
    import napari.components

    from napari_hcs_qc.evaluation.benchmark.plan import Planned

_FOLDER = "benchmark"


class _Told(QObject):
    """Carries what the worker's thread tells into the main thread."""

    planned = Signal(object)
    filled = Signal(object, object)


class BenchmarkDock(QWidget):
    """Chooses rows and columns, runs them in the background, shows the cells as they fill in.

    Parameters
    ----------
    viewer
        The viewer.
    parent
        Qt parent.

    Attributes
    ----------
    value_changed : Signal(object)
        The `Planned` cell that is looked at, None for none.
    """

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
        self._more: tuple[SourceSpec, ...] = ()
        self._make_widgets()
        self._lay_out()
        self._connect()
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
        self._choice.setEnabled(self._spec is None)
        self._about.setText(self._source_words())
        self._close_spec.setVisible(self._spec is not None)
        self._export.setEnabled(bool(self._results))
        one = self._table.value()
        is_usable = one is not None and one.cell.encoder != BASELINE and assay is not None
        self._use.setEnabled(is_usable and one is not None and one.cell.head in HEAD_NAMES)

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
        one = self._table.value()
        if one is None or self._found is None:
            return
        cell = one.cell
        weights = {item.name: item.weights for item in self._found.spec.encoders}
        self._tasks.choose(
            replace(
                self._tasks.options,
                encoder=None if cell.encoder == DEFAULT_ENCODER else cell.encoder,
                weights=weights.get(cell.encoder),
                recipe=cell.recipe,
                head=cell.head,
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
        self._more = (*(one for one in self._more if one.name != source.name), source)
        self.refresh()

    def add_encoder(self, encoder: EncoderSpec) -> None:
        """Offer an encoder with a weights file of its own."""
        self._choice.add_encoder(encoder)

    # ---- inside --------------------------------------------------------------------------

    def _asked(self) -> tuple[BenchmarkSpec, Path]:
        if self._spec is not None:
            path, spec = self._spec
            return spec, path.parent / f"{path.stem}-{_FOLDER}"
        assay = self._session.assay
        if assay is None:
            raise HcsQcError("Open an assay, or a SPEC.toml, first.")
        own = SourceSpec(assay.path.name, "assay", assay.path)
        options = with_own_weights(assay, self._tasks.options)
        if options.encoder is not None and options.weights is not None:
            self._choice.add_encoder(EncoderSpec(options.encoder, options.weights))
        return self._choice.value((own, *self._more)), assay.path / _FOLDER

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
        more = "".join(f", and {one.name}" for one in self._more)
        return f"On the annotated cells of {self._session.assay.path.name}{more}."

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
        self._choice = BenchmarkChoice()
        self._run = QPushButton("Run")
        self._run.setToolTip(
            "Fills the tables in the background. What was filled before is not computed again, so "
            "a cancelled run goes on where it was."
        )
        self._jobs = JobBar(self._session.jobs, ("benchmark", "benchmark export"))
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
        self._open_spec.clicked.connect(self._pick_spec)
        self._close_spec.clicked.connect(self._forget_spec)
        self._which.activated.connect(self._show)
        self._table.value_changed.connect(self._look_at)
        self._use.clicked.connect(self.use)
        self._export.clicked.connect(self._pick_folder)
        self._session.assay_changed.connect(self._assay_changed)


def _exported(
    found: Benchmark,
    results: dict[str, Any],
    folder: Path,
    *,
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    return write_tables(list(found.planned), results, folder)
