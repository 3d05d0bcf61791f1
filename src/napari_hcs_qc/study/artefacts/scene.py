"""The surroundings of one cell in grey values, and what is known of how they were imaged.

Artefacts are made here, on the pixels of the camera and in an area larger than the widest crop, so
that all scales of a recipe see the same artefact and no resize hides its physics.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi

from napari_hcs_qc.cells.crops import cut_squares
from napari_hcs_qc.cells.nuclei import find_nuclei
from napari_hcs_qc.study.simulation.optics import Objective

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

_MARGIN = 2.0
"""Nucleus diameters around the widest crop: what lies there shines into it."""


@dataclass(frozen=True, kw_only=True)
class ChannelLight:
    """Grey values and wavelength of one channel of a plate."""

    background: float  # grey value of an empty place
    low: float  # grey value that an encoder is shown as 0
    high: float  # grey value that an encoder is shown as 1
    full: float  # grey value at which the detector saturates
    signal: float  # light of a typical nucleus above the background, grey values
    wavelength_um: float  # of the emitted light


@dataclass(frozen=True, kw_only=True)
class Imaging:
    """How a plate was imaged."""

    channels: tuple[ChannelLight, ...]  # in the order of the plate
    nucleus_channel: int  # index of the one that shows the nuclei
    diameter_px: float  # of a typical nucleus
    pixel_size_um: float  # side of a pixel in the sample
    numerical_aperture: float = 0.5  # of the objective, in air

    @property
    def objective(self) -> Objective:
        """Give the optics as the simulated microscope has them."""
        return Objective(
            numerical_aperture=self.numerical_aperture, pixel_size_um=self.pixel_size_um
        )

    def column(self, name: str) -> FloatArray:
        """Give one value a channel, ``(n_channels, 1, 1)``."""
        values = [getattr(channel, name) for channel in self.channels]
        return np.array(values, dtype=np.float64)[:, None, None]


@dataclass(frozen=True, eq=False)
class Scene:
    """A square of a site around one cell."""

    grey: FloatArray  # ``(n_channels, side, side)`` float64 grey values
    nucleus: NDArray[np.bool_]  # ``(side, side)`` where the cell's own nucleus is
    nuclei: NDArray[np.bool_]  # ``(side, side)`` where any nucleus is
    imaging: Imaging  # of its plate

    @property
    def side_px(self) -> int:
        """Side of the square."""
        return int(self.grey.shape[-1])

    @property
    def centre_px(self) -> int:
        """Row and column of the cell."""
        return self.side_px // 2

    def with_grey(self, grey: FloatArray) -> Scene:
        """Give the scene with other grey values, as the detector can tell them: 0 to `full`."""
        return replace(self, grey=np.clip(grey, 0.0, self.imaging.column("full")))

    def scaled(self) -> NDArray[np.float32]:
        """Give what an encoder is shown, 0 to 1 by the range of the plate."""
        low, high = self.imaging.column("low"), self.imaging.column("high")
        # As `IntensityRanges.scale` does it, so that an untouched scene gives the same bits.
        above = self.grey.astype(np.float32) - low.astype(np.float32)
        return np.clip(above / (high - low).astype(np.float32), 0.0, 1.0)


def scene_side_px(sides_px: Sequence[int], diameter_px: float) -> int:
    """Give the side of a scene for crops of these sides."""
    return int(max(sides_px) + 2 * round(_MARGIN * diameter_px))


def cut_scenes(
    raw: NDArray[Any], y_px: ArrayLike, x_px: ArrayLike, imaging: Imaging, side_px: int
) -> Iterator[Scene]:
    """Cut the scenes of some cells of one site."""
    labels = find_nuclei(raw[imaging.nucleus_channel], diameter_px=imaging.diameter_px)
    planes = np.concatenate([raw.astype(np.float64), labels[np.newaxis].astype(np.float64)])
    for y, x in zip(np.atleast_1d(y_px), np.atleast_1d(x_px), strict=True):
        square = cut_squares(planes, [y], [x], side_px)[0]
        grey, numbers = square[:-1].astype(np.float64), square[-1]
        yield Scene(grey, _own_nucleus(numbers, imaging.diameter_px), numbers > 0, imaging)


def _own_nucleus(labels: NDArray[Any], diameter_px: float) -> NDArray[np.bool_]:
    """Mask of the nucleus in the middle; a disc of its size where none was found."""
    side = len(labels)
    middle = side // 2
    y, x = np.ogrid[:side, :side]
    distance = np.hypot(y - middle, x - middle)
    near = (labels > 0) & (distance <= diameter_px / 2)
    if not near.any():
        disc: NDArray[np.bool_] = distance <= diameter_px / 2
        return disc
    place = np.argmin(np.where(near, distance, np.inf))
    # Of a label that a reflecting border shows twice, the piece in the middle.
    pieces, _ = ndi.label(labels == labels.flat[place])
    own: NDArray[np.bool_] = pieces == pieces.flat[place]
    return own
