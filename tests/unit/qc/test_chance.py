from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from napari_hcs_qc.qc.chance import (
    beta_binomial_tail,
    hypergeometric_tail,
    negative_binomial_cdf,
)


@given(
    mean=st.floats(0.1, 5000),
    dispersion=st.floats(1e-3, 3),
    counts=st.lists(st.integers(0, 3000), max_size=6),
)
def test_the_negative_binomial_is_that_of_scipy(
    mean: float, dispersion: float, counts: list[int]
) -> None:
    found = negative_binomial_cdf(counts, mean, dispersion)
    expected = stats.nbinom.cdf(counts, 1 / dispersion, 1 / (1 + dispersion * mean))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("mean", [0.3, 7.5, 118.0, 4000.0])
def test_without_dispersion_it_is_the_poisson_distribution(mean: float) -> None:
    counts = np.array([0, 1, 5, 30, 110, 118, 300, 3900, 4100])
    found = negative_binomial_cdf(counts, mean, 0.0)
    np.testing.assert_allclose(found, stats.poisson.cdf(counts, mean), rtol=1e-6, atol=1e-300)


@given(
    totals=st.lists(st.integers(0, 3000), max_size=6),
    of_total=st.floats(0, 1),
    share=st.floats(0.001, 0.999),
    correlation=st.floats(0.001, 0.9),
)
def test_the_tail_of_the_beta_binomial_is_that_of_scipy(
    totals: list[int], of_total: float, share: float, correlation: float
) -> None:
    n = np.array(totals, dtype=np.int64)
    hits = np.rint(of_total * n).astype(np.int64)
    size = 1 / correlation - 1
    # Of a shorter tail scipy gives the rest of 1, which is rounded.
    expected = stats.betabinom.sf(hits - 1, n, share * size, (1 - share) * size)
    np.testing.assert_allclose(
        beta_binomial_tail(hits, n, share, correlation), expected, rtol=1e-6, atol=1e-9
    )


def test_cells_that_are_not_alike_are_binomial() -> None:
    n = np.array([1, 3, 60, 60, 5000])
    hits = np.array([1, 3, 0, 27, 400])
    expected = stats.binom.sf(hits - 1, n, 0.05)
    np.testing.assert_allclose(beta_binomial_tail(hits, n, 0.05, 0.0), expected, rtol=1e-6)


@pytest.mark.parametrize("n_all", [1, 5, 24, 384])
def test_hypergeometric_is_that_of_scipy(n_all: int) -> None:
    for n_marked in {0, 1, n_all // 3, n_all}:
        for n in {1, n_all // 2, n_all}:
            k = np.arange(min(n, n_marked) + 1)
            tails = [hypergeometric_tail(int(count), n, n_marked, n_all) for count in k]
            expected = stats.hypergeom.sf(k - 1, n_all, n_marked, n)
            np.testing.assert_allclose(tails, expected, rtol=1e-8, atol=1e-300)
