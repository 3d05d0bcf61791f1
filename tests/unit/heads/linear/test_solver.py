"""The solver from scalar products gives what the one from rotated cells does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_hcs_qc.heads.linear.solver import rotate_gram, share_of_cells, solve, solve_gram


@settings(max_examples=30)
@given(
    seed=st.integers(0, 1000),
    n_cells=st.integers(2, 40),
    penalty=st.sampled_from([0.1, 1.0, 30.0]),
    is_rank_low=st.booleans(),
)
def test_both_solvers_agree(seed: int, n_cells: int, penalty: float, is_rank_low: bool) -> None:
    rng = np.random.default_rng(seed)
    cells = rng.normal(size=(n_cells, 3 if is_rank_low else 60))
    codes = rng.integers(0, 2, n_cells)
    codes[:2] = 0, 1
    importance, offset = rng.uniform(0.2, 2, n_cells), rng.normal(size=n_cells)
    gram = cells @ cells.T
    rotation = rotate_gram(gram)
    solution = solve(
        rotation,
        codes,
        2,
        importance[:, np.newaxis],
        penalty,
        tolerance=1e-9,
        offset=offset[:, np.newaxis],
    )
    weights = cells.T @ share_of_cells(rotation, solution.weights[:, 0])[:, 0]
    shares, intercept = solve_gram(gram, codes == 1, importance, penalty, offset, tolerance=1e-9)
    assert cells.T @ shares == pytest.approx(weights, abs=1e-5)
    assert intercept == pytest.approx(solution.intercepts[0, 0], abs=1e-5)
    # From where another fit ended it comes to the same.
    start = shares + rng.normal(scale=0.1, size=n_cells)
    again, _ = solve_gram(
        gram, codes == 1, importance, penalty, offset, start=start, tolerance=1e-9
    )
    assert cells.T @ again == pytest.approx(cells.T @ shares, abs=1e-5)
