"""Convolve a whole field once for all its cells, in place of each cell's crop by itself.

Tried for speed, see ``benchmarks/README.md``; not a part of the package. The field is resized so
that a crop of a scale has the encoder's input side, the stages run over all of it, and the centre
pooling of each cell is done on their maps. What differs from crops: at the border of a crop the
convolutions see zeros, in the field they see the neighbours; and a cell lies anywhere on the grid
of a map, not always in its middle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from napari_hcs_qc.encoders.fusion import fuse_batch_norms
from napari_hcs_qc.encoders.registry import load_architecture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_hcs_qc.cells.recipe import CropRecipe

_SIGMA = 0.125  # of centre pooling, as a share of the crop's side
_STAGES = (2, 4, 6)  # what "inner" means for EfficientNet-Lite0


class SharedField:
    """The default encoder over whole fields."""

    def __init__(self) -> None:
        architecture, _ = load_architecture()
        probe = torch.rand((1, 3, 128, 128), generator=torch.Generator().manual_seed(0))
        module: Any = fuse_batch_norms(architecture.module.requires_grad_(False), probe)[0]
        self._module = module.to(memory_format=torch.channels_last)

    def maps(self, pixels: NDArray[np.float32], side_px: int, input_px: int) -> list[Any]:
        """Give the maps of the pooled stages of a field (height, width), resized for one scale."""
        field = torch.from_numpy(pixels)[None, None]
        size = [round(length * input_px / side_px) for length in pixels.shape]
        resized = functional.interpolate(field, size=size, mode="bilinear", align_corners=False)
        images = ((resized - 0.5) / 0.5).expand(-1, 3, -1, -1)
        maps = []
        with torch.inference_mode():
            images = images.contiguous(memory_format=torch.channels_last)
            passed = self._module.bn1(self._module.conv_stem(images))
            for index, block in enumerate(self._module.blocks):
                passed = block(passed)
                if index in _STAGES:
                    maps.append(passed[0])
        return maps

    def encode(
        self,
        pixels: NDArray[np.float32],
        y_px: NDArray[np.floating],
        x_px: NDArray[np.floating],
        recipe: CropRecipe,
    ) -> NDArray[np.float32]:
        """Features (n_cells, n_features) of the cells of one field."""
        parts = []
        side = recipe.input_px
        for side_px in recipe.sides_px:
            factor = side / side_px
            for stage in self.maps(pixels, side_px, side):
                # Crops are centred on whole pixels, whose middle is half a pixel in.
                step = factor * pixels.shape[0] / stage.shape[1]
                rows = _weights(np.rint(y_px), stage.shape[1], step, side, side_px)
                columns = _weights(np.rint(x_px), stage.shape[2], step, side, side_px)
                # Separable, and nearly all weights are 0 for a cell: a product over rows first.
                by_row = torch.einsum("nh,chw->ncw", rows, stage)
                parts.append(torch.einsum("ncw,nw->nc", by_row, columns).numpy())
        return np.concatenate(parts, axis=1)

    @staticmethod
    def n_crops(shape: tuple[int, int], recipe: CropRecipe) -> float:
        """Pixels of both passes over a field, in crops."""
        return sum(shape[0] * shape[1] / side_px**2 for side_px in recipe.sides_px)


def _weights(
    centres_px: NDArray[np.floating], length: int, step: float, side: int, side_px: int
) -> torch.Tensor:
    """Gaussian weights (n_cells, length) along one axis of a map, within the crop, of sum 1."""
    factor = side / side_px
    middle = (centres_px + (0.5 if side_px % 2 else 0.0)) * factor
    place = ((np.arange(length) + 0.5) * step - middle[:, None]) / side
    weights = np.exp(-0.5 * (place / _SIGMA) ** 2) * (np.abs(place) <= 0.5)
    return torch.from_numpy((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))
