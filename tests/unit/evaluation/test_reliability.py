from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.reliability import Reliability, reliability


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=80),
    st.integers(2, 20),
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
    assert Reliability.from_dict(json.loads(json.dumps(found.to_dict()))) == found


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


def test_a_damaged_manifest_is_said() -> None:
    data = reliability([0.2, 0.8], [False, True]).to_dict()
    with pytest.raises(HcsQcError, match=r"cannot be read .*share"):
        Reliability.from_dict({name: value for name, value in data.items() if name != "share"})
    with pytest.raises(HcsQcError, match="cannot be read"):
        Reliability.from_dict({**data, "ece": "x"})
