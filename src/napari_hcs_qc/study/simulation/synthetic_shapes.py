"""Shapes and textures of the simulated sample, drawn at the camera's sampling.

Arrays named `canvas` are (height, width) in relative brightness or photo-electrons. The canvas is
larger than the picture, so that objects outside the field shine into it. Sizes here are in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft, ndimage

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

_REACH = 1.5  # a patch is this many semi-axes wide to each side: the outline wobbles
ORIENTATIONS = 6


@dataclass(frozen=True, kw_only=True)
class Blob:
    """A round, elongated or irregular body that lies flat."""

    y_px: float  # centre
    x_px: float
    major_px: float  # semi-axes
    minor_px: float
    angle: float = 0.0  # of the long axis against the x axis, radians
    # (amplitude, phase) of the outline's relative deviation, for 2, 3, 4
    wobble: tuple[tuple[float, float], ...] = ()
    # Exponent of the thickness profile: 2 is a ball, 6 a disc with a rounded rim
    flatness: float = 6.0

    def radius_px(self, direction: float) -> float:
        """Distance from the centre to the outline towards `direction` (radians)."""
        turned = direction - self.angle
        across = np.hypot(np.cos(turned) / self.major_px, np.sin(turned) / self.minor_px)
        return float(self._outline(np.asarray(turned)) / across)

    def thickness(self, dy: FloatArray, dx: FloatArray) -> FloatArray:
        """Relative thickness, 0 outside to 1, at offsets from the centre."""
        u = dx * np.cos(self.angle) + dy * np.sin(self.angle)
        v = dy * np.cos(self.angle) - dx * np.sin(self.angle)
        q = np.hypot(u / self.major_px, v / self.minor_px) / self._outline(np.arctan2(v, u))
        inside = np.clip((1 - q) * self.minor_px + 0.5, 0.0, 1.0)  # softens the pixel staircase
        profile: FloatArray = inside * np.sqrt(np.clip(1 - q**self.flatness, 0.05, 1.0))
        return profile

    def _outline(self, turned: FloatArray) -> FloatArray:
        outline = np.ones_like(turned, dtype=np.float64)
        for waves, (amplitude, phase) in enumerate(self.wobble, start=2):
            outline += amplitude * np.cos(waves * turned + phase)
        return outline


def round_blob(y_px: float, x_px: float, radius_px: float, *, flatness: float) -> Blob:
    return Blob(y_px=y_px, x_px=x_px, major_px=radius_px, minor_px=radius_px, flatness=flatness)


def random_wobble(rng: np.random.Generator, *amplitudes: float) -> tuple[tuple[float, float], ...]:
    """Outline deviations of the given standard amplitudes for 2, 3, 4... waves."""
    return tuple(
        (
            float(amplitude * np.clip(rng.standard_normal(), -1.4, 1.4)),
            float(rng.uniform(0, 2 * np.pi)),
        )
        for amplitude in amplitudes
    )


def draw_blob(
    canvas: FloatArray,
    blob: Blob,
    brightness: float,
    relief: Callable[[tuple[slice, slice], FloatArray, FloatArray], FloatArray] | None = None,
) -> tuple[tuple[slice, slice], FloatArray]:
    """Add a body to `canvas`."""
    reach = _REACH * max(blob.major_px, blob.minor_px) + 2
    height, width = canvas.shape
    top, bottom = max(0, int(blob.y_px - reach)), min(height, int(blob.y_px + reach) + 1)
    left, right = max(0, int(blob.x_px - reach)), min(width, int(blob.x_px + reach) + 1)
    patch = (slice(top, max(top, bottom)), slice(left, max(left, right)))
    dy = np.arange(patch[0].start, patch[0].stop)[:, None] - blob.y_px
    dx = np.arange(patch[1].start, patch[1].stop)[None, :] - blob.x_px
    dy, dx = np.broadcast_arrays(dy, dx)
    thickness = blob.thickness(dy, dx)
    factor = 1.0 if relief is None else relief(patch, dy, dx)
    canvas[patch] += brightness * thickness * factor
    return patch, thickness


def random_curve(
    shape_px: tuple[int, int], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels of a smooth wandering line that crosses the canvas, as (rows, columns)."""
    height, width = shape_px
    length = int(1.6 * np.hypot(height, width))
    inner_y, inner_x = rng.uniform(0.25, 0.75, 2)
    heading = rng.uniform(0, 2 * np.pi)
    # Curvature is a smooth random function; the line runs both ways from an inner point.
    smooth = ndimage.gaussian_filter1d(rng.standard_normal(2 * length), 80, mode="wrap")
    bend = 0.003 * smooth / smooth.std()
    angle = heading + np.cumsum(bend) - np.cumsum(bend)[length]
    y, x = np.cumsum(np.sin(angle)), np.cumsum(np.cos(angle))
    rows = np.rint(y - y[length] + inner_y * height).astype(np.int64)
    columns = np.rint(x - x[length] + inner_x * width).astype(np.int64)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return rows[inside], columns[inside]


def fibre(shape_px: tuple[int, int], radius_px: float, rng: np.random.Generator) -> FloatArray:
    """Draw a thread across the canvas: relative thickness (height, width), 0 to 1."""
    rows, columns = random_curve(shape_px, rng)
    away = np.ones(shape_px, dtype=bool)
    away[rows, columns] = False
    distance = ndimage.distance_transform_edt(away)
    thread: FloatArray = np.sqrt(np.clip(1 - (distance / radius_px) ** 2, 0.0, 1.0))
    return thread


class Textures:
    """Random textures of one site, each (height, width) with mean 0 and standard deviation 1."""

    def __init__(
        self, shape_px: tuple[int, int], pixel_size_um: float, rng: np.random.Generator
    ) -> None:
        self.shape_px = shape_px
        self.pixel_size_um = pixel_size_um
        self._white = [fft.rfft2(rng.standard_normal(shape_px)) for _ in range(3)]

    def band(self, fine_um: float, coarse_um: float, *, source: int) -> FloatArray:
        """Isotropic grains between two sizes (Gaussian standard deviations)."""
        band = _gaussian(self.shape_px, fine_um / self.pixel_size_um)
        return self._shaped(band - _gaussian(self.shape_px, coarse_um / self.pixel_size_um), source)

    def smooth(self, size_um: float, *, source: int) -> FloatArray:
        """Slow variation over `size_um` (a Gaussian standard deviation)."""
        return self._shaped(_gaussian(self.shape_px, size_um / self.pixel_size_um), source)

    def threads(self, heading: FloatArray, length_um: float, width_um: float) -> FloatArray:
        """Threads that follow a field of directions."""
        woven = np.zeros(self.shape_px)
        for orientation in range(ORIENTATIONS):
            # Weight 1 at its own direction, falling to 0 at the next one, round the half turn.
            away = np.abs((heading - orientation + ORIENTATIONS / 2) % ORIENTATIONS)
            weight = np.maximum(1 - np.abs(away - ORIENTATIONS / 2), 0.0)
            woven += weight * self._streaks(orientation, length_um, width_um)
        return woven

    def _streaks(self, orientation: int, length_um: float, width_um: float) -> FloatArray:
        shape = _streak_transfer(
            self.shape_px,
            orientation,
            length_um / self.pixel_size_um,
            width_um / self.pixel_size_um,
        )
        return self._shaped(shape, 1)

    def _shaped(self, transfer: FloatArray, source: int) -> FloatArray:
        spectrum = self._white[source] * transfer
        spectrum[0, 0] = 0
        texture: FloatArray = fft.irfft2(spectrum, s=self.shape_px)
        texture /= texture.std()
        return texture


def _frequencies(shape_px: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    return fft.fftfreq(shape_px[0])[:, None], fft.rfftfreq(shape_px[1])[None, :]


@lru_cache(maxsize=16)
def _gaussian(shape_px: tuple[int, int], sigma_px: float) -> FloatArray:
    rows, columns = _frequencies(shape_px)
    transfer: FloatArray = np.exp(-2 * (np.pi * sigma_px) ** 2 * (rows**2 + columns**2))
    return transfer


@lru_cache(maxsize=2 * ORIENTATIONS)
def _streak_transfer(
    shape_px: tuple[int, int], orientation: int, length_px: float, width_px: float
) -> FloatArray:
    rows, columns = _frequencies(shape_px)
    angle = np.pi * orientation / ORIENTATIONS
    along = columns * np.cos(angle) + rows * np.sin(angle)
    across = rows * np.cos(angle) - columns * np.sin(angle)
    reach = (along * length_px) ** 2 + (across * width_px) ** 2
    transfer: FloatArray = np.exp(-2 * np.pi**2 * reach)
    return transfer
