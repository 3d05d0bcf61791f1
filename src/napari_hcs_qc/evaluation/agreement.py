"""How far held-out judgements agree with annotations, with intervals that hold the truth.

The truth is what the model reaches on any number of cells chosen in the same way from other wells.
Cells of a well are alike, so the wells are what is counted: the variance of a figure is that of
leaving out one well at a time (the jackknife, Efron & Tibshirani 1993, chapter 11), from which the
interval is made as Wilson's is of independent cells, with so many fewer cells and Student's t (as
the survey package of R does, `svyciprop`). Tests simulate how often it holds the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.qc.intervals import wilson_interval

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Booleans = NDArray[np.bool_]

METRIC_NAMES = (
    "accuracy",
    "f1_weighted",
    "f1_abnormal",
    "f1_normal",
    "precision_abnormal",
    "recall_abnormal",
    "auc",
)

TOO_FEW = "too few wells to say"
"""What is shown in place of an interval."""

_LEAST_ALIKE = 0.1  # correlation of the errors in a well: never taken for less
# Wells of equal size that the cells of a figure have to be worth. Abnormal cells gather in few: of
# six wells those that have equally many are no sample of others.
_MIN_WELLS, _MIN_WELLS_OF_CLASS = 5.0, 6.0
_OF_ALL_CELLS = ("accuracy", "f1_weighted")
_F1 = ("f1_abnormal", "f1_normal")
_MAX_WIDTH = 0.5  # a wider interval says nothing


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Figures of held-out cells by the names in `METRIC_NAMES`."""

    mean: dict[str, float]  # over the repeats
    sd: dict[str, float]
    ci95: dict[str, tuple[float, float]]  # NaN where there are too few wells
    # Cells by annotated and predicted class, normal first: a mean over the repeats and no sum, so
    # that a row adds up to the cells annotated so
    confusion: Floats
    without: dict[str, Floats]  # the means without one well at a time; empty without wells


def agreement(
    is_abnormal: Booleans,
    p_abnormal: Floats,
    fold: NDArray[np.int64],
    wells: ArrayLike | None,
    *,
    threshold: float = 0.5,
) -> Agreement:
    """Compare ``(n_repeats, n_cells)`` held-out P(abnormal), and their folds, with annotations.

    Without `wells` there are no intervals.
    """
    # Compared as all scores are, see `classes_at`.
    called = p_abnormal.astype(np.float32) >= np.float32(threshold)
    pairs = (is_abnormal & called, ~is_abnormal & called, is_abnormal & ~called)
    outcomes = np.stack([*pairs, ~is_abnormal & ~called], axis=-1).astype(np.float64)
    ranks = [_Ranks.of(is_abnormal, *repeat) for repeat in zip(p_abnormal, fold, strict=True)]
    per_repeat = rates(outcomes.sum(axis=1)) | {"auc": np.array([rank.auc() for rank in ranks])}
    mean = {name: float(per_repeat[name].mean()) for name in METRIC_NAMES}
    ddof = min(1, len(p_abnormal) - 1)
    ends, without = dict.fromkeys(METRIC_NAMES, (np.nan, np.nan)), {}
    if wells is not None:
        code = np.unique(np.asarray(wells), return_inverse=True)[1].reshape(-1)
        of_well = (code == np.arange(code.max() + 1)[:, np.newaxis]).astype(np.float64)
        without = {
            name: values.mean(axis=0)
            for name, values in rates(outcomes.sum(axis=1)[:, None] - of_well @ outcomes).items()
        }
        without["auc"] = np.mean([rank.auc_without(of_well) for rank in ranks], axis=0)
        rarer = is_abnormal if 2 * is_abnormal.sum() <= len(is_abnormal) else ~is_abnormal
        share_called = called.mean(axis=0)
        cells = {  # that a figure is a share of
            "accuracy": np.ones(len(is_abnormal)),
            "f1_weighted": np.ones(len(is_abnormal)),
            "f1_abnormal": np.maximum(is_abnormal, share_called),
            "f1_normal": np.maximum(~is_abnormal, 1 - share_called),
            "precision_abnormal": share_called,
            "recall_abnormal": is_abnormal.astype(np.float64),
            "auc": rarer.astype(np.float64),
        }
        ends = {
            name: _interval(name, mean[name], without[name], of_well @ cells[name])
            for name in METRIC_NAMES
        }
    hits, alarms, misses, passed = outcomes.sum(axis=1).mean(axis=0)
    return Agreement(
        mean=mean,
        sd={name: float(values.std(ddof=ddof)) for name, values in per_repeat.items()},
        ci95=ends,
        confusion=np.array([[passed, alarms], [misses, hits]]),
        without=without,
    )


def jackknife_interval(value: float, without: Floats) -> tuple[float, float]:
    """95 % interval of a value from those without one well at a time; NaN of a single well."""
    freedom = len(without) - 1
    if freedom < 1:
        return (np.nan, np.nan)
    half = _quantile(freedom) * float(np.sqrt(freedom * without.var()))
    return value - half, value + half


def rates(counts: Floats) -> dict[str, Floats]:
    """All figures but the AUC from ``(..., 4)`` hits, false alarms, misses and passed cells."""
    hits, alarms, misses, passed = np.moveaxis(counts, -1, 0)
    n_abnormal, n_normal = hits + misses, passed + alarms
    total = n_abnormal + n_normal
    f1_abnormal = _share(2 * hits, 2 * hits + alarms + misses)
    f1_normal = _share(2 * passed, 2 * passed + alarms + misses)
    return {
        "accuracy": _share(hits + passed, total),
        "f1_weighted": _share(n_abnormal * f1_abnormal + n_normal * f1_normal, total),
        "f1_abnormal": f1_abnormal,
        "f1_normal": f1_normal,
        "precision_abnormal": _share(hits, hits + alarms),
        "recall_abnormal": _share(hits, n_abnormal),
    }


@dataclass(frozen=True, eq=False)
class _Ranks:
    """Pairs of an abnormal and a normal cell of one fold: how many there are, and in order.

    Heads of different folds are calibrated differently, so cells of two folds are not compared.
    """

    abnormal: list[NDArray[np.int64]]  # cells, fold by fold
    normal: list[NDArray[np.int64]]
    in_order: list[Floats]  # of each pair, fold by fold: 1, one half when equal, or 0
    n_cells: int

    @classmethod
    def of(cls, is_abnormal: Booleans, p: Floats, fold: NDArray[np.int64]) -> _Ranks:
        abnormal = [np.flatnonzero(is_abnormal & (fold == number)) for number in np.unique(fold)]
        normal = [np.flatnonzero(~is_abnormal & (fold == number)) for number in np.unique(fold)]
        in_order = [
            (np.sign(p[a][:, np.newaxis] - p[n]) + 1) / 2
            for a, n in zip(abnormal, normal, strict=True)
        ]
        return cls(abnormal, normal, in_order, len(p))

    def auc(self) -> float:
        """Share of the pairs that are in order; NaN where there are none."""
        n_pairs = sum(pairs.size for pairs in self.in_order)
        return sum(float(pairs.sum()) for pairs in self.in_order) / n_pairs if n_pairs else np.nan

    def auc_without(self, of_well: Floats) -> Floats:
        """Give the same without one well at a time."""
        n, n_in_order = np.zeros(len(of_well)), np.zeros(len(of_well))
        left = 1 - of_well
        for a, b, pairs in zip(self.abnormal, self.normal, self.in_order, strict=True):
            n += left[:, a].sum(axis=1) * left[:, b].sum(axis=1)
            n_in_order += ((left[:, a] @ pairs) * left[:, b]).sum(axis=1)
        return _share(n_in_order, n, otherwise=np.nan)


def _interval(name: str, mean: float, without: Floats, n_of_well: Floats) -> tuple[float, float]:
    """95 % interval of a figure from those without one well at a time.

    `n_of_well` is the number of cells of each well that it is a share of.
    """
    n = float(n_of_well.sum())
    nothing = (np.nan, np.nan)
    if n == 0 or not np.isfinite(without).all():
        return nothing
    if name in _F1:  # of the cells annotated or called so, the share that is both
        mean, without = mean / (2 - mean), without / (2 - without)
    per_well = float((n_of_well**2).sum()) / n
    n_wells = n / per_well
    if n_wells <= (_MIN_WELLS if name in _OF_ALL_CELLS else _MIN_WELLS_OF_CLASS):
        return nothing
    variance = (len(without) - 1) * float(without.var())
    inner = (mean * n + 1) / (n + 2)  # where no cell is wrong something may be
    alike = max(variance * n / (inner * (1 - inner)), 1 + (per_well - 1) * _LEAST_ALIKE, 1.0)
    z = _quantile(n_wells - 1)
    low, high = (float(end) for end in wilson_interval(mean * n / alike, n / alike, z))
    if name in _F1:
        low, high = 2 * low / (1 + low), 2 * high / (1 + high)
    return (low, high) if high - low <= _MAX_WIDTH else nothing


def _quantile(freedom: float) -> float:
    """97.5 % quantile of Student's t distribution."""
    from scipy.special import stdtrit  # takes longer to import than `hcs-qc status` to run

    return float(stdtrit(freedom, 0.975))


def _share(part: Floats, whole: Floats, otherwise: float = 0.0) -> Floats:
    share = np.full(np.shape(whole), otherwise)
    np.divide(part, whole, out=share, where=whole > 0)
    return share
