"""Cutting crops from a site, on the fly, in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import ArrayLike, NDArray

    from napari_hcs_qc.cells.recipe import CropRecipe


def cut_squares(
    pixels: NDArray[np.float32], y_px: ArrayLike, x_px: ArrayLike, side_px: int
) -> NDArray[np.float32]:
    """Cut squares centred on positions, reflecting the image at its borders."""
    return _cut(pixels, y_px, x_px, (side_px,))[0]


def _cut(
    pixels: NDArray[np.float32], y_px: ArrayLike, x_px: ArrayLike, sides_px: Sequence[int]
) -> list[NDArray[np.float32]]:
    """Cut squares of several sides; the image's border is reflected once for all of them."""
    height, width = pixels.shape[1:]
    y, x = np.asarray(y_px, dtype=np.float64), np.asarray(x_px, dtype=np.float64)
    # The middle of the first pixel is 0, so the image reaches half a pixel beyond.
    inside = (y >= -0.5) & (y <= height - 0.5) & (x >= -0.5) & (x <= width - 0.5)
    if not inside.all():
        first = int(np.flatnonzero(~inside)[0])
        raise HcsQcError(
            f"The position y {y[first]:g}, x {x[first]:g} px is outside the image of {height} × "
            f"{width} px."
        )
    rows = np.clip(np.rint(y).astype(np.intp), 0, height - 1)
    columns = np.clip(np.rint(x).astype(np.intp), 0, width - 1)
    before = max(sides_px) // 2
    after = max(sides_px) - before
    padded = np.pad(pixels, ((0, 0), (before, after), (before, after)), mode="reflect")
    squares = []
    for side_px in sides_px:
        windows = np.lib.stride_tricks.sliding_window_view(padded, (side_px, side_px), axis=(1, 2))
        first = before - side_px // 2
        cut = windows[:, rows + first, columns + first].swapaxes(0, 1)
        squares.append(np.ascontiguousarray(cut))
    return squares


def cut_crops(
    pixels: NDArray[np.float32],
    y_px: ArrayLike,
    x_px: ArrayLike,
    recipe: CropRecipe,
    groups: Sequence[Sequence[int]],
) -> torch.Tensor:
    """Cut every view of every cell, ready for the encoder."""
    import torch
    from torch.nn import functional

    views: list[torch.Tensor] = []
    size = (recipe.input_px, recipe.input_px)
    sides_px = recipe.sides_px
    for side_px, cut in zip(sides_px, _cut(pixels, y_px, x_px, sides_px), strict=True):
        squares = torch.from_numpy(cut)
        if side_px != recipe.input_px:
            # Antialiasing matters only when shrinking; it keeps noise from aliasing into texture.
            squares = functional.interpolate(
                squares,
                size=size,
                mode="bilinear",
                align_corners=False,
                antialias=side_px > recipe.input_px,
            )
        # A single channel is a view of the squares; only colours are put together anew.
        views.extend(
            squares.narrow(1, group[0], 1) if len(group) == 1 else squares[:, list(group)]
            for group in groups
        )
    return torch.stack(views, dim=1)
