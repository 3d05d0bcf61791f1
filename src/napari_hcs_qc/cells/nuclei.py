"""Finding nuclei in a field of view: threshold above the background, then splitting of clumps.

All lengths follow from one size, the diameter of a typical nucleus, which is estimated from the
images where it is not given. A field is taken in these steps:

1. The slowly varying background is subtracted; light that runs on in a straight line for several
   diameters (a fibre, a scratch) is, too, so that the nuclei below it stay.
2. A threshold separates nuclei from background, Otsu's on the logarithm so that some bright
   mitoses do not hide the dim; never below the noise, so that an empty field stays empty.
3. Clumps are cut into convex pieces (watershed of the distance transform), and two pieces are
   joined again unless a waist, a dark line or a step in brightness lies between them.
4. Each nucleus gets a threshold of its own, a fixed share of its own brightness, so that a bright
   one does not swell and a dim neighbour does not drown in its halo; then step 3 is repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from napari_hcs_qc.cells.background import coarse_background, line_background, shrunk
from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_WORKING_PX = 25.0  # Larger nuclei are looked at in binned images: nothing is won by more pixels.
_SMOOTHINGS = (0.02, 0.07)  # Of the diameter; the second for fields with little contrast.
_NOISE_FACTOR = 5.0
_PIXEL_NOISE_FACTOR = 2.5
_OWN_QUANTILE = 0.75
_OWN_SHARE = 0.5  # Of a nucleus's median brightness: where its edge is.
_SPLIT_AT = 0.22
_SIZE_WEIGHT = 0.1
_LEAST_DIP = -0.1
_LEAST_WAIST = 0.04
_LEAST_AREA, _MOST_AREA = 0.05, 12.0  # Of the area of a typical nucleus.
_SPECK_AREA, _SPECK_SHARE = 0.3, 0.3  # Smaller and dimmer things than this are dirt, not nuclei.
_MOST_ELONGATION = 6.0  # Area over that of the largest circle inside.
_STREAK_SHARE = 0.4  # Of the brightness of a typical nucleus: what lies on a fibre and is one.


def find_nuclei(image: NDArray[Any], *, diameter_px: float | None = None) -> NDArray[np.int32]:
    """Find the nuclei of one field of view.

    Parameters
    ----------
    image
        Grey values (height, width) of the nucleus channel, of any dtype; nuclei are bright.
    diameter_px
        Diameter of a typical nucleus; estimated from this image by default. Give one diameter
        for a whole plate: a field with few or odd nuclei is then treated like the others.

    Returns
    -------
    NDArray[np.int32]
        Label mask (height, width): 0 is background, nuclei are numbered from 1 by their first
        pixel in reading order. A field without nuclei gives zeros.

    Raises
    ------
    HcsQcError
        When the image has not two axes, holds NaN or Inf, or the diameter is not positive.
    """
    grey = _checked(image)
    if diameter_px is None:
        diameter_px = estimate_diameter([grey])
        if np.isnan(diameter_px):
            return np.zeros(grey.shape, dtype=np.int32)
    if not diameter_px > 1:
        raise HcsQcError(
            f"A nucleus diameter of {diameter_px} px was given; more than 1 is needed."
        )
    factor = max(1, int(diameter_px / _WORKING_PX))
    labels = _find(shrunk(grey, factor), diameter_px / factor)
    if factor > 1:
        labels = labels.repeat(factor, axis=0).repeat(factor, axis=1)
        labels = np.ascontiguousarray(labels[: grey.shape[0], : grey.shape[1]])
    return labels


def estimate_diameter(images: Sequence[NDArray[Any]]) -> float:
    """Estimate the diameter of a typical nucleus from some fields of one plate.

    The width of the things above a plain threshold gives a first size; the median equivalent
    diameter of the nuclei found with it, and then once more with that, the answer.

    Parameters
    ----------
    images
        Grey values, each (height, width).

    Returns
    -------
    float
        Median diameter in px of the circles of the same area; NaN when there are no nuclei.

    Raises
    ------
    HcsQcError
        When an image has not two axes or holds NaN or Inf.
    """
    greys = [_checked(image) for image in images]
    peaks = np.concatenate([np.empty(0), *(_half_widths(grey) for grey in greys)])
    if len(peaks) == 0:
        return float("nan")
    # Weighted by area, as specks are many and nuclei cover the field.
    diameter = 2.2 * _weighted_median(peaks, peaks**2)
    for _ in range(2):
        areas = []
        for grey in greys:
            factor = max(1, int(diameter / _WORKING_PX))
            labels = _find(shrunk(grey, factor), diameter / factor)
            inside = np.setdiff1d(np.arange(1, labels.max() + 1), _border_labels(labels))
            areas.append(np.bincount(labels.ravel(), minlength=1)[inside] * float(factor**2))
        pooled = np.concatenate(areas)
        pooled = pooled[pooled > 0.3 * np.pi / 4 * diameter**2]
        if len(pooled) == 0:
            return float("nan")
        diameter = float(np.sqrt(4 / np.pi * np.median(pooled)))
    return diameter


def _checked(image: NDArray[Any]) -> NDArray[np.float32]:
    if image.ndim != 2 or 0 in image.shape:
        raise HcsQcError(f"An image of shape {image.shape} was given; (height, width) is expected.")
    grey = image.astype(np.float32)
    if not np.isfinite(grey).all():
        raise HcsQcError("The image holds NaN or Inf; grey values are expected.")
    return grey


def _find(image: NDArray[np.float32], diameter: float) -> NDArray[np.int32]:
    """Take steps 1 to 4 of the module, at the scale of `image`."""
    contrast, threshold = _contrast(image, diameter)
    mask = contrast > threshold
    if not mask.any():
        return np.zeros(image.shape, dtype=np.int32)
    typical = float(np.median(contrast[mask]))
    line = line_background(contrast, diameter)
    # Only light as strong as nuclei: rows of nuclei have darker gaps, and shall not be dimmed.
    streak = np.clip((line / typical - 0.5) / 0.2, 0.0, 1.0)
    contrast -= streak * line
    level = _own_levels(contrast, threshold, diameter)
    mask = _tidied(contrast > np.maximum(_OWN_SHARE * level, threshold), diameter)
    labels = _split(mask, contrast, diameter)
    # What a streak leaves of itself is dimmer than a nucleus that adds its light to it.
    on_streak = np.concatenate([[0.0], _medians(labels, streak)]) > 0
    levels = np.concatenate([[0.0], _medians(labels, contrast)])
    labels[(on_streak & (levels < _STREAK_SHARE * typical))[labels]] = 0
    return _without_odd(labels, levels, diameter)


def _own_levels(
    contrast: NDArray[np.float32], threshold: float, diameter: float
) -> NDArray[np.float32]:
    """Median brightness of the nucleus that each pixel belongs to; infinite outside."""
    factor = 2 if diameter >= 16 else 1  # A rough division of the clumps will do.
    small = shrunk(contrast, factor)
    labels = _split(_tidied(small > threshold, diameter / factor), small, diameter / factor)
    levels = np.concatenate([[np.inf], _medians(labels, small, _OWN_QUANTILE)]).astype(np.float32)[
        labels
    ]
    levels = levels.repeat(factor, axis=0).repeat(factor, axis=1)
    return levels[: contrast.shape[0], : contrast.shape[1]]


def _contrast(image: NDArray[np.float32], diameter: float) -> tuple[NDArray[np.float32], float]:
    """Brightness above the background, and the threshold for it."""
    for share in _SMOOTHINGS:
        smooth = ndi.gaussian_filter(image, max(0.5, share * diameter))
        contrast = smooth - coarse_background(smooth, diameter)
        middle, spread = _empty_places(contrast, diameter)
        noise = max(spread, 1e-6 * float(np.abs(smooth).max()), 1e-12)
        least = middle + max(_NOISE_FACTOR * noise, _PIXEL_NOISE_FACTOR * _pixel_noise(image))
        threshold = _log_otsu(np.maximum(contrast[::2, ::2], noise))
        if threshold > least:
            break
    return contrast, max(threshold, least)


def _log_otsu(values: NDArray[np.float32]) -> float:
    logs = np.log(values)
    if logs.max() - logs.min() < 1e-6:
        return float(values.max())
    return float(np.exp(threshold_otsu(logs)))  # type: ignore[no-untyped-call]


def _pixel_noise(image: NDArray[np.float32]) -> float:
    """Give the standard deviation from one pixel to the next, without edges and slopes.

    The median of the mixed second difference, after Immerkær, "Fast noise variance estimation"
    (1996), who takes the mean.
    """
    mixed = image[1:, 1:] + image[:-1, :-1] - image[1:, :-1] - image[:-1, 1:]
    return float(np.median(np.abs(mixed))) / 0.6745 / 2 if mixed.size else 0.0


def _empty_places(contrast: NDArray[np.float32], diameter: float) -> tuple[float, float]:
    """Give mean and standard deviation of the background, from the emptiest fifth of tiles.

    The 5 and the 25 percentile of a tile are both background where nuclei leave it a third of the
    place; of a normal distribution they lie 0.97 standard deviations apart, and the mean 1.64 above
    the lower one.
    """
    side = max(8, int(4 * diameter))
    lows, spreads = [], []
    for top in range(0, max(1, contrast.shape[0] - side // 2), side):
        for left in range(0, max(1, contrast.shape[1] - side // 2), side):
            tile = contrast[top : top + side : 2, left : left + side : 2]
            low, high = np.percentile(tile, [5, 25])
            lows.append(low)
            spreads.append((high - low) / 0.97)
    spread = float(np.percentile(spreads, 20))
    return float(np.median(lows)) + 1.64 * spread, spread


def _tidied(mask: NDArray[np.bool_], diameter: float) -> NDArray[np.bool_]:
    """Without hair and single pixels, and without holes smaller than a quarter of a nucleus."""
    if diameter >= 15:
        mask = ndi.binary_opening(mask)
    holes, _ = ndi.label(~mask)
    is_small = np.bincount(holes.ravel()) < diameter**2 / 5
    is_small[0] = True  # The mask itself.
    filled: NDArray[np.bool_] = is_small[holes]
    return filled


def _split(
    mask: NDArray[np.bool_], contrast: NDArray[np.float32], diameter: float
) -> NDArray[np.int32]:
    """Cut clumps at waists, dark lines and steps in brightness; number the pieces from 1."""
    depth = ndi.gaussian_filter(
        ndi.distance_transform_edt(mask).astype(np.float32), max(0.5, 0.035 * diameter)
    )
    seeds, _ = ndi.label((ndi.maximum_filter(depth, 3) == depth) & mask, np.ones((3, 3)))
    pieces: NDArray[np.int32] = watershed(  # type: ignore[no-untyped-call]
        -depth, seeds, mask=mask
    ).astype(np.int32)
    n = int(pieces.max())
    first, second, saddle, at_cut = _cuts(pieces, depth, contrast)
    if len(first) == 0:
        return pieces
    top = _maxima(pieces, depth)
    level = np.concatenate([[0.0], _medians(pieces, contrast)])
    area = np.bincount(pieces.ravel(), minlength=n + 1)
    typical = np.pi / 4 * diameter**2
    parent = np.arange(n + 1)

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
        dip = max(_LEAST_DIP, 1.0 - at_cut[cut] / max(dim, 1e-12))
        step = 1.0 - dim / max(bright, 1e-12)
        size = min((area[a] + area[b]) / typical, 3.0) * min(waist / _LEAST_WAIST, 1.0)
        if waist + dip + step + _SIZE_WEIGHT * size < _SPLIT_AT:
            keep, gone = (a, b) if top[a] >= top[b] else (b, a)
            parent[gone] = keep
            area[keep] += area[gone]
    roots = np.array([root(piece) for piece in range(n + 1)])
    _, number = np.unique(roots, return_inverse=True)  # The background stays 0, its own root.
    return number.astype(np.int32)[pieces]


def _cuts(
    pieces: NDArray[np.int32], depth: NDArray[np.float32], contrast: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.float64]]:
    """Neighbouring pieces (first < second), and the depth and mean contrast where they meet."""
    keys, depths, greys = [], [], []
    for one, other in (
        (np.s_[1:, :], np.s_[:-1, :]),
        (np.s_[:, 1:], np.s_[:, :-1]),
    ):
        at = (pieces[one] != pieces[other]) & (pieces[one] > 0) & (pieces[other] > 0)
        a, b = pieces[one][at], pieces[other][at]
        keys.append(np.minimum(a, b).astype(np.int64) << 32 | np.maximum(a, b))
        depths.append(np.minimum(depth[one][at], depth[other][at]))
        greys.append((contrast[one][at] + contrast[other][at]) / 2)
    pairs, index = np.unique(np.concatenate(keys), return_inverse=True)
    saddle = np.zeros(len(pairs), dtype=np.float32)
    np.maximum.at(saddle, index, np.concatenate(depths))
    mean = np.bincount(index, np.concatenate(greys), len(pairs)) / np.bincount(index)
    return pairs >> 32, pairs & 0xFFFFFFFF, saddle, mean


def _maxima(labels: NDArray[np.int32], values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maximum of `values`, none below 0, in each label from 0 on."""
    maxima = np.zeros(int(labels.max()) + 1, dtype=np.float32)
    inside = labels > 0
    np.maximum.at(maxima, labels[inside], values[inside])
    return maxima


def _medians(
    labels: NDArray[np.int32], values: NDArray[np.float32], quantile: float = 0.5
) -> NDArray[np.float64]:
    """Median, or another quantile, of `values` in each label from 1 on."""
    inside = labels > 0
    index, grey = labels[inside], values[inside]
    order = np.lexsort((grey, index))
    counts = np.bincount(index, minlength=1)[1:]
    starts = np.cumsum(counts) - counts
    middle = (
        order[np.minimum(starts + (counts * quantile).astype(int), len(order) - 1)]
        if len(order)
        else order
    )
    medians: NDArray[np.float64] = grey[middle].astype(np.float64)
    return medians


def _without_odd(
    labels: NDArray[np.int32], levels: NDArray[np.float64], diameter: float
) -> NDArray[np.int32]:
    """Drop specks, what is far too large, and slivers; number the others in reading order."""
    area = np.bincount(labels.ravel(), minlength=len(levels)) / (np.pi / 4 * diameter**2)
    depth = ndi.distance_transform_edt(labels > 0).astype(np.float32)
    radius = np.zeros(len(levels))
    radius[: labels.max() + 1] = np.maximum(_maxima(labels, depth), 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        elongation = area * diameter**2 / 4 / radius**2
    is_odd = (area < _LEAST_AREA) | (area > _MOST_AREA) | (elongation > _MOST_ELONGATION)
    nuclei = levels[1:][area[1:] > _SPECK_AREA]
    if len(nuclei):
        is_odd |= (area < _SPECK_AREA) & (levels < _SPECK_SHARE * np.median(nuclei))
    is_odd[0] = True
    return _by_first_pixel(np.where(is_odd[labels], 0, labels))


def _by_first_pixel(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Renumber so that labels follow the reading order of their first pixels."""
    found, first = np.unique(labels, return_index=True)
    found, first = found[found > 0], first[found > 0]
    number = np.zeros(int(labels.max()) + 1, dtype=np.int32)
    number[found[np.argsort(first)]] = np.arange(1, len(found) + 1)
    return number[labels]


def _border_labels(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))


def _half_widths(image: NDArray[np.float32]) -> NDArray[np.float64]:
    """Largest distance to the edge in each piece above a plain threshold, in px."""
    side = max(16.0, min(image.shape) / 16)  # Stands in for the diameter, which is not yet known.
    contrast, threshold = _contrast(image, side)
    mask = ndi.binary_opening(contrast > threshold)
    depth = ndi.gaussian_filter(ndi.distance_transform_edt(mask).astype(np.float32), 1.0)
    peaks: NDArray[np.float64] = depth[(ndi.maximum_filter(depth, 5) == depth) & (depth > 1)]
    return peaks.astype(np.float64)


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    order = np.argsort(values)
    cumulated = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(cumulated, cumulated[-1] / 2)])
