"""Fill the cells of the tables; each draw is kept, so that nothing is computed twice."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from contextlib import closing
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import torch

from napari_hcs_qc import __version__
from napari_hcs_qc.cells.recipe import get_recipe
from napari_hcs_qc.encoders.backends.choice import choose_backend
from napari_hcs_qc.encoders.encoder import choose_device
from napari_hcs_qc.errors import HcsQcError, WriteError
from napari_hcs_qc.evaluation.agreement import METRIC_NAMES
from napari_hcs_qc.evaluation.metrics import classification_metrics, confusion
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.study.benchmark.benchmark_plan import is_one_draw, plan
from napari_hcs_qc.study.benchmark.benchmark_spec import BASELINE, CROP_HEADS, EncoderSpec
from napari_hcs_qc.study.benchmark.crop_heads import CropDraw, CropHead
from napari_hcs_qc.study.benchmark.features import directions_file, feature_file
from napari_hcs_qc.study.benchmark.frozen import FrozenDraw
from napari_hcs_qc.study.benchmark.protocol import (
    TEST_SHARE,
    Draw,
    grouped_draw,
    paper_draw,
    transfer_train,
)
from napari_hcs_qc.study.benchmark.results import (
    Confusion,
    DrawResult,
    draw_path,
    missing_seeds,
    read_result,
)
from napari_hcs_qc.study.benchmark.time_left import TimeLeft, time_left_text
from napari_hcs_qc.study.benchmark.workers import Workers, worker_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.study.benchmark.benchmark_spec import BenchmarkSpec
    from napari_hcs_qc.study.benchmark.labelled import LabelledCells
    from napari_hcs_qc.study.benchmark.results import Planned, Result, TableCell

OnCell: TypeAlias = "Callable[[Planned, Result], None]"
"""Called with each cell of the tables that is filled, and its result."""

_WORTH_S = 20.0
"""Processes are started for more work than this: they take some three seconds to begin."""


def run(
    spec: BenchmarkSpec,
    sources: Mapping[str, LabelledCells],
    folder: Path,
    *,
    crop_heads: Mapping[str, CropHead] | None = None,
    n_processes: int | None = None,
    on_cell: OnCell | None = None,
    job: Job = NO_JOB,
) -> list[Planned]:
    """Fill every cell that can run and is not done.

    Heads on frozen features come first, several draws side by side where that pays; then the
    fine-tuned ones, which take minutes each, from few annotations to many. Each draw is kept as
    soon as it is measured.
    """
    runners = dict(crop_heads or {})
    planned = plan(spec, sources, folder, runners)
    work = _Run(spec, sources, folder, runners, planned, on_cell, job)
    work.frozen(n_processes)
    work.fine_tuned()
    job.report(work.n_draws, work.n_draws, "benchmark")
    return [work.with_reason(entry) for entry in plan(spec, sources, folder, runners)]


class _Unit(NamedTuple):
    """One draw of one cell of the tables."""

    planned: Planned
    seed: int

    @property
    def cell(self) -> TableCell:
        return self.planned.cell

    @property
    def key(self) -> str:
        return self.planned.key


class _Run:
    """The draws that are to be measured; made and used by `run`."""

    def __init__(
        self,
        spec: BenchmarkSpec,
        sources: Mapping[str, LabelledCells],
        folder: Path,
        crop_heads: Mapping[str, CropHead],
        planned: list[Planned],
        on_cell: OnCell | None,
        job: Job,
    ) -> None:
        self._sources, self._folder, self._crop_heads = sources, folder, crop_heads
        self._on_cell, self._job = on_cell, job
        self._encoders = {encoder.name: encoder for encoder in spec.encoders}
        self._time = TimeLeft({name: len(cells.classes) for name, cells in sources.items()})
        self._to_do = _draws_to_do(planned, folder)
        self._missing: dict[str, set[int]] = defaultdict(set)
        for unit in self._to_do:
            self._missing[unit.key].add(unit.seed)
        self.n_draws = len(self._to_do)
        self._n_at_once = 1
        self._failed: dict[str, str] = {}
        self._no_features: dict[tuple[str, str, str], str] = {}
        self._drawn = cache(partial(draw_of, sources))
        self._fits = self._shared_fits()
        self._costs_nothing = {unit for units in self._fits for unit in units[1:]}

    # ---- heads on frozen features ----------------------------------------------------------

    def frozen(self, n_processes: int | None) -> None:
        """Measure the draws of frozen heads."""
        units = [unit for unit in self._to_do if unit.cell.head not in CROP_HEADS]
        most = worker_count() if n_processes is None else n_processes
        if n_processes is None and most > 1:
            # The first in a thread: they tell whether there is enough to do for processes.
            with closing(Workers()) as workers:
                units = self._score(workers, units, until_worth=True)
        if units:
            self._n_at_once = most
            with closing(Workers(most)) as workers:
                self._score(workers, units)
            self._n_at_once = 1

    def _score(
        self, workers: Workers, units: list[_Unit], *, until_worth: bool = False
    ) -> list[_Unit]:
        """Score draws; gives those left when it is known that processes pay."""
        waiting = deque(units)
        is_enough = False

        def draws() -> Iterator[tuple[_Unit, FrozenDraw]]:
            while waiting and not is_enough:
                unit = waiting.popleft()
                if unit.key in self._failed:
                    continue
                self._report(unit)
                try:
                    draw = self._frozen_draw(unit)
                except WriteError:
                    raise  # nothing else could be kept either
                except HcsQcError as error:
                    self._give_up([unit], error)
                else:
                    yield unit, draw

        started = time.perf_counter()
        for unit, p, seconds in workers.score(draws(), self._job):
            if isinstance(p, HcsQcError):
                self._give_up([unit], p)
                continue
            self._time.took(unit.cell, seconds)
            self._keep(unit, p, seconds)
            if until_worth and not is_enough:
                # Heads of which none was measured yet are taken to be like the others.
                left, _ = self._time.seconds(unit.cell for unit in waiting)
                is_enough = left > _WORTH_S and time.perf_counter() - started > 1.0
        return list(waiting)

    def _frozen_draw(self, unit: _Unit) -> FrozenDraw:
        cell = unit.cell
        encoder = self._encoders.get(cell.encoder, EncoderSpec(BASELINE))
        files = [self._features(name, encoder, cell.recipe) for name in (cell.train, cell.test)]
        widths = [np.load(path, mmap_mode="r", allow_pickle=False).shape[1] for path in files]
        if widths[0] != widths[1]:
            raise HcsQcError(
                f"{cell.train} and {cell.test} have different channels; a model of one cannot "
                "classify the other."
            )
        train = self._sources[cell.train]
        directions = None
        if cell.directions:
            directions = directions_file(train, encoder, cell.recipe, self._folder, self._job)
        draw, rows = self._rows(unit)
        return FrozenDraw(
            head=cell.head,
            seed=unit.seed,
            features=files[0],
            tested_features=files[1],
            directions=directions,
            rows=rows,
            tested_rows=draw.test,
            classes=train.classes[rows],
            groups=None if cell.protocol == "paper" else train.groups[rows],
        )

    def _features(self, source: str, encoder: EncoderSpec, recipe: str) -> Path:
        """Give the file of features; what failed once is not tried for every draw."""
        key = (source, encoder.name, recipe)
        if key in self._no_features:
            raise HcsQcError(self._no_features[key])
        try:
            return feature_file(self._sources[source], encoder, recipe, self._folder, self._job)
        except HcsQcError as error:
            self._no_features[key] = str(error)
            raise

    # ---- fine-tuned heads ------------------------------------------------------------------

    def fine_tuned(self) -> None:
        """Measure the draws of fine-tuned heads, one fit after the other: each uses all cores."""
        for units in self._fits:
            self._job.check()
            units = [unit for unit in units if unit.key not in self._failed]
            try:
                if units:
                    self._fit(units)
            except WriteError:
                raise
            except HcsQcError as error:
                self._give_up(units, error)

    def _fit(self, units: list[_Unit]) -> None:
        """Measure draws that are trained on the same cells."""
        self._report(units[0])
        started = time.perf_counter()
        draw = self._crop_draw(units[0])
        score = self._crop_heads[units[0].cell.head](draw)
        for unit in units:
            cell = unit.cell
            test = self._rows(unit)[0].test
            p = score(self._sources[cell.test].crops(get_recipe(cell.recipe), test))
            seconds = time.perf_counter() - started
            if unit is units[0]:
                self._time.took(cell, seconds)
            self._keep(unit, p, seconds)
        if draw.checkpoint is not None:
            draw.checkpoint.unlink(missing_ok=True)

    def _shared_fits(self) -> list[list[_Unit]]:
        """Gather the draws of fine-tuned heads that are trained on the same cells."""
        fits: dict[tuple[object, ...], list[_Unit]] = {}
        for unit in self._to_do:
            cell = unit.cell
            if cell.head in CROP_HEADS:
                rows = self._rows(unit)[1].tobytes()
                same = (cell.train, cell.encoder, cell.recipe, cell.head, cell.protocol)
                fits.setdefault((*same, unit.seed, rows), []).append(unit)
        return list(fits.values())

    def _crop_draw(self, unit: _Unit) -> CropDraw:
        cell = unit.cell
        train = self._sources[cell.train]
        rows = self._rows(unit)[1]
        n_done = self.n_draws - self._n_left()

        def on_progress(done: int, total: int, _message: str) -> None:
            message = f"{self._message(unit)}; step {done} of {total}"
            self._job.report(n_done, self.n_draws, message)

        return CropDraw(
            crops=train.crops(get_recipe(cell.recipe), rows),
            classes=train.classes[rows],
            groups=None if cell.protocol == "paper" else train.groups[rows],
            encoder=self._encoders.get(cell.encoder, EncoderSpec(BASELINE)),
            recipe=cell.recipe,
            seed=unit.seed,
            checkpoint=draw_path(self._folder, unit.key, unit.seed).with_suffix(".checkpoint"),
            key=f"{unit.key}-{unit.seed}",
            job=self._job.with_progress(on_progress),
        )

    # ---- what fails ------------------------------------------------------------------------

    def _give_up(self, units: list[_Unit], error: HcsQcError) -> None:
        for unit in units:
            self._failed.setdefault(unit.key, str(error))
            self._missing[unit.key].clear()  # its other draws would end in the same way

    def with_reason(self, planned: Planned) -> Planned:
        """Add the reason to a cell that could not be measured."""
        if planned.key not in self._failed or planned.state == "done":
            return planned
        cell, reason = planned.cell, self._failed[planned.key]
        subject = f"{cell.encoder} ({cell.recipe}, {cell.head})"
        return replace(planned, state="cannot run", reason=reason, group=reason, subject=subject)

    # ---- both ------------------------------------------------------------------------------

    def _rows(self, unit: _Unit) -> tuple[Draw, NDArray[np.int64]]:
        cell = unit.cell
        draw = self._drawn(cell.train, cell.test, cell.protocol, unit.seed)
        return draw, draw.train[: cell.n_train] if cell.n_train else draw.train

    def _keep(self, unit: _Unit, p: NDArray[np.float64], seconds: float) -> None:
        cell, key = unit.cell, unit.key
        train, test = self._sources[cell.train], self._sources[cell.test]
        draw, rows = self._rows(unit)
        classes = test.classes[draw.test]
        hits, alarms, misses, passed = confusion(classes == "abnormal", p >= 0.5).tolist()
        metrics = classification_metrics(classes, p).to_dict()
        DrawResult(
            cell=cell,
            protocol=protocol_text(cell, train, test),
            seed=unit.seed,
            n_train=len(rows),
            test_per_train=len(draw.test) / len(draw.train) if cell.train == cell.test else 0.0,
            metrics={name: metrics[name] for name in METRIC_NAMES},
            confusion=Confusion(hits=hits, alarms=alarms, misses=misses, passed=passed),
            cells=tuple(test.ids[draw.test].tolist()),
            is_abnormal=tuple((classes == "abnormal").tolist()),
            p_abnormal=tuple(round(float(value), 6) for value in p),
            groups=tuple(test.groups[draw.test].tolist()) if is_one_draw(cell) else None,
            seconds=round(seconds, 3),
            versions={
                "napari-hcs-qc": __version__,
                "numpy": np.__version__,
                "torch": str(torch.__version__),
            },
            # Not in the key: a folder that moves to another machine keeps its figures.
            computed_by=_computed_by(cell),
        ).save(draw_path(self._folder, key, unit.seed))
        self._missing[key].discard(unit.seed)
        if not self._missing[key] and key not in self._failed and self._on_cell is not None:
            self._on_cell(unit.planned, read_result(self._folder, key, cell))

    def _n_left(self) -> int:
        return sum(len(seeds) for seeds in self._missing.values())

    def _report(self, unit: _Unit) -> None:
        self._job.report(self.n_draws - self._n_left(), self.n_draws, self._message(unit))

    def _message(self, unit: _Unit) -> str:
        cell = unit.cell
        where = cell.train if cell.train == cell.test else f"{cell.train} → {cell.test}"
        left = (
            other.cell
            for other in self._to_do
            if other.seed in self._missing[other.key] and other not in self._costs_nothing
        )
        seconds, has_unknown = self._time.seconds(left, self._n_at_once)
        time_left = f"; {time_left_text(seconds, at_least=has_unknown)}" if seconds else ""
        return f"{where}: {cell.encoder}, {cell.head}, {cell.size} annotations{time_left}"


def _computed_by(cell: TableCell) -> str:
    if cell.head in CROP_HEADS:
        return f"torch, {choose_device('auto').type}"
    return "numpy" if cell.encoder == BASELINE else choose_backend()


def _draws_to_do(planned: list[Planned], folder: Path) -> list[_Unit]:
    """List the draws, what is quick first; of cells that share a measurement the first."""
    units: dict[tuple[str, int], _Unit] = {}
    for entry in planned:
        if entry.state == "to do":
            for seed in missing_seeds(folder, entry.key, entry.cell.seeds):
                units.setdefault((entry.key, seed), _Unit(entry, seed))

    def order(unit: _Unit) -> tuple[bool, int]:
        cell = unit.cell
        is_tuned = cell.head in CROP_HEADS
        return is_tuned, (cell.n_train or 10**9) if is_tuned else 0

    return sorted(units.values(), key=order)


def display_crops(
    cells: LabelledCells, ids: list[str], recipe_name: str = "nucleus"
) -> NDArray[np.float32]:
    """Crops of given cells for display, ``(n, side, side)``: the widest view, first channel."""
    row_of = {name: row for row, name in enumerate(cells.ids.tolist())}
    missing = [name for name in ids if name not in row_of]
    if missing:
        raise HcsQcError(
            f"The source no longer has cell {missing[0]!r}; its labels may have changed."
        )
    recipe = get_recipe(recipe_name)
    rows = np.array([row_of[name] for name in ids], dtype=np.int64)
    crops = cells.crops(recipe, rows)
    per_scale = crops.shape[1] // len(recipe.scales)
    widest = int(np.argmax(recipe.scales)) * per_scale
    shown: NDArray[np.float32] = crops[:, widest, 0].numpy()
    return shown


def draw_of(
    sources: Mapping[str, LabelledCells], train_name: str, test_name: str, protocol: str, seed: int
) -> Draw:
    """Give the training cells (in their order, all that there are) and test cells of a seed."""
    train = sources[train_name]
    if train_name != test_name:
        order = transfer_train(train.classes, seed, paper=protocol == "paper")
        return Draw(order, np.arange(len(sources[test_name].classes)))
    if protocol == "paper":
        return paper_draw(train.classes, seed)
    return grouped_draw(train.classes, train.groups, seed)


def protocol_text(cell: TableCell, train: LabelledCells, test: LabelledCells) -> str:
    """Describe how a cell was measured; the number of draws goes to ``{draws}``."""
    if cell.train != cell.test:
        which = "balanced" if cell.protocol == "paper" else "all"
        if cell.n_train and cell.protocol != "paper":
            which = "normal and abnormal"
        how = (
            f"Trained on {which} cells of {cell.train}, tested on all "
            f"{len(test.classes)} of {cell.test}: a substitute for the paper's second screen"
        )
        if is_one_draw(cell):
            how += "; intervals as its wells or plates differ"
    elif cell.protocol == "paper":
        how = "Split BY CELL as the paper does (a well can be on both sides), balanced"
    else:
        how = (
            f"Split by well or plate ({TEST_SHARE:.0%} of them for testing, none on both sides); "
            "training cells drawn alternately from normal and abnormal"
        )
    notes = " ".join(dict.fromkeys((train.note, test.note)))
    how, notes = (text.replace("{", "{{").replace("}", "}}") for text in (how, notes))
    return f"{how}; {{draws}}. {notes}."
