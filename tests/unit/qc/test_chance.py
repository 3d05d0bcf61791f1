from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from napari_hcs_qc.qc.chance import hypergeometric_tail, poisson_cdf


@pytest.mark.parametrize("mean", [0.3, 7.5, 118.0, 4000.0])
def test_poisson_is_that_of_scipy(mean: float) -> None:
    counts = np.array([0, 0.4, 1, 5.9, 30, 110, 118, 300, 3900, 4100])
    expected = stats.poisson.cdf(counts, mean)
    np.testing.assert_allclose(poisson_cdf(counts, mean), expected, rtol=1e-8, atol=1e-300)


@pytest.mark.parametrize("n_all", [1, 5, 24, 384])
def test_hypergeometric_is_that_of_scipy(n_all: int) -> None:
    for n_marked in {0, 1, n_all // 3, n_all}:
        for n in {1, n_all // 2, n_all}:
            k = np.arange(min(n, n_marked) + 1)
            tails = [hypergeometric_tail(int(count), n, n_marked, n_all) for count in k]
            expected = stats.hypergeom.sf(k - 1, n_all, n_marked, n)
            np.testing.assert_allclose(tails, expected, rtol=1e-8, atol=1e-300)
