"""SimCLR, Barlow Twins and VICReg: losses of two views of each cell, without prototypes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from napari_hcs_qc.study.ssl.methods.method import LossAndFigures, Method, unit

if TYPE_CHECKING:
    from torch import Tensor


def contrastive_loss(first: Tensor, second: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Normalised temperature-scaled cross-entropy (NT-Xent) [1]_, and the share of pairs found.

    The mean over all views of ``-log(exp(s_pair / t) / sum_{k != i} exp(s_ik / t))`` of the cosine
    similarities ``s``; a pair is found where it is the most similar one.

    References
    ----------
    .. [1] Chen et al., "A simple framework for contrastive learning of visual representations",
       ICML 2020, equation 1.
    """
    views = unit(torch.cat([first, second]))
    itself = torch.eye(len(views), dtype=torch.bool, device=views.device)
    similarity = (views @ views.T).masked_fill(itself, -torch.inf)
    pairs = torch.arange(len(views), device=views.device).roll(len(first))
    loss = functional.cross_entropy(similarity / temperature, pairs)
    return loss, (similarity.detach().argmax(1) == pairs).float().mean()


class SimCLR(Method):
    """SimCLR; the figure ``retrieved`` is the share of views whose pair is the most similar one."""

    def objective(self, projections: Tensor, rows: Tensor, epoch: int) -> LossAndFigures:
        """Give the contrastive loss of ``(2, global batch, projected)``."""
        loss, retrieved = contrastive_loss(
            projections[0], projections[1], self.settings.temperature
        )
        return loss, {"retrieved": retrieved}

    def chance(self, batch: int) -> float | None:
        """Give ``ln(2 * batch - 1)``: all other views are as similar as the pair."""
        return math.log(2 * batch - 1)


_LEAST_VARIANCE = 1e-8
"""Of a dimension over the batch; what varies less is not stretched to 1 any further."""


def cross_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Correlation over the batch of every dimension of one view with every one of the other."""

    def standardised(values: Tensor) -> Tensor:
        centred = values - values.mean(0)
        return centred / centred.square().mean(0).clamp_min(_LEAST_VARIANCE).sqrt()

    return standardised(first).T @ standardised(second) / len(first)


def redundancy_loss(correlation: Tensor, redundancy: float, scale: float = 1.0) -> Tensor:
    """Distance of the cross-correlation from the identity [1]_.

    ``scale * (sum_i (1 - C_ii)^2 + redundancy * sum_{i != j} C_ij^2)``.

    References
    ----------
    .. [1] Zbontar et al., "Barlow Twins: self-supervised learning via redundancy reduction",
       ICML 2021, equations 1 and 2.
    """
    on = (1 - correlation.diagonal()).square().sum()
    off = correlation.square().fill_diagonal_(0).sum()
    return scale * (on + redundancy * off)


class BarlowTwins(Method):
    """Barlow Twins; the figure ``agreement`` is the mean of the correlation's diagonal."""

    def objective(self, projections: Tensor, rows: Tensor, epoch: int) -> LossAndFigures:
        """Give the redundancy loss of ``(2, global batch, projected)``."""
        first, second = projections
        correlation = cross_correlation(first, second)
        loss = redundancy_loss(correlation, self.settings.redundancy, self.settings.loss_scale)
        return loss, {"agreement": correlation.detach().diagonal().mean()}


_EPSILON = 1e-4


def invariance(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared difference of two views, ``(batch, n_dims)`` each.

    Over the dimensions as well, as in algorithm 1 of [1]_ and in all code there is; its equation 5
    lacks that division.

    References
    ----------
    .. [1] Bardes, Ponce, LeCun, "VICReg: variance-invariance-covariance regularization for
       self-supervised learning", ICLR 2022.
    """
    return functional.mse_loss(first, second)


def variance_hinge(view: Tensor) -> Tensor:
    """How much the standard deviations of the dimensions lack to 1, averaged.

    Equations 1 and 2 of the paper, of ``(batch, n_dims)``, with ``epsilon = 1e-4`` under the root.
    """
    centred = view - view.mean(0)
    variance = centred.square().sum(0) / max(1, len(view) - 1)
    return functional.relu(1 - (variance + _EPSILON).sqrt()).mean()


def covariance_penalty(view: Tensor) -> Tensor:
    """Sum of the squared covariances of different dimensions, over the number of dimensions.

    Equations 3 and 4 of the paper, of ``(batch, n_dims)``.
    """
    centred = view - view.mean(0)
    covariance = centred.T @ centred / max(1, len(view) - 1)
    return covariance.square().fill_diagonal_(0).sum() / view.shape[1]


class VICReg(Method):
    """VICReg; its three terms are figures."""

    def objective(self, projections: Tensor, rows: Tensor, epoch: int) -> LossAndFigures:
        """Give the weighted sum of the three terms of ``(2, global batch, projected)``."""
        first, second = projections
        terms = {
            "invariance": invariance(first, second),
            "variance": variance_hinge(first) + variance_hinge(second),
            "covariance": covariance_penalty(first) + covariance_penalty(second),
        }
        weighted = [getattr(self.settings, name) * term for name, term in terms.items()]
        return weighted[0] + weighted[1] + weighted[2], terms
