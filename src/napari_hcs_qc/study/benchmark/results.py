"""What was measured: one file a draw, and a cell of the tables as the draws it is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np

from napari_hcs_qc.documents import Document, Part
from napari_hcs_qc.evaluation.agreement import METRIC_NAMES, agreement
from napari_hcs_qc.study.benchmark.protocol import interval
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

DIRECTIONS_NOTE = (
    "The head linear knows the main directions of the plates trained on, from a sample of cells "
    "that nobody annotated, as it does in an assay."
)


@dataclass(frozen=True, kw_only=True)
class TableCell:
    """One cell of the tables."""

    table: int  # 1: frozen encoder, largest set
    train: str  # names of the sources; the same in tables 1 and 2
    test: str
    encoder: str  # encoder, recipe and head are the row
    recipe: str
    head: str
    n_train: int  # number of annotations; 0 is all
    protocol: str  # ``paper`` or ``grouped``
    seeds: tuple[int, ...]  # one split each
    # Whether the head is given the main directions of the plates trained on
    directions: bool = False

    @property
    def size(self) -> str:
        """Number of annotations as text."""
        return str(self.n_train or "all")


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A cell of the tables, its content address, and how it stands."""

    cell: TableCell  # which
    key: str  # of everything that decides its figures but the seeds
    # ``done`` (with every seed), ``to do`` or ``cannot run``
    state: Literal["done", "to do", "cannot run"]
    reason: str = ""  # why it cannot run
    group: str = ""
    subject: str = ""


class Confusion(Part):
    """Numbers of tested cells."""

    hits: float  # abnormal, and predicted so
    alarms: float  # normal, predicted abnormal
    misses: float
    passed: float


class DrawResult(Document):
    """One draw of a cell of the tables."""

    remedy: ClassVar[str] = "Delete it; the same benchmark measures it again."

    format: Literal["napari-hcs-qc benchmark draw"] = "napari-hcs-qc benchmark draw"
    format_version: Literal[1] = 1
    cell: TableCell
    protocol: str  # how it was measured; the number of draws goes to ``{draws}``
    seed: int
    n_train: int
    test_per_train: float
    metrics: dict[str, float | None]  # by `METRIC_NAMES`; None: the test set had one class only
    confusion: Confusion
    cells: tuple[str, ...]  # ids of the tested cells, see `LabelledCells`
    is_abnormal: tuple[bool, ...]
    p_abnormal: tuple[float, ...]
    groups: tuple[str, ...] | None = None  # of the tested cells, where there is one draw only
    seconds: float
    versions: dict[str, str]
    computed_by: str

    @classmethod
    def migrate(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Leave out the counts that stood beside the metrics."""
        metrics = data.get("metrics", {})
        return {**data, "metrics": {name: metrics.get(name) for name in METRIC_NAMES}}


@dataclass(frozen=True)
class Figure:
    """A metric over the draws, as a share."""

    mean: float | None  # None where a test set had one class only
    sd: float | None = None  # None for a single draw
    interval: tuple[float, float] | None = None  # 95 %

    @property
    def percent(self) -> str:
        """The mean in percent, as the window shows it."""
        return "–" if self.mean is None else f"{100 * self.mean:.1f}"

    @property
    def bounds(self) -> str:
        """The interval in percent; empty where there is none."""
        return " to ".join(f"{100 * end:.1f}" for end in self.interval or ())


@dataclass(frozen=True, eq=False)
class Result:
    """A cell of the tables that is measured."""

    cell: TableCell
    draws: Sequence[DrawResult]
    summary: dict[str, Figure]  # by `METRIC_NAMES`

    @property
    def split(self) -> str:
        """How the draws were made."""
        return self.draws[0].protocol.format(draws=count_of(len(self.draws), "draw"))

    @property
    def protocol(self) -> str:
        """How it was measured."""
        return f"{self.split} {DIRECTIONS_NOTE}" if self.cell.directions else self.split

    @property
    def seconds(self) -> float:
        """Time that the draws took."""
        return sum(draw.seconds for draw in self.draws)

    @property
    def n_trained_on(self) -> float:
        """Mean number of cells trained on."""
        return sum(draw.n_train for draw in self.draws) / len(self.draws)


Results: TypeAlias = "Mapping[str, Result]"
"""The cells that are measured, by key."""


def draw_path(folder: Path, key: str, seed: int) -> Path:
    """Where the result of one draw of a cell is kept, as soon as it is measured."""
    return folder / "cells" / key / f"seed-{seed}.json"


def missing_seeds(folder: Path, key: str, seeds: Iterable[int]) -> tuple[int, ...]:
    """Give the draws of a cell that are not measured yet."""
    return tuple(seed for seed in seeds if not draw_path(folder, key, seed).is_file())


def read_result(folder: Path, key: str, cell: TableCell) -> Result:
    """Put the result of a cell together from its draws."""
    draws = [DrawResult.load(draw_path(folder, key, seed)) for seed in cell.seeds]
    return Result(cell, draws, _summary(draws))


def read_results(folder: Path, planned: Iterable[Planned]) -> dict[str, Result]:
    """Read the results of the cells that are done, by key."""
    done = {entry.key: entry for entry in planned if entry.state == "done"}
    return {key: read_result(folder, key, entry.cell) for key, entry in sorted(done.items())}


def _summary(draws: Sequence[DrawResult]) -> dict[str, Figure]:
    by_groups: dict[str, tuple[float, float]] = {}
    if draws[0].groups is not None:  # a single draw: as its wells or plates differ
        truth, p = np.array(draws[0].is_abnormal), np.array([draws[0].p_abnormal])
        by_groups = agreement(truth, p, np.zeros(p.shape, np.int64), draws[0].groups).ci95
    overlap = float(np.mean([draw.test_per_train for draw in draws]))
    summary = {}
    for name in METRIC_NAMES:
        # An AUC that could not be computed is None in JSON, NaN here.
        values = np.array([draw.metrics[name] for draw in draws], dtype=np.float64)
        if not np.isfinite(values).all():
            summary[name] = Figure(None)
            continue
        sd = float(values.std(ddof=1)) if len(values) > 1 else None
        bounds = by_groups.get(name) or interval(values, overlap)
        is_known = bounds is not None and not math.isnan(bounds[0])
        summary[name] = Figure(float(values.mean()), sd, bounds if is_known else None)
    return summary


# ---- what was predicted wrongly ----------------------------------------------------------


@dataclass(frozen=True)
class Mistake:
    """A cell that was predicted wrongly more often than not."""

    cell: str  # its id, see `LabelledCells`
    is_abnormal: bool  # as annotated
    p_abnormal: float  # mean over the draws in which it was tested
    n_tested: int  # how many these are


def mistakes(result: Result) -> list[Mistake]:
    """List the cells that a result predicts wrongly on average, the worst first."""
    predicted: dict[tuple[str, bool], list[float]] = {}
    for draw in result.draws:
        for cell, is_abnormal, p in zip(draw.cells, draw.is_abnormal, draw.p_abnormal, strict=True):
            predicted.setdefault((cell, is_abnormal), []).append(p)
    wrong = [
        Mistake(cell, is_abnormal, float(np.mean(p)), len(p))
        for (cell, is_abnormal), p in predicted.items()
        if (np.mean(p) >= 0.5) != is_abnormal
    ]
    return sorted(
        wrong, key=lambda mistake: (-abs(mistake.p_abnormal - mistake.is_abnormal), mistake.cell)
    )


def mean_confusion(result: Result) -> NDArray[np.float64]:
    """Count tested cells as a mean over the draws."""
    counts = [draw.confusion for draw in result.draws]
    each = [[[count.passed, count.alarms], [count.misses, count.hits]] for count in counts]
    mean: NDArray[np.float64] = np.mean(each, axis=0)
    return mean
