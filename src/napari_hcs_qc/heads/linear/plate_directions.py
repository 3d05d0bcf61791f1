"""How the cells of a plate differ from one another, learnt without a single annotation."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.linalg import solve

from napari_hcs_qc.heads.threads import one_blas_thread

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

N_DIRECTIONS = 50
"""Main directions that are kept."""

MIN_CELLS = 500
"""With fewer cells the directions would be those of these cells, not of the plate."""

_LIMIT = 5.0  # standardised features stop here, so that a few fibres are no main direction
_SHRINKAGE = 0.1  # of the mean variance of a direction, so that the weakest are not blown up
# A trait's direction stands so often among the others: it counts as five of them do. With 3 and 10
# calls that people read were told apart as well, within what so few can tell.
_TRAIT_TIMES = 5
_TRAIT_PENALTY = 0.025  # of ridge regression, for each cell


class PlateDirections(NamedTuple):
    """The main directions in which the cells of a plate differ, each brought to about sd 1.

    Most of what differs between features of an encoder differs in the same few ways. Where a
    handful of cells is annotated, a head cannot know that; the many that are not annotated tell.
    So do traits that were measured on all of them, such as their brightness: what debris and dead
    cells differ in is clear in them, and spread over hundreds of features.
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


def plate_directions(
    cells: ArrayLike, seed: int = 0, traits: ArrayLike | None = None
) -> PlateDirections | None:
    """Find the main directions of a plate by principal components, and those of its `traits`.

    Traits are ``(n_cells, n_traits)``, NaN where one was not measured; a trait that too few cells
    have, or that does not differ, has no direction.
    """
    from sklearn.utils.extmath import randomized_svd

    rows = np.asarray(cells, dtype=np.float64)
    is_finite = np.isfinite(rows).all(axis=1)
    rows = rows[is_finite]
    if len(rows) < MIN_CELLS or rows.shape[1] < N_DIRECTIONS:
        return None
    centre, scale = centre_and_scale(rows)
    z = np.clip((rows - centre) / scale, -_LIMIT, _LIMIT)
    z -= z.mean(axis=0)
    with one_blas_thread():
        _, singular, axes = randomized_svd(z, N_DIRECTIONS, n_iter=4, random_state=seed)
    variances = singular**2 / len(z)
    floor = _SHRINKAGE * float((z**2).sum()) / len(z) / z.shape[1]
    directions = axes / np.sqrt(variances + floor)[:, np.newaxis]
    if traits is not None:
        with one_blas_thread():
            of_traits = trait_directions(z, np.asarray(traits, dtype=np.float64)[is_finite])
        directions = np.concatenate([directions, np.repeat(of_traits, _TRAIT_TIMES, axis=0)])
    directions = directions / scale
    return PlateDirections(directions, directions @ centre, centre, scale)


def trait_directions(z: NDArray[np.float64], traits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Find the direction along which each trait is best foretold, with sd 1 over the cells.

    By ridge regression; `z` are standardised features, `traits` as those of `plate_directions`.
    """
    found = [np.empty((0, z.shape[1]))]
    for trait in traits.T:
        known = np.isfinite(trait)
        if known.sum() < MIN_CELLS or np.ptp(trait[known]) == 0:
            continue
        cells = z[known] - z[known].mean(axis=0)
        gram = cells.T @ cells
        gram[np.diag_indices_from(gram)] += _TRAIT_PENALTY * len(cells)
        direction = solve(gram, cells.T @ (trait[known] - trait[known].mean()), assume_a="pos")
        found.append(direction[np.newaxis] / max((cells @ direction).std(), np.finfo(float).tiny))
    return np.concatenate(found)
