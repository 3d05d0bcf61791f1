"""The paper's nearest-neighbour head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.neighbors import NearestNeighbors

from napari_hcs_qc.heads.check_annotated import MostProbable, check_annotated, check_features

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class KNNHead(MostProbable):
    """Vote of the `k` annotated cells nearest in raw Euclidean distance (Masud et al. 2022)."""

    def __init__(self, k: int = 5) -> None:
        self.k = k

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Keep the annotated cells."""
        cells, classes, codes = check_annotated(self, X, y, [np.float64, np.float32])
        if self.k < 1:
            raise ValueError(f"k is {self.k}; expected 1 or more neighbours.")
        return self.remember(cells, codes, classes)

    def remember(
        self, cells: NDArray[Any], codes: NDArray[np.int64], classes: NDArray[Any]
    ) -> Self:
        """Set the fitted state: ``(n_cells, n_features)`` cells and their class indices."""
        self.classes_, self.codes_, self.cells_ = classes, codes, cells
        self.n_features_in_ = cells.shape[1]
        # Embeddings have hundreds of features, where no tree beats the plain matrix product.
        self._neighbours = NearestNeighbors(algorithm="brute").fit(cells)
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """``(n_cells, n_classes)`` shares of the votes, columns as `classes_`."""
        features = check_features(self, X)
        k = min(self.k, len(self.codes_))
        # Same precision on both sides, or the search would refuse or copy.
        nearest = self._neighbours.kneighbors(
            features.astype(self.cells_.dtype, copy=False), n_neighbors=k, return_distance=False
        )
        votes = self.codes_[nearest]
        counts = [(votes == code).sum(axis=1) for code in range(len(self.classes_))]
        shares: NDArray[np.float64] = np.stack(counts, axis=1) / k
        return shares
