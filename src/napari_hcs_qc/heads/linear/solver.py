"""L2-penalised (multinomial) logistic regression, many sample weightings solved at once.

With far more features than annotated cells the solution lies in the span of the cells. So the
features are rotated once into that span (`rotate`), and everything after works on at most
``n_cells`` columns whose Gram matrix is diagonal. The fits of all cross-validation folds and of
the whole set differ only in which cells count, so they are solved together: one matrix product
serves all of them, and the diagonal Gram matrix preconditions the conjugate gradients of each
Newton step (truncated Newton, as in Lin, Weng, Keerthi 2008, JMLR 9).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve, eigh
from scipy.special import expit

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_RANK_TOLERANCE = 1e-10
INTERCEPT_PENALTY = 1e-4
_MAX_NEWTON = 30
_MAX_CONJUGATE = 60
_MAX_HALVINGS = 20


class Rotation(NamedTuple):
    """Cells in the coordinates of their own span."""

    cells: Floats  # ``(n_cells, rank)``: the rotated rows; columns are orthogonal
    spread: Floats  # ``(rank,)``: squared norm of each column


def rotate_gram(gram: Floats) -> Rotation:
    """Rotation of cells of which only the scalar products are known."""
    values, vectors = eigh(gram)
    keep = values > max(values[-1], 0) * _RANK_TOLERANCE
    return Rotation(vectors[:, keep] * np.sqrt(values[keep]), values[keep])


def rotate(features: Floats) -> Rotation:
    """Rotate rows into the span of the rows; distances and scalar products are kept."""
    if len(features) <= features.shape[1]:
        return rotate_gram(features @ features.T)
    values, vectors = eigh(features.T @ features)
    keep = values > max(values[-1], 0) * _RANK_TOLERANCE
    return Rotation(features @ vectors[:, keep], values[keep])


def share_of_cells(rotation: Rotation, weights: Floats) -> Floats:
    """Express rotated weights as a sum over the cells they were fitted on."""
    shares: Floats = rotation.cells @ (weights / rotation.spread[:, np.newaxis])
    return shares


class Solution(NamedTuple):
    """Fitted weights of `n_problems` problems."""

    weights: Floats  # ``(rank, n_problems, n_outputs)``
    intercepts: Floats  # ``(n_problems, n_outputs)``

    def decisions(self, cells: Floats) -> Floats:
        """``(n_cells, n_problems, n_outputs)`` decision values of rotated rows."""
        rank, n_problems, n_outputs = self.weights.shape
        # Not -1: the rank is 0 where all cells look alike, as on a plate without a signal.
        products = cells @ self.weights.reshape(rank, n_problems * n_outputs)
        values: Floats = products.reshape(-1, *self.weights.shape[1:]) + self.intercepts
        return values


def solve(
    rotation: Rotation,
    codes: NDArray[np.int64],
    n_classes: int,
    counts: Floats,
    penalty: float,
    start: Solution | None = None,
    tolerance: float = 1e-4,
    offset: Floats | None = None,
    intercept_penalty: float = INTERCEPT_PENALTY,
) -> Solution:
    """Minimise ``sum(counts * log-loss) + penalty / 2 * |weights|²`` for each column of counts.

    An `offset`, ``(n_cells, n_outputs)``, is added to the decisions and is no part of the weights.
    """
    cells = np.hstack([rotation.cells, np.ones((len(codes), 1))])
    n_outputs = 1 if n_classes == 2 else n_classes
    first = n_classes - n_outputs
    target = (codes[:, np.newaxis] == np.arange(first, n_classes)).astype(float)[:, np.newaxis, :]
    counts = counts[:, :, np.newaxis]
    size = (cells.shape[1], counts.shape[1], n_outputs)
    ridge = np.full((size[0], 1, 1), penalty)
    ridge[-1] = intercept_penalty
    diagonal = np.append(rotation.spread, len(codes))[:, np.newaxis, np.newaxis] / len(codes)
    theta = np.zeros(size)
    if start is not None:
        theta[:-1], theta[-1] = start.weights, start.intercepts

    def forward(vectors: Floats) -> Floats:
        return (cells @ vectors.reshape(size[0], -1)).reshape(-1, *size[1:])

    def backward(values: Floats) -> Floats:
        return (cells.T @ values.reshape(len(codes), -1)).reshape(size)

    def objective(decision: Floats, theta: Floats) -> Floats:
        loss = _log_sum_exp(decision, first) - (decision * target).sum(axis=2)
        penalties = 0.5 * (ridge * theta**2).sum(axis=(0, 2))
        value: Floats = (counts[:, :, 0] * loss).sum(axis=0) + penalties
        return value

    def hessian(p: Floats, vectors: Floats) -> Floats:
        change = forward(vectors)
        curved = counts * p * (change - (p * change).sum(axis=2, keepdims=True))
        return backward(curved) + ridge * vectors

    decision = forward(theta)
    if offset is not None:
        decision += offset[:, np.newaxis, :]
    value = objective(decision, theta)
    for _ in range(_MAX_NEWTON):
        p = np.exp(decision - _log_sum_exp(decision, first)[:, :, np.newaxis])
        gradient = backward(counts * (p - target)) + ridge * theta
        curvature = (counts * p * (1 - p)).sum(axis=0)
        product = partial(hessian, p)
        step = _conjugate_gradients(product, gradient, diagonal * curvature + ridge)
        change = forward(step)
        size_of_step = np.ones(size[1])
        for _ in range(_MAX_HALVINGS):
            scale = size_of_step[:, np.newaxis]
            new_theta, new_decision = theta - scale * step, decision - scale * change
            new_value = objective(new_decision, new_theta)
            worse = new_value > value + 1e-9 * np.abs(value)
            if not worse.any():
                break
            size_of_step[worse] /= 2
        theta, decision, value = new_theta, new_decision, new_value
        if np.abs(change * size_of_step[:, np.newaxis]).max() < tolerance:
            break
    return Solution(theta[:-1], theta[-1])


def solve_gram(
    gram: Floats,
    is_second: NDArray[np.bool_],
    importance: Floats,
    penalty: float,
    offset: Floats,
    start: Floats | None = None,
    tolerance: float = 1e-4,
) -> tuple[Floats, float]:
    """Minimise what `solve` does, for two classes and one weighting, from the scalar products.

    Gives the share of each cell in the weights, ``(n_cells,)``, and the intercept. Quicker where
    the shares are known before but for a cell or two: then they are the `start`. Newton's method
    as for a Gaussian process (Rasmussen, Williams 2006, algorithm 3.1).
    """
    products = gram / penalty + 1 / INTERCEPT_PENALTY
    target, diagonal = is_second.astype(float), np.diag_indices(len(gram))

    def objective(dual: Floats, decision: Floats) -> float:
        loss = np.logaddexp(0, decision + offset) - target * (decision + offset)
        return float((importance * loss).sum() + 0.5 * dual @ decision)

    dual = np.zeros(len(gram)) if start is None else penalty * start
    decision = products @ dual
    value = objective(dual, decision)
    for _ in range(_MAX_NEWTON):
        p = expit(decision + offset)
        curvature = importance * p * (1 - p)
        root = np.sqrt(curvature)
        wanted = curvature * decision + importance * (target - p)
        system = root[:, np.newaxis] * products * root
        system[diagonal] += 1
        factor = cho_factor(system, lower=True, overwrite_a=True, check_finite=False)
        solved = cho_solve(factor, root * (products @ wanted), check_finite=False)
        step = wanted - root * solved - dual
        change = products @ step
        size = 1.0
        for _ in range(_MAX_HALVINGS):
            new_value = objective(dual + size * step, decision + size * change)
            if new_value <= value + 1e-9 * abs(value):
                break
            size /= 2
        dual, decision, value = dual + size * step, decision + size * change, new_value
        if np.abs(size * change).max() < tolerance:
            break
    return dual / penalty, float(dual.sum()) / INTERCEPT_PENALTY


def _log_sum_exp(decision: Floats, first: int) -> Floats:
    """Log of the sum over the classes; with `first` = 1 the first class stands at 0."""
    top = decision.max(axis=2)
    if first:
        top = np.maximum(top, 0)
    total = np.exp(decision - top[:, :, np.newaxis]).sum(axis=2)
    if first:
        total += np.exp(-top)
    value: Floats = top + np.log(total)
    return value


def probabilities(decision: Floats) -> Floats:
    """``(n_cells, n_classes)`` probabilities of ``(n_cells, n_outputs)`` decision values."""
    if decision.shape[1] == 1:
        decision = np.hstack([np.zeros_like(decision), decision])
    shifted = np.exp(decision - decision.max(axis=1, keepdims=True))
    result: Floats = shifted / shifted.sum(axis=1, keepdims=True)
    return result


def _conjugate_gradients(
    product: Callable[[Floats], Floats], target: Floats, diagonal: Floats
) -> Floats:
    """Solve ``product(x) = target`` for all problems (axis 1) at once, diagonally scaled."""
    solution = np.zeros_like(target)
    residual = target
    scaled = residual / diagonal
    direction = scaled
    energy = _dot(residual, scaled)
    # A Newton step need not be exact: the forcing term makes the outer loop superlinear.
    norm = np.sqrt(_dot(target, target))
    enough = np.minimum(0.1, np.sqrt(norm)) * norm * 0.1
    for _ in range(_MAX_CONJUGATE):
        if (np.sqrt(_dot(residual, residual)) <= enough).all():
            break
        curved = product(direction)
        along = _dot(direction, curved)
        length = np.divide(energy, along, out=np.zeros_like(energy), where=along > 0)
        solution = solution + length[:, np.newaxis] * direction
        residual = residual - length[:, np.newaxis] * curved
        scaled = residual / diagonal
        new_energy = _dot(residual, scaled)
        ratio = np.divide(new_energy, energy, out=np.zeros_like(energy), where=energy > 0)
        direction = scaled + ratio[:, np.newaxis] * direction
        energy = new_energy
    return solution


def _dot(first: Floats, second: Floats) -> Floats:
    value: Floats = np.einsum("rpo,rpo->p", first, second)
    return value
