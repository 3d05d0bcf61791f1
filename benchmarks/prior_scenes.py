"""What a prior needs beside the artefacts of the product, drawn into the scenes of nuclei.

Small bodies beside a nucleus, and vesicles of a dead one, are found as cells of their own, so they
lie in the middle of a crop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.study.artefacts.objects import remove_cell
from napari_hcs_qc.study.simulation.optics import blur_layers
from napari_hcs_qc.study.simulation.synthetic_cells import Cell, NucleusPainter
from napari_hcs_qc.study.simulation.synthetic_shapes import (
    Blob,
    Textures,
    draw_blob,
    random_wobble,
    round_blob,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_hcs_qc.study.artefacts.scene import Scene

    Floats = NDArray[np.float64]

_BODY_RADIUS = (0.07, 0.25)  # nucleus diameters
_BODY_BRIGHTNESS = (0.25, 2.5)  # of a nucleus
_GAP = 0.35  # nucleus diameters, the widest between a body and its nucleus
_TOUCHING = 0.3  # radii of a body that may lie on the nucleus
_TRIES = 8

_N_BODIES = (1, 1, 2, 2, 3, 3, 4, 4, 6, 6, 8, 12, 18)  # of an apoptotic nucleus
_FEW_BODIES = 3
_FEW_LARGEST = (0.25, 0.5)  # nucleus radii, the largest of few bodies
_MANY_LARGEST = (0.15, 0.38)  # and of many
_SMALLEST_BODY = 0.07  # nucleus radii
_SIZE_SPREAD = 0.45  # sd of the log of their radii
_DIMMEST_BODY, _BRIGHTEST_BODY = 0.3, 6.0  # of a nucleus
_ABOVE_UM = 5.0


def place_beside(
    scene: Scene, radius_px: float, rng: np.random.Generator
) -> tuple[float, float] | None:
    """Find where a body may lie beside the cell, as an offset from it; None if no place is free."""
    middle = scene.centre_px
    rows, columns = np.indices(scene.nucleus.shape)
    others = scene.nuclei & ~scene.nucleus
    for _ in range(_TRIES):
        angle = rng.uniform(0, 2 * np.pi)
        way = np.arange(scene.side_px // 2 - 1)
        y = np.rint(middle + way * np.sin(angle)).astype(int)
        x = np.rint(middle + way * np.cos(angle)).astype(int)
        inside = np.flatnonzero(scene.nucleus[y, x])
        edge = float(inside[-1]) if len(inside) else scene.imaging.diameter_px / 2
        gap = rng.uniform(-_TOUCHING * radius_px, _GAP * scene.imaging.diameter_px)
        reach = edge + radius_px + gap
        dy, dx = reach * np.sin(angle), reach * np.cos(angle)
        near = np.hypot(rows - middle - dy, columns - middle - dx) <= radius_px
        if near.any() and not (others & near).any():
            return float(dy), float(dx)
    return None


def body_radius_px(scene: Scene, rng: np.random.Generator) -> float:
    """Draw the radius of a small body."""
    return float(rng.uniform(*_BODY_RADIUS)) * scene.imaging.diameter_px


def with_body(scene: Scene, radius_px: float, rng: np.random.Generator) -> Scene:
    """Draw a small round body in the middle, such as a micronucleus, at times with specks."""
    canvas, middle = _canvas(scene), scene.centre_px
    level = float(np.exp(rng.uniform(*np.log(_BODY_BRIGHTNESS))))
    body = Blob(
        y_px=middle,
        x_px=middle,
        major_px=radius_px * rng.uniform(1.0, 1.5),
        minor_px=radius_px,
        angle=float(rng.uniform(0, np.pi)),
        wobble=random_wobble(rng, 0.06, 0.06, 0.05),
        flatness=float(rng.uniform(2.0, 5.0)),
    )
    draw_blob(canvas, body, level)
    for _ in range(int(rng.integers(4)) if rng.random() < 0.4 else 0):
        dy, dx = rng.uniform(-1, 1, 2) * 0.8 * scene.imaging.diameter_px
        small = max(1.0, radius_px * rng.uniform(0.3, 0.9))
        speck = round_blob(middle + dy, middle + dx, small, flatness=2.5)
        draw_blob(canvas, speck, level * rng.uniform(0.4, 1.2))
    return _with_light(scene, canvas)


def with_vesicles(scene: Scene, rng: np.random.Generator) -> Scene:
    """Replace the cell by a cluster of vesicles, as it dies, one of them in the middle."""
    canvas, radius = _canvas(scene), scene.imaging.diameter_px / 2
    n_pieces, spread = int(rng.integers(4, 16)), rng.uniform(0.3, 0.8) * radius
    level = rng.uniform(0.4, 1.3)
    offsets = np.clip(rng.standard_normal((n_pieces, 2)), -1.7, 1.7) * spread
    offsets -= offsets[0] * rng.uniform()
    largest = rng.uniform(0.3, 0.65)
    for dy, dx in offsets:
        size = radius * largest * rng.uniform(0.4, 1.0)
        piece = round_blob(
            scene.centre_px + dy, scene.centre_px + dx, size, flatness=float(rng.uniform(2.5, 6))
        )
        draw_blob(canvas, piece, level * rng.uniform(0.6, 1.2))
    return _with_light(remove_cell(scene, 1.0, rng), canvas)


def with_apoptosis(scene: Scene, rng: np.random.Generator) -> Scene:
    """Replace the cell by an apoptotic one: its DNA in smooth round bodies of unequal size.

    One shrunken body, a few, or many small ones in the place of the cell, often with a dim rest
    around them, and at times above the focal plane since a dying cell rounds up. All are condensed
    alike and hold the DNA of a nucleus or what is left of it, so the fewer and smaller they are,
    the brighter.
    """
    canvas, radius = _canvas(scene), scene.imaging.diameter_px / 2
    n_bodies = int(rng.choice(_N_BODIES))
    is_shrunken = n_bodies <= _FEW_BODIES
    largest = radius * rng.uniform(*(_FEW_LARGEST if is_shrunken else _MANY_LARGEST))
    sizes = np.sort(np.exp(rng.normal(0, _SIZE_SPREAD, n_bodies)))[::-1]
    sizes = np.maximum(largest * sizes / sizes[0], _SMALLEST_BODY * radius)
    spread = radius * rng.uniform(0.35, 1.0) * (n_bodies > 1)
    places = np.empty((0, 2))
    for size in sizes:
        for _ in range(_TRIES):
            turn, reach = rng.uniform(0, 2 * np.pi), spread * np.sqrt(rng.uniform())
            place = reach * np.array([np.sin(turn), np.cos(turn)])
            gaps = np.hypot(*(places - place).T) - 0.75 * (sizes[: len(places)] + size)
            if (gaps > 0).all():
                break
        places = np.vstack([places, place])
    # Found as one object with its middle in their light, or the largest on its own.
    is_one = rng.random() < 0.7
    places -= np.average(places, axis=0, weights=sizes**3) if is_one else places[0]
    # Balls of this density hold as much as a flat nucleus of brightness 1.
    density = 1.5 * rng.uniform(0.25, 1.1) * radius**2 / (sizes**3).sum()
    for (dy, dx), size in zip(places, sizes, strict=True):
        stretch = rng.uniform(1.0, 1.35)
        body = Blob(
            y_px=scene.centre_px + dy,
            x_px=scene.centre_px + dx,
            major_px=size * stretch,
            minor_px=size / np.sqrt(stretch),
            angle=float(rng.uniform(0, np.pi)),
            flatness=float(rng.uniform(2.0, 3.5)),
        )
        level = min(density * size, _BRIGHTEST_BODY) * rng.uniform(0.6, 1.2)
        draw_blob(canvas, body, max(level, _DIMMEST_BODY))
    if rng.random() < 0.5:
        rest = Blob(
            y_px=scene.centre_px,
            x_px=scene.centre_px,
            major_px=radius * rng.uniform(0.5, 0.9),
            minor_px=radius * rng.uniform(0.4, 0.7),
            angle=float(rng.uniform(0, np.pi)),
            wobble=random_wobble(rng, 0.06, 0.06),
            flatness=2.5,
        )
        draw_blob(canvas, rest, rng.uniform(0.1, 0.6))
    depth_um = rng.uniform(0, _ABOVE_UM) if rng.random() < 0.5 else 0.0
    return _with_light(remove_cell(scene, 1.0, rng), canvas, depth_um)


def with_mitosis(scene: Scene, rng: np.random.Generator) -> Scene:
    """Replace the cell by a simulated one in mitosis: bright, compact, and normal."""
    imaging, middle = scene.imaging, scene.centre_px
    radius_px = imaging.diameter_px / 2
    blob = Blob(
        y_px=middle,
        x_px=middle,
        major_px=radius_px,
        minor_px=radius_px,
        angle=float(rng.uniform(0, np.pi)),
    )
    cell = Cell(blob, form="mitosis", brightness=float(rng.uniform(0.7, 1.3)))
    canvas = _canvas(scene)
    NucleusPainter(Textures(canvas.shape, imaging.pixel_size_um, rng), rng).paint(canvas, cell)
    return _with_light(remove_cell(scene, 1.0, rng), canvas)


def _canvas(scene: Scene) -> Floats:
    return np.zeros((scene.side_px, scene.side_px))


def _with_light(scene: Scene, canvas: Floats, depth_um: float = 0.0) -> Scene:
    imaging = scene.imaging
    # Depth in whole tenths: the transfer functions are remembered.
    layers = {round(depth_um, 1): canvas}
    light = [
        channel.signal * blur_layers(layers, imaging.objective, channel.wavelength_um)
        for channel in imaging.channels
    ]
    return scene.with_grey(scene.grey + np.stack(light))
