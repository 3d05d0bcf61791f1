from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from napari_hcs_qc.plates.wells import well_name
from napari_hcs_qc.qc.plate_level.position_effects import (
    centred,
    drift,
    position_effects,
    screen_effects,
    shift_between,
    shift_over_plates,
    strongest,
)

VALUES = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=25)


def plate(seed: int, *, shape: tuple[int, int] = (8, 12), edge: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for row in range(shape[0]):
        for column in range(shape[1]):
            is_edge = row in (0, shape[0] - 1) or column in (0, shape[1] - 1)
            share = np.clip(rng.normal(0.1, 0.03) + edge * is_edge, 0, 1)
            rows.append((well_name(row, column), share, rng.normal(100, 8)))
    return pd.DataFrame(rows, columns=["well", "share_abnormal", "cells_per_site"])


@given(VALUES, VALUES)
@settings(max_examples=60)
def test_shift_is_the_median_of_all_differences(a: list[float], b: list[float]) -> None:
    found = shift_between(a, b)
    expected = np.median([x - y for x in a for y in b])
    assert found.value == pytest.approx(expected, abs=1e-9)
    assert found.low <= found.value <= found.high


@given(VALUES, st.floats(-50, 50))
@settings(max_examples=40)
def test_shift_follows_a_constant_and_changes_sign(a: list[float], by: float) -> None:
    moved = shift_between([value + by for value in a], a)
    assert moved.value == pytest.approx(by, abs=1e-6)
    back = shift_between(a, [value + by for value in a])
    assert (back.low, back.high) == pytest.approx((-moved.high, -moved.low), abs=1e-9)


def test_the_interval_is_that_of_the_rank_test() -> None:
    """A shift within the interval is one that Mann and Whitney's test does not reject."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(1.0, 1, 14), rng.normal(0, 1, 22)
    found = shift_between(a, b)

    def p(by: float) -> float:
        test = stats.mannwhitneyu(a - by, b, method="asymptotic", use_continuity=False)
        return float(test.pvalue)

    inside, outside = 1e-6, 0.2
    assert p(found.low + inside) > 0.045
    assert p(found.high - inside) > 0.045
    assert p(found.low - outside) < 0.05
    assert p(found.high + outside) < 0.05


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(400):
        found = shift_between(rng.exponential(1, 12) + 0.7, rng.exponential(1, 30))
        held += found.low <= 0.7 <= found.high
    assert 0.92 <= held / 400 <= 0.99
    held = 0
    for _ in range(400):
        found = shift_over_plates(rng.normal(0.3, 1, 15))
        held += found.low <= 0.3 <= found.high
    assert 0.92 <= held / 400 <= 0.99


def test_too_few_values_have_no_bounds() -> None:
    assert np.isinf(shift_between([1.0], [2.0, 3.0]).high)
    assert np.isnan(shift_between([np.nan], [2.0]).value)
    assert np.isinf(shift_over_plates([1.0, 2.0, 3.0]).low)
    six = shift_over_plates([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert (six.low, six.high) == (1.0, 6.0)  # as tables of the signed-rank test have it
    assert not shift_between([1.0], [0.0]).is_sure


def test_a_planted_edge_is_found_and_nothing_else() -> None:
    effects = position_effects(plate(0, edge=0.12), (8, 12))
    edge = strongest(effects, "share_abnormal", "edge")
    assert edge is not None
    assert edge.shift.low < 0.12 < edge.shift.high
    assert edge.shift.low > 0.08
    assert edge.n == 36
    assert edge.n_others == 60
    count = strongest(effects, "cells_per_site", "edge")
    assert count is not None
    assert not count.shift.is_sure


def test_a_planted_row_and_column_are_named() -> None:
    wells = plate(3)
    wells.loc[wells["well"].str.startswith("D"), "share_abnormal"] += 0.2
    wells.loc[wells["well"].str.endswith("07"), "cells_per_site"] *= 0.5
    effects = position_effects(wells, (8, 12))
    row = strongest(effects, "share_abnormal", "row")
    column = strongest(effects, "cells_per_site", "column")
    assert row is not None
    assert row.place == "row D"
    assert row.shift.low > 0.1
    assert column is not None
    assert column.place == "column 7"
    assert column.shift.value == pytest.approx(-0.5, abs=0.06)


def test_plates_without_effects_seldom_have_sure_ones() -> None:
    """Twenty rows and columns are tested at once: together they err in some 5 %."""
    kinds = {"edge": 0, "row": 0, "column": 0}
    for seed in range(60):
        effects = position_effects(plate(seed), (8, 12))
        for kind in kinds:
            best = strongest(effects, "share_abnormal", kind)
            assert best is not None
            kinds[kind] += best.shift.is_sure
    assert all(count <= 9 for count in kinds.values()), kinds


def test_an_edge_that_was_not_imaged_has_no_effect() -> None:
    wells = plate(0)
    inner = wells[~wells["well"].str.match(r"[AH]|.*(01|12)$")]
    effects = position_effects(inner, (8, 12))
    assert strongest(effects, "share_abnormal", "edge") is None
    assert strongest(effects, "share_abnormal", "row") is not None


def test_over_a_screen_a_weak_effect_of_each_plate_is_sure() -> None:
    plates = [position_effects(plate(seed, edge=0.012), (8, 12)) for seed in range(12)]
    over = strongest(screen_effects(plates), "share_abnormal", "edge")
    assert over is not None
    assert over.n == 12
    assert over.shift.low < 0.012 < over.shift.high
    assert over.shift.is_sure


def test_drift_is_theil_sen_and_spearman() -> None:
    rng = np.random.default_rng(2)
    order = np.arange(20.0)
    values = 0.1 + 0.004 * order + rng.normal(0, 0.004, 20)
    values[7] = 0.9  # one ruined plate
    found = drift(values, order)
    assert found is not None
    slopes = [
        (values[j] - values[i]) / (order[j] - order[i]) for i in range(20) for j in range(i + 1, 20)
    ]
    assert found.slope.value == pytest.approx(np.median(slopes))
    assert found.slope.low < 0.004 < found.slope.high
    assert found.slope.is_sure
    assert found.change == pytest.approx(found.slope.value * 19)
    rho = stats.spearmanr(order, values).statistic
    half = 1.959964 * np.sqrt((1 + rho**2 / 2) / 17)
    assert found.rho.low == pytest.approx(np.tanh(np.arctanh(rho) - half))


def test_no_drift_without_plates_or_time() -> None:
    assert drift([0.1, 0.2, 0.3, 0.4], [1, 2, 3, 4]) is None
    assert drift([0.1] * 6, [1.0] * 6) is None
    flat = drift([0.1] * 6, range(6))
    assert flat is not None
    assert not flat.slope.is_sure


def test_counts_are_relative_and_shares_are_not() -> None:
    values = np.array([10.0, 20.0, 30.0])
    assert centred(values, "cells_per_site").tolist() == [-0.5, 0.0, 0.5]
    assert centred(values / 100, "share_abnormal") == pytest.approx([-0.1, 0.0, 0.1])
    assert np.isnan(centred(np.zeros(3), "cells_per_site")).all()
