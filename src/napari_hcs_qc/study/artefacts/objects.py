"""Things that lie where they should not, and cells that are not there: debris, fibres, dead, empty.

Shapes are those of the simulated plate (`study.simulation.synthetic_shapes`), imaged by the
objective of the plate at their own depth. Their light adds to that of the sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft
from scipy import ndimage as ndi
from scipy.stats import median_abs_deviation

from napari_hcs_qc.study.simulation.optics import blur_layers
from napari_hcs_qc.study.simulation.synthetic_artefacts import draw_particle
from napari_hcs_qc.study.simulation.synthetic_shapes import (
    Blob,
    draw_blob,
    fibre,
    random_wobble,
    round_blob,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_hcs_qc.study.artefacts.scene import Scene

    FloatArray = NDArray[np.float64]

_DEBRIS_BRIGHTNESS = 2.5
_FIBRE_BRIGHTNESS = 2.5
_FIBRE_STREAKS = 0.15
_OTHER_CHANNELS = 0.6  # how brightly debris shines in channels that do not show the nuclei
_OFF_CENTRE = 0.35  # of a nucleus diameter: objects lie on the cell, not always on its middle
_AROUND = 1.5  # nucleus diameters
_RIM = 0.12  # of a nucleus diameter: the blurred rim of a nucleus, which goes with it
_HALO = 0.3  # of a nucleus diameter: beyond the rim its scattered light fades into the background
_BODY = 0.5  # of a nucleus diameter: the cell around its nucleus in other channels

_ENOUGH_PX = 50  # fewer pixels away from nuclei do not tell the background


@dataclass(frozen=True, eq=False)
class Donor:
    """A real dead cell, cut out."""

    # ``(n_channels, side, side)`` grey values above its background, 0 away from the cell
    light: FloatArray
    place: FloatArray  # ``(n_channels, side, side)`` from 0 to 1 where it is


def cut_out(scene: Scene) -> Donor:
    """Cut the cell out of a scene: its light above what is around it, with a soft rim."""
    place = cell_place(scene)
    light = place * (scene.grey - _ground(scene)[:, None, None])
    return Donor(light, place)


def cell_place(scene: Scene) -> FloatArray:
    """Where the cell is, ``(n_channels, side, side)`` from 0 to 1: its nucleus with its halo.

    In channels that do not show the nuclei, half a nucleus diameter around it as well.
    """
    imaging = scene.imaging
    away = ndi.distance_transform_edt(~scene.nucleus)
    planes = []
    for index in range(len(imaging.channels)):
        reach = (_RIM if index == imaging.nucleus_channel else _BODY) * imaging.diameter_px
        fading = max(1.5, _HALO * imaging.diameter_px)
        planes.append(np.clip((reach + fading - away) / fading, 0.0, 1.0))
    # A neighbour's pixels are its own.
    others = scene.nuclei & ~scene.nucleus
    place = np.stack(planes)
    place[imaging.nucleus_channel][others] = 0.0
    return place


def remove_cell(scene: Scene, share: float, rng: np.random.Generator) -> Scene:
    """Replace a share of the cell's light by background with its noise."""
    return scene.with_grey(_emptied(scene, share * cell_place(scene), rng))


def replace_by_dead(
    scene: Scene, share: float, donors: Sequence[Donor], rng: np.random.Generator
) -> Scene:
    """Replace the cell by a dead one: a share of its light for that of the cell."""
    emptied = _emptied(scene, share * cell_place(scene), rng)
    if donors:
        light = donors[int(rng.integers(len(donors)))].light
        # About the pixel of the cell, which is not the middle of a side of even length.
        turns, is_mirrored = int(rng.integers(4)), rng.random() < 0.5
        odd = light if light.shape[-1] % 2 else light[:, 1:, 1:]
        odd = np.rot90(odd, turns, axes=(1, 2))
        odd = odd[:, :, ::-1] if is_mirrored else odd
        before = scene.side_px - odd.shape[-1]
        light = np.pad(odd, ((0, 0), (before, 0), (before, 0)))
    else:
        light = _condensed(scene, rng)
    return scene.with_grey(emptied + share * light)


def add_debris(
    scene: Scene, size_diameters: float, defocus_um: float, rng: np.random.Generator
) -> Scene:
    """Lay a flake, a bar or a crumb on the cell."""
    margin = _margin_px(scene)
    y, x = _on_cell(scene, rng)
    canvas = np.zeros((scene.side_px + 2 * margin,) * 2)
    size_px = size_diameters * scene.imaging.diameter_px
    draw_particle(canvas, (y + margin, x + margin), size_px, _DEBRIS_BRIGHTNESS, rng)
    return _with_light(scene, canvas, defocus_um)


def add_fibre(scene: Scene, radius_um: float, defocus_um: float, rng: np.random.Generator) -> Scene:
    """Lay a thread of lint across the cell."""
    margin = _margin_px(scene)
    side = scene.side_px + 2 * margin
    wide = 2 * side
    radius_px = radius_um / scene.imaging.pixel_size_um
    # One thinner than a pixel is dimmer instead, as there is less of it.
    thread = fibre((wide, wide), max(radius_px, 1.0), rng)
    y, x = _on_cell(scene, rng)
    rows, columns = np.nonzero(thread >= 0.99)
    nearest = int(np.argmin(np.hypot(rows - wide / 2, columns - wide / 2)))
    top = int(np.clip(rows[nearest] - y - margin, 0, wide - side))
    left = int(np.clip(columns[nearest] - x - margin, 0, wide - side))
    streaks = np.clip(1 + _FIBRE_STREAKS * rng.standard_normal((side, side)), 0.2, None)
    light = thread[top : top + side, left : left + side] * streaks
    return _with_light(scene, _FIBRE_BRIGHTNESS * min(radius_px, 1.0) * light, defocus_um)


def _margin_px(scene: Scene) -> int:
    """Width of what is drawn around a scene, as it shines into it when it is out of focus."""
    return round(_AROUND * scene.imaging.diameter_px)


def _on_cell(scene: Scene, rng: np.random.Generator) -> tuple[float, float]:
    reach = _OFF_CENTRE * scene.imaging.diameter_px
    dy, dx = rng.uniform(-reach, reach, 2)
    return scene.centre_px + float(dy), scene.centre_px + float(dx)


def _with_light(scene: Scene, canvas: FloatArray, defocus_um: float) -> Scene:
    """Add light relative to that of a typical nucleus, as the objective images it.

    It is given with a margin of `_margin_px` around the scene.

    Blur keeps light and spreads it, so an object out of focus is dimmer than the same one in it.
    """
    margin = _margin_px(scene)
    size = fft.next_fast_len(len(canvas), real=True)
    padded = np.zeros((size, size))
    padded[: len(canvas), : len(canvas)] = canvas
    inner = slice(margin, margin + scene.side_px)
    light = _imaged(scene, padded, defocus_um)[:, inner, inner]
    return scene.with_grey(scene.grey + light)


def _imaged(scene: Scene, canvas: FloatArray, defocus_um: float) -> FloatArray:
    """Give the image of light relative to that of a typical nucleus, in grey values."""
    imaging = scene.imaging
    planes = []
    for index, channel in enumerate(imaging.channels):
        factor = 1.0 if index == imaging.nucleus_channel else _OTHER_CHANNELS
        # Depth in whole tenths: the transfer functions are remembered.
        layers = {round(defocus_um, 1): canvas}
        seen = blur_layers(layers, imaging.objective, channel.wavelength_um)
        planes.append(factor * channel.signal * seen)
    return np.stack(planes)


def _away(scene: Scene) -> NDArray[np.bool_]:
    """Where no nucleus is near."""
    distance: FloatArray = ndi.distance_transform_edt(~scene.nuclei)
    return distance > _HALO * scene.imaging.diameter_px


def _ground(scene: Scene) -> FloatArray:
    """Give the background around the cell of each channel: the median away from all nuclei."""
    away = _away(scene)
    # In a crowd no place is empty: then the plate's background is taken.
    if np.count_nonzero(away) < _ENOUGH_PX:
        return scene.imaging.column("background")[:, 0, 0]
    return np.median(scene.grey[:, away], axis=1)


def _emptied(scene: Scene, place: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Fade the scene into its own background: real pixels of it, drawn anew, so noise is kept."""
    away = _away(scene)
    planes = []
    for plane, weight, ground in zip(scene.grey, place, _ground(scene), strict=True):
        pool = plane[away]
        if len(pool) >= _ENOUGH_PX:
            # Of the darker three quarters' spread about the ground: no debris of the neighbourhood.
            spread = median_abs_deviation(pool, scale=1 / 1.4826) + 1e-9
            pool = pool[np.abs(pool - ground) <= 3 * spread]
            fill = pool[rng.integers(len(pool), size=plane.shape)]
        else:
            fill = np.full(plane.shape, ground)
        planes.append((1 - weight) * plane + weight * fill)
    return np.stack(planes)


def _condensed(scene: Scene, rng: np.random.Generator) -> FloatArray:
    """Draw the light of a pyknotic nucleus, or of one in fragments, in grey values."""
    radius, middle = scene.imaging.diameter_px / 2, scene.centre_px
    canvas = np.zeros((scene.side_px, scene.side_px))
    if rng.random() < 0.5:
        small = radius * rng.uniform(0.42, 0.6)
        bead = Blob(
            y_px=middle,
            x_px=middle,
            major_px=small,
            minor_px=small * 0.9,
            wobble=random_wobble(rng, 0.03, 0.03),
            flatness=2.5,
        )
        draw_blob(canvas, bead, rng.uniform(2.5, 4.5))
    else:
        for _ in range(int(rng.integers(6, 15))):
            dy, dx = np.clip(rng.standard_normal(2), -1.6, 1.6) * 0.42 * radius
            size = radius * rng.uniform(0.14, 0.4)
            piece = round_blob(middle + dy, middle + dx, size, flatness=2.5)
            draw_blob(canvas, piece, rng.uniform(0.7, 2.2))
    return _imaged(scene, canvas, 0.0)
