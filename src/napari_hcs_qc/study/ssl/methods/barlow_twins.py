"""Barlow Twins: every dimension agrees between the views, and no two tell the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hcs_qc.study.ssl.methods.method import Method

if TYPE_CHECKING:
    from torch import Tensor

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

    def objective(
        self, projections: Tensor, rows: Tensor, epoch: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the redundancy loss of ``(2, global batch, projected)``."""
        first, second = projections
        correlation = cross_correlation(first, second)
        loss = redundancy_loss(correlation, self.settings.redundancy, self.settings.loss_scale)
        return loss, {"agreement": correlation.detach().diagonal().mean()}
