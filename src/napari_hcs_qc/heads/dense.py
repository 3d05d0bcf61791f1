"""A dense layer on features: the head of a fine-tuned encoder, and the base of the paper's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_hcs_qc.heads.check_annotated import Deciding, check_features
from napari_hcs_qc.heads.linear.linear_head import LinearHead

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class DenseHead(Deciding):
    """Fine-tuned: one dense layer, trained together with the encoder under it (minutes).

    `fit` trains the layer alone, as a calibrated logistic regression on standardised features:
    where fine-tuning begins (`napari_hcs_qc.heads.finetune`), which then changes encoder and layer.
    """

    def __init__(self, *, random_state: int = 0) -> None:
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Fit on annotated cells."""
        plain = LinearHead(deviations=False, products=False, random_state=self.random_state)
        plain.fit(X, y, groups)
        self.classes_, self.n_features_in_ = plain.classes_, plain.n_features_in_
        weights = plain.coef_ / plain.scale_
        offsets = plain.intercept_ - weights @ plain.centre_
        if len(self.classes_) == 2:  # one output, of the second class; the layer has two
            weights = np.concatenate([-weights / 2, weights / 2])
            offsets = np.concatenate([-offsets / 2, offsets / 2])
        self.coef_, self.intercept_ = weights, offsets
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Log-odds of the second class ``(n_cells,)``, or the outputs per class."""
        outputs = self.decide(check_features(self, X))
        return outputs[:, 1] - outputs[:, 0] if len(self.classes_) == 2 else outputs

    def decide(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """``(n_cells, n_classes)`` outputs in the precision of `features`, without checks."""
        outputs: NDArray[np.float64] = (features @ self.coef_.T.astype(features.dtype)).astype(
            np.float64
        ) + self.intercept_
        return outputs
