"""Other views of the same crops: turned, mirrored, a little moved and scaled, in one sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def augment_crops(
    crops: Tensor,
    sides: Sequence[float],
    *,
    shift: float = 0.0,
    zoom: float = 0.0,
    generator: torch.Generator,
) -> Tensor:
    """Show each cell in one of the 8 orientations of a square, moved and scaled at random.

    All views of a cell move together, as if the microscope had, so their crops still show the
    same place. Intensities stay: brightness is what saturation and dead cells are told by.
    """
    if crops.ndim != 5 or crops.shape[-1] != crops.shape[-2] or crops.shape[1] != len(sides):
        raise HcsQcError(
            f"Crops of shape {tuple(crops.shape)} with {len(sides)} sides cannot be augmented; "
            "(n_cells, n_views, n_channels, side, side) and a side for each view were expected."
        )
    n_cells = len(crops)
    orientation = torch.randint(8, (n_cells,), generator=generator)
    moves = (2 * torch.rand((n_cells, 2), generator=generator) - 1) * shift * min(sides)
    scales = torch.exp((2 * torch.rand((n_cells,), generator=generator) - 1) * zoom)
    if not shift and not zoom:
        return turn_crops(crops, orientation)
    matrices = orientation_matrices()[orientation] * scales[:, None, None]
    # In grid units the crop reaches from -1 to 1.
    views = [
        sample_crops(crops[:, index], matrices, 2 * moves / side)
        for index, side in enumerate(sides)
    ]
    return torch.stack(views, dim=1)


def turn_crops(crops: Tensor, orientation: Tensor) -> Tensor:
    """Turn and mirror each crop, to the last bit: pixels only change places."""
    turned = torch.empty_like(crops)
    for index in set(orientation.tolist()):
        rows = torch.nonzero(orientation == index).flatten().to(crops.device)
        some = torch.rot90(crops[rows], index % 4, dims=(-2, -1))
        turned[rows] = some.flip(-1) if index >= 4 else some
    return turned


def sample_crops(crops: Tensor, matrices: Tensor, offsets: Tensor) -> Tensor:
    """Sample each crop through an affine map, on the device of the crops."""
    theta = torch.cat([matrices, offsets[:, :, None]], dim=2).to(crops.device, crops.dtype)
    grid = functional.affine_grid(theta, list(crops.shape), align_corners=False)
    return functional.grid_sample(
        crops, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )


def orientation_matrices() -> Tensor:
    """(8, 2, 2) rotations by quarter turns, and the same mirrored."""
    quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    mirror = torch.tensor([[-1.0, 0.0], [0.0, 1.0]])
    turns = [torch.linalg.matrix_power(quarter, k) for k in range(4)]
    return torch.stack([*turns, *(turn @ mirror for turn in turns)])
