"""Losses and gradients against the papers' formulas, written out in float64."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_hcs_qc.study.ssl.methods.deepclusterv2 import cluster_loss
from napari_hcs_qc.study.ssl.methods.swav import balanced_assignments, swapped_loss
from napari_hcs_qc.study.ssl.methods.two_views import (
    contrastive_loss,
    covariance_penalty,
    cross_correlation,
    invariance,
    redundancy_loss,
    variance_hinge,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Loss = Callable[[Tensor, Tensor], Tensor]

TEMPERATURE = 0.07
REDUNDANCY, SCALE = 0.0051, 0.024
N_PROTOTYPES = 6


def simclr_by_formula(first: Tensor, second: Tensor) -> Tensor:
    """Equation 1 of SimCLR, sample by sample: l(i, j), averaged over both directions."""
    n = len(first)
    z = [one / (one * one).sum().sqrt() for one in [*first, *second]]
    total = first.new_zeros(())
    for i in range(2 * n):
        j = (i + n) % (2 * n)
        # exp(1 / 0.07) is 1.6e6: no trouble in float64.
        denominator = sum(torch.exp((z[i] @ z[k]) / TEMPERATURE) for k in range(2 * n) if k != i)
        total = total - torch.log(torch.exp((z[i] @ z[j]) / TEMPERATURE) / denominator)
    return total / (2 * n)


def barlow_by_formula(first: Tensor, second: Tensor) -> Tensor:
    """Equations 1 and 2 of Barlow Twins, dimension by dimension, of mean-centred projections."""
    a, b = first - first.mean(0), second - second.mean(0)
    total = first.new_zeros(())
    for i in range(a.shape[1]):
        for j in range(a.shape[1]):
            c = (a[:, i] * b[:, j]).sum() / (
                (a[:, i] ** 2).sum().sqrt() * (b[:, j] ** 2).sum().sqrt()
            )
            total = total + ((1 - c) ** 2 if i == j else REDUNDANCY * c**2)
    return SCALE * total


def vicreg_by_formula(first: Tensor, second: Tensor) -> Tensor:
    """Equations 1 to 6 of VICReg with its weights 25, 25, 1; see `invariance` on equation 5."""
    n, d = first.shape

    def v(z: Tensor) -> Tensor:
        found = [torch.sqrt(z[:, j].var(unbiased=True) + 1e-4) for j in range(d)]
        return sum(torch.clamp(1 - one, min=0) for one in found) / d

    def c(z: Tensor) -> Tensor:
        mean = z.mean(0)
        matrix = sum(torch.outer(row - mean, row - mean) for row in z) / (n - 1)
        pairs = [(i, j) for i in range(d) for j in range(d) if i != j]
        return sum(matrix[i, j] ** 2 for i, j in pairs) / d

    s = sum(((one - other) ** 2).sum() for one, other in zip(first, second, strict=True)) / (n * d)
    return 25 * s + 25 * (v(first) + v(second)) + (c(first) + c(second))


def centres(dims: int, dtype: torch.dtype) -> Tensor:
    drawn = torch.randn(
        N_PROTOTYPES, dims, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    return (drawn / drawn.norm(dim=1, keepdim=True)).to(dtype)


def sinkhorn_by_formula(scores: np.ndarray, epsilon: float, iterations: int) -> np.ndarray:
    """Listing of SwAV's paper: Q = exp(scores / epsilon)^T, rows to 1/K, columns to 1/B."""
    q = np.exp(scores / epsilon).T
    q /= q.sum()
    k, b = q.shape
    for _ in range(iterations):
        q *= (1 / k) / q.sum(1, keepdims=True)
        q *= (1 / b) / q.sum(0, keepdims=True)
    return (q / q.sum(0, keepdims=True)).T


def swav_by_formula(first: Tensor, second: Tensor) -> Tensor:
    """Equations 1 and 2 of SwAV: l(z_t, q_s) + l(z_s, q_t), here their mean, over the batch."""
    n, prototypes = len(first), centres(first.shape[1], first.dtype)
    total = first.new_zeros(())
    for this, other in ((first, second), (second, first)):
        this, other = (one / one.norm(dim=1, keepdim=True) for one in (this, other))
        codes = sinkhorn_by_formula((other @ prototypes.T).detach().numpy(), 0.05, 3)
        for row, code in zip(this, torch.from_numpy(codes), strict=True):
            scores = torch.exp((prototypes @ row) / TEMPERATURE)
            total = total - (code * torch.log(scores / scores.sum())).sum()
    return total / (2 * n)


def targets_of(n: int) -> Tensor:
    found = torch.arange(2 * n) % N_PROTOTYPES
    found[0] = -1
    return found


def deepcluster_by_formula(first: Tensor, second: Tensor) -> Tensor:
    """Cross-entropy with the cluster of each cell that has one."""
    prototypes, targets = centres(first.shape[1], first.dtype), targets_of(len(first)).tolist()
    found = []
    for row, target in zip([*first, *second], targets, strict=True):
        if target >= 0:
            scores = torch.exp(prototypes @ (row / row.norm()) / TEMPERATURE)
            found.append(-torch.log(scores[target] / scores.sum()))
    return sum(found) / len(found)


def our_barlow(first: Tensor, second: Tensor) -> Tensor:
    return redundancy_loss(cross_correlation(first, second), REDUNDANCY, SCALE)


def our_vicreg(first: Tensor, second: Tensor) -> Tensor:
    return (
        25 * invariance(first, second)
        + 25 * (variance_hinge(first) + variance_hinge(second))
        + covariance_penalty(first)
        + covariance_penalty(second)
    )


def our_swav(first: Tensor, second: Tensor) -> Tensor:
    views = torch.nn.functional.normalize(torch.stack([first, second]), dim=-1)
    scores = views @ centres(first.shape[1], first.dtype).T
    assigned = torch.stack([balanced_assignments(one.detach(), 0.05, 3) for one in scores])
    return swapped_loss(scores, assigned, TEMPERATURE)


def our_deepcluster(first: Tensor, second: Tensor) -> Tensor:
    views = torch.nn.functional.normalize(torch.cat([first, second]), dim=-1)
    logits = views @ centres(first.shape[1], first.dtype).T / TEMPERATURE
    return cluster_loss(logits, targets_of(len(first)))


LOSSES = {
    "simclr": (lambda a, b: contrastive_loss(a, b, TEMPERATURE)[0], simclr_by_formula),
    "barlow-twins": (our_barlow, barlow_by_formula),
    "vicreg": (our_vicreg, vicreg_by_formula),
    "swav": (our_swav, swav_by_formula),
    "deepclusterv2": (our_deepcluster, deepcluster_by_formula),
}


def with_gradients(loss: Loss, views: Tensor) -> tuple[float, Tensor]:
    views = views.clone().requires_grad_()
    value = loss(views[0], views[1])
    value.backward()
    return value.item(), views.grad.double()


def drawn(batch: int, dims: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(batch, dims, generator=generator, dtype=torch.float64)
    second = first + 0.5 * torch.randn(batch, dims, generator=generator, dtype=torch.float64)
    return torch.stack([first, second]) * 0.8 + 0.1


@pytest.mark.parametrize("method", LOSSES)
@pytest.mark.parametrize(("batch", "dims"), [(2, 5), (7, 11), (16, 4)])
def test_the_formula_to_float64(method: str, batch: int, dims: int) -> None:
    ours, formula = LOSSES[method]
    views = drawn(batch, dims)
    value, gradient = with_gradients(ours, views)
    expected, by_formula = with_gradients(formula, views)
    assert value == pytest.approx(expected, rel=1e-12, abs=1e-12)
    torch.testing.assert_close(gradient, by_formula, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", LOSSES)
@pytest.mark.parametrize(("batch", "dims"), [(7, 11), (16, 24)])
def test_the_formula_in_float32(method: str, batch: int, dims: int) -> None:
    ours, formula = LOSSES[method]
    views = drawn(batch, dims).float()
    value, gradient = with_gradients(ours, views)
    expected, by_formula = with_gradients(formula, views.double())
    tolerance = batch * dims * torch.finfo(torch.float32).eps  # of sums over all numbers of a view
    assert value == pytest.approx(expected, rel=tolerance, abs=tolerance)
    assert (gradient - by_formula).abs().max() <= tolerance * max(1.0, by_formula.abs().max())


@pytest.mark.parametrize("method", LOSSES)
def test_equal_rows_give_numbers(method: str) -> None:
    value, gradient = with_gradients(LOSSES[method][0], torch.full((2, 6, 5), 0.3))
    assert math.isfinite(value)
    assert gradient.isfinite().all()
    value, gradient = with_gradients(LOSSES[method][0], torch.zeros(2, 6, 5))
    assert math.isfinite(value)
    assert gradient.isfinite().all()


def test_equal_cells_are_at_chance_for_simclr() -> None:
    same = torch.ones(8, 4)
    assert contrastive_loss(same, same, 0.07)[0].item() == pytest.approx(math.log(15), rel=1e-6)


def test_cells_without_clusters_have_no_loss() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    loss = cluster_loss(logits, torch.full((4,), -1))
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize(("n", "k"), [(2, 3), (9, 4), (30, 30), (200, 7)])
def test_sinkhorn_is_the_papers(n: int, k: int) -> None:
    scores = torch.rand(n, k, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    scores = scores * 2 - 1
    for iterations in (1, 3):
        expected = sinkhorn_by_formula(scores.numpy(), 0.05, iterations)
        found = balanced_assignments(scores, 0.05, iterations)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-15)


def test_sinkhorn_rows_and_columns_sum_as_they_must() -> None:
    scores = torch.rand(40, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = balanced_assignments(scores, 0.25, 200)
    torch.testing.assert_close(found.sum(1), torch.ones(40), rtol=1e-5, atol=0)
    torch.testing.assert_close(found.sum(0), torch.full((8,), 5.0), rtol=1e-4, atol=0)
    # Few iterations: the rows are right all the same, the columns nearly.
    early = balanced_assignments(scores, 0.25, 3)
    torch.testing.assert_close(early.sum(1), torch.ones(40), rtol=1e-5, atol=0)
    assert ((early.sum(0) - 5).abs() < 0.5).all()


def test_sinkhorn_does_not_overflow() -> None:
    """Scores of 1 at epsilon 0.001 are exp(1000); a sample far from all has exp(-1000)."""
    scores = torch.eye(6) * 2 - 1
    scores[0] = -1
    found = balanced_assignments(scores, 0.001, 3)
    torch.testing.assert_close(found.sum(1), torch.ones(6))
    assert (found[1:].argmax(1) == torch.arange(1, 6)).all()
