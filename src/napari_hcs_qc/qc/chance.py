"""Chances of counts, and what is left of them where many are looked at.

`scipy.stats` has these distributions, but takes longer to import than ``hcs-qc status`` to do all
else (docs/architecture.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def negative_binomial_cdf(
    counts: ArrayLike, means: ArrayLike, dispersion: float
) -> NDArray[np.float64]:
    """Chance of each count or fewer; the variance is mean + dispersion * mean²."""
    k, mean = np.broadcast_arrays(
        np.asarray(counts, dtype=np.int64), np.asarray(means, dtype=np.float64)
    )
    spread = max(dispersion, 1e-20)
    log_weight = _log_products(1.0, dispersion, k.max(initial=0)) - _log_factorials(
        k.max(initial=0)
    )
    odds = np.log(mean) - np.log1p(spread * mean)
    row, j, start = _ranges(np.zeros_like(k), k)
    log_p = log_weight[j] + j * odds[row] - (np.log1p(spread * mean) / spread)[row]
    return _sums(log_p, start)


def beta_binomial_tail(
    hits: ArrayLike, totals: ArrayLike, share: float, correlation: float
) -> NDArray[np.float64]:
    """Chance of so many hits or more among each total, alike by an intra-class correlation."""
    k, n = np.broadcast_arrays(np.asarray(hits, np.int64), np.asarray(totals, np.int64))
    step = correlation / (1 - correlation)
    most = n.max(initial=0)
    hit, missed, all_ = (_log_products(first, step, most) for first in (share, 1 - share, 1.0))
    log_factorial = _log_factorials(most)
    row, j, start = _ranges(k, n)
    rest = n[row] - j
    log_p = hit[j] - log_factorial[j] + missed[rest] - log_factorial[rest]
    return _sums(log_p + (log_factorial - all_)[n][row], start)


def hypergeometric_tail(k: int, n: int, n_marked: int, n_all: int) -> float:
    """Chance of `k` marked ones or more among `n` that are drawn from all."""
    log_factorial = _log_factorials(n_all)

    def log_ways(total: int, taken: NDArray[np.int64] | int) -> NDArray[np.float64]:
        ways: NDArray[np.float64] = (
            log_factorial[total] - log_factorial[taken] - log_factorial[total - taken]
        )
        return ways

    marked = np.arange(max(k, n + n_marked - n_all), min(n, n_marked) + 1)
    log_p = log_ways(n_marked, marked) + log_ways(n_all - n_marked, n - marked)
    return float(np.minimum(np.exp(log_p - log_ways(n_all, n)).sum(), 1.0))


def _log_factorials(n: int) -> NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])


def benjamini_hochberg(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values for the false discovery rate.

    References
    ----------
    Benjamini & Hochberg 1995, J R Stat Soc B 57:289.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)[::-1]
    adjusted = np.empty_like(p)
    scaled = p[order] * len(p) / np.arange(len(p), 0, -1)
    adjusted[order] = np.minimum.accumulate(np.minimum(scaled, 1.0))
    return adjusted


def _log_products(first: float, step: float, n: int) -> NDArray[np.float64]:
    """Logarithms of the products of the first 0, 1, ..., n of first, first + step, ..."""
    return np.concatenate([[0.0], np.cumsum(np.log(first + step * np.arange(n)))])


def _ranges(
    first: NDArray[np.int64], last: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Every number from first to last of each row: its row, itself, and where a row starts."""
    length = last - first + 1
    start = np.cumsum(length) - length
    row = np.repeat(np.arange(len(length)), length)
    return row, np.arange(length.sum()) - start[row] + first[row], start


def _sums(log_p: NDArray[np.float64], start: NDArray[np.int64]) -> NDArray[np.float64]:
    if not len(start):
        return np.zeros(0)
    sums: NDArray[np.float64] = np.minimum(np.add.reduceat(np.exp(log_p), start), 1.0)
    return sums
