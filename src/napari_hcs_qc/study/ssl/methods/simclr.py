"""SimCLR: the other view of a cell is told from all other cells of the batch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from napari_hcs_qc.study.ssl.methods.method import Method, unit

if TYPE_CHECKING:
    from torch import Tensor


def similarities(first: Tensor, second: Tensor) -> Tensor:
    """Cosine similarities of all views with each other, minus infinity with itself."""
    views = unit(torch.cat([first, second]))
    diagonal = torch.eye(len(views), dtype=torch.bool, device=views.device)
    return (views @ views.T).masked_fill(diagonal, -torch.inf)


def contrastive_loss(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross-entropy (NT-Xent) [1]_.

    The mean over all views of ``-log(exp(s_pair / t) / sum_{k != i} exp(s_ik / t))``.

    References
    ----------
    .. [1] Chen et al., "A simple framework for contrastive learning of visual representations",
       ICML 2020, equation 1.
    """
    found = similarities(first, second)
    return functional.cross_entropy(found / temperature, _pairs(len(first), found.device))


def _pairs(batch: int, device: torch.device) -> Tensor:
    return torch.arange(2 * batch, device=device).roll(batch)


class SimCLR(Method):
    """SimCLR; the figure ``retrieved`` is the share of views whose pair is the most similar one."""

    def objective(
        self, projections: Tensor, rows: Tensor, epoch: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the contrastive loss of ``(2, global batch, projected)``."""
        first, second = projections
        found = similarities(first, second)
        pairs = _pairs(len(first), found.device)
        loss = functional.cross_entropy(found / self.settings.temperature, pairs)
        return loss, {"retrieved": (found.detach().argmax(1) == pairs).float().mean()}

    def chance(self, batch: int) -> float | None:
        """Give ``ln(2 * batch - 1)``: all other views are as similar as the pair."""
        return math.log(2 * batch - 1)
