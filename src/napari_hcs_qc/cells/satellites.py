"""Small bodies at a nucleus (fragments, debris, dead cells) as objects of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_hcs_qc.cells.clumps import (
    NEIGHBOURS,
    bend_of,
    dilated,
    edge_drops,
    label_medians,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

# How far from a nucleus, and least brightness (of its own); radius of the smallest, looked for from
# large to small, so that the rim of the nucleus is no part of the larger ones (all in diameters).
_REACH, _SHARE, _QUANTILE, _RADII = 0.35, 0.2, 0.75, (0.1, 0.07)
_ROUND = 0.6  # Of the largest circle in a nucleus: smaller ones at its outline are no part of it.
_LEAST_AREA, _MOST_ELONGATION = 0.02, 1.8
# Evidence for a body: the share of its brightness that the light drops by over a tenth of a
# diameter, twice how sharply the light bends upwards where it meets the nucleus, and how short
# that contact is. Fitted to what lies at the nuclei of BBBC039's and BBBC038's fields.
_EDGE, _BEND_WEIGHT, _CONTACT_WEIGHT, _BODY_AT = 0.1, 2.0, 0.3, 0.25
_FREE = 0.8  # Of the outline that it would have alone.


def with_satellites(
    cores: NDArray[np.int32], contrast: NDArray[np.float32], threshold: float, diameter: float
) -> NDArray[np.int32]:
    """Add compact bodies with an edge that lie at a nucleus or bulge out of it."""
    levels = label_medians(cores, contrast, _QUANTILE).astype(np.float32)[cores]
    near = ndi.maximum_filter(levels, 2 * round(_REACH * diameter) + 1)
    is_lit = (contrast > np.maximum(_SHARE * near, threshold)) & (near > 0)
    bend = bend_of(contrast, diameter)
    inner = _rounded(cores)
    for radius in sorted({max(1, round(share * diameter)) for share in _RADII}, reverse=True):
        bodies = _bodies(is_lit & (inner == 0), inner, contrast, bend, radius, diameter)
        if not bodies.any():
            continue
        # What is left of a bulge around a body belongs to neither.
        around = dilated(bodies > 0, radius) & (inner == 0)
        bodies = np.where(bodies > 0, bodies + cores.max(), 0).astype(np.int32)
        cores = np.where(around, bodies, cores)
        inner = np.where(bodies > 0, bodies, inner)
    return cores


def _bodies(
    mask: NDArray[np.bool_],
    inner: NDArray[np.int32],
    contrast: NDArray[np.float32],
    bend: NDArray[np.float32],
    radius: int,
    diameter: float,
) -> NDArray[np.int32]:
    """Pieces of a mask, of at least a radius, that are bodies beside what is `inner`."""
    deep = ~dilated(~mask, radius)  # The blurred edge of a nucleus is narrower.
    pieces, n = ndi.label(dilated(deep, radius) & mask)
    bodies: NDArray[np.int32] = pieces.astype(np.int32)
    if n == 0:
        return bodies
    area = np.bincount(bodies.ravel(), minlength=n + 1)
    beside = np.where(inner > 0, n + 1, bodies).astype(np.int32)
    step = max(1, round(_EDGE * diameter))
    drop, n_steps = edge_drops(beside, contrast, step)
    contact, bent = _contacts(bodies, inner, contrast, bend)
    is_body = area > _LEAST_AREA * np.pi / 4 * diameter**2
    # Four steps of each px out of each side, where nothing lies beside it.
    is_body &= n_steps[: n + 1] > _FREE * 4 * step * np.sqrt(area)
    is_body[0] = False
    width = _widths(bodies, is_body)
    is_body &= area < _MOST_ELONGATION * np.pi / 4 * width**2
    of_own = drop[: n + 1] / np.maximum(label_medians(bodies, contrast, _QUANTILE), 1e-12)
    # A straight line has 1.27 times as many steps as px, over all directions.
    evidence = of_own + _BEND_WEIGHT * bent - _CONTACT_WEIGHT * contact / (1.27 * width)
    is_body &= evidence > _BODY_AT
    return np.where(is_body[bodies], bodies, 0).astype(np.int32)


def _widths(bodies: NDArray[np.int32], wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Diameter of the largest circle in some of the bodies; 2 of all others."""
    widths = np.full(len(wanted), 2.0)
    boxes = ndi.find_objects(bodies)
    for body in np.flatnonzero(wanted):
        own = np.pad(bodies[boxes[body - 1]] == body, 1)
        widths[body] = 2 * ndi.distance_transform_edt(own).max()
    return widths


def _contacts(
    bodies: NDArray[np.int32],
    inner: NDArray[np.int32],
    contrast: NDArray[np.float32],
    bend: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Count the steps from each body into what is `inner`; and how the light bends there."""
    n = int(bodies.max()) + 1
    counts, bends, greys = np.zeros(n, dtype=np.int64), np.zeros(n), np.zeros(n)
    for a, b in NEIGHBOURS:
        for near, other in ((a, b), (b, a)):
            at = (bodies[near] > 0) & (inner[other] > 0)
            body = bodies[near][at]
            counts += np.bincount(body, minlength=n)
            bends += np.bincount(body, bend[near][at] + bend[other][at], n)
            greys += np.bincount(body, contrast[near][at] + contrast[other][at], n)
    return counts, bends / np.maximum(greys, 1e-12)


def _rounded(cores: NDArray[np.int32]) -> NDArray[np.int32]:
    """Each core opened by a share of the largest circle inside it: without what bulges out."""
    inner = np.zeros_like(cores)
    for index, box in enumerate(ndi.find_objects(cores)):
        if box is None:
            continue
        own = np.pad(cores[box] == index + 1, 1)
        depth = ndi.distance_transform_edt(own)
        radius = _ROUND * depth.max()
        is_inner = own & (ndi.distance_transform_edt(depth <= radius) <= radius + 0.5)
        inner[box][is_inner[1:-1, 1:-1]] = index + 1
    return inner
