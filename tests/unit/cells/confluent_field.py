"""A drawn field of discs in a jittered hexagonal packing, with the true masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DRAWN_PX = 28.8  # The diameter at which jitter and blur are given.


def confluent_field(
    diameter_px: float, pitch: float, jitter: float, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Draw one; `jitter` is in px at a diameter of 28.8 px, `pitch` in diameters."""
    scale = diameter_px / _DRAWN_PX
    side = round(400 * scale)
    y, x = np.mgrid[:side, :side]
    rng = np.random.default_rng(seed)
    signal, labels = np.full((side, side), 150.0), np.zeros((side, side), np.int32)
    step, n = pitch * diameter_px, 0
    for i, row in enumerate(np.arange(14 * scale, side - 10 * scale, step * 0.866)):
        for column in np.arange(14 * scale + (i % 2) * step / 2, side - 10 * scale, step):
            cy, cx = row + jitter * scale * rng.normal(), column + jitter * scale * rng.normal()
            disc = ((y - cy) ** 2 + (x - cx) ** 2 < (diameter_px / 2) ** 2) & (labels == 0)
            n += 1
            labels[disc] = n
            signal[disc] += 400 * rng.uniform(0.6, 1.4)
    image = ndi.gaussian_filter(signal, 1.2 * max(scale, 0.5)) + 5 * rng.normal(size=signal.shape)
    return image.astype(np.float32), labels
