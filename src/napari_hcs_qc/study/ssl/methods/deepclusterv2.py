"""DeepClusterV2: cells are told by the cluster they fell into before the epoch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.study.ssl.distributed import by_each_batch_alone
from napari_hcs_qc.study.ssl.methods.kmeans import Clusters, spherical_kmeans
from napari_hcs_qc.study.ssl.methods.method import Embed, LossAndFigures, Method, in_full, unit

if TYPE_CHECKING:
    from torch import Tensor


_NO_TARGET = -1
_ROWS = 2**18


def cluster_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of clusters, over those cells that have one; 0 where none has."""
    each = functional.cross_entropy(logits, targets, ignore_index=_NO_TARGET, reduction="sum")
    return each / (targets != _NO_TARGET).sum().clamp_min(1)


class DeepClusterV2(Method):
    """DeepClusterV2 [1]_ without small crops.

    The bank holds the projections of both views of every cell as they were when it was last seen
    (half precision: ``4 * n_cells * projected`` bytes), the same on every rank. Before each epoch
    every head clusters one view of it, from a start of its own; the centres are its prototypes,
    which no gradient moves.

    Before the first epoch there is no bank: the original leaves all cells without targets, and
    that epoch trains nothing. With ``fill_bank`` all cells are embedded first.

    Figures: ``targets`` is the share of cells with a target; of `begin_epoch`, ``used_prototypes``
    the share of clusters with a cell, ``moved`` the share of pairs of cells that were together and
    are not any more (from the second clustering on; every clustering starts anew, so it stays
    well above 0).

    References
    ----------
    .. [1] Caron et al., "Unsupervised learning of visual features by contrasting cluster
       assignments", NeurIPS 2020, appendix C.
    """

    bank: Tensor
    known: Tensor
    prototypes: Tensor
    assignments: Tensor
    clustered_epoch: Tensor

    def _add_state(self) -> None:
        heads, dims, n_cells = self.settings.heads, self.settings.projected, self.n_cells
        count = self.settings.prototypes_for(n_cells)
        empty = torch.zeros(self.n_views, n_cells, dims, dtype=torch.float16)
        self.register_buffer("bank", empty)
        self.register_buffer("known", torch.zeros(n_cells, dtype=torch.bool))
        self.register_buffer("prototypes", unit(torch.randn(heads, count, dims)))
        none = torch.full((heads, n_cells), _NO_TARGET, dtype=torch.int32)
        self.register_buffer("assignments", none)
        self.register_buffer("clustered_epoch", torch.tensor(-1))

    def begin_epoch(self, epoch: int, embed: Embed, job: Job = NO_JOB) -> dict[str, float]:
        """Cluster the bank, which is filled first where it is empty."""
        if int(self.clustered_epoch) == epoch:
            return {}
        if self.settings.fill_bank and not bool(self.known.any()):
            self._fill(embed, job)
        figures = {"targets": float(self.known.float().mean())}
        if bool(self.known.any()):
            clusters = [self._clusters(head, epoch, job) for head in range(self.settings.heads)]
            assignments = torch.stack([head.assignments for head in clusters])
            figures["used_prototypes"] = self._used(assignments)
            if int(self.clustered_epoch) >= 0 and bool((self.assignments >= 0).any()):
                figures["moved"] = self._moved(assignments)
            self.prototypes.copy_(torch.stack([head.centres for head in clusters]))
            self.assignments.copy_(assignments)
        self.clustered_epoch.fill_(epoch)
        return figures

    def objective(self, projections: Tensor, rows: Tensor, epoch: int) -> LossAndFigures:
        """Give the cross-entropy of ``(2, global batch, projected)``; the bank is brought up."""
        directions = unit(projections)
        targets = self.assignments[:, rows].long()
        views = directions.flatten(0, 1)
        losses = [
            cluster_loss(
                views @ self.prototypes[head].to(views).T / self.settings.temperature,
                targets[head].repeat(self.n_views),
            )
            for head in range(self.settings.heads)
        ]
        with torch.no_grad():
            self.bank[:, rows] = directions.to(self.bank.dtype)
            self.known[rows] = True
        share = (targets != _NO_TARGET).float().mean()
        return torch.stack(losses).mean(), {"targets": share}

    def chance(self, batch: int) -> float | None:
        """Give ``ln(n_prototypes)``."""
        return math.log(self.prototypes.shape[1])

    def _clusters(self, head: int, epoch: int, job: Job) -> Clusters:
        return spherical_kmeans(
            self.bank[head % self.n_views],
            self.prototypes.shape[1],
            self.settings.kmeans_iterations,
            self.world,
            ((self.seed * 1_000_003 + epoch) * 1_009 + head) % 2**63,
            known=self.known,
            job=job,
        )

    @torch.no_grad()
    def _fill(self, embed: Embed, job: Job) -> None:
        """Embed all cells; ranks bring their shares together."""
        device = self.bank.device
        bank, times = torch.zeros_like(self.bank[0]), torch.zeros(self.n_cells, device=device)
        for rows, features in embed():
            job.check()
            full = in_full(features.to(device))
            # The batch normalisation cannot do with one row alone.
            full = full.repeat(2, 1) if len(full) == 1 else full
            with torch.autocast(device.type, enabled=False), by_each_batch_alone(self.projector):
                projected = self.projector(full)[: len(rows)]
            bank[rows.to(device)] = unit(projected).to(bank.dtype)
            times[rows.to(device)] = 1
        if self.world.size > 1:
            for first in range(0, self.n_cells, _ROWS):
                # A cell that two ranks have embedded points between both.
                together = self.world.sum(bank[first : first + _ROWS].float())
                bank[first : first + _ROWS] = unit(together).to(bank.dtype)
        self.known.copy_(self.world.sum(times) > 0)
        self.bank.copy_(bank.expand_as(self.bank))

    def _used(self, assignments: Tensor) -> float:
        count = self.prototypes.shape[1]
        used = [
            torch.bincount(head[head >= 0].long(), minlength=count).gt(0).float().mean()
            for head in assignments
        ]
        return float(torch.stack(used).mean())

    def _moved(self, assignments: Tensor) -> float:
        """Of neighbours in a random order that shared a cluster, the share that no longer does."""
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(self.n_cells, generator=generator).to(assignments.device)
        old, new = self.assignments[0, order].long(), assignments[0, order]
        known = (old >= 0) & (new >= 0)
        old, new = old[known], new[known]
        # Sorted by the old cluster, stable: neighbours are random pairs of one cluster.
        by_old = old.argsort(stable=True)
        old, new = old[by_old], new[by_old]
        together = old[1:] == old[:-1]
        apart = new[1:] != new[:-1]
        return float((together & apart).sum() / together.sum().clamp_min(1))
