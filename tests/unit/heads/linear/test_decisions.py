"""The quick ways of scoring a plate against the heads themselves, in double precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_hcs_qc.heads.knn import KNNHead
from napari_hcs_qc.heads.linear.decisions import Decider
from napari_hcs_qc.heads.linear.linear_head import MAX_CELLS_FOR_PRODUCTS, LinearHead
from napari_hcs_qc.heads.linear.plate_directions import plate_directions
from napari_hcs_qc.heads.linear.scoring import score_embeddings
from napari_hcs_qc.heads.voting import Voter

if TYPE_CHECKING:
    from pathlib import Path

SINGLE = np.dtype(np.float32)


@pytest.mark.parametrize("options", [{}, {"products": False}, {"deviations": False}])
@pytest.mark.parametrize("has_plate", [True, False])
def test_it_decides_as_the_head(
    options: dict[str, Any], has_plate: bool, cells: Any, new_cells: Any
) -> None:
    plate = plate_directions(np.tile(new_cells.X, (3, 1))) if has_plate else None
    head = LinearHead(plate=plate, **options).fit(cells.X, cells.y, cells.wells)
    X = np.array(new_cells.X)
    X[::3] += 8 * X.std(axis=0)  # beyond where features are cut off
    expected = head.decide(X.astype(np.float64))
    np.testing.assert_allclose(Decider(head, SINGLE)(X), expected, atol=2e-4)
    exact = Decider(head, np.dtype(np.float64))(X.astype(np.float64))
    np.testing.assert_allclose(exact, expected, atol=1e-9)


def test_three_classes_and_more_cells_than_products_are_for(cells: Any, new_cells: Any) -> None:
    y = np.where(cells.X[:, 0] > 1, "third", cells.y)
    head = LinearHead().fit(cells.X, y, cells.wells)
    expected = head.decide(new_cells.X.astype(np.float64))
    np.testing.assert_allclose(Decider(head, SINGLE)(new_cells.X), expected, atol=2e-4)
    many = np.tile(cells.X, (MAX_CELLS_FOR_PRODUCTS // 200 + 1, 1))
    head = LinearHead(n_repeats=1).fit(many, np.resize(cells.y, len(many)))
    assert not len(head.anchors_)
    expected = head.decide(new_cells.X.astype(np.float64))
    np.testing.assert_allclose(Decider(head, SINGLE)(new_cells.X), expected, atol=2e-4)


def test_nearest_cells_that_single_precision_cannot_tell_are_asked_for_anew(cells: Any) -> None:
    """Annotated cells far from 0 and all but equal, of which every other is abnormal."""
    rng = np.random.default_rng(0)
    spread = 1e-3 * rng.normal(size=(60, 60))
    annotated = (1000 + spread).astype(np.float32)
    y = np.where(np.arange(60) % 2 == 0, "normal", "abnormal")
    head = KNNHead().fit(annotated, y)
    X = (1000 + 1e-3 * rng.normal(size=(300, 60))).astype(np.float32)
    np.testing.assert_array_equal(Voter(head, SINGLE)(X), head.predict_proba(X))


@pytest.mark.parametrize("k", [1, 5, 500])
def test_it_votes_as_the_head(k: int, cells: Any, new_cells: Any) -> None:
    head = KNNHead(k).fit(cells.X, cells.y)
    X = np.vstack([new_cells.X, cells.X])  # the annotated cells have a distance of 0
    np.testing.assert_array_equal(Voter(head, SINGLE)(X), head.predict_proba(X))


@pytest.mark.parametrize("head", [LinearHead(), KNNHead()])
def test_half_precision_is_scored_as_what_it_holds(
    head: Any, cells: Any, new_cells: Any, tmp_path: Path
) -> None:
    head.fit(cells.X, cells.y)
    X = new_cells.X.astype(np.float16)
    X[4, 2] = np.nan
    np.save(tmp_path / "half.npy", X)
    scores = score_embeddings(head, np.load(tmp_path / "half.npy", mmap_mode="r"))
    assert np.isnan(scores[4])
    kept = np.arange(len(X)) != 4
    expected = head.predict_proba(X[kept].astype(np.float32))[:, 0]
    np.testing.assert_allclose(scores[kept], expected, atol=2e-4)
