"""What all heads share: annotated cells checked the same way, and the most probable class."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.heads.linear.solver import probabilities

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray


class AnnotationsError(HcsQcError, ValueError):
    """The annotations do not allow a fit, for example all of them are of one class.

    It is a `ValueError` as well because that is what scikit-learn's estimator contract asks for.
    """


class Annotated(NamedTuple):
    """Checked annotated cells."""

    features: NDArray[Any]  # ``(n_cells, n_features)``, finite
    classes: NDArray[Any]  # ``(n_classes,)`` sorted, at least 2
    codes: NDArray[np.int64]  # ``(n_cells,)`` index of each cell's class


class MostProbable(ClassifierMixin, BaseEstimator):
    """A head that predicts the class of the highest probability."""

    classes_: NDArray[Any]

    @abstractmethod
    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """``(n_cells, n_classes)`` probabilities, columns as `classes_`."""

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """``(n_cells,)`` the most probable class (the first of `classes_` on a tie)."""
        best = self.predict_proba(X).argmax(axis=1)
        most: NDArray[Any] = self.classes_[best]
        return most


class Deciding(MostProbable):
    """A head whose probabilities are those of its outputs."""

    @abstractmethod
    def decide(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """``(n_cells, n_outputs)`` log-odds in the precision of `features`, without checks."""

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """``(n_cells, n_classes)`` probabilities, columns as `classes_`."""
        return probabilities(self.decide(check_features(self, X)))


def check_annotated(head: object, features: ArrayLike, y: ArrayLike, dtype: DTypeLike) -> Annotated:
    """Check what `fit` was given, and note the number of features on the head."""
    checked, labels = validate_data(head, features, y, dtype=dtype)
    return Annotated(checked, *check_labels(labels))


def check_labels(y: ArrayLike) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Give the sorted classes, at least 2, and the index of each cell's."""
    labels = np.asarray(y)
    check_classification_targets(labels)
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise AnnotationsError(
            f"All {len(codes)} annotated cells are of one class ({classes[0]!s}); at least one "
            "of each class is needed. Annotate some of the other class."
        )
    return classes, codes.reshape(-1).astype(np.int64)


def check_features(head: object, features: ArrayLike) -> NDArray[Any]:
    """Check what a fitted head is asked to judge; float32 stays, the rest becomes float64."""
    check_is_fitted(head)
    checked: NDArray[Any] = validate_data(
        head, features, dtype=[np.float64, np.float32], reset=False
    )
    return checked
