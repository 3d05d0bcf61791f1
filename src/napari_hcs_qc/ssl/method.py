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
float32 with autocast off, projector included. Figures are tensors without dimensions on the
training device: reading one waits for the device, so the loop reads them every few steps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_hcs_qc.jobs import ShouldStop, never_stop

if TYPE_CHECKING:
    from napari_hcs_qc.ssl.distributed import World
    from napari_hcs_qc.ssl.settings import Pretraining

Embed = Callable[[], Iterator[tuple[Tensor, Tensor]]]
"""Gives batches of ``rows (batch,)`` and encoder ``features (batch, n_features)`` of this rank's
share of all cells, without gradients; ranks may have different numbers of batches."""


class Method(nn.Module, ABC):
    """A self-supervised method beside its encoder.

    Parameters
    ----------
    n_features
        Length of the encoder's output.
    settings
        What it is trained with.
    n_cells
        Number of cells there are; `rows` count from 0 to this.
    world
        The processes that train together.
    seed
        Of its first weights and its clusterings; the same on every rank.
    """

    n_views = 2

    def __init__(
        self, n_features: int, settings: Pretraining, n_cells: int, world: World, seed: int
    ) -> None:
        super().__init__()
        self.n_features, self.n_cells, self.seed = n_features, n_cells, seed
        self.settings, self.world = settings, world

    def begin_epoch(
        self, epoch: int, embed: Embed, should_stop: ShouldStop = never_stop
    ) -> dict[str, float]:
        """Prepare an epoch; called on every rank. An epoch that is prepared already is left as is.

        Parameters
        ----------
        epoch
            Counts from 0.
        embed
            Called only when all cells must be embedded now.
        should_stop
            Asked between chunks of the clustering.

        Returns
        -------
        dict[str, float]
            Figures to watch.

        Raises
        ------
        Cancelled
            When `should_stop` said so.
        """
        return {}

    @abstractmethod
    def loss(
        self, features: Tensor, rows: Tensor, epoch: int, step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the loss of the global batch and figures to watch.

        Parameters
        ----------
        features
            ``(n_views, batch, n_features)``, the encoder's output with its gradient; as many rows
            on every rank.
        rows
            ``(batch,)``, which cells they are.
        epoch, step
            Count from 0; `step` over the whole training.
        """

    def mask_gradients(self, epoch: int) -> None:
        """Drop gradients that this epoch must not follow; after they were averaged."""

    def after_step(self) -> None:
        """Bring state up to date after the optimiser's step."""


def in_full(tensor: Tensor) -> Tensor:
    """Give half precision as float32; float32 and float64 as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
