"""What scikit-learn and the rest of the package expect of every head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.heads.check_annotated import AnnotationsError
from napari_hcs_qc.heads.dense import DenseHead
from napari_hcs_qc.heads.forest import ForestHead
from napari_hcs_qc.heads.head_names import ABOUT_HEADS
from napari_hcs_qc.heads.head_registry import HEADS, head_name, make_head
from napari_hcs_qc.heads.knn import KNNHead
from napari_hcs_qc.heads.linear.linear_head import LinearHead
from napari_hcs_qc.heads.paper import PaperLinearHead

if TYPE_CHECKING:
    from collections.abc import Callable

ESTIMATORS = [
    LinearHead(),
    LinearHead(deviations=False, products=False, balance=False, calibrate=False),
    PaperLinearHead(epochs=40, milestones=(20, 30)),
    DenseHead(),
    KNNHead(),
    ForestHead(n_trees=20),
]


@parametrize_with_checks(ESTIMATORS)
def test_it_keeps_the_contract_of_scikit_learn(
    estimator: Any, check: Callable[[Any], None]
) -> None:
    check(estimator)


@pytest.mark.parametrize("name", HEADS)
class TestEveryHead:
    def test_it_learns_on_some_cells_what_holds_on_others(
        self, name: str, cells: Any, new_cells: Any
    ) -> None:
        head = make_head(name, 0).fit(cells.X, cells.y, groups=cells.wells)
        accuracy = (head.predict(new_cells.X) == new_cells.y).mean()
        majority = (new_cells.y == "normal").mean()
        # The paper's heads cannot see "too much or too little of something" well.
        assert accuracy > majority + (0.15 if name == "linear" else 0.03)

    def test_it_takes_a_whole_fit_from_its_seed(self, name: str, cells: Any) -> None:
        first, again = (
            make_head(name, 3).fit(cells.X, cells.y, cells.wells).predict_proba(cells.X)
            for _ in range(2)
        )
        np.testing.assert_array_equal(first, again)

    def test_it_leaves_the_global_seeds_alone(self, name: str, cells: Any) -> None:
        import torch

        np.random.seed(7)
        torch.manual_seed(7)
        expected = np.random.random(), float(torch.rand(1))
        np.random.seed(7)
        torch.manual_seed(7)
        make_head(name, 0).fit(cells.X, cells.y, cells.wells)
        assert (np.random.random(), float(torch.rand(1))) == expected

    def test_one_class_is_refused_with_advice(self, name: str, cells: Any) -> None:
        with pytest.raises(HcsQcError, match=r"All 200 .* one class \(normal\).*Annotate"):
            make_head(name).fit(cells.X, np.full(200, "normal"))

    @pytest.mark.parametrize("n_abnormal", [1, 2, 5])
    def test_ten_annotations_are_enough(self, name: str, n_abnormal: int, cells: Any) -> None:
        abnormal = np.flatnonzero(cells.y == "abnormal")[:n_abnormal]
        normal = np.flatnonzero(cells.y == "normal")[: 10 - n_abnormal]
        few = np.concatenate([abnormal, normal])
        head = make_head(name).fit(cells.X[few], cells.y[few], groups=cells.wells[few])
        p = head.predict_proba(cells.X)
        assert np.isfinite(p).all()
        np.testing.assert_allclose(p.sum(axis=1), 1)

    def test_its_name_is_found_from_the_object(self, name: str) -> None:
        head = make_head(name)
        assert head_name(head) == name
        assert type(clone(head)) is HEADS[name]


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(HcsQcError, match=r"'svm'.*linear, linear-paper, knn, forest"):
        make_head("svm")
    with pytest.raises(HcsQcError, match="int is not a head"):
        head_name(3)


def test_annotation_errors_are_value_errors_too() -> None:
    assert issubclass(AnnotationsError, ValueError)


def test_knn_votes_of_the_nearest_by_raw_distance() -> None:
    X = np.array([[0.0, 0], [1, 0], [2, 0], [100, 0.1], [101, 0.1]])
    y = np.array(["normal", "normal", "normal", "abnormal", "abnormal"])
    head = KNNHead(k=3).fit(X, y)
    np.testing.assert_allclose(head.predict_proba([[0.5, 5], [99, 5]]), [[0, 1], [2 / 3, 1 / 3]])
    # Fewer cells than neighbours: all of them vote.
    np.testing.assert_allclose(KNNHead(k=50).fit(X, y).predict_proba([[0, 0]]), [[0.4, 0.6]])


def test_the_forest_of_arrays_says_what_the_one_of_scikit_learn_says(
    cells: Any, new_cells: Any
) -> None:
    from sklearn.ensemble import RandomForestClassifier

    oracle = RandomForestClassifier(50, random_state=4).fit(cells.X, cells.y)
    head = ForestHead(n_trees=50, random_state=4).fit(cells.X, cells.y)
    np.testing.assert_allclose(
        head.predict_proba(new_cells.X), oracle.predict_proba(new_cells.X), atol=1e-12
    )


def test_the_papers_head_is_the_papers_recipe(cells: Any) -> None:
    """Against the recipe written with torch's own DataLoader-free loop and layer."""
    import torch

    ours = PaperLinearHead(random_state=1).fit(cells.X, cells.y)
    assert (ours.epochs, ours.batch_size, ours.learning_rate, ours.momentum, ours.milestones) == (
        150,
        32,
        0.001,
        0.9,
        (40, 70, 120),
    )
    generator = torch.Generator().manual_seed(1)
    bound = 60**-0.5
    weight = torch.empty(2, 60).uniform_(-bound, bound, generator=generator)
    bias = torch.empty(2).uniform_(-bound, bound, generator=generator)
    X, target = torch.from_numpy(cells.X), torch.from_numpy((cells.y == "normal").astype(np.int64))
    speed_w, speed_b, rate = torch.zeros(2, 60), torch.zeros(2), 0.001
    for epoch in range(150):
        if epoch in (40, 70, 120):
            rate *= 0.1
        order = torch.randperm(200, generator=generator)
        for batch in (order[start : start + 32] for start in range(0, 200, 32)):
            error = torch.softmax(X[batch] @ weight.T + bias, 1)
            error = error - torch.nn.functional.one_hot(target[batch], 2)
            speed_w = 0.9 * speed_w + error.T @ X[batch] / len(batch)
            speed_b = 0.9 * speed_b + error.mean(0)
            weight, bias = weight - rate * speed_w, bias - rate * speed_b
    np.testing.assert_allclose(ours.coef_, weight, atol=2e-3)
    np.testing.assert_allclose(ours.intercept_, bias, atol=2e-3)


def test_every_head_is_described() -> None:
    assert list(ABOUT_HEADS) == list(HEADS)
