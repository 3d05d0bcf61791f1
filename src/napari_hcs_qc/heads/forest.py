"""A random forest whose trees are plain arrays, so that it can be saved without pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from napari_hcs_qc.heads.check_annotated import MostProbable, check_annotated, check_features

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_ROWS_AT_ONCE = 4096


class ForestHead(MostProbable):
    """Random forest (scikit-learn's), the baseline head for hand-made features."""

    def __init__(self, *, n_trees: int = 300, random_state: int = 0) -> None:
        self.n_trees = n_trees
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Grow the trees on annotated cells."""
        cells, self.classes_, codes = check_annotated(self, X, y, np.float32)
        forest = RandomForestClassifier(self.n_trees, random_state=self.random_state)
        forest.fit(cells, codes)
        trees = [tree.tree_ for tree in forest.estimators_]
        sizes = np.array([tree.node_count for tree in trees])
        self.roots_ = np.cumsum(sizes) - sizes
        self.depth_ = int(max(tree.max_depth for tree in trees))
        self.feature_ = np.concatenate([np.maximum(tree.feature, 0) for tree in trees])
        self.threshold_ = np.concatenate([tree.threshold for tree in trees])
        self.left_ = self._children([tree.children_left for tree in trees])
        self.right_ = self._children([tree.children_right for tree in trees])
        values = np.concatenate([tree.value[:, 0, :] for tree in trees])
        self.share_ = values / values.sum(axis=1, keepdims=True)
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """``(n_cells, n_classes)`` mean over trees, columns as `classes_`."""
        # scikit-learn grew the trees on float32; the same precision takes the same turns.
        features = check_features(self, X).astype(np.float32, copy=False)
        result = np.empty((len(features), len(self.classes_)))
        for start in range(0, len(features), _ROWS_AT_ONCE):
            cells = features[start : start + _ROWS_AT_ONCE]
            total = np.zeros((len(cells), len(self.classes_)))
            for root in self.roots_:
                node = np.full(len(cells), root)
                for _ in range(self.depth_):
                    value = cells[np.arange(len(cells)), self.feature_[node]]
                    below = value <= self.threshold_[node]
                    node = np.where(below, self.left_[node], self.right_[node])
                total += self.share_[node]
            result[start : start + len(cells)] = total / len(self.roots_)
        return result

    def _children(self, per_tree: list[NDArray[np.int64]]) -> NDArray[np.int64]:
        """Children as indices into the joined arrays; scikit-learn's -1 (leaf) becomes itself."""
        joined = [
            np.where(child < 0, np.arange(len(child)), child) + root
            for child, root in zip(per_tree, self.roots_, strict=True)
        ]
        return np.concatenate(joined).astype(np.int64)
