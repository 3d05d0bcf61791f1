"""Light that is no nucleus: the slowly varying background, and long straight streaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Backgrounds are smooth: they are computed with this many px a diameter.
_COARSE_PX = 5
_LINE_PX = 6
_LINE_DIAMETERS = 5.0
_N_DIRECTIONS = 12


def coarse_background(image: NDArray[np.float32], diameter: float) -> NDArray[np.float32]:
    """Estimate the background from the dark places between nuclei.

    A morphological opening: of the darkest places within each window of 4 diameters, the
    brightest window that a pixel lies in counts. A slope of the light passes through unchanged.
    """
    factor = max(1, round(diameter / _COARSE_PX))
    side = round(4 * diameter / factor) | 1
    # The darkest of each block: between close nuclei there is little ground.
    small = _blocks(image, factor).min(axis=(1, 3))
    opened = ndi.grey_opening(small, size=(side, side), mode="nearest")
    return grown(ndi.gaussian_filter(opened, side / 6, mode="nearest"), factor, image.shape)


def line_background(image: NDArray[np.float32], diameter: float) -> NDArray[np.float32]:
    """Keep only what is bright along a straight line of 5 diameters: fibres, not nuclei.

    The maximum of morphological openings by line segments in 12 directions. A nucleus is shorter
    than the line in every direction and vanishes; a long streak stays, whatever its width.
    """
    factor = max(1, round(diameter / _LINE_PX))
    small = shrunk(image, factor)
    length = round(_LINE_DIAMETERS * diameter / factor)
    best = np.zeros(small.shape, dtype=np.float32)
    for index in range(_N_DIRECTIONS):
        line = _line(length, np.pi * index / _N_DIRECTIONS)
        # Darkness around the image: a nucleus at the border must not run on beyond it.
        opened = ndi.grey_opening(small, footprint=line, mode="constant", cval=0.0)
        np.maximum(best, opened, out=best)
    return np.minimum(grown(best, factor, image.shape), image)


def uniform_share(mask: NDArray[np.bool_], side: float) -> NDArray[np.float32]:
    """Share of the mask in a square around each pixel."""
    factor = max(1, int(side / 10))
    small = shrunk(mask.astype(np.float32), factor)
    share = ndi.uniform_filter(small, max(1, round(side / factor)), mode="nearest")
    return grown(share, factor, mask.shape)


def shrunk(image: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Mean over blocks of `factor` x `factor` px; the last block is filled with the edge."""
    if factor == 1:
        return image
    small: NDArray[np.float32] = _blocks(image, factor).mean(axis=(1, 3))
    return small


def _blocks(image: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    height, width = image.shape
    padded = np.pad(image, ((0, -height % factor), (0, -width % factor)), mode="edge")
    return padded.reshape(padded.shape[0] // factor, factor, -1, factor)


def grown(small: NDArray[np.float32], factor: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Interpolate linearly what `shrunk` made of an image of `shape` (height, width)."""
    if factor == 1:
        return small
    rows, columns = ((np.arange(n) + 0.5) / factor - 0.5 for n in shape)
    return _along(_along(small, rows, 0), columns, 1)


def _along(image: NDArray[Any], at: NDArray[np.float64], axis: int) -> NDArray[np.float32]:
    """Linear interpolation along one axis; beyond the ends the end value."""
    last = image.shape[axis] - 1
    at = np.clip(at, 0, last)
    low = np.minimum(at.astype(int), max(last - 1, 0))
    high = np.minimum(low + 1, last)
    share = (at - low).astype(np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
    ends = np.take(image, low, axis=axis), np.take(image, high, axis=axis)
    result: NDArray[np.float32] = ends[0] * (1 - share) + ends[1] * share
    return result


def _line(length: int, angle: float) -> NDArray[np.bool_]:
    """Mask of a segment of `length` px through the middle of the array."""
    along = np.linspace(-length / 2, length / 2, 2 * length + 1)
    rows = np.round(along * np.sin(angle)).astype(int)
    columns = np.round(along * np.cos(angle)).astype(int)
    half = (int(np.abs(rows).max()), int(np.abs(columns).max()))
    mask = np.zeros((2 * half[0] + 1, 2 * half[1] + 1), dtype=bool)
    mask[rows + half[0], columns + half[1]] = True
    return mask
