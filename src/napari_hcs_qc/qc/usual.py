"""What is usual on a plate: the share and the count of its sites or wells, and their spread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.qc.chance import beta_binomial_tail, negative_binomial_cdf
from napari_hcs_qc.qc.scores import MAD_TO_SD

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A well of at least so many hits that is so many standard deviations above the share of the others
# is left out. Of wells of fewer cells the largest shares are far out though nothing is wrong.
_OUTLIER_SD = 2.5
_OUTLIER_HITS = 4
# What the spread loses by that where nothing is wrong (simulated)
_SPREAD_LOST = 1.2
_MAX_CORRELATION = 0.95


@dataclass(frozen=True)
class UsualShare:
    """A share of the cells, and how alike the cells of a well (or site) are."""

    share: float
    correlation: float  # intra-class correlation of a beta-binomial distribution

    def chance(self, hits: NDArray[np.int64], totals: NDArray[np.int64]) -> NDArray[np.float64]:
        """Chance of so many hits or more in a usual well."""
        return beta_binomial_tail(hits, totals, self.share, self.correlation)


@dataclass(frozen=True)
class UsualCount:
    """A number of cells in a site, and how much it differs between wells (or sites)."""

    per_site: float
    dispersion: float  # of a negative binomial distribution

    def chance(self, counts: NDArray[np.int64], n_sites: NDArray[np.int64]) -> NDArray[np.float64]:
        """Chance of so few cells or fewer in a usual well."""
        return negative_binomial_cdf(counts, self.per_site * n_sites, self.dispersion)


Shares = tuple["NDArray[np.int64]", "NDArray[np.int64]"]
"""Of each well (or site) the cells that count and all cells, at least one."""


def usual_share(of_plate: Shares, of_controls: Shares | None = None) -> UsualShare:
    """Find the share of the controls, or else of the plate, and its spread on the plate.

    Wells far above the others count for neither, or they would hide themselves. The spread is
    that at which squared deviations are as large as expected, each well weighted by what it says
    of the spread (pseudo-likelihood, Davidian & Carroll 1987, doi:10.2307/2289384).
    """
    every, weight = _distinct(of_plate)
    share, _ = _pooled(every, weight, 0.0)
    correlation, is_usual = 0.0, np.zeros(len(weight), dtype=bool)
    for _ in range(20):
        was_usual, is_usual = is_usual, _is_usual(every, share, correlation)
        if np.array_equal(was_usual, is_usual):
            break
        share, _ = _pooled(every, weight * is_usual, correlation)
        correlation = _correlation(every, weight * is_usual, share)
    if of_controls is not None:
        every, weight = _distinct(of_controls)
        share, _ = _pooled(every, weight, correlation)
        is_usual = _is_usual(every, share, correlation)
    share, n_effective = _pooled(every, weight * is_usual, correlation)
    # The share itself is known up to a variance of 1 / n_effective.
    lost = _SPREAD_LOST * _uncertainty(len(of_plate[0]))
    spread = lost * correlation + 1 / n_effective
    return UsualShare(share, min(spread, _MAX_CORRELATION))


def usual_count(
    counts: NDArray[np.int64], n_sites: NDArray[np.int64], median: float, n_compared: int
) -> UsualCount:
    """Find how much the number of cells differs between wells (or sites) of a plate."""
    per_site = counts / n_sites
    middle = float(np.median(per_site))
    deviation = MAD_TO_SD * float(np.median(np.abs(per_site - middle)))
    variance = deviation**2 * _uncertainty(len(counts)) - middle * float(np.mean(1 / n_sites))
    dispersion = max(0.0, variance / middle**2) if middle > 0 else 0.0
    # The variance of a median of n is pi / 2 times that of a mean.
    spread = dispersion + np.pi / 2 * (dispersion + 1 / median) / n_compared
    return UsualCount(median, spread)


def _uncertainty(n: int) -> float:
    """Factor by which a variance that is estimated from few wells may be too small."""
    return 1 + 10 / n


def _distinct(shares: Shares) -> tuple[Shares, NDArray[np.int64]]:
    """Every pair of hits and total that occurs, and how often: sites are many and small."""
    hits, totals = shares
    base = int(totals.max()) + 1
    pairs, counts = np.unique(totals * base + hits, return_counts=True)
    return (pairs % base, pairs // base), counts


def _pooled(shares: Shares, weight: NDArray[np.int64], correlation: float) -> tuple[float, float]:
    """Share of the wells together, and of how many independent cells it is."""
    hits, totals = shares
    by_well = weight / (1 + (totals - 1) * correlation)
    n_effective = float(by_well @ totals) + 1
    # Half a hit more: a share of 0 would make every hit impossible.
    return (float(by_well @ hits) + 0.5) / n_effective, n_effective


def _correlation(shares: Shares, weight: NDArray[np.int64], share: float) -> float:
    hits, totals = shares
    n_wells = int(weight.sum())
    others = totals - 1.0
    squares = (hits - totals * share) ** 2 / (totals * share * (1 - share)) * _uncertainty(n_wells)

    def excess(correlation: float) -> float:
        variance = 1 + others * correlation
        return float(weight @ (others / variance * (squares / variance - 1)))

    low, high = 0.0, _MAX_CORRELATION
    if excess(low) <= 0:
        return low
    for _ in range(18):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return high


def _is_usual(shares: Shares, share: float, correlation: float) -> NDArray[np.bool_]:
    """Tell which shares are not far above, on the scale on which their spread is even.

    Anscombe 1948, doi:10.1093/biomet/35.3-4.246.
    """
    hits, totals = shares
    angle = np.arcsin(np.sqrt((hits + 0.375) / (totals + 0.75))) - np.arcsin(np.sqrt(share))
    sd = 0.5 * np.sqrt((1 + (totals - 1) * correlation) / (totals + 0.5))
    usual: NDArray[np.bool_] = (angle < _OUTLIER_SD * sd) | (hits < _OUTLIER_HITS)
    return usual
