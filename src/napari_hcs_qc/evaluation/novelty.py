"""How unlike everything that was annotated a cell is: there the model's word is a guess."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.heads.threads import one_blas_thread

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MIN_ANNOTATED = 20
"""With fewer annotations nearly every cell would be unlike them."""

USUAL = 0.95
"""Share of the annotated cells themselves that lie nearer to those of other wells than the limit."""

_NEIGHBOURS = 3
_LIMIT = 8.0  # standardised features stop here
_ROWS_AT_ONCE = 4096


class Novelty:
    """Distance of cells to the annotated ones, in units of what is usual among these.

    The mean Euclidean distance, over standardised features, to the three nearest annotated cells;
    1 is the distance that 95 % of the annotated cells keep to those of other wells. On BBBC022's
    labelled nuclei, with all dead (or all debris) taken out of the annotations, a random one of
    these lies farther than a random cell of the plate in 88 % (90 %) of the pairs.

    Attributes
    ----------
    n_annotated_
        Cells compared with.
    limit_
        The distance that counts as 1.
    """

    def fit(self, annotated: ArrayLike, groups: ArrayLike) -> Self:
        """Learn what is usual.

        Parameters
        ----------
        annotated
            ``(n_cells, n_features)`` embeddings of the annotated cells, finite.
        groups
            ``(n_cells,)`` well of each.

        Raises
        ------
        HcsQcError
            With fewer than `MIN_ANNOTATED` cells, or all of them in one or two wells.
        """
        rows, wells = np.asarray(annotated, np.float32), np.asarray(groups)
        if len(rows) < MIN_ANNOTATED or len(np.unique(wells)) < 3:
            raise HcsQcError(
                f"{len(rows)} annotated cells in {len(np.unique(wells))} wells are too few to say "
                f"what is unlike them; at least {MIN_ANNOTATED} in 3 wells are needed."
            )
        centre, spread = rows.mean(axis=0), rows.std(axis=0)
        self._centre = centre
        # A constant feature says nothing.
        varies = spread > 1e-6 * np.abs(centre) + 1e-12
        self._scale = np.where(varies, 1 / np.where(varies, spread, 1), 0).astype(np.float32)
        self._bank = self._standardised(rows)
        self.n_annotated_ = len(rows)
        same = wells[:, np.newaxis] == wells[np.newaxis, :]
        distances = _mean_of_nearest(np.where(same, np.inf, self._squared(self._bank)))
        self.limit_ = max(float(np.quantile(distances, USUAL)), 1e-6)
        return self

    def ratio(self, cells: NDArray[Any]) -> NDArray[np.float32]:
        """Say how unlike the annotated cells some cells are.

        Parameters
        ----------
        cells
            ``(n_cells, n_features)``, may be memory-mapped.

        Returns
        -------
        ndarray
            ``(n_cells,)`` distance over the usual one, above 1 unlike; NaN for rows with NaN.

        Raises
        ------
        HcsQcError
            When the number of features is another.
        """
        if cells.ndim != 2 or cells.shape[1] != self._bank.shape[1]:
            raise HcsQcError(
                f"The cells have the shape {cells.shape}; the annotated ones have "
                f"{self._bank.shape[1]} features. Embed both with the same encoder and recipe."
            )
        found = np.empty(len(cells), np.float32)
        for start in range(0, len(cells), _ROWS_AT_ONCE):
            rows = self._standardised(np.asarray(cells[start : start + _ROWS_AT_ONCE]))
            found[start : start + len(rows)] = _mean_of_nearest(self._squared(rows)) / self.limit_
        return found

    def _standardised(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        scaled: NDArray[np.float32] = (rows.astype(np.float32) - self._centre) * self._scale
        return np.clip(scaled, -_LIMIT, _LIMIT, out=scaled)

    def _squared(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        with one_blas_thread():
            squares = (rows**2).sum(axis=1)[:, np.newaxis] + (self._bank**2).sum(axis=1)
            squares -= 2 * (rows @ self._bank.T)
        return np.maximum(squares, 0, out=squares)


def _mean_of_nearest(squared: NDArray[np.float32]) -> NDArray[np.float32]:
    n = min(_NEIGHBOURS, squared.shape[1])
    nearest = np.sqrt(np.partition(squared, n - 1, axis=1)[:, :n])
    mean: NDArray[np.float32] = nearest.mean(axis=1)
    return mean
