"""Spherical k-means of many points: in chunks, over all ranks, no cluster left empty."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn import functional

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from napari_hcs_qc.study.ssl.distributed import World

_CHUNK_NUMBERS = 2**23
"""Similarities that stand in memory at a time: 32 MiB."""


class Clusters(NamedTuple):
    """A clustering."""

    centres: Tensor  # ``(n_clusters, n_dims)``, unit vectors, float32
    assignments: Tensor  # ``(n_points,)``, int32; -1 is a point that was left out


@torch.no_grad()
def spherical_kmeans(
    points: Tensor,
    n_clusters: int,
    iterations: int,
    world: World,
    seed: int,
    *,
    known: Tensor | None = None,
    start: Tensor | None = None,
    job: Job = NO_JOB,
) -> Clusters:
    """Cluster unit vectors by their angles.

    In turn every point goes to the centre with the largest inner product, and every centre to the
    direction of the sum of its points; at last the points are assigned once more. A centre without
    points takes over the point that lies farthest from its own, as scikit-learn does it. Every
    rank has all points and works on its part of them.
    """
    if known is None:
        known = torch.ones(len(points), dtype=torch.bool, device=points.device)
    if start is None:
        start = _start(points, n_clusters, known, seed)
    centres = functional.normalize(start.float(), dim=1)
    part = _Part(points, known, world, job.silent())
    for _ in range(iterations):
        centres = part.moved(centres)
    return Clusters(centres, part.assigned(centres))


def _start(points: Tensor, n_clusters: int, known: Tensor, seed: int) -> Tensor:
    candidates = known.nonzero().flatten()
    if len(candidates) < n_clusters:
        raise HcsQcError(
            f"{len(candidates)} cells cannot form {n_clusters} clusters. Train with fewer "
            "prototypes, or with more cells."
        )
    # Drawn on the CPU: the same on every device and every rank.
    order = torch.randperm(len(candidates), generator=torch.Generator().manual_seed(seed))
    return points[candidates[order[:n_clusters].to(candidates.device)]]


class _Part:
    """The part of the points that is this rank's."""

    def __init__(self, points: Tensor, known: Tensor, world: World, job: Job) -> None:
        self._n_points, self._world, self._job = len(points), world, job
        self._first = len(points) * world.rank // world.size
        last = len(points) * (world.rank + 1) // world.size
        self._points, self._known = points[self._first : last], known[self._first : last]

    def moved(self, centres: Tensor) -> Tensor:
        """Give the centres after their points have been assigned."""
        n_clusters, n_dims = centres.shape
        sums = torch.zeros(n_clusters, n_dims + 1, device=centres.device)
        nearness = torch.full((len(self._points),), torch.inf, device=centres.device)
        owners = torch.zeros(len(self._points), dtype=torch.int64, device=centres.device)
        for place, chunk, known in self._chunks(n_clusters):
            near, owner = (chunk @ centres.T).max(1)
            weight = known.to(chunk.dtype)[:, None]
            _add_by_owner(sums, owner, torch.cat([chunk * weight, weight], 1))
            nearness[place] = near.masked_fill(~known, torch.inf)
            owners[place] = owner
        sums = self._world.sum(sums)
        self._reseed(sums, nearness, owners)
        directions = sums[:, :n_dims]
        # Points that cancel out have no direction: the centre stays.
        lengths = directions.norm(dim=1, keepdim=True)
        return torch.where(lengths > 1e-6, directions / lengths.clamp_min(1e-6), centres)

    def assigned(self, centres: Tensor) -> Tensor:
        """Give every point's cluster, -1 for one that is left out; the same on every rank."""
        assignments = torch.zeros(self._n_points, dtype=torch.int32, device=centres.device)
        for place, chunk, known in self._chunks(len(centres)):
            owner = (chunk @ centres.T).argmax(1).int()
            within = slice(self._first + place.start, self._first + place.stop)
            assignments[within] = owner.masked_fill(~known, -1)
        return self._world.sum(assignments)

    def _chunks(self, n_clusters: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
        step = max(1, _CHUNK_NUMBERS // n_clusters)
        for first in range(0, len(self._points), step):
            self._job.check()
            place = slice(first, min(first + step, len(self._points)))
            yield place, self._points[place].float(), self._known[place]

    def _reseed(self, sums: Tensor, nearness: Tensor, owners: Tensor) -> None:
        """Give each empty cluster the farthest point of all, which leaves its own; in place."""
        empty = (sums[:, -1] == 0).nonzero().flatten()
        if not len(empty):
            return
        n_dims = sums.shape[1] - 1
        found = min(len(empty), len(nearness))
        near, places = torch.topk(nearness, found, largest=False)
        candidates = torch.full((len(empty), n_dims + 2), torch.inf, device=sums.device)
        candidates[:found, 0] = near
        candidates[:found, 1] = owners[places].float()
        candidates[:found, 2:] = self._points[places].float()
        everywhere = self._world.gather(candidates)
        farthest = everywhere[everywhere[:, 0].argsort(stable=True)[: len(empty)]]
        farthest = farthest[farthest[:, 0].isfinite()]
        empty, old = empty[: len(farthest)], farthest[:, 1].long()
        gone = functional.pad(farthest[:, 2:], (0, 1), value=1.0)
        sums.index_add_(0, old, -gone)
        sums.index_add_(0, empty, gone)


def _add_by_owner(sums: Tensor, owner: Tensor, values: Tensor) -> None:
    if not values.is_cuda:
        sums.index_add_(0, owner, values)
        return
    # On a GPU `index_add_` adds in an order that changes from run to run; a product does not.
    chosen = torch.zeros(len(owner), len(sums), device=values.device)
    chosen.scatter_(1, owner[:, None], 1.0)
    sums += chosen.T @ values
