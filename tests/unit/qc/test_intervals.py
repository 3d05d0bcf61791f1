"""Whether the interval of a share of abnormal cells holds the true share."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from napari_hcs_qc.qc.intervals import (
    Rates,
    plate_interval,
    well_intervals,
    wilson_interval,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

LEAST_COVERAGE = 0.93
MOST_WIDER = 1.5  # times the width with known rates, at 300 annotated cells


@given(n=st.integers(1, 3000), share=st.floats(0, 1))
def test_wilson_limits_are_where_the_score_test_is_on_the_edge(n: int, share: float) -> None:
    hits = round(share * n)
    low, high = wilson_interval(hits, n)
    assert 0 <= low <= hits / n <= high <= 1

    def score(p: float) -> float:
        return (hits / n - p) ** 2 * n - 1.959963984540054**2 * p * (1 - p)

    middle = hits / n
    if 0 < hits < n:
        assert low == pytest.approx(brentq(score, 0, middle), abs=1e-9)
        assert high == pytest.approx(brentq(score, middle, 1), abs=1e-9)
    elif hits == 0:
        assert low == 0
    else:
        assert high == 1


def test_wilson_interval_of_published_figures() -> None:
    # Newcombe 1998, Stat Med 17:857, table I, method 3 (score, no correction).
    low, high = wilson_interval([81, 15, 0, 1], [263, 148, 20, 29])
    assert low == pytest.approx([0.2553, 0.0624, 0.0, 0.0061], abs=5e-5)
    assert high == pytest.approx([0.3662, 0.1605, 0.1611, 0.1718], abs=5e-5)


def test_nothing_out_of_nothing_has_no_interval() -> None:
    low, high = wilson_interval([0, 0], [0, 5])
    assert np.isnan(low[0])
    assert np.isnan(high[0])
    assert low[1] == 0


class Plate(NamedTuple):
    """Counts of every site (wells, sites), and what they come from."""

    called: NDArray[np.int64]
    totals: NDArray[np.int64]
    true: NDArray[np.float64]  # share of abnormal cells of each well
    rates: Rates


def simulate(
    rng: np.random.Generator,
    *,
    cells: int = 270,
    sites: int = 9,
    rho: float = 0.05,
    tpr: float = 0.95,
    fpr: float = 0.03,
    annotated: int = 100,
    mean: float = 0.07,
    size: float = 20,
    wells: int = 96,
    is_unequal: bool = False,
) -> Plate:
    """Draw a plate as `interval_coverage.py` draws wells; 0 annotated: the rates are known.

    Shares of wells are of a beta distribution, those of its sites correlated by `rho`; of the
    annotated cells 35 to 50 % are abnormal, as people pick them.
    """
    true = rng.beta(mean * size, (1 - mean) * size, wells) if mean else np.zeros(wells)
    of_site = np.repeat(true[:, None], sites, axis=1)
    if rho:
        spread = np.maximum(of_site, 1e-9) * (1 - rho) / rho
        of_site = rng.beta(spread, (1 - of_site) * (1 - rho) / rho)
    totals = np.full((wells, sites), cells // sites)
    if is_unequal:
        totals = rng.poisson(totals * rng.gamma(3, 1 / 3, totals.shape))
    abnormal = rng.binomial(totals, of_site)
    called = rng.binomial(abnormal, tpr) + rng.binomial(totals - abnormal, fpr)
    if annotated:
        n_abnormal = round(annotated * rng.uniform(0.35, 0.5))
        n_normal = annotated - n_abnormal
        hits, alarms = rng.binomial(n_abnormal, tpr), rng.binomial(n_normal, fpr)
    else:
        n_abnormal = n_normal = 10**9
        hits, alarms = round(tpr * n_abnormal), round(fpr * n_normal)
    rates = Rates(
        n_abnormal=n_abnormal, n_abnormal_called=hits, n_normal=n_normal, n_normal_called=alarms
    )
    return Plate(called, totals, true, rates)


class Held(NamedTuple):
    """How the intervals of many plates do."""

    coverage: float  # share of the wells with an interval whose true share it holds
    width: float  # of the median well
    shown: float  # share of the wells with an interval
    of_plates: float  # share of the plates whose interval holds the plate's true share


def held(n_plates: int, seed: int = 1, **case: object) -> Held:
    """Simulate plates and count what their intervals hold."""
    rng = np.random.default_rng(seed)
    hits, widths, of_plates, n_wells = [], [], [], 0
    for _ in range(n_plates):
        plate = simulate(rng, **case)  # type: ignore[arg-type]
        wells, sites = plate.called.shape
        code = np.repeat(np.arange(wells), sites)
        shares = well_intervals(
            plate.called.ravel(), plate.totals.ravel(), code, wells, plate.rates
        )
        is_shown = np.isfinite(shares.low)
        holds = (shares.low <= plate.true) & (plate.true <= shares.high)
        hits.append(holds[is_shown])
        widths.append((shares.high - shares.low)[is_shown])
        n_wells += wells
        of_well = plate.totals.sum(axis=1)
        whole = plate_interval(plate.called.sum(axis=1), of_well, plate.rates)
        if np.isfinite(whole.low[0]):
            true = float(np.average(plate.true, weights=of_well))
            of_plates.append(whole.low[0] <= true <= whole.high[0])
    found = np.concatenate(hits)
    figures = Held(
        float(found.mean()),
        float(np.median(np.concatenate(widths))),
        len(found) / n_wells,
        float(np.mean(of_plates)) if of_plates else float("nan"),  # of too few wells
    )
    print(case, *(f"{name} {value:.3f}" for name, value in figures._asdict().items()))  # noqa: T201
    return figures


# Sensitivity and share of false alarms, as the script has them
RATES = [(1.0, 0.0), (0.95, 0.03), (0.9, 0.05)]


@pytest.mark.parametrize("annotated", [50, 300])
@pytest.mark.parametrize(
    ("cells", "sites", "rho", "rates"),
    [(90, 9, 0.0, 1), (270, 9, 0.05, 2), (990, 9, 0.0, 1), (990, 9, 0.05, 1), (270, 1, 0.05, 2)],
)
def test_the_interval_holds_the_true_share_of_a_well(
    cells: int, sites: int, rho: float, rates: int, annotated: int
) -> None:
    tpr, fpr = RATES[rates]
    figures = held(30, cells=cells, sites=sites, rho=rho, tpr=tpr, fpr=fpr, annotated=annotated)
    assert figures.coverage >= LEAST_COVERAGE
    assert figures.shown >= 0.85


@pytest.mark.slow
@pytest.mark.parametrize(("tpr", "fpr"), RATES)
@pytest.mark.parametrize("rho", [0.0, 0.05])
@pytest.mark.parametrize("cells", [90, 270, 990])
@pytest.mark.parametrize("sites", [9, 1])
def test_the_interval_holds_the_true_share_in_every_case(
    sites: int, cells: int, rho: float, tpr: float, fpr: float
) -> None:
    known, *estimated = (
        held(200, cells=cells, sites=sites, rho=rho, tpr=tpr, fpr=fpr, annotated=annotated)
        for annotated in (0, 50, 100, 300)
    )
    for figures in (known, *estimated):
        assert figures.coverage >= LEAST_COVERAGE
        assert figures.shown >= 0.8
    assert min(figures.of_plates for figures in estimated) >= LEAST_COVERAGE
    assert estimated[-1].width <= MOST_WIDER * known.width


OTHER_CASES = {
    "no abnormal cell": {"mean": 0.0},
    "few abnormal cells": {"mean": 0.01},
    "many abnormal cells": {"mean": 0.2},
    "few abnormal cells, one site": {"mean": 0.01, "sites": 1},
    "many abnormal cells, one site": {"mean": 0.2, "sites": 1},
    "sites that differ": {"rho": 0.1},
    "sites that differ, one each": {"rho": 0.1, "sites": 1},
    "wells that hardly differ": {"size": 1000, "cells": 990, "rho": 0.0},
    "wells that differ": {"size": 3, "cells": 990},
    "unequal sites": {"is_unequal": True, "cells": 990, "rho": 0.1},
    "unequal wells of one site": {"is_unequal": True, "sites": 1},
    "six wells": {"wells": 6},
    "twelve wells of one site": {"wells": 12, "sites": 1},
    "four wells of two sites": {"wells": 4, "sites": 2, "cells": 200},
    "twelve wells of four sites": {"wells": 12, "sites": 4, "cells": 400},
}


@pytest.mark.slow
@pytest.mark.parametrize(("tpr", "fpr"), [(0.95, 0.03), (0.75, 0.1)])
@pytest.mark.parametrize("name", OTHER_CASES)
def test_the_interval_holds_the_true_share_beyond_the_script(
    name: str, tpr: float, fpr: float
) -> None:
    case = OTHER_CASES[name]
    n_plates = 200 * 96 // max(24, int(case.get("wells", 96)))
    for annotated in (50, 100, 300):
        figures = held(n_plates, tpr=tpr, fpr=fpr, annotated=annotated, **case)
        assert figures.coverage >= LEAST_COVERAGE


KNOWN = Rates(n_abnormal=100, n_abnormal_called=95, n_normal=150, n_normal_called=5)


def intervals_of(plate: Plate, rates: Rates | None) -> Iterator[NDArray[np.float64]]:
    wells, sites = plate.called.shape
    code = np.repeat(np.arange(wells), sites)
    yield from well_intervals(plate.called.ravel(), plate.totals.ravel(), code, wells, rates)
    yield from plate_interval(plate.called.sum(axis=1), plate.totals.sum(axis=1), rates)


@pytest.mark.parametrize(
    "rates",
    [
        None,
        replace(KNOWN, n_abnormal=9, n_abnormal_called=9),
        replace(KNOWN, n_normal=9, n_normal_called=0),
        replace(KNOWN, n_abnormal_called=5),  # calls abnormal and normal cells alike
    ],
    ids=["not cross-validated", "few abnormal", "few normal", "no better than chance"],
)
def test_too_little_known_of_the_model_gives_no_interval(rates: Rates | None) -> None:
    plate = simulate(np.random.default_rng(0))
    for values in intervals_of(plate, KNOWN):
        assert np.isfinite(values).all()
    for values in intervals_of(plate, rates):
        assert np.isnan(values).all()


@pytest.mark.parametrize(("wells", "sites"), [(1, 1), (4, 1), (1, 4), (2, 2)])
def test_too_few_sites_give_no_interval(wells: int, sites: int) -> None:
    plate = simulate(np.random.default_rng(0), wells=wells, sites=sites)
    for values in intervals_of(plate, KNOWN):
        assert np.isnan(values).all()


def test_an_interval_that_says_nothing_is_not_given() -> None:
    called, totals = np.array([2, 1, 1, 0, 1, 2, 1]), np.array([4, 3, 3, 2, 3, 4, 0])
    shares = well_intervals(called, totals, np.arange(7), 7, KNOWN)
    assert np.isnan(shares.low).all()


def test_a_well_without_cells_has_no_interval_and_the_others_have() -> None:
    plate = simulate(np.random.default_rng(0))
    plate.totals[3], plate.called[3] = 0, 0
    low = next(iter(intervals_of(plate, KNOWN)))
    assert np.flatnonzero(np.isnan(low)).tolist() == [3]


def test_the_order_of_the_wells_does_not_matter() -> None:
    plate = simulate(np.random.default_rng(0))
    order = np.random.default_rng(1).permutation(len(plate.true))
    mixed = plate._replace(called=plate.called[order], totals=plate.totals[order])
    for values, others in zip(intervals_of(plate, KNOWN), intervals_of(mixed, KNOWN), strict=True):
        expected = values if len(values) == 1 else values[order]
        assert others == pytest.approx(expected)


def test_a_model_without_errors_leaves_the_share_as_it_is() -> None:
    certain = Rates(n_abnormal=10**9, n_abnormal_called=10**9, n_normal=10**9, n_normal_called=0)
    plate = simulate(np.random.default_rng(0), tpr=1, fpr=0, rho=0.0, cells=900)
    estimate, low, high, *_ = intervals_of(plate, certain)
    share = plate.called.sum(axis=1) / plate.totals.sum(axis=1)
    assert estimate == pytest.approx(share, abs=1e-6)
    ends = wilson_interval(plate.called.sum(axis=1), plate.totals.sum(axis=1))
    # Hardly wider than of independent cells, which these are
    assert (low <= ends[0] + 1e-6).all()
    assert (high >= ends[1] - 1e-6).all()
    assert np.median(high - low) == pytest.approx(np.median(ends[1] - ends[0]), rel=0.1)


def test_however_clear_a_well_is_its_share_is_not_certain() -> None:
    # Wells with hardly an abnormal cell, wells with hardly another one, and some between.
    totals = np.full(40, 50)
    called = np.concatenate([np.zeros(18), np.arange(1, 5), np.full(18, 50)]).astype(np.int64)
    well = np.repeat(np.arange(20), 2)
    for n_called in (100, 95, 80, 65):
        rates = replace(KNOWN, n_abnormal_called=n_called)
        shares = well_intervals(called, totals, well, 20, rates)
        width = (shares.high - shares.low)[np.isfinite(shares.low)]
        assert len(width) >= 18
        assert (width > 0.5 / 100).all()  # of 100 cells


def test_an_interval_holds_its_estimate() -> None:
    for seed in range(5):
        plate = simulate(np.random.default_rng(seed), annotated=50, mean=0.02)
        values = list(intervals_of(plate, plate.rates))
        for estimate, low, high in (values[:3], values[3:]):
            is_known = np.isfinite(low)
            assert is_known.any()
            assert (low[is_known] >= 0).all()
            assert (low[is_known] <= estimate[is_known]).all()
            assert (estimate[is_known] <= high[is_known]).all()
            assert (high[is_known] <= 1).all()
