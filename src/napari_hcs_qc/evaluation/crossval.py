"""How well a head will do on wells nobody annotated, with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.metrics import (
    METRIC_NAMES,
    Metrics,
    classification_metrics,
    confusion,
    rates,
)
from napari_hcs_qc.heads.head_registry import make_head
from napari_hcs_qc.heads.linear.folds import MIN_GROUPS, Folds, assign_folds
from napari_hcs_qc.heads.linear.scoring import ABNORMAL, abnormal_column
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_hcs_qc.heads.head_registry import Head
    from napari_hcs_qc.heads.linear.plate_directions import PlateDirections

N_BOOTSTRAP = 1000
"""Draws of wells behind a confidence interval."""


@dataclass(frozen=True, eq=False, kw_only=True)
class CrossValidation:
    """Figures from held-out cells only, over several divisions into folds."""

    head_name: str  # the head judged
    seeds: tuple[int, ...]  # one division into folds for each
    per_seed: tuple[Metrics, ...]  # metrics of all held-out cells pooled, one for each seed
    # Over the seeds, by the names in `METRIC_NAMES`
    mean: dict[str, float]
    sd: dict[str, float]
    # Lower and upper end by name: the mean over seeds, wells drawn with replacement
    ci95: dict[str, tuple[float, float]]
    # ``(n_seeds, n_cells)`` float64 held-out P(abnormal), cells as given
    p_abnormal: NDArray[np.float64]
    is_abnormal: NDArray[np.bool_]  # ``(n_cells,)`` whether the cell is annotated abnormal
    # ``"well"`` when no well was on both sides of a division, else ``"cell"``
    by: Literal["well", "cell"]
    n_splits: int  # folds of each division
    n_cells: int
    n_wells: int  # 0 when none were given
    note: str = ""  # what differs from what was asked for; empty when nothing does. To be shown

    def confusion(self) -> NDArray[np.float64]:
        """Count held-out cells by annotated and predicted class, as a mean over the seeds.

        A mean and no sum, so that a row adds up to the cells annotated so.
        """
        counts = np.mean([confusion(self.is_abnormal, p >= 0.5) for p in self.p_abnormal], axis=0)
        hits, alarms, misses, passed = counts
        return np.array([[passed, alarms], [misses, hits]])

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest; a NaN becomes None, the probabilities are left out."""
        names = ("by", "n_splits", "n_cells", "n_wells", "note")
        return {
            "head": self.head_name,
            "seeds": list(self.seeds),
            **{name: getattr(self, name) for name in names},
            "mean": {name: _or_none(value) for name, value in self.mean.items()},
            "sd": {name: _or_none(value) for name, value in self.sd.items()},
            "ci95": {name: [_or_none(end) for end in ends] for name, ends in self.ci95.items()},
            "per_seed": [metrics.to_dict() for metrics in self.per_seed],
        }


def cross_validate(
    X: ArrayLike,
    y: ArrayLike,
    groups: ArrayLike | None,
    head_name: str = "linear",
    *,
    plate: PlateDirections | None = None,
    n_splits: int = 5,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    head_factory: Callable[[int], Head] | None = None,
    job: Job = NO_JOB,
) -> CrossValidation:
    """Cross-validate a head with wells kept whole.

    Everything a head chooses (its strength, its calibration) it chooses within the cells it is
    given, so a held-out fold has no say in the figures of its own cells.
    """
    cells, labels, wells, splits = divided(X, y, groups, n_splits, seeds, "cross-validation")
    make = head_factory or (lambda seed: make_head(head_name, seed, plate))
    total, done = sum(split.n_folds for split in splits), 0
    p_abnormal = np.full((len(seeds), len(labels)), np.nan)
    for row, (seed, split) in enumerate(zip(seeds, splits, strict=True)):
        for fit_on, held_out in split:
            job.check()
            job.report(done, total, f"cross-validating {head_name}")
            head = make(seed)
            fit_wells = None if wells is None else wells[fit_on]
            head.fit(cells[fit_on], labels[fit_on], groups=fit_wells)
            p = head.predict_proba(cells[held_out])
            p_abnormal[row, held_out] = p[:, abnormal_column(head)]
            done += 1
    job.report(total, total, f"cross-validating {head_name}")
    per_seed = tuple(classification_metrics(labels, np.clip(row, 0, 1)) for row in p_abnormal)
    table = np.array([[getattr(metrics, name) for name in METRIC_NAMES] for metrics in per_seed])
    worst, units = worst_of(splits, wells)
    return CrossValidation(
        head_name=head_name,
        seeds=tuple(int(seed) for seed in seeds),
        per_seed=per_seed,
        mean=dict(zip(METRIC_NAMES, table.mean(axis=0).tolist(), strict=True)),
        sd=dict(zip(METRIC_NAMES, sd_over_seeds(table).tolist(), strict=True)),
        ci95=bootstrap_ci(labels == ABNORMAL, p_abnormal, units),
        p_abnormal=p_abnormal,
        is_abnormal=labels == ABNORMAL,
        by=worst.by,
        n_splits=worst.n_folds,
        n_cells=len(labels),
        n_wells=0 if wells is None else len(np.unique(wells)),
        note=worst.note,
    )


def grouped_folds(
    groups: ArrayLike | None, y: ArrayLike, n_splits: int = 5, seed: int = 0
) -> Folds:
    """Stratified folds that keep each well whole."""
    labels = np.asarray(y)
    if n_splits < 2:
        raise HcsQcError(f"{n_splits} folds were requested; at least 2 are needed.")
    if groups is not None and len(np.asarray(groups)) != len(labels):
        raise HcsQcError(
            f"{len(np.asarray(groups))} wells were given for {len(labels)} annotated cells; "
            "give the well of each cell."
        )
    classes, counts = np.unique(labels, return_counts=True)
    folds = assign_folds(labels, groups, n_splits, seed)
    if folds.n_folds < 2 or len(classes) < 2:
        counted = ", ".join(f"{count} {name}" for name, count in zip(classes, counts, strict=True))
        raise HcsQcError(
            f"The annotations ({counted or 'none'}) cannot be split for cross-validation: annotate "
            "at least 2 cells of each class."
        )
    return replace(folds, note=_note(groups, folds, n_splits))


def _note(groups: ArrayLike | None, folds: Folds, requested: int) -> str:
    parts = []
    if folds.by == "cell":
        if groups is None:
            why = "no wells were given"
        else:
            wells = np.unique(np.asarray(groups))
            if len(wells) < MIN_GROUPS:
                why = f"only {len(wells)} {'well is' if len(wells) == 1 else 'wells are'} annotated"
            else:
                why = "one class is annotated in a single well"
        parts.append(
            f"Held out by cell, not by well, because {why}: cells of one well resemble each other, "
            "so these figures are too optimistic."
        )
    if folds.n_folds < requested:
        parts.append(
            f"{folds.n_folds} folds instead of {requested}: the rarer class is annotated in too "
            f"few {'wells' if folds.by == 'well' else 'cells'} for more."
        )
    return " ".join(parts)


def divided(
    X: ArrayLike,
    y: ArrayLike,
    groups: ArrayLike | None,
    n_splits: int,
    seeds: Sequence[int],
    purpose: str,
) -> tuple[NDArray[Any], NDArray[np.str_], NDArray[Any] | None, list[Folds]]:
    """Check annotated cells and divide them once a seed: embeddings, classes, wells, divisions."""
    cells, labels = np.asarray(X), np.asarray(y).astype(str)
    if not len(seeds):
        raise HcsQcError(f"No seeds were given for {purpose}; give at least one.")
    if len(cells) != len(labels):
        raise HcsQcError(f"{len(cells)} embeddings were given for {len(labels)} annotated cells.")
    wells = None if groups is None else np.asarray(groups)
    return cells, labels, wells, [grouped_folds(wells, labels, n_splits, seed) for seed in seeds]


def worst_of(splits: Sequence[Folds], wells: NDArray[Any] | None) -> tuple[Folds, NDArray[Any]]:
    """Give the division that is farthest from what was asked for, and the units to draw by it."""
    worst = max(splits, key=lambda split: (split.by == "cell", -split.n_folds))
    if wells is None or worst.by == "cell":
        return worst, np.arange(len(worst.fold))
    return worst, wells


def bootstrap_ci(
    is_abnormal: NDArray[np.bool_],
    p_abnormal: NDArray[np.float64],
    units: ArrayLike,
    *,
    n_draws: int = N_BOOTSTRAP,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % percentile interval of every metric's mean over seeds, drawing whole units."""
    weight = draw_units(units, n_draws, seed)
    if weight is None:
        return dict.fromkeys(METRIC_NAMES, (np.nan, np.nan))
    figures = drawn_rates(is_abnormal, p_abnormal, weight)
    areas = [_weighted_auc(is_abnormal, p, weight) for p in p_abnormal]
    figures["auc"] = np.mean(areas, axis=0)
    return {name: percentile_interval(figures[name]) for name in METRIC_NAMES}


def draw_units(
    units: ArrayLike, n_draws: int = N_BOOTSTRAP, seed: int = 0
) -> NDArray[np.float64] | None:
    """Draw whole units with replacement; the same arguments give the same draws."""
    unit = np.unique(np.asarray(units), return_inverse=True)[1].reshape(-1)
    n_units = int(unit.max()) + 1
    if n_units < 2:
        return None
    rng = np.random.default_rng(seed)
    times = rng.multinomial(n_units, np.full(n_units, 1 / n_units), n_draws)
    return times[:, unit].astype(np.float64)


def drawn_rates(
    is_abnormal: NDArray[np.bool_], p_abnormal: NDArray[np.float64], weight: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """All figures but the AUC for each draw, as a mean over seeds."""
    called = p_abnormal >= 0.5
    is_normal = ~is_abnormal
    pairs = (is_abnormal & called, is_normal & called, is_abnormal & ~called, is_normal & ~called)
    outcomes = np.stack(pairs, axis=-1)
    return {name: values.mean(axis=0) for name, values in rates(weight @ outcomes).items()}


def _weighted_auc(
    is_abnormal: NDArray[np.bool_], p: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Give the AUC of each draw ``(n_draws,)``; NaN where a draw has one class only."""
    order = np.argsort(p, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(p[order]) > 0))
    abnormal = np.add.reduceat((weight * is_abnormal)[:, order], starts, axis=1)
    normal = np.add.reduceat((weight * ~is_abnormal)[:, order], starts, axis=1)
    below = np.cumsum(normal, axis=1) - normal / 2
    pairs = abnormal.sum(axis=1) * normal.sum(axis=1)
    area = np.full(len(weight), np.nan)
    np.divide((abnormal * below).sum(axis=1), pairs, out=area, where=pairs > 0)
    return area


def percentile_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """95 % percentile interval of drawn values; NaN where fewer than half have a value."""
    usable = values[np.isfinite(values)]
    if len(usable) < len(values) / 2:
        return (np.nan, np.nan)
    low, high = np.percentile(usable, [2.5, 97.5])
    return (float(low), float(high))


def sd_over_seeds(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the standard deviation over the first axis (n - 1); 0 with one seed."""
    spread: NDArray[np.float64] = table.std(axis=0, ddof=min(1, len(table) - 1))
    return spread


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None
