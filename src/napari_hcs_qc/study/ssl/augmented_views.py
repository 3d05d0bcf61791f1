"""Random views of the same cells: turned, mirrored, moved and scaled, in one sampling."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import torch

from napari_hcs_qc.cells.augmentation import orientation_matrices, sample_crops, turn_crops

if TYPE_CHECKING:
    from torch import Tensor

    from napari_hcs_qc.study.ssl.pretrain_settings import Pretraining


class Draws(NamedTuple):
    """What is drawn for every view of a batch, before any pixel is touched.

    Drawn on the CPU and for the whole batch of all ranks, so that one process and many, a CPU and
    a GPU, see the same views.
    """

    orientation: Tensor
    scale: Tensor
    offset: Tensor
    is_still: bool

    def part(self, cells: slice) -> Draws:
        """Those of some cells of the batch."""
        orientation, scale, offset, is_still = self
        return Draws(orientation[:, cells], scale[:, cells], offset[:, cells], is_still)


def draw_views(
    n_cells: int, settings: Pretraining, generator: torch.Generator, n_views: int = 2
) -> Draws:
    """Draw how each cell is shown in each view.

    Each part comes with its own probability, as the settings say: a turn by 90, 180 or 270
    degrees, a mirror, a transposition, and shift and scale together, each evenly between its
    limits.
    """
    shape = (n_views, n_cells)

    def happens(share: float) -> Tensor:
        return torch.rand(shape, generator=generator) < share

    quarters = torch.randint(1, 4, shape, generator=generator) * happens(settings.rotate90)
    flips, transposes = happens(settings.flip), happens(settings.transpose)
    orientation = _table()[transposes.long(), flips.long(), quarters]
    moves = happens(settings.shift_scale).float()
    is_still = settings.shift_scale == 0 or (settings.shift == 0 and settings.scale == 0)
    scale = 1 + settings.scale * moves * (2 * torch.rand(shape, generator=generator) - 1)
    shift = 2 * torch.rand((*shape, 2), generator=generator) - 1
    return Draws(orientation, scale, 2 * settings.shift * moves[..., None] * shift, is_still)


def make_views(crops: Tensor, draws: Draws) -> Tensor:
    """Show each crop as it was drawn, all views in one affine sampling on the crops' device.

    Intensities stay: by brightness saturation and dead cells are recognised.
    """
    n_views = len(draws.orientation)
    repeated = crops.repeat(n_views, 1, 1, 1)
    orientation = draws.orientation.flatten()
    if draws.is_still:
        views = turn_crops(repeated, orientation)
    else:
        matrices = orientation_matrices()[orientation] * draws.scale.flatten()[:, None, None]
        views = sample_crops(repeated, matrices, draws.offset.flatten(0, 1))
    return views.view(n_views, *crops.shape)


@cache
def _table() -> Tensor:
    """(2, 2, 4): the orientation that a transposition of a mirrored, turned crop comes to."""
    matrices = orientation_matrices()
    mirror, transpose = matrices[4], torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    whole = torch.eye(2)
    table = torch.empty((2, 2, 4), dtype=torch.long)
    for t, transposing in enumerate((whole, transpose)):
        for f, mirroring in enumerate((whole, mirror)):
            for k in range(4):
                wanted = matrices[k] @ mirroring @ transposing
                distances = (matrices - wanted).abs().flatten(1).sum(dim=1)
                table[t, f, k] = int(distances.argmin())
    return table
