"""Soft assignments to prototypes that all get an equal share (Sinkhorn-Knopp)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


@torch.no_grad()
def balanced_assignments(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Assign samples to prototypes so that every prototype gets as much.

    The iteration of SwAV [1]_: ``exp(scores / epsilon)``, then in turn every prototype's share is
    brought to ``1 / n_prototypes`` and every sample's to ``1 / n_samples``. In logarithms, where
    each sum subtracts its maximum: nothing overflows, and no sample vanishes.

    References
    ----------
    .. [1] Caron et al., "Unsupervised learning of visual features by contrasting cluster
       assignments", NeurIPS 2020.
    """
    logarithms = scores / epsilon
    n_samples, n_prototypes = scores.shape
    for _ in range(iterations):
        logarithms = logarithms - torch.logsumexp(logarithms, 0, keepdim=True)
        logarithms = logarithms - math.log(n_prototypes)
        logarithms = logarithms - torch.logsumexp(logarithms, 1, keepdim=True)
        logarithms = logarithms - math.log(n_samples)
    return (logarithms + math.log(n_samples)).exp()
