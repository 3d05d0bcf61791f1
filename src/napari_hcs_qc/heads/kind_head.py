"""Why an abnormal cell is abnormal, where enough examples were given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils.validation import check_array

from napari_hcs_qc.heads.linear.linear_head import LinearHead

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MIN_PER_KIND = 5
"""Annotated cells a kind needs before it is predicted."""

_RARER = ""


class KindHead:
    """Kind of abnormal cells: multinomial logistic regression on the machinery of `LinearHead`.

    A kind is learnt when at least `min_per_kind` abnormal cells of it are annotated. The cells
    of the rarer kinds, if together as many, form a class of their own that predicts None. Where
    a single kind is known and nothing tells it from others, every abnormal cell gets it. Cells
    annotated abnormal without a kind say nothing about kinds and are left out.
    """

    def __init__(self, *, min_per_kind: int = MIN_PER_KIND, random_state: int = 0) -> None:
        self.min_per_kind = min_per_kind
        self.random_state = random_state
        self.kinds_: tuple[str, ...] = ()
        self.n_features_in_ = 0
        self.head_: LinearHead | None = None

    def fit(self, X: ArrayLike, kinds: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Fit on cells annotated abnormal."""
        cells: NDArray[Any] = check_array(X, dtype=np.float64, ensure_min_samples=0)
        names = np.array([_name(kind) for kind in np.asarray(kinds, dtype=object)], dtype=object)
        if len(names) != len(cells):
            raise ValueError(f"{len(names)} kinds were given for {len(cells)} cells.")
        self.n_features_in_ = cells.shape[1]
        known, counts = np.unique(names[names != _RARER].astype(str), return_counts=True)
        self.kinds_ = tuple(str(kind) for kind in known[counts >= self.min_per_kind])
        is_known = np.isin(names.astype(str), self.kinds_)
        is_rarer = ~is_known & (names != _RARER)
        target = np.where(is_known, names, _RARER).astype(str)
        use = is_known
        if is_rarer.sum() >= self.min_per_kind:
            use = is_known | is_rarer
        self.head_ = None
        if self.kinds_ and len(np.unique(target[use])) > 1:
            wells = None if groups is None else np.asarray(groups)[use]
            self.head_ = LinearHead(random_state=self.random_state)
            self.head_.fit(cells[use], target[use], wells)
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Kinds of abnormal cells."""
        cells = np.asarray(X)
        result = np.full(len(cells), None, dtype=object)
        if not self.kinds_:
            return result
        usable = np.isfinite(cells).all(axis=1)
        if self.head_ is None:
            result[usable] = self.kinds_[0]
        elif usable.any():
            predicted = self.head_.predict(cells[usable])
            result[usable] = [str(kind) if kind != _RARER else None for kind in predicted]
        return result


def _name(kind: object) -> str:
    """Give a kind as text; what pandas and numpy use for 'nothing' becomes the empty string."""
    return kind.strip() if isinstance(kind, str) else _RARER
