"""How the cells of a plate differ from one another, learnt without a single annotation."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_hcs_qc.heads.threads import one_blas_thread

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

N_DIRECTIONS = 50
"""Main directions that are kept."""

MIN_CELLS = 500
"""With fewer cells the directions would be those of these cells, not of the plate."""

_LIMIT = 5.0  # standardised features stop here, so that a few fibres are no main direction
_SHRINKAGE = 0.1  # of the mean variance of a direction, so that the weakest are not blown up


class PlateDirections(NamedTuple):
    """The main directions in which the cells of a plate differ, each brought to about sd 1.

    Most of what differs between features of an encoder differs in the same few ways. Where a
    handful of cells is annotated, a head cannot know that; the many that are not annotated tell.
    """

    directions: NDArray[np.float64]  # ``(n_directions, n_features)``
    # ``(n_directions,)``: ``features @ directions.T - offset`` has mean 0 over the plate
    offset: NDArray[np.float64]
    # ``(n_features,)`` mean and standard deviation of each feature over the plate
    centre: NDArray[np.float64]
    scale: NDArray[np.float64]


def centre_and_scale(
    features: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and sd of each feature; the sd of a constant feature is infinite, so it counts as 0."""
    centre, scale = features.mean(axis=0), features.std(axis=0)
    # What float32 arithmetic in an encoder makes of a constant is not information.
    is_constant = scale <= 1e-6 * np.abs(centre) + np.finfo(float).tiny
    return centre, np.where(is_constant, np.inf, scale)


def plate_directions(cells: ArrayLike, seed: int = 0) -> PlateDirections | None:
    """Find the main directions of a plate by principal components."""
    from sklearn.utils.extmath import randomized_svd

    rows = np.asarray(cells, dtype=np.float64)
    rows = rows[np.isfinite(rows).all(axis=1)]
    if len(rows) < MIN_CELLS or rows.shape[1] < N_DIRECTIONS:
        return None
    centre, scale = centre_and_scale(rows)
    z = np.clip((rows - centre) / scale, -_LIMIT, _LIMIT)
    z -= z.mean(axis=0)
    with one_blas_thread():
        _, singular, axes = randomized_svd(z, N_DIRECTIONS, n_iter=4, random_state=seed)
    variances = singular**2 / len(z)
    floor = _SHRINKAGE * float((z**2).sum()) / len(z) / z.shape[1]
    directions = axes / np.sqrt(variances + floor)[:, np.newaxis] / scale
    return PlateDirections(directions, directions @ centre, centre, scale)
