"""Why an abnormal cell is abnormal, where enough examples were given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.utils.validation import check_array

from napari_hcs_qc.heads.linear.linear_head import LinearHead

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MIN_PER_KIND = 5
"""Annotated cells a kind needs before it is predicted."""

_RARER = ""
_CLIP = 8.0  # standardised features stop here


class KindHead:
    """Kind of abnormal cells, or None where it is not known.

    Multinomial logistic regression on the machinery of `LinearHead`. A kind is learnt when at
    least `min_per_kind` abnormal cells of it are annotated; the cells of rarer kinds, be it one,
    form a class of their own that predicts None. Since few examples of few kinds leave room for
    all that nobody has annotated, a kind is given only where two things agree with it: the nearest
    annotated cell is of that kind, and it is no farther than the farthest of the annotated cells
    has its nearest (open-set recognition by nearest neighbours, Mendes Junior et al. 2017,
    doi:10.1007/s10994-016-5610-8). Cells annotated abnormal without a kind are left out.
    """

    def __init__(self, *, min_per_kind: int = MIN_PER_KIND, random_state: int = 0) -> None:
        self.min_per_kind = min_per_kind
        self.random_state = random_state
        self.kinds_: tuple[str, ...] = ()
        self.n_features_in_ = 0
        self.head_: LinearHead | None = None
        self.examples_: Examples | None = None

    def fit(self, X: ArrayLike, kinds: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Fit on cells annotated abnormal."""
        cells: NDArray[Any] = check_array(X, dtype=np.float64, ensure_min_samples=0)
        names = np.array([_name(kind) for kind in np.asarray(kinds, dtype=object)], dtype=object)
        if len(names) != len(cells):
            raise ValueError(f"{len(names)} kinds were given for {len(cells)} cells.")
        self.n_features_in_ = cells.shape[1]
        is_named = names != _RARER
        cells, names = cells[is_named], names[is_named].astype(str)
        known, counts = np.unique(names, return_counts=True)
        self.kinds_ = tuple(str(kind) for kind in known[counts >= self.min_per_kind])
        self.head_, self.examples_ = None, None
        if not self.kinds_:
            return self
        target = np.where(np.isin(names, self.kinds_), names, _RARER)
        self.examples_ = Examples.of(cells, target)
        if len(np.unique(target)) > 1:
            wells = None if groups is None else np.asarray(groups)[is_named]
            self.head_ = LinearHead(random_state=self.random_state).fit(cells, target, wells)
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Kinds of abnormal cells; None where it is not known."""
        cells = np.asarray(X)
        result = np.full(len(cells), None, dtype=object)
        usable = np.flatnonzero(np.isfinite(cells).all(axis=1))
        if not self.kinds_ or not len(usable):
            return result
        near = None
        if self.examples_ is not None:  # a head of an earlier version has none
            near = self.examples_.kinds_near(cells[usable])
            usable, near = usable[near != _RARER], near[near != _RARER]
        if self.head_ is None or not len(usable):
            result[usable] = self.kinds_[0]
            return result
        predicted = self.head_.predict(cells[usable])
        agrees = predicted != _RARER if near is None else predicted == near
        result[usable[agrees]] = [str(kind) for kind in predicted[agrees]]
        return result


@dataclass(frozen=True, eq=False, kw_only=True)
class Examples:
    """The annotated cells of known and rarer kinds, to compare others with."""

    centre: NDArray[np.float32]  # (n_features,)
    scale: NDArray[np.float32]  # (n_features,) that a feature is multiplied by
    cells: NDArray[np.float32]  # (n, n_features) standardised
    kinds: NDArray[np.str_]  # (n,) kind of each, empty for a rarer one
    limit: float  # the farthest that one has its nearest

    @classmethod
    def of(cls, cells: NDArray[np.float64], kinds: NDArray[np.str_]) -> Self:
        """Standardise cells, and measure how far they are from one another."""
        centre, spread = cells.mean(axis=0), cells.std(axis=0)
        varies = spread > 1e-6 * np.abs(centre) + 1e-12  # a constant feature says nothing
        scale = np.where(varies, 1 / np.where(varies, spread, 1), 0)
        made = cls(
            centre=centre.astype(np.float32),
            scale=scale.astype(np.float32),
            cells=np.empty((0, len(centre)), np.float32),
            kinds=kinds,
            limit=np.inf,
        )
        made = replace(made, cells=made._standardised(cells))
        between = cdist(made.cells, made.cells)
        np.fill_diagonal(between, np.inf)
        # Of two copies of one cell no distance can be learnt.
        return replace(made, limit=float(between.min(axis=1).max()) or float("inf"))

    def kinds_near(self, rows: NDArray[np.floating[Any]]) -> NDArray[np.object_]:
        """Kind of the nearest example of each row; empty where the nearest is too far."""
        # By products, in a quarter of the time; to within rounding what `cdist` gives.
        distances = euclidean_distances(self._standardised(rows), self.cells)
        near: NDArray[np.object_] = self.kinds[distances.argmin(axis=1)].astype(object)
        near[distances.min(axis=1) > self.limit] = _RARER
        return near

    def _standardised(self, rows: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        scaled = (rows.astype(np.float32) - self.centre) * self.scale
        return np.asarray(np.clip(scaled, -_CLIP, _CLIP))


def _name(kind: object) -> str:
    """Give a kind as text; what pandas and numpy use for 'nothing' becomes the empty string."""
    return kind.strip() if isinstance(kind, str) else _RARER
