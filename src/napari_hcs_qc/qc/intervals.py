"""Intervals of the true share of abnormal cells of wells and plates.

What a model calls abnormal is a share with an error. It is corrected for the model's sensitivity
and specificity (Rogan & Gladen 1978, Am J Epidemiol 107:71), and its interval holds the uncertainty
of both, which are estimated from annotated cells (as in Lang & Reiczigel 2014, Prev Vet Med 113:13)
and put together by squaring and adding the distances to the ends (Zou & Donner 2008,
doi:10.1002/sim.3095), and the spread between sites, since cells of a site are alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MIN_ANNOTATED = 10
"""With fewer annotated cells of a class there is no interval."""

NO_INTERVAL = "too few annotations or sites for an interval"
"""What is shown in place of an interval."""

ABOUT_SCORE = (
    "A score is not a probability on the plate: annotated cells are picked, and more of them are "
    "abnormal, so the mean score of a plate is well above its share of abnormal cells."
)
"""What is said beside scores."""

_MAX_WIDTH = 0.5  # a wider interval says nothing
_MIN_FREEDOM = 4  # so many sites beyond the first of their well (or wells) for a spread
_WILSON_Z = 1.959963984540054
_MAX_CORRELATION = 0.95
# Simulated (tests/unit/qc/test_intervals.py): what a spread of few sites may be too small by, the
# part of the wells that are the quietest, and how sure the false alarms are not above theirs
_FEW_SITES = 7.0
_QUIETEST = 1 / 16
_QUIETEST_Z = 2.33
# A plate of hardly any abnormal cells does not say how they are spread
_LEAST_VARIANCE = 0.005


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Annotated cells of each class, and how many of them were called abnormal while held out."""

    n_abnormal: float
    n_abnormal_called: float  # a mean over repeats of cross-validation, so not always whole
    n_normal: float
    n_normal_called: float


class Shares(NamedTuple):
    """Corrected shares with the ends of their 95 % intervals; NaN where there is no interval."""

    estimate: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def unknown(cls, n: int) -> Shares:
        """Give `n` shares that nothing is known of."""
        return cls(*(np.full(n, np.nan) for _ in range(3)))


def upper_limit(hits: int, total: int, confidence: float = 0.95) -> float:
    """Clopper-Pearson limit that a share of cells drawn at random does not exceed.

    References
    ----------
    Clopper & Pearson 1934, Biometrika 26:404, doi:10.1093/biomet/26.4.404.
    """
    from scipy.stats import beta  # takes longer to import than what only reads figures

    return 1.0 if hits >= total else float(beta.ppf(confidence, hits + 1, total - hits))


def wilson_interval(
    hits: ArrayLike, totals: ArrayLike, z: float = _WILSON_Z
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wilson score interval (95 %) of a share of independent cases.

    References
    ----------
    Wilson 1927, J Am Stat Assoc 22:209, doi:10.1080/01621459.1927.10502953.
    """
    hits = np.asarray(hits, dtype=np.float64)
    totals = np.asarray(totals, dtype=np.float64)
    totals = np.where(totals > 0, totals, np.nan)
    share = hits / totals
    middle = (share + z**2 / (2 * totals)) / (1 + z**2 / totals)
    half = z * np.sqrt(share * (1 - share) / totals + z**2 / (4 * totals**2)) / (1 + z**2 / totals)
    # At 0 and n the exact limits are 0 and 1; rounding must not put them beyond.
    low = np.where(hits == 0, 0.0 * totals, np.maximum(middle - half, 0.0))
    high = np.where(hits == totals, 1.0, np.minimum(middle + half, 1.0))
    return low, high


def well_intervals(
    called: ArrayLike, totals: ArrayLike, well: ArrayLike, n_wells: int, rates: Rates | None
) -> Shares:
    """Estimate the true share of abnormal cells of every well from its sites.

    `called` of the `totals` cells of each site were called abnormal; `well` is the index of its
    well.
    """
    unknown = Shares.unknown(n_wells)
    totals = np.asarray(totals, dtype=np.int64)
    is_used = totals > 0
    n, code = totals[is_used], np.asarray(well, dtype=np.int64)[is_used]
    k = np.asarray(called, dtype=np.int64)[is_used]
    hits, cells, squares = (_summed(code, counts, n_wells) for counts in (k, n, n**2))
    is_known = cells > 0
    errors = _Errors.of(hits[is_known], cells[is_known], rates)
    if errors is None:
        return unknown
    correlation = _correlation(k, n, code, errors)
    if correlation is None:
        return unknown
    cells = np.where(is_known, cells, np.nan)
    # The variance of a share x is x (1 - x) / cells + spread (x - false) (true - x), of which the
    # second part is that of the share of abnormal cells between the sites.
    spread = correlation * (squares - cells) / cells**2
    share = hits / cells
    alike, z2 = 1 / cells + spread, _WILSON_Z**2
    a = 1 + z2 * alike
    b = -2 * share - z2 * (1 / cells + spread * (errors.true + errors.false))
    c = share**2 + z2 * spread * errors.true * errors.false
    root = np.sqrt(np.maximum(b**2 - 4 * a * c, 0.0))
    low, high = wilson_interval(hits, cells)
    low, high = np.fmin(low, (-b - root) / (2 * a)), np.fmax(high, (-b + root) / (2 * a))
    return errors.corrected(share, low, high)


def plate_interval(called: ArrayLike, totals: ArrayLike, rates: Rates | None) -> Shares:
    """Estimate the true share of abnormal cells of all wells together, as wells differ."""
    n = np.asarray(totals, dtype=np.int64)
    k, n = np.asarray(called, dtype=np.int64)[n > 0], n[n > 0]
    n_wells, freedom = len(n), len(n) - 1
    errors = _Errors.of(k.astype(np.float64), n.astype(np.float64), rates)
    if errors is None or freedom < _MIN_FREEDOM:
        return Shares.unknown(1)
    share = k.sum() / n.sum()
    single = share * (1 - share)
    between = float(((k - n * share) ** 2).sum()) / n.sum() ** 2 * n_wells / freedom
    n_effective = n.sum() / max(1.0, between * n.sum() / single if single > 0 else 1.0)
    # The quantile of Student's t distribution (Abramowitz & Stegun 1964, 26.7.5)
    z = _WILSON_Z + (_WILSON_Z**3 + _WILSON_Z) / (4 * freedom)
    low, high = wilson_interval(share * n_effective, n_effective, z)
    return errors.corrected(*(np.atleast_1d(value) for value in (share, low, high)))


@dataclass(frozen=True, kw_only=True)
class _Errors:
    """Shares of the abnormal (true) and the normal cells (false) that are called abnormal."""

    true: float
    true_low: float
    true_high: float
    false: float
    false_low: float
    false_high: float

    @classmethod
    def of(
        cls, hits: NDArray[np.float64], totals: NDArray[np.float64], rates: Rates | None
    ) -> _Errors | None:
        """Estimate from annotated cells and wells; None where they do not say enough."""
        if rates is None or min(rates.n_abnormal, rates.n_normal) < MIN_ANNOTATED or not len(hits):
            return None
        true_low, true_high = map(float, wilson_interval(rates.n_abnormal_called, rates.n_abnormal))
        false_low, false_high = map(float, wilson_interval(rates.n_normal_called, rates.n_normal))
        true = rates.n_abnormal_called / rates.n_abnormal
        false = rates.n_normal_called / rates.n_normal
        quiet, quiet_high = _quietest(hits.astype(np.int64), totals.astype(np.int64))
        false, false_high = min(false, quiet), min(false_high, quiet_high)
        if true_low <= false_high:
            return None
        return cls(
            true=true,
            true_low=true_low,
            true_high=true_high,
            false=false,
            false_low=min(false_low, false),
            false_high=false_high,
        )

    def corrected(
        self, share: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
    ) -> Shares:
        """Correct called shares and their ends."""
        true, false = self.true, self.false
        estimate = _rogan_gladen(share, true, false)
        down = (
            estimate - _rogan_gladen(low, true, false),
            estimate - _rogan_gladen(share, true, self.false_high),
            estimate - _rogan_gladen(share, self.true_high, false),
        )
        up = (
            _rogan_gladen(high, true, false) - estimate,
            _rogan_gladen(share, true, self.false_low) - estimate,
            _rogan_gladen(share, self.true_low, false) - estimate,
        )
        least, most = estimate - _length(down), estimate + _length(up)
        # Where both ends are beyond the range, they would be one value, as if it were certain. Were
        # no abnormal cell missed, or no normal one called, the share would be as it was called.
        least = np.clip(np.where(least >= 1, low, least), 0.0, 1.0)
        most = np.clip(np.where(most <= 0, high, most), 0.0, 1.0)
        estimate = np.clip(estimate, least, most)
        is_useful = most - least <= _MAX_WIDTH
        return Shares(*(np.where(is_useful, value, np.nan) for value in (estimate, least, most)))


def _summed(
    code: NDArray[np.int64], values: NDArray[np.int64] | NDArray[np.float64], n: int = 0
) -> NDArray[np.float64]:
    """Sum the values of each code."""
    return np.bincount(code, values, minlength=n).astype(np.float64)


def _rogan_gladen(share: NDArray[np.float64], true: float, false: float) -> NDArray[np.float64]:
    return (share - false) / (true - false)


def _length(distances: tuple[NDArray[np.float64], ...]) -> NDArray[np.float64]:
    length: NDArray[np.float64] = np.sqrt(sum(np.maximum(step, 0.0) ** 2 for step in distances))
    return length


def _quietest(hits: NDArray[np.int64], totals: NDArray[np.int64]) -> tuple[float, float]:
    """Share called abnormal in the wells that have fewest, and its upper end.

    Of normal cells no more are called abnormal than of all cells of any well. One half of the cells
    of a well tells whether it is among the quietest, the other one what its share is: a well may
    be quiet by chance.
    """
    rng = np.random.default_rng(0)
    # Sorted, so that the order of the wells does not matter; shuffled, so that of equal halves it
    # is not the whole well that decides.
    order = rng.permutation(np.lexsort((hits, totals)))
    hits, totals = hits[order], totals[order]
    n_first = totals // 2
    first = rng.hypergeometric(hits, totals - hits, n_first)
    halves = (first, n_first), (hits - first, totals - n_first)
    n_quiet = max(1, round(_QUIETEST * len(hits)))
    n_called = n_cells = 0
    for (by, n_by), (counted, n_counted) in (halves, halves[::-1]):
        quiet = np.argsort((by + 0.5) / (n_by + 1), kind="stable")[:n_quiet]
        n_called += int(counted[quiet].sum())
        n_cells += int(n_counted[quiet].sum())
    if not n_cells:
        return 1.0, 1.0
    return n_called / n_cells, float(wilson_interval(n_called, n_cells, _QUIETEST_Z)[1])


def _correlation(
    hits: NDArray[np.int64], totals: NDArray[np.int64], code: NDArray[np.int64], errors: _Errors
) -> float | None:
    """Intra-class correlation of the abnormal cells of a site.

    Between the sites of the wells; where hardly a well has two, between the wells, which differ
    more. None where there are too few of both.
    """
    n_sites = np.bincount(code)
    is_used = n_sites[code] > 1
    n_used = int(np.count_nonzero(n_sites > 1))
    if np.count_nonzero(is_used) - n_used < _MIN_FREEDOM:
        code, is_used, n_used = np.zeros_like(code), np.ones(len(code), dtype=bool), 1
    freedom = int(np.count_nonzero(is_used)) - n_used
    if freedom < _MIN_FREEDOM:
        return None
    code = np.unique(code[is_used], return_inverse=True)[1]
    k, n = hits[is_used].astype(np.float64), totals[is_used].astype(np.float64)
    sites, cells = np.bincount(code), _summed(code, n)
    share = _summed(code, k) / cells
    squares = _summed(code, (k - n * share[code]) ** 2 / n)
    single = share * (1 - share) * cells / np.maximum(cells - 1, 1)
    pairs = cells - _summed(code, n**2) / cells - (sites - 1)
    excess = float((squares - (sites - 1) * single).sum())
    true, false = errors.true, errors.false
    variance = float((pairs * (share - false) * (true - share)).sum())
    variance = max(variance, float(pairs.sum()) * _LEAST_VARIANCE * (true - false) ** 2)
    if excess <= 0:
        return 0.0
    if variance <= 0:
        return None
    return float(min(excess / variance * (1 + _FEW_SITES / freedom), _MAX_CORRELATION))
