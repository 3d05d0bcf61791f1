"""Chances of counts.

`scipy.stats` has both distributions, but takes longer to import than ``hcs-qc status`` to do all
else (docs/architecture.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def poisson_cdf(counts: ArrayLike, mean: float) -> NDArray[np.float64]:
    """Chance of each count or fewer where `mean` is expected."""
    rows = np.floor(np.asarray(counts, dtype=np.float64)).astype(np.int64)
    k = np.arange(rows.max(initial=0) + 1)
    cumulated = np.cumsum(np.exp(k * np.log(mean) - mean - _log_factorials(len(k) - 1)))
    chances: NDArray[np.float64] = np.minimum(cumulated, 1.0)[rows]
    return chances


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
