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
from torch import distributed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor, nn

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
