"""Batch normalisation over the batch of all ranks, on the CPU as well, and over one batch alone."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from napari_hcs_qc.study.ssl.distributed import World


class WorldBatchNorm(nn.SyncBatchNorm):
    """Batch normalisation by the statistics of all ranks; its state is that of `nn.BatchNorm2d`.

    PyTorch's own does this on GPUs only. On the CPU, means and variances are gathered.
    """

    def __init__(self, world: World, like: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__(
            like.num_features, like.eps, like.momentum, like.affine, like.track_running_stats
        )
        self.world = world
        self.alone = False
        # The very tensors: an optimiser that holds them goes on with them.
        for name, parameter in like.named_parameters(recurse=False):
            setattr(self, name, parameter)
        for name, buffer in like.named_buffers(recurse=False):
            setattr(self, name, buffer)
        self.train(like.training)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``(batch, n_features, ...)``."""
        if not self.training or self.alone or self.world.size == 1:
            by_batch = self.training or self.running_mean is None
            return functional.batch_norm(
                input,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                by_batch,
                self._count(),
                self.eps,
            )
        if input.is_cuda:
            output: Tensor = super().forward(input)
            return output
        return self._over_ranks(input)

    def _count(self) -> float:
        """Count a batch; give the weight of its statistics in the running ones."""
        tracked = self.num_batches_tracked
        if not self.training or not self.track_running_stats or tracked is None:
            return 0.0
        tracked.add_(1)
        return 1.0 / float(tracked) if self.momentum is None else self.momentum

    def _over_ranks(self, values: Tensor) -> Tensor:
        n = self.num_features
        full = values if values.dtype == torch.float64 else values.float()
        others = [axis for axis in range(values.ndim) if axis != 1]
        variance, mean = torch.var_mean(full, others, correction=0)
        count = full.new_tensor([values.numel() / n])
        all_ranks = self.world.gather(torch.cat([mean, variance, count])[None])
        means, variances, counts = all_ranks[:, :n], all_ranks[:, n:-1], all_ranks[:, -1:]
        shares = counts / counts.sum()
        mean = (shares * means).sum(0)
        variance = (shares * (variances + (means - mean).square())).sum(0)
        weight = self._count()
        if self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                total = counts.sum()
                self.running_mean.lerp_(mean.to(self.running_mean), weight)
                unbiased = variance * total / (total - 1).clamp_min(1)
                self.running_var.lerp_(unbiased.to(self.running_var), weight)
        shape = [1, n, *[1] * (values.ndim - 2)]
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        result = (full - mean.view(shape)) * scale.view(shape)
        if self.affine:
            result = result + self.bias.view(shape)
        return result.to(values.dtype)


def over_all_ranks(module: nn.Module, world: World) -> nn.Module:
    """Let every batch normalisation of a module see the batch of all ranks."""
    if world.size == 1 or isinstance(module, WorldBatchNorm):
        return module
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        if type(module) not in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
            raise HcsQcError(
                f"The encoder has a layer {type(module).__name__}, which several processes cannot "
                "train together. Train it in one process, or choose resnet18."
            )
        return WorldBatchNorm(world, module)
    for name, child in module.named_children():
        replaced = over_all_ranks(child, world)
        if replaced is not child:
            setattr(module, name, replaced)
    return module


@contextlib.contextmanager
def by_each_batch_alone(module: nn.Module) -> Iterator[None]:
    """Normalise as in training by the batch at hand, change nothing and talk to no other rank.

    To embed all cells with a network whose running statistics say nothing yet. Ranks may have
    different numbers of batches.
    """
    layers = [
        layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)
    ]
    before = [
        (layer.training, layer.track_running_stats, layer.running_mean, layer.running_var)
        for layer in layers
    ]
    try:
        for layer in layers:
            layer.training, layer.track_running_stats = True, False
            layer.running_mean = layer.running_var = None
            if isinstance(layer, WorldBatchNorm):
                layer.alone = True
        yield
    finally:
        for layer, state in zip(layers, before, strict=True):
            layer.training, layer.track_running_stats = state[:2]
            layer.running_mean, layer.running_var = state[2:]
            if isinstance(layer, WorldBatchNorm):
                layer.alone = False
