"""The linear head beside a prior: an offset of its log-odds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.metrics import roc_auc_score

from napari_hcs_qc.files import write_json
from napari_hcs_qc.heads.linear.linear_head import LinearHead
from napari_hcs_qc.heads.linear.scoring import score_embeddings
from napari_hcs_qc.heads.linear.solver import rotate, share_of_cells, solve
from napari_hcs_qc.heads.saved_head import MANIFEST, load_head, save_head

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def known(cells: Any, noise: float = 1.0, seed: int = 0) -> NDArray[np.float64]:
    """Log-odds of ``normal``, the second class, as a prior of some use would have them."""
    rng = np.random.default_rng(seed)
    log_odds: NDArray[np.float64] = np.where(cells.y == "normal", 1.5, -1.5)
    return log_odds + rng.normal(0, noise, len(cells.y))


def test_the_solver_finds_the_minimum_beside_an_offset() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 12))
    X -= X.mean(axis=0)
    codes, offset = rng.integers(0, 2, 80), rng.normal(0, 2, 80)
    counts = rng.uniform(0.5, 2, 80)
    signs = np.where(codes == 1, 1.0, -1.0)

    def cost(parameters: NDArray[np.float64]) -> float:
        weights, intercept = parameters[:-1], parameters[-1]
        decision = X @ weights + intercept + offset
        penalties = 2.5 * (weights**2).sum() + 3.5 * intercept**2
        return float((counts * np.logaddexp(0, -signs * decision)).sum() + penalties)

    oracle = minimize(cost, np.zeros(13), method="BFGS", options={"gtol": 1e-7}).x
    rotation = rotate(X)
    solution = solve(
        rotation,
        codes,
        2,
        counts[:, np.newaxis],
        5.0,
        tolerance=1e-9,
        offset=offset[:, np.newaxis],
        intercept_penalty=7.0,
    )
    weights = X.T @ share_of_cells(rotation, solution.weights[:, 0])
    np.testing.assert_allclose(weights[:, 0], oracle[:-1], atol=1e-4)
    assert solution.intercepts[0, 0] == pytest.approx(oracle[-1], abs=1e-4)


def test_an_offset_of_nothing_changes_nothing(cells: Any, new_cells: Any) -> None:
    nothing = np.zeros(len(cells.y))
    alone = LinearHead().fit(cells.X, cells.y, cells.wells).predict_proba(new_cells.X)
    beside = LinearHead().fit(cells.X, cells.y, cells.wells, nothing)
    p = beside.predict_proba(new_cells.X, np.zeros(len(new_cells.y)))
    np.testing.assert_allclose(p, alone, atol=1e-9)


def test_few_annotations_are_far_better_beside_what_is_known(cells: Any, new_cells: Any) -> None:
    rows = np.concatenate([np.flatnonzero(cells.y == name)[:4] for name in ("normal", "abnormal")])
    offset, new_offset = known(cells)[rows], known(new_cells, seed=1)
    alone = LinearHead().fit(cells.X[rows], cells.y[rows])
    beside = LinearHead().fit(cells.X[rows], cells.y[rows], offset=offset)
    is_normal = new_cells.y == "normal"
    p_alone = alone.predict_proba(new_cells.X)[:, 1]
    p_beside = beside.predict_proba(new_cells.X, new_offset)[:, 1]
    assert roc_auc_score(is_normal, p_beside) > roc_auc_score(is_normal, p_alone) + 0.1
    assert beside.offset_weight_ == 0.85  # nothing is calibrated that so few annotations tell


def test_an_offset_counts_less_where_many_cells_are_annotated(cells: Any) -> None:
    head = LinearHead(calibrate=False)
    first = slice(0, 150)
    head.fit(cells.X[first], cells.y[first], offset=known(cells)[first])
    few = head.offset_weight_
    many = np.arange(1000) % 200
    X = cells.X[many] + np.random.default_rng(0).normal(0, 0.1, (1000, 60))
    head.fit(X, cells.y[many], offset=known(cells)[many])
    assert head.offset_weight_ == pytest.approx(few * 150 / 1000)


def test_the_decision_is_the_fitted_one_plus_the_weighed_offset(cells: Any, new_cells: Any) -> None:
    head = LinearHead().fit(cells.X, cells.y, cells.wells, known(cells))
    offset = known(new_cells, seed=1)
    decision = head.decision_function(new_cells.X, offset)
    fitted = head.decide(new_cells.X.astype(np.float64))[:, 0]
    np.testing.assert_allclose(decision, fitted + head.offset_weight_ * offset, atol=1e-3)
    is_normal = head.predict(new_cells.X, offset) == "normal"
    np.testing.assert_array_equal(is_normal, decision > 0)


def test_a_plate_is_scored_with_the_offset_of_its_cells(cells: Any, new_cells: Any) -> None:
    head = LinearHead().fit(cells.X, cells.y, cells.wells, known(cells))
    offset = known(new_cells, seed=1)
    expected = head.predict_proba(new_cells.X, offset)[:, 0]
    scores = score_embeddings(head, new_cells.X, offset, chunk=70)
    np.testing.assert_allclose(scores, expected, atol=2e-4)
    with pytest.raises(ValueError, match=r"with an offset, and none was given for 600 cells"):
        score_embeddings(head, new_cells.X)
    with pytest.raises(ValueError, match=r"one of the shape \(9,\) was given"):
        score_embeddings(head, new_cells.X, offset[:9])


def test_a_head_without_an_offset_needs_none(cells: Any, new_cells: Any) -> None:
    head = LinearHead().fit(cells.X, cells.y, cells.wells)
    np.testing.assert_array_equal(
        score_embeddings(head, new_cells.X, known(new_cells)), score_embeddings(head, new_cells.X)
    )


def test_what_is_no_offset_is_refused(cells: Any) -> None:
    head = LinearHead()
    with pytest.raises(ValueError, match=r"one finite number was expected for each of the 200"):
        head.fit(cells.X, cells.y, offset=np.zeros(3))
    with pytest.raises(ValueError, match="one finite number"):
        head.fit(cells.X, cells.y, offset=np.full(200, np.nan))
    three = np.arange(200) % 3
    with pytest.raises(ValueError, match="for two classes; there are 3"):
        head.fit(cells.X, three, offset=np.zeros(200))
    head.fit(cells.X, cells.y, offset=np.zeros(200))
    with pytest.raises(ValueError, match="give that of these cells"):
        head.predict(cells.X)


def test_a_head_with_an_offset_is_read_back(cells: Any, new_cells: Any, tmp_path: Path) -> None:
    head = LinearHead().fit(cells.X, cells.y, cells.wells, known(cells))
    save_head(head, tmp_path)
    again = load_head(tmp_path)
    assert isinstance(again, LinearHead)
    offset = known(new_cells, seed=1)
    np.testing.assert_array_equal(
        again.predict_proba(new_cells.X, offset), head.predict_proba(new_cells.X, offset)
    )


def test_a_head_of_a_version_that_knew_no_offset_has_none(cells: Any, tmp_path: Path) -> None:
    head = LinearHead().fit(cells.X, cells.y, cells.wells)
    save_head(head, tmp_path)
    path = tmp_path / MANIFEST
    manifest = json.loads(path.read_text("utf-8"))
    del manifest["head"]["figures"]["offset_weight_"]
    write_json(path, manifest | {"version": 3})
    again = load_head(tmp_path)
    assert isinstance(again, LinearHead)
    assert again.offset_weight_ == 0.0
    np.testing.assert_array_equal(again.predict_proba(cells.X), head.predict_proba(cells.X))
