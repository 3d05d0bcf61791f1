"""Effects of the place on a plate: edge against inner wells, rows, columns; and drift over plates.

One method for all comparisons of wells: the Hodges-Lehmann shift, the median of all differences
between a well of the one group and a well of the other, with the rank interval of Moses. Neither
is moved by a few ruined wells, and both are in the unit of the measure.

Over a screen a plate is one observation: the shifts of the plates are put together by the median
of their pairwise means, with the interval that belongs to the signed-rank test.

References
----------
Hodges, Lehmann 1963, Ann Math Stat 34:598; Hollander, Wolfe, Chicken 2014, Nonparametric
Statistical Methods, sections 3.2-3.3 and 4.2-4.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy  # `stats` is loaded when it is first used

from napari_hcs_qc.plates.wells import parse_well, row_letters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
MEASURES: dict[str, str] = {
    "share_abnormal": "share of abnormal cells",
    "cells_per_site": "cells per site, relative to the plate's median",
}
"""What is compared between places, and how it is called."""

MIN_WELLS = 3
"""A group of fewer wells is not compared."""

MIN_PLATES = 5
"""With fewer plates there is no drift."""


@dataclass(frozen=True)
class Estimate:
    """A robust estimate with its interval; NaN limits where there is too little for one."""

    value: float
    low: float
    high: float

    @property
    def is_sure(self) -> bool:
        """Whether the interval leaves 0 out."""
        return bool(self.low > 0 or self.high < 0)

    @property
    def least(self) -> float:
        """The limit that is nearer to 0, with its sign; 0 where the interval holds 0 or is NaN."""
        if not self.is_sure:
            return 0.0
        return self.low if self.low > 0 else self.high


@dataclass(frozen=True, kw_only=True)
class PositionEffect:
    """How much the wells of one place differ from the others of their plate."""

    measure: str  # one of `MEASURES`
    place: str  # ``"edge"``, ``"row B"`` or ``"column 3"``
    shift: Estimate  # place minus the others
    n: int  # wells compared
    n_others: int  # wells compared


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Trend of one figure over the plates of a screen."""

    slope: Estimate
    change: float  # from the first to the last plate: slope times span
    rho: Estimate  # spearman's rank correlation, with the interval of Bonett and Wright 2000
    n: int  # plates
    intercept: float  # of the line through the medians


def shift_between(group: ArrayLike, others: ArrayLike, *, n_tests: int = 1) -> Estimate:
    """Hodges-Lehmann shift of a group of values against others."""
    a, b = _finite(group), _finite(others)
    if not len(a) or not len(b):
        return Estimate(np.nan, np.nan, np.nan)
    differences = np.subtract.outer(a, b).ravel()
    spread = np.sqrt(len(a) * len(b) * (len(a) + len(b) + 1) / 12)
    return _ranked(differences, len(differences) / 2, spread, n_tests)


def shift_over_plates(shifts: ArrayLike, *, n_tests: int = 1) -> Estimate:
    """Put the shifts of plates together: the median of their pairwise means, with its interval."""
    finite = _finite(shifts)
    n = len(finite)
    if not n:
        return Estimate(np.nan, np.nan, np.nan)
    first, second = np.triu_indices(n)
    means = (finite[first] + finite[second]) / 2
    spread = np.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    return _ranked(means, n * (n + 1) / 4, spread, n_tests)


def _ranked(values: NDArray[np.float64], middle: float, spread: float, n_tests: int) -> Estimate:
    """Median of `values`, and the order statistics that a rank test would not reject."""
    z = float(scipy.stats.norm.isf((1 - CONFIDENCE) / 2 / n_tests))
    rank = int(np.floor(middle - z * spread))  # from 1; rounded down, so that it holds at least
    n = len(values)
    halves = [(n - 1) // 2, n // 2]
    if rank < 1:
        low, high = -np.inf, np.inf
        values = np.partition(values, halves)
    else:
        values = np.partition(values, sorted({*halves, rank - 1, n - rank}))
        low, high = float(values[rank - 1]), float(values[n - rank])
    return Estimate(float(values[halves].mean()), low, high)


def position_effects(wells: pd.DataFrame, shape: tuple[int, int]) -> list[PositionEffect]:
    """Compare the edge, each row and each column of a plate with its other wells."""
    rows, columns = places_of(wells["well"])
    n_rows, n_columns = shape
    is_edge = (
        (rows == 0) | (rows == n_rows - 1) | (columns == 0) | (columns == n_columns - 1)
    )  # fmt: skip
    effects = []
    for measure in MEASURES:
        values = centred(wells[measure].to_numpy(np.float64), measure)
        known = np.isfinite(values)
        groups = [("edge", is_edge, 1)]
        for word, numbers in (("row", rows), ("column", columns)):
            there = [int(number) for number in np.unique(numbers[known])]
            groups += [
                (
                    f"{word} {row_letters(number) if word == 'row' else number + 1}",
                    numbers == number,
                    len(there),
                )
                for number in there
            ]
        for place, is_in, n_tests in groups:
            n, n_others = int((is_in & known).sum()), int((~is_in & known).sum())
            if min(n, n_others) >= MIN_WELLS:
                shift = shift_between(values[is_in], values[~is_in], n_tests=n_tests)
                effects.append(
                    PositionEffect(
                        measure=measure, place=place, shift=shift, n=n, n_others=n_others
                    )
                )
    return effects


def screen_effects(plates: Sequence[Sequence[PositionEffect]]) -> list[PositionEffect]:
    """Put the effects of all plates together, a plate being one observation."""
    by_effect: dict[tuple[str, str], list[float]] = {}
    for effects in plates:
        for effect in effects:
            by_effect.setdefault((effect.measure, effect.place), []).append(effect.shift.value)
    kinds: dict[tuple[str, str], int] = {}
    for measure, place in by_effect:
        kinds[measure, place.split()[0]] = kinds.get((measure, place.split()[0]), 0) + 1
    return [
        PositionEffect(
            measure=measure,
            place=place,
            shift=shift_over_plates(shifts, n_tests=kinds[measure, place.split()[0]]),
            n=len(shifts),
            n_others=0,
        )
        for (measure, place), shifts in by_effect.items()
    ]


def strongest(effects: Sequence[PositionEffect], measure: str, kind: str) -> PositionEffect | None:
    """Give the effect of one kind (edge, row, column) that is surest to be large; None if none."""
    mine = [
        effect
        for effect in effects
        if effect.measure == measure and effect.place.split()[0] == kind
    ]
    return max(
        mine, key=lambda effect: (abs(effect.shift.least), abs(effect.shift.value)), default=None
    )


def drift(values: ArrayLike, order: ArrayLike) -> Drift | None:
    """Tell whether a figure drifts over the plates.

    References
    ----------
    Sen 1968, J Am Stat Assoc 63:1379; Bonett, Wright 2000, Psychometrika 65:23.
    """
    y, x = np.asarray(values, dtype=np.float64), np.asarray(order, dtype=np.float64)
    known = np.isfinite(y) & np.isfinite(x)
    y, x = y[known], x[known]
    if len(y) < MIN_PLATES or len(np.unique(x)) < 3:
        return None
    line = scipy.stats.theilslopes(y, x, alpha=CONFIDENCE)
    slope = Estimate(float(line.slope), float(line.low_slope), float(line.high_slope))
    return Drift(
        slope=slope,
        change=slope.value * float(np.ptp(x)),
        rho=_spearman(x, y),
        n=len(y),
        intercept=float(line.intercept),
    )


def _spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> Estimate:
    if np.ptp(y) == 0:  # a constant has no rank correlation, and no drift
        return Estimate(0.0, np.nan, np.nan)
    rho = float(scipy.stats.spearmanr(x, y).statistic)
    half = float(scipy.stats.norm.isf((1 - CONFIDENCE) / 2))
    half *= np.sqrt((1 + rho**2 / 2) / (len(x) - 3))
    middle = np.arctanh(np.clip(rho, -1 + 1e-12, 1 - 1e-12))
    return Estimate(rho, float(np.tanh(middle - half)), float(np.tanh(middle + half)))


def centred(values: NDArray[np.float64], measure: str) -> NDArray[np.float64]:
    """Give values against the median of their plate: shares as a difference, counts relative."""
    finite = values[np.isfinite(values)]
    middle = float(np.median(finite)) if len(finite) else float("nan")
    if measure == "share_abnormal":
        return values - middle
    return values / middle - 1 if middle > 0 else np.full(len(values), np.nan)


def places_of(wells: pd.Series) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column, from 0, of wells like ``A01``."""
    parsed = [parse_well(str(well)) for well in wells]
    rows = np.array([position.row for position in parsed], dtype=np.int64)
    return rows, np.array([position.column for position in parsed], dtype=np.int64)


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    flat = np.asarray(values, dtype=np.float64).ravel()
    return flat[np.isfinite(flat)]


def effect_rows(effects: Mapping[str, Sequence[PositionEffect]]) -> list[dict[str, object]]:
    """Lay effects out as rows of a table, by plate."""
    return [
        {
            "plate": plate,
            "measure": effect.measure,
            "place": effect.place,
            "shift": effect.shift.value,
            "low": effect.shift.low,
            "high": effect.shift.high,
            "n": effect.n,
            "n_others": effect.n_others,
        }
        for plate, group in effects.items()
        for effect in group
    ]
