"""How far a cell lies from the ways in which the cells of its plate usually differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from napari_hcs_qc.heads.threads import one_blas_thread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

N_COMPONENTS = 20
_TINY = 1e-12  # keeps the log of a cell that lies within the components finite


class _Half(NamedTuple):
    centre: Floats  # ``(n_features,)``
    axes: Floats  # ``(n_components, n_features)``, orthonormal

    def residual(self, z: Floats) -> Floats:
        centred = z - self.centre
        along = centred @ self.axes.T
        outside = (centred**2).sum(axis=1) - (along**2).sum(axis=1)
        value: Floats = np.log(np.maximum(outside / z.shape[1], _TINY))
        return value


class Residual(NamedTuple):
    """Log of the mean squared distance from the first principal components of a plate.

    The components are found in both halves of a sample, and the larger distance counts: an outlier
    in the sample turns the components of its own half towards itself, not those of the other.
    """

    halves: tuple[_Half, _Half]

    @classmethod
    def fit(cls, z: Floats, seed: int = 0) -> Self:
        """Find the components of a sample of standardised cells."""
        order = np.random.default_rng(seed).permutation(len(z))
        first, second = (z[np.sort(part)] for part in np.array_split(order, 2))
        return cls((_half(first, seed), _half(second, seed)))

    def score(self, z: Floats) -> Floats:
        """``(n_cells,)`` of standardised cells."""
        first, second = self.halves
        return np.maximum(first.residual(z), second.residual(z))


def _half(z: Floats, seed: int) -> _Half:
    from sklearn.utils.extmath import randomized_svd

    centre = z.mean(axis=0)
    n_components = min(N_COMPONENTS, *z.shape)
    with one_blas_thread():
        _, _, axes = randomized_svd(z - centre, n_components, n_iter=7, random_state=seed)
    return _Half(centre, axes)
