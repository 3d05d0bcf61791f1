"""VICReg: views agree, every dimension varies, and no two dimensions vary together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

from napari_hcs_qc.study.ssl.methods.method import Method

if TYPE_CHECKING:
    from torch import Tensor

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

    def objective(
        self, projections: Tensor, rows: Tensor, epoch: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the weighted sum of the three terms of ``(2, global batch, projected)``."""
        first, second = projections
        terms = {
            "invariance": invariance(first, second),
            "variance": variance_hinge(first) + variance_hinge(second),
            "covariance": covariance_penalty(first) + covariance_penalty(second),
        }
        weighted = [getattr(self.settings, name) * term for name, term in terms.items()]
        return weighted[0] + weighted[1] + weighted[2], terms
