"""The cells of a simulated site: where they lie, and how nuclei and cell bodies look."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_hcs_qc.study.simulation.synthetic_artefacts import (
    DEPTHS_UM,
    SiteArtefact,
    draw_particle,
)
from napari_hcs_qc.study.simulation.synthetic_shapes import (
    ORIENTATIONS,
    Blob,
    Textures,
    draw_blob,
    random_wobble,
    round_blob,
)
from napari_hcs_qc.study.simulation.synthetic_spec import CELL_KINDS, SyntheticSpec

FloatArray: TypeAlias = NDArray[np.float64]
Layers: TypeAlias = dict[float, FloatArray]

_MITOSIS_SHARE = 0.03
_LOBED_SHARE = 0.08
_TOUCH_SHARE = 0.2
_TRIES = 12


@dataclass
class Cell:
    """One object on the canvas, with its truth."""

    blob: Blob  # outline of the nucleus (of a dead or dividing cell: of the nucleus it had)
    form: str = "interphase"  # interphase, mitosis, dead or debris
    kind: str | None = None  # why it is abnormal; None for a normal one
    brightness: float = 1.0  # of its DNA relative to the stain's typical light
    gain: float = 1.0  # of all its stains (an over-stained cell)
    defocus_um: float = 0.0  # its distance from the plane of the others

    @property
    def diameter_px(self) -> float:
        """Diameter of the circle as large as the nucleus."""
        return 2.0 * float(np.sqrt(self.blob.major_px * self.blob.minor_px))


def populate(
    spec: SyntheticSpec,
    artefact: SiteArtefact,
    canvas_px: tuple[int, int],
    well_density: float,
    rng: np.random.Generator,
) -> list[Cell]:
    """Place the cells of one site on a canvas.

    Some lie alone, some touch a neighbour; they overlap only where the culture is crowded.
    """
    area_mm2 = canvas_px[0] * canvas_px[1] * (spec.pixel_size_um / 1000) ** 2
    mean = spec.cells_per_mm2 * area_mm2 * well_density * artefact.density
    cells: list[Cell] = []
    for _ in range(int(rng.poisson(mean))):
        cell = _random_cell(spec, artefact, rng)
        _place(cell, cells, canvas_px, rng)
        cells.append(cell)
    return cells


def _random_cell(spec: SyntheticSpec, artefact: SiteArtefact, rng: np.random.Generator) -> Cell:
    # DNA content doubles through the cycle: G1, S, G2; the nucleus grows with it.
    content = float(rng.choice((1.0, rng.uniform(1.0, 2.0), 2.0), p=(0.6, 0.2, 0.2)))
    diameter = spec.nucleus_diameter_px * 0.95 * content**0.2 * rng.lognormal(0, 0.1)
    aspect = float(np.clip(rng.normal(0.68, 0.13), 0.42, 0.95))
    lobed = rng.random() < _LOBED_SHARE
    wobble = random_wobble(rng, *((0.06, 0.11, 0.08, 0.04) if lobed else (0.03, 0.03, 0.02, 0.015)))
    major = diameter / 2 / np.sqrt(aspect)
    blob = Blob(
        y_px=0.0,
        x_px=0.0,
        major_px=major,
        minor_px=major * aspect,
        angle=float(rng.uniform(0, np.pi)),
        wobble=wobble,
    )
    cell = Cell(blob, brightness=float(content**0.4 * 0.88 * rng.lognormal(0, 0.2)))
    _decide_fate(cell, spec, artefact, rng)
    return cell


def _decide_fate(
    cell: Cell, spec: SyntheticSpec, artefact: SiteArtefact, rng: np.random.Generator
) -> None:
    fate, other, amount = rng.random(3)
    abnormal_share = 0.0 if spec.clean else spec.abnormal_share
    if artefact.name == "dead" and other < artefact.dead_share:
        cell.kind = "dead"
    elif fate < abnormal_share:
        cell.kind = str(rng.choice(list(CELL_KINDS), p=list(CELL_KINDS.values())))
    elif fate > 1 - _MITOSIS_SHARE:
        cell.form = "mitosis"
    if cell.kind in ("dead", "debris"):
        cell.form = cell.kind
    elif cell.kind == "blur":
        cell.defocus_um = DEPTHS_UM[1 + int(amount * 3)]
    elif cell.kind == "saturation":
        cell.gain = 9.0 + 5.0 * float(amount)


def _place(
    cell: Cell, others: list[Cell], canvas_px: tuple[int, int], rng: np.random.Generator
) -> None:
    """Give the cell a place; the freest of a few tries where none is free."""
    best, best_room = cell.blob, -np.inf
    centres = np.array([(other.blob.y_px, other.blob.x_px) for other in others]).reshape(-1, 2)
    for _ in range(_TRIES):
        if others and rng.random() < _TOUCH_SHARE:
            neighbour = others[int(rng.integers(len(others)))].blob
            direction = rng.uniform(0, 2 * np.pi)
            reach = neighbour.radius_px(direction) + cell.blob.radius_px(direction + np.pi)
            y = neighbour.y_px + reach * np.sin(direction)
            x = neighbour.x_px + reach * np.cos(direction)
        else:
            y, x = rng.uniform(0, canvas_px[0]), rng.uniform(0, canvas_px[1])
        blob = replace(cell.blob, y_px=float(y), x_px=float(x))
        room = _room(blob, others, centres)
        if room > best_room:
            best, best_room = blob, room
        if best_room > -0.5:
            break
    cell.blob = best


def _room(blob: Blob, others: list[Cell], centres: FloatArray) -> float:
    """Smallest gap to another nucleus in px along the line of centres; negative: overlap."""
    if not others:
        return float(np.inf)
    offset = centres - (blob.y_px, blob.x_px)
    distance = np.hypot(offset[:, 0], offset[:, 1])
    gaps = [np.inf]
    for index in np.flatnonzero(distance < 4 * blob.major_px):
        direction = float(np.arctan2(offset[index, 0], offset[index, 1]))
        other = others[index].blob
        reach = blob.radius_px(direction) + other.radius_px(direction + np.pi)
        gaps.append(distance[index] - reach)
    return float(min(gaps))


class NucleusPainter:
    """Draws nuclei of one site, with the chromatin texture of that site."""

    def __init__(self, textures: Textures, rng: np.random.Generator) -> None:
        self._rng = rng
        self._fine = textures.band(0.4, 1.3, source=0)
        self._coarse = textures.band(1.4, 4.0, source=0)

    def paint(self, canvas: FloatArray, cell: Cell) -> None:
        """Add the cell's nucleus (or the debris) to `canvas`, in units of the stain's light."""
        if cell.form == "mitosis":
            self._mitosis(canvas, cell)
        elif cell.form == "dead":
            self._dead(canvas, cell)
        elif cell.form == "debris":
            size = cell.diameter_px * self._rng.uniform(0.4, 1.1)
            level = cell.brightness * self._rng.uniform(0.6, 4.0)
            draw_particle(canvas, (cell.blob.y_px, cell.blob.x_px), size, level, self._rng)
        else:
            self._interphase(canvas, cell)

    def _interphase(self, canvas: FloatArray, cell: Cell) -> None:
        blob, rng = cell.blob, self._rng
        contrast = rng.uniform(0.08, 0.17)
        spots = [
            (*(rng.uniform(-0.5, 0.5, 2) * blob.minor_px * 1.2), rng.uniform(0.12, 0.32))
            for _ in range(int(rng.integers(0, 5)))
        ]
        width = 0.075 * cell.diameter_px

        def relief(patch: tuple[slice, slice], dy: FloatArray, dx: FloatArray) -> FloatArray:
            factor = 1 + contrast * self._fine[patch] + 0.4 * contrast * self._coarse[patch]
            for y, x, depth in spots:  # nucleoli hold little DNA
                factor -= depth * np.exp(-((dy - y) ** 2 + (dx - x) ** 2) / (2 * width**2))
            return np.clip(factor, 0.1, None)

        draw_blob(canvas, blob, cell.brightness * cell.gain, relief)

    def _mitosis(self, canvas: FloatArray, cell: Cell) -> None:
        blob, rng = cell.blob, self._rng
        radius = cell.diameter_px / 2
        phase = rng.choice(3, p=(0.35, 0.4, 0.25))
        # Condensed: the same DNA on less area; never so bright that the camera saturates.
        level = min(cell.brightness, 1.3) * rng.uniform(2.4, 3.3)

        def clumps(patch: tuple[slice, slice], _dy: FloatArray, _dx: FloatArray) -> FloatArray:
            return np.clip(1 + 0.25 * self._coarse[patch] + 0.1 * self._fine[patch], 0.3, 1.6)

        if phase == 0:  # prometaphase: a clumpy ball
            wobble = random_wobble(rng, 0.06, 0.07, 0.06, 0.05)
            ball = replace(
                blob, major_px=0.72 * radius, minor_px=0.62 * radius, wobble=wobble, flatness=4.0
            )
            draw_blob(canvas, ball, 0.8 * level, clumps)
            return
        wobble = random_wobble(rng, 0.02, 0.05, 0.05)
        plate = replace(
            blob, major_px=0.8 * radius, minor_px=0.3 * radius, wobble=wobble, flatness=4.0
        )
        if phase == 1:  # metaphase: a plate seen from the side
            draw_blob(canvas, plate, level, clumps)
            return
        apart = rng.uniform(0.4, 0.65) * radius  # anaphase: two plates moving apart
        for side in (-1, 1):
            half = replace(
                plate,
                y_px=blob.y_px + side * apart * np.cos(blob.angle),
                x_px=blob.x_px - side * apart * np.sin(blob.angle),
                major_px=0.65 * radius,
                minor_px=0.24 * radius,
            )
            draw_blob(canvas, half, level, clumps)

    def _dead(self, canvas: FloatArray, cell: Cell) -> None:
        blob, rng = cell.blob, self._rng
        radius = cell.diameter_px / 2
        form = rng.choice(3, p=(0.4, 0.4, 0.2))
        level = cell.brightness
        if form == 0:  # pyknotic: shrunken, smooth, bright
            small = radius * rng.uniform(0.42, 0.6)
            wobble = random_wobble(rng, 0.03, 0.03)
            minor = small * rng.uniform(0.8, 1)
            bead = replace(blob, major_px=small, minor_px=minor, wobble=wobble, flatness=2.5)
            draw_blob(canvas, bead, level * rng.uniform(2.5, 4.5))
            return
        if form == 2:  # shrunken with a few blebs at its rim
            core = replace(
                blob, major_px=0.65 * radius, minor_px=0.5 * radius, wobble=(), flatness=3.0
            )
            draw_blob(canvas, core, level * rng.uniform(1.2, 2.2))
        n_pieces = int(rng.integers(6, 15)) if form == 1 else int(rng.integers(3, 7))
        for _ in range(n_pieces):  # karyorrhexis: round fragments of all sizes
            if form == 1:
                dy, dx = np.clip(rng.standard_normal(2), -1.6, 1.6) * 0.42 * radius
            else:
                turn = rng.uniform(0, 2 * np.pi)
                dy, dx = 0.7 * radius * np.sin(turn), 0.7 * radius * np.cos(turn)
            size = radius * rng.uniform(0.14, 0.4)
            piece = round_blob(blob.y_px + dy, blob.x_px + dx, size, flatness=2.5)
            draw_blob(canvas, piece, level * rng.uniform(0.7, 2.2))


def paint_cytoplasm(
    spec: SyntheticSpec, cells: list[Cell], textures: Textures, rng: np.random.Generator
) -> tuple[Layers, Layers]:
    """Draw cell bodies: actin fibres and cortex, mitochondria near the nucleus."""
    actin_layers: Layers = {}
    mito_layers: Layers = {}
    living = [cell for cell in cells if cell.form != "debris"]
    if not living:
        return actin_layers, mito_layers
    owner, distance = _territories(living, textures)
    size = spec.nucleus_diameter_px
    n = len(living)
    form = np.array([cell.form for cell in living])
    gain = np.array([min(cell.gain, 8.0) for cell in living])
    round_up = np.where(form == "dead", 0.2, np.where(form == "mitosis", 0.4, 1.0))
    # All are drawn before any is used, so that a channel is the same without the others.
    reach = rng.uniform(0.5, 1.0, n)
    direction = rng.uniform(0, ORIENTATIONS, n)
    actin_level, mito_level = rng.lognormal(0, 0.3, n), rng.lognormal(0, 0.3, n)
    extent = (round_up * reach * size)[owner]
    patchy = textures.smooth(4.0, source=2)
    extent *= 1 + 0.25 * patchy
    body = np.clip((extent - distance) / 5 + 0.5, 0.0, 1.0)
    # A rounded cell is thick: the same protein on less area.
    level = gain * np.where(form == "dead", 2.2, np.where(form == "mitosis", 1.3, 1.0))
    over_nucleus = np.exp(-distance / 2.0)
    thick = 0.5 + np.exp(-distance / (0.6 * size))  # the cell thins out towards its rim

    if "Actin" in spec.channels:
        heading = direction[owner] + 0.8 * textures.smooth(7.0, source=1)
        threads = np.clip(0.3 + textures.threads(heading, 5.0, 0.3), 0, 3)
        border = owner != np.roll(owner, 1, axis=0)
        border |= owner != np.roll(owner, 1, axis=1)
        cortex = np.minimum(ndimage.gaussian_filter(border.astype(float), 1.0) * 1.5, 1.0)
        rim = 4 * body * (1 - body)
        actin = 0.3 * thick + 0.22 * threads * (1 + 0.4 * patchy) + 0.35 * cortex + 0.25 * rim
        actin *= body * (level * actin_level)[owner] * (1 - 0.2 * over_nucleus)
        _by_depth(actin_layers, np.maximum(actin, 0.0), living, owner)
    if "Mito" in spec.channels:
        grains = np.clip(textures.band(0.35, 1.2, source=2) + 0.2, 0, 3)
        near = np.exp(-distance / (0.4 * size)) * np.clip(1 + 0.5 * patchy, 0.1, None)
        mito = 0.14 * thick + near * (0.1 + 0.65 * grains) * (1 - 0.75 * over_nucleus)
        mito *= body * (level * mito_level)[owner]
        _by_depth(mito_layers, np.maximum(mito, 0.0), living, owner)
    return actin_layers, mito_layers


def _territories(cells: list[Cell], textures: Textures) -> tuple[NDArray[np.int64], FloatArray]:
    """Index of the nearest nucleus, and the distance to it in px, for each pixel."""
    shape_px = textures.shape_px
    nuclei = np.full(shape_px, -1, dtype=np.int64)
    scratch = np.zeros(shape_px)
    for index, cell in enumerate(cells):
        shrink = 0.6 if cell.form == "dead" else 1.0
        blob = replace(
            cell.blob, major_px=shrink * cell.blob.major_px, minor_px=shrink * cell.blob.minor_px
        )
        patch, thickness = draw_blob(scratch, blob, 0.0)
        nuclei[patch][thickness > 0.3] = index
    if np.all(nuclei < 0):
        return np.zeros(shape_px, dtype=np.int64), np.full(shape_px, np.inf)
    distance, (rows, columns) = ndimage.distance_transform_edt(nuclei < 0, return_indices=True)
    owner = nuclei[rows, columns]
    # Neighbours press against each other along bent lines, not along straight bisectors.
    bend_px = 1.6 / textures.pixel_size_um * np.minimum(distance / 6, 1.0)
    down = np.rint(bend_px * textures.smooth(4.0, source=0)).astype(np.int64)
    right = np.rint(bend_px * textures.smooth(4.0, source=1)).astype(np.int64)
    row, column = np.indices(shape_px, sparse=True)
    bent = owner[
        np.clip(row + down, 0, shape_px[0] - 1), np.clip(column + right, 0, shape_px[1] - 1)
    ]
    return bent, distance


def _by_depth(
    layers: Layers, light: FloatArray, cells: list[Cell], owner: NDArray[np.int64]
) -> None:
    depth = np.array([cell.defocus_um for cell in cells])
    for depth_um in np.unique(depth):
        layers[float(depth_um)] = np.where((depth == depth_um)[owner], light, 0.0)
