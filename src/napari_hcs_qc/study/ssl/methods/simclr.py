"""SimCLR: the other view of a cell is told from all other cells of the batch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from napari_hcs_qc.study.ssl.methods.method import Method, unit

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

    def objective(
        self, projections: Tensor, rows: Tensor, epoch: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the contrastive loss of ``(2, global batch, projected)``."""
        loss, retrieved = contrastive_loss(
            projections[0], projections[1], self.settings.temperature
        )
        return loss, {"retrieved": retrieved}

    def chance(self, batch: int) -> float | None:
        """Give ``ln(2 * batch - 1)``: all other views are as similar as the pair."""
        return math.log(2 * batch - 1)
