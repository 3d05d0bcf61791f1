"""SwAV: one view predicts the prototypes that the other is assigned to, all of them used alike."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from napari_hcs_qc.study.ssl.methods.method import LossAndFigures, Method, unit

if TYPE_CHECKING:
    from torch import Tensor


def swapped_loss(scores: Tensor, assignments: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of each view's assignment under the other view's softmax [1]_, averaged.

    References
    ----------
    .. [1] Caron et al., "Unsupervised learning of visual features by contrasting cluster
       assignments", NeurIPS 2020, equations 1 and 2.
    """
    logarithms = functional.log_softmax(scores / temperature, dim=-1)
    return -(assignments.flip(0) * logarithms).sum(-1).mean()


@torch.no_grad()
def balanced_assignments(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Assign samples to prototypes so that every prototype gets as much (Sinkhorn-Knopp).

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


class SwAV(Method):
    """SwAV without small crops.

    Every rank has the projections of the global batch, so assignments and queue are the same on
    all of them. The queue is in use from its epoch on, once it is full; it holds half the cells at
    most, for otherwise the batch would be in it already.

    Figures: ``used_prototypes`` is the share of prototypes that are nearest to a view of the
    batch, of as many as could be; ``assignment_entropy`` of one cell's assignment, as a share of
    ``ln(n_prototypes)``; ``queue`` whether the queue was in use.
    """

    queue: Tensor

    def _add_state(self) -> None:
        settings, dims = self.settings, self.settings.projected
        directions = unit(torch.randn(settings.prototypes_for(self.n_cells), dims))
        self.prototypes = nn.Parameter(directions)
        length = min(settings.queue, self.n_cells // 2)
        self.register_buffer("queue", torch.zeros(self.n_views, length, dims))
        self._filled = 0
        self._seen: Tensor | None = None

    def objective(self, projections: Tensor, rows: Tensor, epoch: int) -> LossAndFigures:
        """Give the swapped loss of ``(2, global batch, projected)``."""
        directions = unit(projections)
        scores = directions @ self.prototypes.T
        queue = self._queue_of(epoch)
        assignments = torch.stack(
            [
                self._assigned(view, waiting)
                for view, waiting in zip(scores.detach(), queue, strict=True)
            ]
        )
        self._seen = directions.detach()
        loss = swapped_loss(scores, assignments, self.settings.temperature)
        return loss, self._figures(scores.detach(), assignments, queue.shape[1] > 0)

    def mask_gradients(self, epoch: int) -> None:
        """Leave the prototypes as they are in the first epochs."""
        if epoch < self.settings.freeze_prototypes:
            self.prototypes.grad = None

    @torch.no_grad()
    def after_step(self) -> None:
        """Bring prototypes back to length 1 and put the batch into the queue."""
        self.prototypes.copy_(unit(self.prototypes))
        length = self.queue.shape[1]
        if self._seen is not None and length:
            new = self._seen[:, :length].to(self.queue)
            self.queue.copy_(torch.cat([new, self.queue], 1)[:, :length])
            self._filled = min(length, self._filled + new.shape[1])
        self._seen = None

    def chance(self, batch: int) -> float | None:
        """Give ``ln(n_prototypes)``."""
        return math.log(len(self.prototypes))

    def get_extra_state(self) -> Tensor:
        """Give how much of the queue is filled."""
        return torch.tensor(self._filled)

    def set_extra_state(self, state: Tensor) -> None:
        """Take over what `get_extra_state` gave."""
        self._filled = int(state)

    def _queue_of(self, epoch: int) -> Tensor:
        """Give ``(2, n, projected)``, none before the queue's time."""
        length = self.queue.shape[1]
        in_use = epoch >= self.settings.first_queue_epoch and self._filled == length
        return self.queue[:, : length if in_use else 0]

    def _assigned(self, scores: Tensor, queue: Tensor) -> Tensor:
        waiting = queue.to(scores) @ self.prototypes.detach().T
        together = torch.cat([scores, waiting])
        settings = self.settings
        balanced = balanced_assignments(
            together, settings.sinkhorn_epsilon, settings.sinkhorn_iterations
        )
        return balanced[: len(scores)]

    @torch.no_grad()
    def _figures(self, scores: Tensor, assignments: Tensor, queued: bool) -> dict[str, Tensor]:
        count = scores.shape[-1]
        nearest = functional.one_hot(scores.argmax(-1).flatten(), count).amax(0).sum()
        entropy = torch.special.entr(assignments).sum(-1).mean() / math.log(count)
        return {
            "used_prototypes": nearest / min(count, scores.shape[0] * scores.shape[1]),
            "assignment_entropy": entropy,
            "queue": scores.new_full((), float(queued)),
        }
