"""Bodies of the simulated cells: territories, actin and mitochondria."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_hcs_qc.study.simulation.synthetic_shapes import ORIENTATIONS, draw_blob

if TYPE_CHECKING:
    from napari_hcs_qc.study.simulation.synthetic_cells import Cell
    from napari_hcs_qc.study.simulation.synthetic_shapes import Textures
    from napari_hcs_qc.study.simulation.synthetic_spec import SyntheticSpec

FloatArray: TypeAlias = NDArray[np.float64]
Layers: TypeAlias = dict[float, FloatArray]


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
            cell.blob,
            major_px=shrink * cell.blob.major_px,
            minor_px=shrink * cell.blob.minor_px,
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
