"""Pieces of one nucleus that were taken for objects of their own, joined again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi
from scipy.spatial import ConvexHull

from napari_hcs_qc.cells.clumps import cuts_between, label_medians

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Two touching objects are one where this evidence for two stays below the limit: the area by which
# the convex hull of both exceeds their own hulls (of the smaller one's area), how sharply the light
# bends upwards at the contact, and by how much both are larger than a nucleus; less where they are
# smaller than one and like in light, which lobes of one are, and debris at a nucleus is not. Fitted
# to the touching objects of BBBC039's and BBBC038's fields: the limit lies in a broad optimum.
_BEND_WEIGHT, _SIZE_WEIGHT, _USUAL_SIZE, _TWO_AT = 4.0, 0.4, 1.2, 0.25
_LOBE_WEIGHT, _WHOLE_SIZE, _LIKE = 0.8, 1.1, 0.6
# Nor does the light differ by more than this share beside the contact, from and to (diameters),
# unless one fills a notch of the other: what lies beside a hole is dark on one side.
_ONE_AT = 0.0
_MOST_STEP, _BESIDE = 0.5, (0.1, 0.25)


def without_pieces(
    labels: NDArray[np.int32], contrast: NDArray[np.float32], diameter: float
) -> NDArray[np.int32]:
    """Join touching objects that have one convex outline and no dark line between them."""
    first, second, _, bend = cuts_between(labels, contrast, contrast, diameter)
    typical = np.pi / 4 * diameter**2
    area = np.bincount(labels.ravel()) / typical
    boxes = ndi.find_objects(labels)
    level = label_medians(labels, contrast)
    whole = np.arange(len(area))
    for a, b, bent in zip(first, second, bend, strict=True):
        both = area[whole == whole[a]].sum() + area[whole == whole[b]].sum()
        evidence = _BEND_WEIGHT * bent + _SIZE_WEIGHT * max(both - _USUAL_SIZE, 0.0)
        dim, bright = sorted((level[a], level[b]))
        if dim > _LIKE * bright:
            evidence -= _LOBE_WEIGHT * max(_WHOLE_SIZE - both, 0.0)
        if whole[a] == whole[b] or evidence > _TWO_AT + 1:  # hulls may be smaller by as much
            continue
        box = tuple(
            slice(max(min(of_a.start, of_b.start) - 1, 0), max(of_a.stop, of_b.stop) + 1)
            for of_a, of_b in zip(boxes[a - 1], boxes[b - 1], strict=True)
        )
        masks = labels[box] == a, labels[box] == b
        evidence += _hollow(*masks) / (min(area[a], area[b]) * typical)
        if evidence < _ONE_AT or (
            evidence < _TWO_AT and _step(*masks, contrast[box], diameter) < _MOST_STEP
        ):
            whole[whole == whole[b]] = whole[a]
    return whole.astype(np.int32)[labels]


def _hollow(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Area outside two objects that only the convex hull of both covers."""
    return _hull_area(a | b) - _hull_area(a) - _hull_area(b)


def _hull_area(mask: NDArray[np.bool_]) -> float:
    """Area of the convex hull of the middles of the sides of a mask's pixels."""
    sides = np.array([(0.0, 0.5), (0.0, -0.5), (0.5, 0.0), (-0.5, 0.0)])
    rows = np.flatnonzero(mask.any(axis=1))
    first, last = mask[rows].argmax(axis=1), mask.shape[1] - 1 - mask[rows, ::-1].argmax(axis=1)
    ends = np.stack([np.tile(rows, 2), np.concatenate([first, last])], axis=1)
    points = (ends[:, np.newaxis] + sides).reshape(-1, 2)
    return float(ConvexHull(points).volume)


def _step(
    a: NDArray[np.bool_], b: NDArray[np.bool_], contrast: NDArray[np.float32], diameter: float
) -> float:
    """Share by which the light on the two sides of a contact differs, a little away from it."""
    contact = (ndi.binary_dilation(a) & b) | (ndi.binary_dilation(b) & a)
    distance = ndi.distance_transform_edt(~contact)
    nearest, farthest = (
        max(least, share * diameter) for least, share in zip((1, 2), _BESIDE, strict=True)
    )
    beside = (distance > nearest) & (distance <= farthest)
    sides = [mask & beside if (mask & beside).any() else mask for mask in (a, b)]
    dim, bright = sorted(float(contrast[side].mean()) for side in sides)
    return 1.0 - dim / max(bright, 1e-12)
