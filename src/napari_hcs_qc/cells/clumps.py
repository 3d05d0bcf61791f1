"""Cutting clumps of touching nuclei apart, and joining what one nucleus was cut into."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi
from skimage.segmentation import watershed

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Evidence for a cut: a step in brightness counts for its share, size and a dark line (how sharply
# the light bends upwards across the cut) by the weights here. They were fitted to the cuts in
# BBBC039's and BBBC038's fields, where the limit lies in a broad optimum (F1 changes by less than
# 0.002 from 0.40 to 0.52).
_SPLIT_AT = 0.48
NEIGHBOURS = ((np.s_[1:, :], np.s_[:-1, :]), (np.s_[:, 1:], np.s_[:, :-1]))
"""Each pixel and the one above it, then the one before it: parts of an image, in pairs."""

# More where nuclei cover more than half of the field, as chance dark lines are common there.
_CROWDED, _CROWD_WEIGHT = 0.5, 0.5
_SIZE_WEIGHT = 0.34
_STEP_SIZE = 1.5  # Nuclei: parts of a single one differ in brightness, too.
_BEND_WEIGHT, _LEAST_BEND, _MOST_BEND = 4.2, -0.05, 0.1  # Of the brightness at the cut.
_BEND_SCALE, _LEAST_BEND_PX = 0.05, 0.7  # Standard deviation of the smoothing: of the diameter.
_LEAST_WAIST = 0.04  # Of the diameter: below it a large nucleus is just large.


def split_clumps(
    mask: NDArray[np.bool_], contrast: NDArray[np.float32], diameter: float
) -> NDArray[np.int32]:
    """Cut clumps at waists, dark lines and steps in brightness.

    Seeds are the local maxima of the smoothed distance to the edge, which are too many. Two pieces
    stay apart when the evidence adds up: how dark a line the cut follows, how much they differ in
    brightness, and, where there is a waist at all, how large both are together.
    """
    depth = ndi.gaussian_filter(depth_of(mask), max(0.5, 0.035 * diameter))
    seeds, _ = ndi.label((ndi.maximum_filter(depth, 3) == depth) & mask, np.ones((3, 3)))
    pieces: NDArray[np.int32] = watershed(  # type: ignore[no-untyped-call]
        -depth, seeds, mask=mask
    ).astype(np.int32)
    n = int(pieces.max())
    first, second, saddle, bend = cuts_between(pieces, depth, contrast, diameter)
    if len(first) == 0:
        return pieces
    top = label_maxima(pieces, depth)
    level = label_medians(pieces, contrast)
    area = np.bincount(pieces.ravel(), minlength=n + 1)
    typical = np.pi / 4 * diameter**2
    parent = np.arange(n + 1)
    limit = _SPLIT_AT + _CROWD_WEIGHT * max(float(mask.mean()) - _CROWDED, 0.0)

    def root(piece: int) -> int:
        while parent[piece] != piece:
            parent[piece] = parent[parent[piece]]
            piece = int(parent[piece])
        return piece

    # The widest passage first: what is joined counts as one piece for the narrower ones.
    for cut in np.argsort(-saddle, kind="stable"):
        a, b = root(int(first[cut])), root(int(second[cut]))
        if a == b:
            continue
        dim, bright = sorted((level[a], level[b]))
        waist = (min(top[a], top[b]) - saddle[cut]) / diameter
        both = (area[a] + area[b]) / typical
        step = (1.0 - dim / max(bright, 1e-12)) * min(both / _STEP_SIZE, 1.0)
        size = min(both, 3.0) * min(waist / _LEAST_WAIST, 1.0)
        if step + _SIZE_WEIGHT * size + _BEND_WEIGHT * bend[cut] < limit:
            keep, gone = (a, b) if top[a] >= top[b] else (b, a)
            parent[gone] = keep
            area[keep] += area[gone]
    roots = np.array([root(piece) for piece in range(n + 1)])
    _, number = np.unique(roots, return_inverse=True)  # The background stays 0, its own root.
    return number.astype(np.int32)[pieces]


def cuts_between(
    pieces: NDArray[np.int32],
    depth: NDArray[np.float32],
    contrast: NDArray[np.float32],
    diameter: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.float64]]:
    """Neighbouring pieces (first < second), depth where they meet, and bend of the light."""
    bend = bend_of(contrast, diameter)
    keys, depths, bends, greys = [], [], [], []
    for near, other in NEIGHBOURS:
        at = (pieces[near] != pieces[other]) & (pieces[near] > 0) & (pieces[other] > 0)
        a, b = pieces[near][at], pieces[other][at]
        keys.append(np.minimum(a, b).astype(np.int64) << 32 | np.maximum(a, b))
        depths.append(np.minimum(depth[near][at], depth[other][at]))
        bends.append(bend[near][at] + bend[other][at])
        greys.append(contrast[near][at] + contrast[other][at])
    pairs, index = np.unique(np.concatenate(keys), return_inverse=True)
    saddle = np.zeros(len(pairs), dtype=np.float32)
    np.maximum.at(saddle, index, np.concatenate(depths))
    bent, grey = (np.bincount(index, np.concatenate(x), len(pairs)) for x in (bends, greys))
    of_grey = np.clip(bent / np.maximum(grey, 1e-12), _LEAST_BEND, _MOST_BEND)
    return pairs >> 32, pairs & 0xFFFFFFFF, saddle, of_grey


def bend_of(values: NDArray[np.float32], diameter: float) -> NDArray[np.float32]:
    """Largest second derivative in any direction, times the variance: high in a dark line."""
    sigma = max(_LEAST_BEND_PX, _BEND_SCALE * diameter)
    smooth = np.pad(ndi.gaussian_filter(values, sigma), 1, mode="edge")
    middle = smooth[1:-1, 1:-1]
    along = smooth[2:, 1:-1] + smooth[:-2, 1:-1] - 2 * middle
    across = smooth[1:-1, 2:] + smooth[1:-1, :-2] - 2 * middle
    mixed = (smooth[2:, 2:] + smooth[:-2, :-2] - smooth[2:, :-2] - smooth[:-2, 2:]) / 4
    bend = (along + across) / 2 + np.hypot((along - across) / 2, mixed)
    return (bend * sigma**2).astype(np.float32)


def edge_drops(
    labels: NDArray[np.int32], values: NDArray[np.float32], px: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Give the mean drop of `values` over `px` out of each label from 0 on, and from how many."""
    n = int(labels.max()) + 1
    sums, counts = np.zeros(n), np.zeros(n, dtype=np.int64)
    for near, far in ((np.s_[:-px], np.s_[px:]), (np.s_[:, :-px], np.s_[:, px:])):
        for inside, outside in ((near, far), (far, near)):
            at = (labels[inside] > 0) & (labels[outside] == 0)
            label = labels[inside][at]
            sums += np.bincount(label, values[inside][at] - values[outside][at], n)
            counts += np.bincount(label, minlength=n)
    return sums / np.maximum(counts, 1), counts


def label_maxima(labels: NDArray[np.int32], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give the maximum of `values`, at least 0, in each label from 0 on."""
    maxima = np.zeros(int(labels.max()) + 1, dtype=np.float32)
    inside = labels > 0
    np.maximum.at(maxima, labels[inside], values[inside])
    return maxima


def label_medians(
    labels: NDArray[np.int32], values: NDArray[np.float32], quantile: float = 0.5
) -> NDArray[np.float64]:
    """Give the median, or another quantile, of `values` in each label from 0, which has 0, on."""
    inside = labels > 0
    index, grey = labels[inside], values[inside].astype(np.float32)
    counts = np.bincount(index, minlength=1)[1:]
    starts = np.cumsum(counts) - counts
    # Sorted as whole numbers, label before value, in a fifth of the time of sorting by two keys:
    # the bits of floats above 0 are in the order of the floats, those below 0 in the reverse one.
    bits = grey.view(np.uint32)
    bits = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    ordered = np.sort(index.astype(np.uint64) << np.uint64(32) | bits)
    middle = np.minimum(starts + (counts * quantile).astype(int), len(ordered) - 1)
    bits = ordered[middle if len(ordered) else []].astype(np.uint32)
    chosen = np.where(bits >> 31, bits & np.uint32((1 << 31) - 1), ~bits).view(np.float32)
    return np.concatenate([[0.0], chosen.astype(np.float64)])


def depth_of(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance of each pixel of a mask to the ground; SciPy works it out for the ground, too."""
    depth = np.zeros(mask.shape, dtype=np.float32)
    if mask.all():
        return ndi.distance_transform_edt(mask).astype(np.float32)
    rows, columns = np.nonzero(mask)
    nearest = ndi.distance_transform_edt(mask, return_distances=False, return_indices=True)
    dy, dx = (nearest[:, rows, columns] - (rows, columns)).astype(np.float64)
    depth[rows, columns] = np.sqrt(dy * dy + dx * dx)
    return depth


def dilated(mask: NDArray[np.bool_], n: int = 1) -> NDArray[np.bool_]:
    """Add the four neighbours of each pixel, `n` times; SciPy takes ten times as long."""
    for _ in range(n):
        wider = mask.copy()
        wider[1:] |= mask[:-1]
        wider[:-1] |= mask[1:]
        wider[:, 1:] |= mask[:, :-1]
        wider[:, :-1] |= mask[:, 1:]
        mask = wider
    return mask


def opened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without hair and single pixels; beyond the image there is ground."""
    core = ~dilated(~mask)
    core[[0, -1]] = False
    core[:, [0, -1]] = False
    return dilated(core)
