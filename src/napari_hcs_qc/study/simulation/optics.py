"""Image formation in a widefield fluorescence microscope: blur, illumination, camera.

Light is counted in photo-electrons per pixel (the number the camera detects), lengths in
micrometres, spatial frequencies in cycles per micrometre.

Sources
-------
Goodman, *Introduction to Fourier Optics*, 3rd ed. 2005, eq. 6-31: transfer function in focus.
Stokseth, "Properties of a defocused optical system", J. Opt. Soc. Am. 59, 1314 (1969), and
Hopkins, Proc. R. Soc. A 231, 91 (1955): transfer function out of focus.
Janesick, *Photon Transfer*, SPIE 2007: shot noise, read noise, gain and full scale of a camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft, special

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

_THICKNESS_NODES = 5
_RADIAL_SAMPLES = 4096


def focused_otf(
    frequency_per_um: FloatArray, *, wavelength_um: float, numerical_aperture: float
) -> FloatArray:
    """Transfer function in focus of an aberration-free circular pupil, incoherent light.

    ``(2/π) (arccos s − s √(1−s²))`` with ``s = f λ / (2 NA)``: 1 at zero frequency, 0 from the
    cut-off ``2 NA / λ`` on (Goodman 2005, eq. 6-31).
    """
    s = np.clip(frequency_per_um * wavelength_um / (2 * numerical_aperture), 0.0, 1.0)
    focused: FloatArray = (2 / np.pi) * (np.arccos(s) - s * np.sqrt(1 - s * s))
    return focused


def defocused_otf(
    frequency_per_um: FloatArray,
    *,
    wavelength_um: float,
    numerical_aperture: float,
    defocus_um: float,
    refractive_index: float = 1.0,
) -> FloatArray:
    """Transfer function for an object `defocus_um` away from the focal plane.

    Stokseth (1969): the function in focus times ``2 J₁(a)/a`` with ``a = (4π w/λ) s (1 − s/2)``,
    where ``s = f λ / NA`` and ``w`` is the path difference between the rim and the centre of the
    pupil, ``z (n − √(n² − NA²))``. At low frequency and small aperture this is the transfer
    function of a disc of radius ``z NA / n``, the geometric blur. Even in `defocus_um`.
    """
    sharp = focused_otf(
        frequency_per_um, wavelength_um=wavelength_um, numerical_aperture=numerical_aperture
    )
    rim_cosine = np.sqrt(refractive_index**2 - numerical_aperture**2)
    path_um = abs(defocus_um) * (refractive_index - rim_cosine)
    s = np.clip(frequency_per_um * wavelength_um / numerical_aperture, 0.0, 2.0)
    a = 4 * np.pi * path_um / wavelength_um * s * (1 - s / 2)
    safe = np.where(a == 0, 1.0, a)
    blurred: FloatArray = sharp * np.where(a == 0, 1.0, 2 * special.j1(safe) / safe)
    return blurred


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The objective, the sampling and how thick the sample is."""

    numerical_aperture: float = 0.5  # of the objective, below `refractive_index`
    pixel_size_um: float = 0.656  # side of one camera pixel in the sample
    refractive_index: float = 1.0  # of the medium before the objective
    # Depth of a cell layer: its light comes from that range about its plane
    thickness_um: float = 5.0
    # Share of the light spread widely (scatter in plate bottom and medium, glare)
    scatter_share: float = 0.04
    scatter_um: float = 25.0  # standard deviation of that spread


@lru_cache(maxsize=24)
def blur_transfer(
    objective: Objective, shape_px: tuple[int, int], wavelength_um: float, defocus_um: float
) -> FloatArray:
    """Transfer function of one depth on the frequency grid of `scipy.fft.rfft2`.

    Optics, thickness of the layer, pixel area and scatter. A pixel is larger than the sharpest
    detail at low magnification, so the frequencies beyond the grid are folded onto it: the
    kernel then is the true point spread, integrated over each pixel, and its sum is 1.
    """
    pixel_um = objective.pixel_size_um
    cutoff = 2 * objective.numerical_aperture / wavelength_um
    radial = np.linspace(0.0, cutoff, _RADIAL_SAMPLES)
    nodes, weights = np.polynomial.legendre.leggauss(_THICKNESS_NODES)
    curve = np.zeros_like(radial)
    for node, weight in zip(nodes, weights, strict=True):
        curve += (weight / 2) * defocused_otf(
            radial,
            wavelength_um=wavelength_um,
            numerical_aperture=objective.numerical_aperture,
            defocus_um=defocus_um + node * objective.thickness_um / 2,
            refractive_index=objective.refractive_index,
        )
    # Nothing is left beyond this frequency, so its aliases need no work.
    alive = radial[np.flatnonzero(np.abs(curve) > 1e-6)[-1]]
    folds = int(np.ceil(max(0.0, alive * pixel_um - 0.5)))
    rows = fft.fftfreq(shape_px[0])[:, None]
    columns = fft.rfftfreq(shape_px[1])[None, :]
    transfer = np.zeros((rows.size, columns.size))
    for i in range(-folds, folds + 1):
        for j in range(-folds, folds + 1):
            f = np.hypot(rows + i, columns + j) / pixel_um
            area = np.sinc(rows + i) * np.sinc(columns + j)
            transfer += area * np.interp(f, radial, curve, right=0.0)
    squared = (rows**2 + columns**2) / pixel_um**2
    spread = np.exp(-2 * np.pi**2 * objective.scatter_um**2 * squared)
    transfer = (1 - objective.scatter_share) * transfer + objective.scatter_share * spread
    transfer.flags.writeable = False
    return transfer


def blur_layers(
    layers: Mapping[float, FloatArray], objective: Objective, wavelength_um: float
) -> FloatArray:
    """Image of a sample given as layers at several depths, periodic at the borders."""
    shape = next(iter(layers.values())).shape
    size = (int(shape[0]), int(shape[1]))
    spectrum = np.zeros((size[0], size[1] // 2 + 1), dtype=np.complex128)
    for defocus_um, light in layers.items():
        spectrum += fft.rfft2(light) * blur_transfer(objective, size, wavelength_um, defocus_um)
    # Stokseth's form is no exact autocorrelation: it may undershoot zero by a trace.
    image: FloatArray = np.maximum(fft.irfft2(spectrum, s=size), 0.0)
    return image


def illumination(
    shape_px: tuple[int, int], *, falloff: float, centre: tuple[float, float] = (0.5, 0.5)
) -> FloatArray:
    """Relative brightness over the field: 1 at `centre`, falling with the squared distance."""
    height, width = shape_px
    y = (np.arange(height)[:, None] + 0.5 - centre[0] * height) ** 2
    x = (np.arange(width)[None, :] + 0.5 - centre[1] * width) ** 2
    field: FloatArray = np.maximum(1 - falloff * (y + x) * 4 / (height**2 + width**2), 0.05)
    return field


@dataclass(frozen=True)
class Camera:
    """A scientific camera.

    The defaults are near what the photon transfer of the BBBC022 images shows (offset about
    110 grey values, 3 electrons per grey value, read noise 2 to 3 grey values, 12 bits).
    """

    offset: float = 110.0  # grey value of no light
    electrons_per_grey: float = 3.0  # gain
    read_noise: float = 7.0  # standard deviation in electrons
    top_grey: int = 4095  # full scale: brighter pixels get this value

    def expected_grey(self, electrons: FloatArray) -> FloatArray:
        """Grey values without noise and without the limit of full scale."""
        return self.offset + electrons / self.electrons_per_grey

    def expose(self, electrons: FloatArray, rng: np.random.Generator) -> NDArray[np.uint16]:
        """Take the picture: shot noise, read noise, offset, gain, full scale."""
        counted = shot_noise(electrons, rng)
        counted += self.read_noise * rng.standard_normal(electrons.shape)
        grey = np.rint(self.expected_grey(counted))
        return np.clip(grey, 0, self.top_grey).astype(np.uint16)


def shot_noise(expected: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Poisson counts, by their quantile function: one normal deviate per pixel.

    The Cornish-Fisher expansion of the Poisson quantile to third order, with the continuity
    correction of a lattice, rounded (Abramowitz and Stegun 26.2.49): within 0.005 of the true
    distribution function from 5 events on. A rejection sampler would be exact, but there a
    difference in the last digit of one pixel's light (another processor's Fourier transform)
    changes the noise of all pixels after it; here it changes one pixel by one count, so a seed
    gives the same plate everywhere.
    """
    z = rng.standard_normal(expected.shape)
    # Below one event the expansion is void; rounding and the floor at zero carry it there.
    root = np.sqrt(np.maximum(expected, 1.0))
    spread = np.sqrt(expected) - 1 / (24 * root)
    counts = expected + spread * z + (z * z - 1) / 6 + (z - z**3) / (72 * root)
    return np.where(expected > 0, np.maximum(np.rint(counts), 0.0), 0.0)
