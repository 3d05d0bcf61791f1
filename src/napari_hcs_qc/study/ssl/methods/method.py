"""What a self-supervised method is to the training loop.

A method is the part beside the encoder: projector, prototypes, queue, memory bank. All of its
state is in `state_dict()`, so that a checkpoint is the state of the encoder, of the method, of the
optimiser and of the random numbers. One step of the loop::

    method.begin_epoch(epoch, embed)            # once an epoch; free but for DeepClusterV2
    features = encoder(views)                   # (n_views * batch, n_features), any precision
    loss, figures = method.loss(features.view(n_views, batch, -1), rows, epoch, step)
    loss.backward()
    world.average_gradients(parameters)         # or DistributedDataParallel
    method.mask_gradients(epoch)
    optimiser.step()
    method.after_step()

The loss is that of the global batch, the same on every rank (see `distributed`). It is computed in
float32 with autocast off, projector included; the projector's batch normalisation sees each view
by itself, as in the papers. Every method gives the figures ``feature_std`` and ``projection_std``
(see `spread`). Figures are tensors without dimensions on the
training device: reading one waits for the device, so the loop reads them every few steps.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.study.ssl.distributed import over_all_ranks

if TYPE_CHECKING:
    from napari_hcs_qc.study.ssl.distributed import World
    from napari_hcs_qc.study.ssl.pretrain_settings import Pretraining

LossAndFigures: TypeAlias = "tuple[Tensor, dict[str, Tensor]]"
"""The loss of a batch, and figures to watch by name."""

Embed = Callable[[], Iterator[tuple[Tensor, Tensor]]]
"""Gives batches of ``rows (batch,)`` and encoder ``features (batch, n_features)`` of this rank's
share of all cells, without gradients; ranks may have different numbers of batches."""


class Method(nn.Module, ABC):
    """A self-supervised method beside its encoder."""

    n_views = 2

    def __init__(
        self, n_features: int, settings: Pretraining, n_cells: int, world: World, seed: int
    ) -> None:
        super().__init__()
        self.n_features, self.n_cells, self.seed = n_features, n_cells, seed
        self.settings, self.world = settings, world
        self.projector: nn.Module = over_all_ranks(_projector(n_features, settings), world)
        self._add_state()

    def _add_state(self) -> None:
        """Add what a method has beside its projector."""

    def begin_epoch(self, epoch: int, embed: Embed, job: Job = NO_JOB) -> dict[str, float]:
        """Prepare an epoch, on every rank; one that is prepared already stays as it is."""
        return {}

    def loss(self, features: Tensor, rows: Tensor, epoch: int, step: int) -> LossAndFigures:
        """Give the loss of the global batch and figures to watch."""
        if features.shape[1] * self.world.size < 2:
            raise HcsQcError(
                "A batch of one cell trains nothing. Use a batch size of 2 or more, and at least "
                "as many cells."
            )
        with torch.autocast(features.device.type, enabled=False):
            features = in_full(features)
            local = torch.stack([self.projector(view) for view in features])
            projections = self.world.gather(local, dim=1)
            loss, figures = self.objective(projections, self.world.gather(rows), epoch)
        with torch.no_grad():
            figures["feature_std"] = spread(features.flatten(0, 1))
            figures["projection_std"] = spread(projections.flatten(0, 1))
        return loss, {name: value.detach() for name, value in figures.items()}

    @abstractmethod
    def objective(self, projections: Tensor, rows: Tensor, epoch: int) -> LossAndFigures:
        """Give the loss and figures of ``(n_views, global batch, projected)``."""

    def chance(self, batch: int) -> float | None:
        """Give the loss of a method that tells nothing apart, for a global batch of this size.

        None where the loss has no such level.
        """
        return None

    def mask_gradients(self, epoch: int) -> None:
        """Drop gradients that this epoch must not follow; after they were averaged."""

    def after_step(self) -> None:
        """Bring state up to date after the optimiser's step."""


def _projector(n_features: int, settings: Pretraining) -> nn.Sequential:
    """Linear layers with ReLU between them, as each paper has them."""
    parts: list[nn.Module] = []
    width = n_features
    for _ in range(settings.layers - 1):
        # A bias before a batch normalisation is taken off again; the papers' code has it, too.
        parts.append(nn.Linear(width, settings.hidden))
        if settings.batch_norm:
            parts.append(nn.BatchNorm1d(settings.hidden))
        parts.append(nn.ReLU(inplace=True))
        width = settings.hidden
    return nn.Sequential(*parts, nn.Linear(width, settings.projected))


def in_full(tensor: Tensor) -> Tensor:
    """Give half precision as float32; float32 and float64 as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def unit(vectors: Tensor) -> Tensor:
    """Give vectors of length 1; one that is all but zero stays short, and its gradient finite."""
    return functional.normalize(vectors, dim=-1, eps=1e-4)


def spread(vectors: Tensor) -> Tensor:
    """Say how far vectors point apart: about 1 for all directions alike, 0 for one direction.

    The standard deviation of each dimension of the unit vectors, averaged, times the square root
    of the number of dimensions.
    """
    deviations = unit(vectors).std(0, correction=0)
    return deviations.mean() * math.sqrt(vectors.shape[1])
