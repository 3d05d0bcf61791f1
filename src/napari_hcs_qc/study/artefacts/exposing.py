"""Too much light, stray light, too little light: saturation with blooming, haze, noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from napari_hcs_qc.study.artefacts.blurring import gaussian_transfer
from napari_hcs_qc.study.simulation.optics import shot_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_hcs_qc.study.artefacts.scene import Scene

    FloatArray = NDArray[np.float64]

_SPILL = 0.7
"""Share of the charge above full well that flows on to the two neighbours along the column."""
_STEPS = 40
_CLOUD_UM = 60.0
_CLOUD_SD = 0.3
_SCATTER_UM = 25.0


def overexpose(scene: Scene, exposure: float) -> Scene:
    """Expose a scene longer: light above the background times `exposure`, cut at full scale.

    What a pixel cannot hold spills to its neighbours along the column, as in a CCD whose
    anti-blooming drain takes the rest (30 % a step). The background keeps its grey value: how much
    of it is the camera's offset is not known.
    """
    background = scene.imaging.column("background")
    full = scene.imaging.column("full")
    light = np.maximum(scene.grey - background, 0.0) * exposure + np.minimum(
        scene.grey - background, 0.0
    )
    return scene.with_grey(bloom(background + light, full))


def bloom(grey: FloatArray, full: FloatArray | float) -> FloatArray:
    """Let what is above full scale flow along the columns until no pixel holds more."""
    held = np.array(grey, dtype=np.float64)
    for _ in range(_STEPS):
        excess = np.maximum(held - full, 0.0)
        if not excess.any():
            break
        held -= excess
        held[..., 1:, :] += _SPILL / 2 * excess[..., :-1, :]
        held[..., :-1, :] += _SPILL / 2 * excess[..., 1:, :]
    return np.minimum(held, full)


def haze(scene: Scene, veil: float, scattered: float, rng: np.random.Generator) -> Scene:
    """Lay a veil of stray light over a scene, and scatter its own light widely."""
    imaging = scene.imaging
    side = scene.side_px
    size = (2 * side, 2 * side)
    smooth = gaussian_transfer(size, _CLOUD_UM / imaging.pixel_size_um)
    smooth[0, 0] = 0.0
    cloud = fft.irfft2(fft.rfft2(rng.standard_normal(size)) * smooth, s=size)[:side, :side]
    cloud = np.clip(1 + _CLOUD_SD * cloud / max(float(cloud.std()), 1e-12), 0.3, 2.0)
    spread = gaussian_transfer(size, _SCATTER_UM / imaging.pixel_size_um)
    planes = []
    for plane, channel in zip(scene.grey, imaging.channels, strict=True):
        mirrored = np.pad(plane, ((0, side), (0, side)), mode="symmetric")
        wide = fft.irfft2(fft.rfft2(mirrored) * spread, s=size)[:side, :side]
        own = (1 - scattered) * plane + scattered * wide
        planes.append(own + veil * (channel.high - channel.low) * cloud)
    return scene.with_grey(np.stack(planes))


def underexpose(scene: Scene, photons: float, read_noise: float, rng: np.random.Generator) -> Scene:
    """Take the picture with little light, the gain turned up so that it looks as bright."""
    background = scene.imaging.column("background")
    grey_per_electron = (scene.imaging.column("high") - background) / photons
    above = scene.grey - background
    expected = np.maximum(above, 0.0) / grey_per_electron
    counted = shot_noise(expected, rng) + read_noise * rng.standard_normal(expected.shape)
    return scene.with_grey(background + np.minimum(above, 0.0) + counted * grey_per_electron)
