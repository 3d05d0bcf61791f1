"""Light: blur of defocus, over- and under-exposure, haze.

The picture in hand is the sample seen through the objective in focus, so it is multiplied in
frequency space by the *ratio* of the transfer functions out of and in focus; for Stokseth's form
(see `study.simulation.optics`) that ratio lies within [-0.14, 1], and no noise is amplified.
A camera reads a blurred image with fresh noise. Blurring takes noise out of the picture, so as much
white noise as it took from the background is put back; without it every simulated blur would be
known by its smoothness. (The shot noise of bright places is not put back: it needs the gain.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from napari_hcs_qc.study.simulation.optics import defocused_otf, focused_otf, shot_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_hcs_qc.study.artefacts.scene import Scene

    FloatArray = NDArray[np.float64]


def gaussian_transfer(shape_px: tuple[int, int], sd_px: float) -> FloatArray:
    """Give the transfer function of a Gaussian of `sd_px`, on the grid of `scipy.fft.rfft2`."""
    squared = _frequency(shape_px) ** 2
    transfer: FloatArray = np.exp(-2 * np.pi**2 * sd_px**2 * squared)
    return transfer


def defocus_transfer(
    shape_px: tuple[int, int],
    *,
    defocus_um: float,
    numerical_aperture: float,
    wavelength_um: float,
    pixel_size_um: float,
) -> FloatArray:
    """Give what defocus does to an image that was in focus, on the grid of `scipy.fft.rfft2`."""
    frequency = _frequency(shape_px) / pixel_size_um
    optics = {"wavelength_um": wavelength_um, "numerical_aperture": numerical_aperture}
    sharp = focused_otf(frequency, **optics)
    blurred = defocused_otf(frequency, **optics, defocus_um=defocus_um)
    if defocus_um == 0:
        return np.ones_like(sharp)
    # Beyond the cut-off there is no light, only noise, and the fresh noise takes its place.
    ratio: FloatArray = np.divide(blurred, sharp, out=np.zeros_like(sharp), where=sharp > 1e-9)
    return ratio


def blur(scene: Scene, transfers: list[FloatArray], rng: np.random.Generator) -> Scene:
    """Blur each channel of a scene by its transfer function, as a camera would see it."""
    planes = []
    for plane, transfer, channel in zip(scene.grey, transfers, scene.imaging.channels, strict=True):
        padded = _padded(plane)
        soft = fft.irfft2(fft.rfft2(padded) * transfer, s=padded.shape)
        margin = len(plane) // 4
        soft = soft[margin : margin + len(plane), margin : margin + len(plane)]
        lost = _noise_sd(plane) * np.sqrt(max(0.0, 1.0 - _mean_square(transfer, padded.shape)))
        fresh = soft + lost * rng.standard_normal(plane.shape)
        # Light that the detector had cut off is not known; a saturated disc stays one when blurred.
        planes.append(np.minimum(fresh, channel.full))
    return scene.with_grey(np.stack(planes))


def padded_shape(side_px: int) -> tuple[int, int]:
    """Give the shape at which a scene is blurred: a quarter of it is mirrored at each border."""
    side = fft.next_fast_len(side_px + 2 * (side_px // 4), real=True)
    return (side, side)


def _padded(plane: FloatArray) -> FloatArray:
    before = len(plane) // 4
    after = padded_shape(len(plane))[0] - len(plane) - before
    return np.pad(plane, (before, after), mode="symmetric")


def _frequency(shape_px: tuple[int, int]) -> FloatArray:
    """Radial frequency in cycles per pixel."""
    rows, columns = fft.fftfreq(shape_px[0])[:, None], fft.rfftfreq(shape_px[1])[None, :]
    radial: FloatArray = np.hypot(rows, columns)
    return radial


def _mean_square(transfer: FloatArray, shape: tuple[int, ...]) -> float:
    """Share of the variance of white noise that passes (Parseval)."""
    twice = np.full(transfer.shape[1], 2.0)
    twice[0] = 1.0
    if shape[1] % 2 == 0:
        twice[-1] = 1.0
    return float((transfer**2 @ twice).sum() / (shape[0] * shape[1]))


def _noise_sd(plane: FloatArray) -> float:
    """Noise from pixel to pixel where nothing else is: of the darker half of the square.

    The median of the mixed second difference, after Immerkær, "Fast noise variance estimation"
    (Computer Vision and Image Understanding 64, 1996), who takes the mean.
    """
    mixed = plane[1:, 1:] + plane[:-1, :-1] - plane[1:, :-1] - plane[:-1, 1:]
    dark = plane[1:, 1:] <= np.median(plane)
    return float(np.median(np.abs(mixed[dark]))) / 0.6745 / 2


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
