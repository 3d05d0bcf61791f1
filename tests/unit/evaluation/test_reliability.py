from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from scipy.stats import binom, binomtest

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.curves import Reliability
from napari_hcs_qc.evaluation.reliability import reliability

ADAPTER = TypeAdapter(Reliability)


def read_again(found: Reliability) -> Reliability:
    """Write the figures as a manifest does, and read them."""
    return ADAPTER.validate_json(ADAPTER.dump_json(found), strict=True)


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=80), st.integers(2, 20)
)
def test_each_bin_is_what_a_plain_loop_counts(cells: list[tuple[float, bool]], n_bins: int) -> None:
    p, abnormal = zip(*cells, strict=True)
    found = reliability(p, abnormal, n_bins)
    assert sum(found.n) == len(cells)
    off = 0.0
    bins = zip(
        found.bin_low,
        found.bin_high,
        found.mean_p,
        found.share,
        found.low,
        found.high,
        found.n,
        strict=True,
    )
    for low, high, mean_p, share, ci_low, ci_high, n in bins:
        here = [(q, word) for q, word in cells if low <= q < high or q == high == 1]
        assert n == len(here) > 0
        assert mean_p == pytest.approx(np.mean([q for q, _ in here]))
        assert share == pytest.approx(np.mean([word for _, word in here]))
        off += n * abs(share - mean_p)
        oracle = binomtest(sum(word for _, word in here), n).proportion_ci(0.95, "wilson")
        assert (ci_low, ci_high) == pytest.approx((oracle.low, oracle.high), abs=1e-6)
    assert found.ece == pytest.approx(off / len(cells))
    assert read_again(found) == found


def test_bins_begin_where_they_say() -> None:
    """0.3 is a little below 3 * 0.1 in binary, and belongs to the bin that begins there."""
    found = reliability([0.0, 0.1, 0.2, 0.3, 0.7, 1.0], [True] * 6)
    assert found.bin_low == (0.0, 0.1, 0.2, 0.3, 0.7, 0.9)
    assert found.bin_high == (0.1, 0.2, 0.3, 0.4, 0.8, 1.0)


def test_probabilities_that_are_kept_have_no_error_and_boasts_have() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    kept = reliability(p, rng.random(20_000) < p)
    assert kept.ece < 0.015
    ends = zip(kept.low, kept.mean_p, kept.high, strict=True)
    assert sum(low <= mean_p <= high for low, mean_p, high in ends) >= 8
    boasting = reliability(np.where(p < 0.5, 0.02, 0.98), rng.random(20_000) < p)
    assert boasting.ece == pytest.approx(0.23, abs=0.02)


def slow_ece(p: np.ndarray, abnormal: np.ndarray) -> float:
    """As the definition reads, one bin after the other."""
    off = 0.0
    for index in range(10):
        here = (p >= index / 10) & ((p < (index + 1) / 10) | (index == 9))
        if here.any():
            off += here.sum() / len(p) * abs(abnormal[here].mean() - p[here].mean())
    return off


def test_the_interval_of_the_error_is_that_of_wells_drawn_anew() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(300)
    wells = np.repeat(np.arange(60), 5)
    # Wells differ: cells of one resemble each other, so the interval is wider than of cells.
    shift = np.repeat(rng.normal(0, 0.25, 60), 5)
    abnormal = rng.random(300) < np.clip(p + shift + 0.1, 0, 1)
    found = reliability(p, abnormal, units=wells)
    assert found.ece == pytest.approx(slow_ece(p, abnormal))
    times = np.random.default_rng(0).multinomial(60, np.full(60, 1 / 60), 1000)  # as draw_units
    drawn = []
    for counts in times:
        rows = np.repeat(np.arange(300), np.repeat(counts, 5))
        drawn.append(slow_ece(p[rows], abnormal[rows]))
    far, near = np.percentile(drawn, [97.5, 2.5])
    assert found.ece_low == pytest.approx(max(0.0, 2 * found.ece - far))
    assert found.ece_high == pytest.approx(2 * found.ece - near)
    assert found.ece_low <= found.ece <= found.ece_high
    by_cell = reliability(p, abnormal, units=np.arange(300))
    assert found.ece_high - found.ece_low > by_cell.ece_high - by_cell.ece_low
    assert read_again(found) == found


def test_what_right_probabilities_would_give_is_told() -> None:
    rng = np.random.default_rng(2)
    p = np.where(rng.random(100) < 0.5, 0.3, 0.7)
    found = reliability(p, rng.random(100) < p)
    # Two bins; the mean distance of a binomial share from its probability.
    expected = 0.0
    for value in (0.3, 0.7):
        n = int((p == value).sum())
        expected += binom(n, value).expect(lambda k, n=n, v=value: abs(k - n * v)) / 100
    assert found.ece_perfect == pytest.approx(expected, rel=0.08)
    assert reliability([0.0, 1.0], [False, True]).ece_perfect == 0


def test_without_wells_or_with_one_there_is_no_interval() -> None:
    for units in (None, ["A01", "A01"]):
        found = reliability([0.2, 0.8], [False, True], units=units)
        assert found.ece_low is None
        assert found.ece_high is None
    manifest = asdict(found)
    for name in ("ece_low", "ece_high", "ece_perfect"):  # an earlier version had none of these
        del manifest[name]
    assert ADAPTER.validate_json(json.dumps(manifest)).ece == found.ece


@pytest.mark.parametrize(
    ("p", "abnormal", "n_bins", "words"),
    [
        ([], [], 10, "0 values of"),
        ([0.1, 0.2], [True], 10, "2 values .* for 1 annotated"),
        ([0.1, np.nan], [True, False], 10, "1 of 2 values .* NaN"),
        ([0.1, 1.5], [True, False], 10, "1 of 2 values .* outside 0..1"),
        ([0.1], [True], 1, "1 bins"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    p: list[float], abnormal: list[bool], n_bins: int, words: str
) -> None:
    with pytest.raises(HcsQcError, match=words):
        reliability(p, abnormal, n_bins)
