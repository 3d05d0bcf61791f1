"""One process or many: the only module that talks to `torch.distributed`.

Every rank holds an equal share of the global batch. A loss gathers the projections of all ranks
(`World.gather`, which gradients pass through) and computes the loss of the **global** batch, the
same on every rank. The backward pass of the gather sums what all ranks say of a row, so a rank's
gradient is `size` times its share of the global one, and the average over the ranks, as
DistributedDataParallel or `World.average_gradients` takes it, is the gradient of one process with
the whole batch.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed, nn
from torch.nn import functional

from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

_BUCKET_BYTES = 32 * 2**20


@dataclass(frozen=True)
class World:
    """The processes that train together."""

    rank: int = 0  # number of this process
    size: int = 1  # number of processes
    local_rank: int = 0  # number of this process on its machine: which GPU is its own

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks to the user."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """Give this process's part of `n` things in a row."""
        return slice(self.rank * n // self.size, (self.rank + 1) * n // self.size)

    def gather(self, tensor: Tensor, dim: int = 0) -> Tensor:
        """Concatenate the tensors of all ranks, in the order of ranks; gradients pass."""
        if self.size == 1:
            return tensor
        parts: Tensor = _Gather.apply(tensor)
        return torch.cat(parts.unbind(0), dim=dim)

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over the ranks, without gradients; the tensor given is left as it is."""
        total = tensor.detach()
        if self.size > 1:
            total = total.clone()
            distributed.all_reduce(total)
        return total

    def any(self, flag: bool, device: torch.device | str = "cpu") -> bool:
        """Say whether any rank says so: a stop, a full memory. Every rank must ask.

        `device` is the training device with NCCL, the CPU with gloo.
        """
        if self.size == 1:
            return flag
        return bool(self.sum(torch.tensor(float(flag), device=device)).item())

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average the gradients over the ranks in place, a few large messages instead of many."""
        if self.size == 1:
            return
        gradients = [weights.grad for weights in parameters if weights.grad is not None]
        for bucket in _buckets(gradients):
            flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            distributed.all_reduce(flat)
            flat /= self.size
            start = 0
            for gradient in bucket:
                gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
                start += gradient.numel()

    def wait(self) -> None:
        """Wait until every rank is here."""
        if self.size > 1:
            distributed.barrier()


class _Gather(torch.autograd.Function):
    """All tensors stacked, `(size, ...)`; backwards the sum over ranks of this rank's part."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        tensor = tensor.contiguous()
        parts = [torch.empty_like(tensor) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, tensor)
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        distributed.all_reduce(gradient)
        return gradient[distributed.get_rank()]


def _buckets(gradients: list[Tensor]) -> Iterator[list[Tensor]]:
    """Group gradients of one type and device to messages of some 32 MiB."""
    bucket: list[Tensor] = []
    filled = 0
    for gradient in gradients:
        size = gradient.numel() * gradient.element_size()
        other = bool(bucket) and (
            gradient.dtype != bucket[0].dtype or gradient.device != bucket[0].device
        )
        if bucket and (other or filled + size > _BUCKET_BYTES):
            yield bucket
            bucket, filled = [], 0
        bucket.append(gradient)
        filled += size
    if bucket:
        yield bucket


@contextlib.contextmanager
def join_world(*, on_gpu: bool) -> Iterator[World]:
    """Join the processes that `torchrun` started; alone without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if on_gpu:
        torch.cuda.set_device(local_rank)
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield World(distributed.get_rank(), distributed.get_world_size(), local_rank)
    finally:
        distributed.destroy_process_group()


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
