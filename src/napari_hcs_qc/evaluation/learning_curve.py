"""Whether enough cells are annotated: held-out figures over the number of cells fitted on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.agreement import agreement, jackknife_interval
from napari_hcs_qc.evaluation.crossval import divided, of_rows, units_of, worst_of
from napari_hcs_qc.evaluation.curves import LearningCurve
from napari_hcs_qc.heads.head_registry import make_head
from napari_hcs_qc.heads.linear.scoring import ABNORMAL, abnormal_column
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_hcs_qc.heads.linear.plate_directions import PlateDirections

_LAST_POINTS = 3  # the end of the curve says most about what comes next
_STEPS = (1, 2, 5)
_SHOWN = "f1_weighted"


def learning_curve(
    X: ArrayLike,
    y: ArrayLike,
    groups: ArrayLike | None,
    head_name: str = "linear",
    *,
    plate: PlateDirections | None = None,
    offset: ArrayLike | None = None,
    sizes: Sequence[int] | None = None,
    n_splits: int = 5,
    seeds: Sequence[int] = (0, 1, 2),
    job: Job = NO_JOB,
) -> LearningCurve:
    """Cross-validate a head with wells kept whole, fitted on fewer cells and then on more.

    From the cells that a fold may be fitted on, n are drawn from all wells, with the classes as
    frequent as they are annotated but at least one cell of each; a larger n adds cells to those of
    the smaller. Every n is judged on all cells, each held out once per seed. For `offset` see
    `cross_validate`.
    """
    cells, labels, wells, splits = divided(X, y, groups, n_splits, seeds, "the learning curve")
    n_most = min(len(fit_on) for split in splits for fit_on, _ in split)
    used, left_out = _usable(sizes, n_most)
    p_abnormal = np.full((len(used), len(seeds), len(labels)), np.nan)
    total, done = len(used) * sum(split.n_folds for split in splits), 0
    message = f"learning curve of {head_name}"
    for repeat, (seed, split) in enumerate(zip(seeds, splits, strict=True)):
        rng = np.random.default_rng(seed)
        for fit_on, held_out in split:
            order = fit_on[_representative_order(labels[fit_on], rng)]
            for place, size in enumerate(used):
                job.check()
                job.report(done, total, message)
                some = order[:size]
                head = make_head(head_name, seed, plate)
                groups_of = None if wells is None else wells[some]
                head.fit(cells[some], labels[some], groups=groups_of, **of_rows(offset, some))
                p = head.predict_proba(cells[held_out], **of_rows(offset, held_out))
                p = p[:, abnormal_column(head)]
                p_abnormal[place, repeat, held_out] = np.clip(p, 0, 1)
                done += 1
    job.report(total, total, message)
    worst = worst_of(splits)
    notes = [worst.note] if worst.note else []
    if left_out:
        sizes_left_out = ", ".join(map(str, left_out))
        notes.append(
            f"Sizes above {n_most}, which is what a fold leaves, are left out: {sizes_left_out}."
        )
    return _summed_up(
        used,
        labels == ABNORMAL,
        p_abnormal,
        np.stack([split.fold for split in splits]),
        units_of(worst, wells),
        " ".join(notes),
    )


def _usable(requested: Sequence[int] | None, n_most: int) -> tuple[list[int], list[int]]:
    """Give the sizes to be used, ascending, and those that are too large."""
    if requested is None:
        steps = (step * 10**power for power in range(1, 7) for step in _STEPS)
        # A size close to the last would cost as much as that and say the same.
        return [*(size for size in steps if size <= 0.8 * n_most), n_most], []
    sizes = sorted({int(size) for size in requested})
    used = [size for size in sizes if size <= n_most]
    if not used or used[0] < 2:
        raise HcsQcError(
            f"The sizes {', '.join(map(str, requested)) or '(none)'} were requested; give "
            f"numbers of cells from 2 to {n_most}, the number of training cells in every fold."
        )
    return used, [size for size in sizes if size > n_most]


def _representative_order(labels: NDArray[np.str_], rng: np.random.Generator) -> NDArray[np.int64]:
    """Order cells at random so that every beginning of it has the classes' own shares.

    The first cells are one of each class, without which no head can be fitted.
    """
    place = np.empty(len(labels))
    for name in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == name))
        place[members] = (np.arange(len(members)) + rng.random()) / len(members)
        place[members[0]] = -1
    return np.argsort(place, kind="stable")


def _summed_up(
    sizes: list[int],
    is_abnormal: NDArray[np.bool_],
    p_abnormal: NDArray[np.float64],
    fold: NDArray[np.int64],
    wells: NDArray[Any] | None,
    note: str,
) -> LearningCurve:
    """Figures of held-out probabilities ``(n_sizes, n_seeds, n_cells)``."""
    points = [agreement(is_abnormal, rows, fold, wells) for rows in p_abnormal]
    mean = np.array([point.mean[_SHOWN] for point in points])
    ends = [point.ci95[_SHOWN] for point in points]
    slope = slope_low = slope_high = math.nan
    if len(sizes) > 1:
        slope = float(_slope(sizes, mean))
        if wells is not None:
            without = _slope(sizes, np.array([point.without[_SHOWN] for point in points]))
            slope_low, slope_high = jackknife_interval(slope, without)
    return LearningCurve(
        sizes=tuple(sizes),
        mean=tuple(mean.tolist()),
        sd=tuple(point.sd[_SHOWN] for point in points),
        low=tuple(low for low, _ in ends),
        high=tuple(high for _, high in ends),
        slope=slope,
        slope_low=slope_low,
        slope_high=slope_high,
        n_cells=len(is_abnormal),
        note=note,
    )


def _slope(sizes: list[int], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least-squares gain for each doubling, over the last points of ``(n_sizes, ...)`` scores."""
    doublings = np.log2(sizes[-_LAST_POINTS:])
    away = doublings - doublings.mean()
    slopes: NDArray[np.float64] = np.tensordot(away, scores[-_LAST_POINTS:], 1) / (away @ away)
    return slopes
