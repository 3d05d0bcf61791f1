"""Defocus: a Gaussian, or the transfer function of a defocused objective.

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

from napari_hcs_qc.study.simulation.optics import defocused_otf, focused_otf

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


def defocus_kernel(
    side_px: int,
    *,
    defocus_um: float,
    numerical_aperture: float,
    wavelength_um: float,
    pixel_size_um: float,
) -> FloatArray:
    """Give the point spread of an objective at the sampling of the camera; in focus Airy's."""
    transfer = defocused_otf(
        _frequency((side_px, side_px)) / pixel_size_um,
        wavelength_um=wavelength_um,
        numerical_aperture=numerical_aperture,
        defocus_um=defocus_um,
    )
    kernel: FloatArray = fft.fftshift(fft.irfft2(transfer, s=(side_px, side_px)))
    return kernel


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
