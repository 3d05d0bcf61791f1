"""Noise of a field, and its hot pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TRIM = 0.8
_LEAST_LIT = 0.1
_TRIMMED_SD = 0.6616  # Of normal noise whose largest fifth is left out.
# A hot pixel stands this many times further above its third brightest neighbour (one may be hot,
# too) than that above the surroundings, and so many standard deviations of the noise.
_HOT_STEP, _HOT_NOISE = 3.0, 8.0
_RING = [(y, x) for y in range(-2, 3) for x in range(-2, 3) if (y, x) != (0, 0)]
_NEXT = [i for i, (y, x) in enumerate(_RING) if max(abs(y), abs(x)) == 1]


def pixel_noise(image: NDArray[np.float32]) -> float:
    """Give the standard deviation from one pixel to the next, without edges and slopes.

    From the mixed second difference, after Immerkær, "Fast noise variance estimation" (1996); the
    largest fifth is left out instead of edges.
    """
    mixed = image[1:, 1:] + image[:-1, :-1] - image[1:, :-1] - image[:-1, 1:]
    if mixed.size == 0:
        return 0.0
    power = (mixed * mixed).ravel()
    # Noise cut off at black shows only where it does not.
    lit = power[power > 0]
    if len(lit) > _LEAST_LIT * len(power):
        power = lit
    power = np.partition(power, last := int(_TRIM * (len(power) - 1)))
    return float(np.sqrt(power[: last + 1].mean(dtype=np.float64))) / _TRIMMED_SD / 2


def without_hot_pixels(image: NDArray[np.float32], noise: float) -> NDArray[np.float32]:
    """Replace single pixels and pairs that no lens can have drawn by their neighbours' median."""
    padded = np.pad(image, 2, mode="reflect" if min(image.shape) > 2 else "edge")
    inner = padded[1:-1, 1:-1]
    # The second darkest of four neighbours is not hot where one of a pair is.
    a, b, c, d = inner[:-2, 1:-1], inner[2:, 1:-1], inner[1:-1, :-2], inner[1:-1, 2:]
    second = np.maximum(np.minimum(a, b), np.minimum(c, d))
    np.minimum(second, np.minimum(np.maximum(a, b), np.maximum(c, d)), out=second)
    rows, columns = np.nonzero(image - second > _HOT_NOISE * noise)
    ring = np.stack([padded[rows + 2 + y, columns + 2 + x] for y, x in _RING], axis=1)
    ring = ring.reshape(len(rows), len(_RING))
    near = np.sort(ring[:, _NEXT], axis=1)
    third, value = near[:, -3], image[rows, columns]
    step = np.maximum(third - np.median(ring, axis=1), 0.0)
    is_hot = value - third > _HOT_STEP * step + _HOT_NOISE * noise
    cleaned = image.copy()
    cleaned[rows[is_hot], columns[is_hot]] = near[is_hot, 3]
    return cleaned
