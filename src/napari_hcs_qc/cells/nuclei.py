"""Finding nuclei in a field of view: threshold above the background, then splitting of clumps.

All lengths follow from one size, the diameter of a typical nucleus, which is estimated from the
images where it is not given. A field is taken in these steps:

1. Hot pixels are replaced, and the slowly varying background is subtracted; light that runs on in
   a straight line for several diameters (a fibre, a scratch) is, too.
2. A threshold separates nuclei from background, Otsu's on the logarithm so that some bright
   mitoses do not hide the dim; never below the noise, so that an empty field stays empty. Noise is
   taken from free ground, or, where flat places and steep edges show that nuclei leave none, from
   the differences of pixels.
3. Clumps are cut into convex pieces (watershed of the distance transform), and two pieces are
   joined again unless a waist, a dark line or a step in brightness lies between them (`clumps`).
4. Each nucleus gets a threshold of its own, a fixed share of its own brightness, so that a bright
   one does not swell and a dim neighbour does not drown in its halo. Step 3 is repeated at half of
   it, then a little higher, where close nuclei part; small bodies at a nucleus are parted from it
   (`satellites`), and from there all grow back to their edge.
5. Specks in the halo of a nucleus, too dim for step 4, are added.
6. What has no edge (haze), a far weaker one than the typical nucleus, or none above the noise is
   dropped; what is small but has one (debris, fragments) stays.
7. In what was dropped, nuclei are looked for once more, in the light that stands out of its
   surroundings: haze beside a nucleus may have been taken for a part of it.
8. What is left grows once more to its edge, down its own slope of light: nothing is lost by it now;
   and pieces of one nucleus are joined (`pieces`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from napari_hcs_qc.cells.background import coarse_background, line_background, shrunk, uniform_share
from napari_hcs_qc.cells.clumps import (
    NEIGHBOURS,
    depth_of,
    dilated,
    edge_drops,
    label_maxima,
    label_medians,
    opened,
    split_clumps,
)
from napari_hcs_qc.cells.noise import pixel_noise, without_hot_pixels
from napari_hcs_qc.cells.pieces import without_pieces
from napari_hcs_qc.cells.satellites import with_satellites
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import NO_JOB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_hcs_qc.job import Job

_WORKING_PX = 25.0  # Larger nuclei are looked at in binned images: nothing is won by more pixels.
_SMOOTHINGS = (0.02, 0.07)  # Of the diameter; the second for fields with little contrast.
# Least contrast, in standard deviations of the smoothed background and of single pixels.
_NOISE_FACTOR = 5.0
_PIXEL_NOISE_FACTOR = 2.5
# A hole is ground where it is as dark as what lies outside a nucleus (of its brightness); it is
# filled where it has less of that than this share.
_GROUND_SHARE, _GROUND_LEVEL = 0.2, 0.45
_DENSE = 0.55  # Of the area within five diameters.
_EDGE_PX = 4
_OTHER_STARTS, _LEAST_START_PX, _FEW_FIELDS, _CLEARLY_MORE = (0.33, 0.11), 12.0, 3, 1.3
_TWICE = 2  # A diameter settles in as many looks.
_PLATEAU_SHARE = 0.1  # Of the steepest slopes; 0.2 in random light, whatever its grain.
# The brightness of a nucleus is that of its brighter part; the median of a rough piece would be too
# dark where cytoplasm is stained, too. Shares of it at which clumps are cut, roughly and then
# finely, and at which a nucleus ends, which is at most so many diameters outside the fine cut.
_OWN_QUANTILE, _OWN_SHARE, _CORE_SHARE, _EDGE_SHARE = 0.75, 0.5, 0.6, 0.4
_RIM = 0.1
# Specks: side of the window (diameters), share of their light that stands out, area (of a typical
# nucleus), elongation; those that are clear (in noise) may be dimmer than other things.
_SPECK, _SPECK_HEIGHT, _SPECK_AREA, _SPECK_ELONGATION = 0.35, 0.6, 0.15, 1.5
_SPECK_SNR, _DIM_SPECK = 60.0, 0.1
# So may larger compact bodies whose edge is sharp for what light they have (a tenth in haze).
_BODY_AREA, _BODY_ELONGATION, _BODY_DROP, _DIM_BODY = 0.6, 1.8, 0.25, 0.15
# Of the area of a typical nucleus; what is tiny has to be as clear as dim specks have.
_LEAST_AREA, _TINY_AREA, _MOST_AREA = 0.012, 0.02, 12.0
_LEAST_PX = 6
# From a nucleus to the ground over this share of the diameter its light drops by half; haze has no
# such edge, and cytoplasm and dirt a weak one, compared to that of the typical nucleus.
# A tenth: nuclei far out of focus are cells, too, and shall be called blurred rather than missed.
_EDGE, _LEAST_DROP, _LEAST_SNR = 0.15, 0.1, 12.0
_LEAST_TYPICAL = 0.3
_DIM, _DIM_SLIM, _SLIM = 0.25, 0.4, 2.2  # Of the edge of the usual nucleus.
_MOST_ELONGATION = 6.0  # Area over that of the largest circle inside.
# In haze: side of the window (diameters), least area (of a typical nucleus), most elongation, and
# the least drop of light at the edge (of its own brightness; that of haze alone is about a tenth).
_HAZE, _HAZE_AREA, _HAZE_ELONGATION, _HAZE_DROP = 1.4, 0.3, 2.5, 0.23
_HOLLOW = 0.5  # Of that area: with small holes filled, a piece grows by less.
_STREAK_SHARE = 0.4  # Of the brightness of a typical nucleus: what lies on a fibre and is one.


def find_nuclei(image: NDArray[Any], *, diameter_px: float | None = None) -> NDArray[np.int32]:
    """Find the nuclei of one field of view."""
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


def estimate_diameter(images: Sequence[NDArray[Any]], *, job: Job = NO_JOB) -> float:
    """Estimate the diameter of a typical nucleus from some fields of one plate.

    The width of the things above a plain threshold gives a first size, and so does a third of it,
    as tissue or haze may be taken for one thing; the median equivalent diameter of the nuclei found
    with it, and then once more with that, an answer. The one whose nuclei have more edge counts.
    """
    greys = [_checked(image) for image in images]
    peaks = np.concatenate([np.empty(0), *(_half_widths(grey) for grey in greys)])
    if len(peaks) == 0:
        return float("nan")
    # Weighted by area, as specks are many and nuclei cover the field.
    middle = np.quantile(peaks, 0.5, weights=peaks**2, method="inverted_cdf")
    start = 2.2 * float(middle)
    few = greys[:_FEW_FIELDS]
    rounds = [few] * (1 + len(_OTHER_STARTS)) + [greys] * (len(greys) > len(few))
    looks = _Looks(job, _TWICE * sum(map(len, rounds)))
    best, most = _settled(few, start, looks)
    for share in _OTHER_STARTS:
        if share * start > _LEAST_START_PX:
            other, light = _settled(few, share * start, looks)
            if light > _CLEARLY_MORE * most:
                best, most = other, light
    if len(greys) > len(few):
        best, _ = _settled(greys, start if np.isnan(best) else best, looks)
    return best


class _Looks:
    """Counts looks at fields, which take seconds each; fewer than expected may be needed."""

    def __init__(self, job: Job, n_at_most: int) -> None:
        self._job, self._n_at_most, self._done = job, n_at_most, 0

    def next(self) -> None:
        """Go on, unless the job was cancelled."""
        self._job.check()
        self._job.report(self._done, self._n_at_most, "Estimating the size of the nuclei")
        self._done += 1


def _settled(
    greys: Sequence[NDArray[np.float32]], diameter: float, looks: _Looks
) -> tuple[float, float]:
    """Diameter of the nuclei found with a first size, and the light at their edges."""
    for _ in range(_TWICE):
        areas, light = [], 0.0
        for grey in greys:
            looks.next()
            factor = max(1, int(diameter / _WORKING_PX))
            small = shrunk(grey, factor)
            labels = _find(small, diameter / factor, are_joined=False)  # too few to matter
            inside = np.setdiff1d(np.arange(1, labels.max() + 1), _border_labels(labels))
            areas.append(np.bincount(labels.ravel(), minlength=1)[inside] * float(factor**2))
            # On the image itself, as what is binned has blurred edges.
            own = np.where(np.isin(labels, inside), labels, 0)
            own = own.repeat(factor, axis=0).repeat(factor, axis=1)
            drop, n_steps = edge_drops(own[: grey.shape[0], : grey.shape[1]], grey, _EDGE_PX)
            light += float((drop * n_steps).sum())
        pooled = np.concatenate(areas)
        pooled = pooled[pooled > 0.3 * np.pi / 4 * diameter**2]
        if len(pooled) == 0:
            return float("nan"), 0.0
        diameter = float(np.sqrt(4 / np.pi * np.median(pooled)))
    return diameter, light


def _checked(image: NDArray[Any]) -> NDArray[np.float32]:
    if image.ndim != 2 or 0 in image.shape:
        raise HcsQcError(f"An image of shape {image.shape} was given; (height, width) is expected.")
    grey = image.astype(np.float32)
    if not np.isfinite(grey).all():
        raise HcsQcError("The image holds NaN or Inf; grey values are expected.")
    return without_hot_pixels(grey, pixel_noise(grey))


def _find(
    image: NDArray[np.float32], diameter: float, *, are_joined: bool = True
) -> NDArray[np.int32]:
    """Take the steps of the module, at the scale of `image`."""
    contrast, threshold = _contrast(image, diameter)
    mask = contrast > threshold
    if not mask.any():
        return np.zeros(image.shape, dtype=np.int32)
    typical = float(np.median(contrast[mask]))
    line = line_background(contrast, diameter)
    # Only light as strong as nuclei: rows of nuclei have darker gaps, and shall not be dimmed.
    # Where nuclei leave little ground they are rows in some direction.
    is_dense = uniform_share(mask, 5 * diameter) > _DENSE
    streak = np.clip((line / typical - np.where(is_dense, 1.1, 0.5)) / 0.2, 0.0, 1.0)
    plain, contrast = contrast, (contrast - streak * line).astype(np.float32)
    labels = _with_specks(_parted(contrast, threshold, diameter), contrast, threshold, diameter)
    # What a streak leaves of itself is dimmer than a nucleus that adds its light to it.
    levels = label_medians(labels, contrast)
    is_streak = (label_medians(labels, streak) > 0) & (levels < _STREAK_SHARE * typical)
    noise = pixel_noise(image)
    nuclei = _without_odd(np.where(is_streak[labels], 0, labels), plain, levels, noise, diameter)
    dropped = (labels > 0) & (nuclei == 0)
    more = _in_haze(nuclei, dropped, plain, threshold, diameter)
    if more.any():
        labels = np.where(more > 0, more + nuclei.max(), nuclei).astype(np.int32)
        nuclei = _without_odd(labels, plain, label_medians(labels, plain), noise, diameter)
    nuclei = _grown(nuclei, plain, threshold, diameter)
    if are_joined:
        nuclei = without_pieces(nuclei, plain, diameter)
    return _by_first_pixel(nuclei)


def _parted(contrast: NDArray[np.float32], threshold: float, diameter: float) -> NDArray[np.int32]:
    """Nuclei, each above a share of its own brightness."""
    level = _own_levels(contrast, threshold, diameter)
    mask = contrast > np.maximum(_CORE_SHARE * level, threshold)
    mask = _tidied(mask, _is_ground(contrast, level, threshold), diameter)
    cores = split_clumps(mask, contrast, diameter)
    cores = with_satellites(cores, contrast, threshold, diameter)
    return _whole(cores, contrast, threshold, diameter)


def _in_haze(
    nuclei: NDArray[np.int32],
    dropped: NDArray[np.bool_],
    contrast: NDArray[np.float32],
    threshold: float,
    diameter: float,
) -> NDArray[np.int32]:
    """Compact things with an edge, of a nucleus' size, in what was `dropped`."""
    least_px = _HAZE_AREA * np.pi / 4 * diameter**2
    pieces, _ = ndi.label(dropped, np.ones((3, 3)))
    sizes = np.bincount(pieces.ravel())[1:]
    if sizes.max(initial=0) < _HOLLOW * least_px:  # as in most fields
        return np.zeros(dropped.shape, dtype=np.int32)
    side = round(_HAZE * diameter) | 1
    height = contrast - ndi.grey_opening(contrast, size=(side, side), mode="nearest")
    more = _parted(np.where(dropped, height, 0.0).astype(np.float32), threshold, diameter)
    n = int(more.max()) + 1
    px = np.bincount(more.ravel(), minlength=n)
    is_nucleus = (px > least_px) & (_elongation(more, px) < _HAZE_ELONGATION)
    # An edge to what is a nucleus already says nothing.
    beside = np.where(nuclei > 0, n, more).astype(np.int32)
    drop, _ = edge_drops(beside, contrast, max(1, round(_EDGE * diameter)))
    is_nucleus &= drop[:n] > _HAZE_DROP * label_medians(more, contrast)
    is_nucleus[0] = False
    return np.where(is_nucleus[more], more, 0).astype(np.int32)


def _own_levels(
    contrast: NDArray[np.float32], threshold: float, diameter: float
) -> NDArray[np.float32]:
    """Brightness of the nucleus that each pixel belongs to; infinite outside."""
    factor = 2 if diameter >= 16 else 1  # A rough division of the clumps will do.
    small, scaled = shrunk(contrast, factor), diameter / factor
    level = np.zeros(small.shape, dtype=np.float32)
    for _ in range(2):
        mask = small > np.maximum(_OWN_SHARE * level, threshold)
        is_ground = _is_ground(small, level, threshold)
        labels = split_clumps(_tidied(mask, is_ground, scaled), small, scaled)
        level = _levels(labels, small, np.inf)[labels]
    level = level.repeat(factor, axis=0).repeat(factor, axis=1)
    return level[: contrast.shape[0], : contrast.shape[1]]


def _levels(
    labels: NDArray[np.int32], contrast: NDArray[np.float32], ground: float
) -> NDArray[np.float32]:
    """Give the brightness of each label from 0, the ground, on."""
    levels = label_medians(labels, contrast, _OWN_QUANTILE).astype(np.float32)
    levels[0] = ground
    return levels


def _whole(
    cores: NDArray[np.int32], contrast: NDArray[np.float32], threshold: float, diameter: float
) -> NDArray[np.int32]:
    """Let each core grow to the edge of its nucleus."""
    near = dilated(cores > 0, max(1, round(_RIM * diameter)))
    grown: NDArray[np.int32] = watershed(  # type: ignore[no-untyped-call]
        -contrast, cores, mask=near & (contrast > threshold)
    ).astype(np.int32)
    is_nucleus = (cores > 0) | (contrast > _EDGE_SHARE * _levels(cores, contrast, 0.0)[grown])
    return np.where(is_nucleus, grown, 0)


def _grown(
    labels: NDArray[np.int32], contrast: NDArray[np.float32], threshold: float, diameter: float
) -> NDArray[np.int32]:
    """Let each finished nucleus grow down its own slope, to its edge or to another one."""
    least = np.maximum(_EDGE_SHARE * _levels(labels, contrast, 0.0), threshold)
    least[0] = np.inf
    for _ in range(max(1, round(_RIM * diameter))):
        wider, best = labels.copy(), np.zeros_like(contrast)
        for a, b in NEIGHBOURS:
            for new, old in ((a, b), (b, a)):
                is_own = (labels[new] == 0) & (contrast[new] > least[labels[old]])
                is_own &= (contrast[new] <= contrast[old]) & (contrast[old] > best[new])
                wider[new][is_own] = labels[old][is_own]
                best[new][is_own] = contrast[old][is_own]
        labels = wider
    return labels


def _with_specks(
    labels: NDArray[np.int32], contrast: NDArray[np.float32], threshold: float, diameter: float
) -> NDArray[np.int32]:
    """Add small round things that stand out of the halo of a nucleus twice as bright."""
    side = max(3, round(_SPECK * diameter)) | 1
    height = contrast - ndi.grey_opening(contrast, size=(side, side), mode="nearest")
    pieces, n = ndi.label((height > threshold) & (labels == 0))
    specks: NDArray[np.int32] = pieces.astype(np.int32)
    peak = label_maxima(specks, height)
    specks[height < 0.5 * peak[specks]] = 0
    px = np.bincount(specks.ravel(), minlength=n + 1)
    is_speck = peak > _SPECK_HEIGHT * label_maxima(specks, contrast)
    is_speck &= px < _SPECK_AREA * np.pi / 4 * diameter**2
    is_speck &= _elongation(specks, px) < _SPECK_ELONGATION
    is_speck[0] = False
    return np.where(is_speck[specks], specks + labels.max(), labels).astype(np.int32)


def _elongation(labels: NDArray[np.int32], px: NDArray[np.int64]) -> NDArray[np.float64]:
    """Area over that of the largest circle inside, of each label from 0 on."""
    depth = depth_of(labels > 0)
    elongation: NDArray[np.float64] = px / np.pi / np.maximum(label_maxima(labels, depth), 1.0) ** 2
    return elongation


def _contrast(image: NDArray[np.float32], diameter: float) -> tuple[NDArray[np.float32], float]:
    """Brightness above the background, and the threshold for it."""
    noise_px = pixel_noise(image)
    most = noise_px if _has_plateaus(image, diameter) else np.inf
    for share in _SMOOTHINGS:
        smooth = ndi.gaussian_filter(image, max(0.5, share * diameter))
        contrast = smooth - coarse_background(smooth, diameter)
        middle, spread = _empty_places(contrast, diameter, most)
        noise = max(spread, 1e-6 * float(np.abs(smooth).max()), 1e-12)
        least = middle + max(_NOISE_FACTOR * noise, _PIXEL_NOISE_FACTOR * noise_px)
        threshold = _log_otsu(np.maximum(contrast[::2, ::2], noise))
        if threshold > least:
            break
    return contrast, max(threshold, least)


def _has_plateaus(image: NDArray[np.float32], diameter: float) -> bool:
    """Whether steep edges part flat places, as nuclei do, however close; random light does not."""
    smooth = ndi.gaussian_filter(image, max(0.5, _SMOOTHINGS[0] * diameter))
    steps = np.abs(smooth[1:, :-1] - smooth[:-1, :-1]) + np.abs(smooth[:-1, 1:] - smooth[:-1, :-1])
    if steps.size == 0:
        return False
    flat, steep = np.percentile(steps, [20, 99])
    return bool(flat < _PLATEAU_SHARE * steep)


def _log_otsu(values: NDArray[np.float32]) -> float:
    logs = np.log(values)
    if logs.max() - logs.min() < 1e-6:
        return float(values.max())
    return float(np.exp(threshold_otsu(logs)))  # type: ignore[no-untyped-call]


def _empty_places(
    contrast: NDArray[np.float32], diameter: float, most: float
) -> tuple[float, float]:
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
    spread = min(float(np.percentile(spreads, 20)), most)
    return float(np.median(lows)) + 1.64 * spread, spread


def _is_ground(
    contrast: NDArray[np.float32], level: NDArray[np.float32], threshold: float
) -> NDArray[np.bool_]:
    """Where it is darker than a nucleus ever is inside: below the threshold or its own edge."""
    least = np.float32(_GROUND_LEVEL) * np.where(np.isfinite(level), level, 0.0)
    ground: NDArray[np.bool_] = contrast < np.maximum(least, threshold)
    return ground


def _tidied(
    mask: NDArray[np.bool_], is_ground: NDArray[np.bool_], diameter: float
) -> NDArray[np.bool_]:
    """Without hair and single pixels, and without small holes that do not show the ground."""
    if diameter >= 15:
        mask = opened(mask)
    holes, n = ndi.label(~mask)
    areas = np.bincount(holes.ravel(), minlength=n + 1)
    dark = np.bincount(holes[is_ground], minlength=n + 1)
    is_small = (areas < diameter**2 / 5) & (
        dark < np.maximum(_GROUND_SHARE * areas, diameter**2 / 100)
    )
    is_small[0] = True  # The mask itself.
    filled: NDArray[np.bool_] = is_small[holes]
    return filled


def _without_odd(
    labels: NDArray[np.int32],
    contrast: NDArray[np.float32],
    levels: NDArray[np.float64],
    noise: float,
    diameter: float,
) -> NDArray[np.int32]:
    """Drop what is far too small or large, slivers, haze and dirt; number the others in order."""
    n = int(labels.max()) + 1
    px = np.bincount(labels.ravel(), minlength=n)
    area = px / (np.pi / 4 * diameter**2)
    elongation = _elongation(labels, px)
    drop, n_steps = edge_drops(labels, contrast, max(1, round(_EDGE * diameter)))
    usual = _usual_drop(drop[1:], area[1:])
    is_odd = (area < _LEAST_AREA) | (px < min(_LEAST_PX, 0.2 * diameter**2))
    is_odd |= (area > _MOST_AREA) | (elongation > _MOST_ELONGATION)
    is_odd |= drop < _LEAST_DROP * levels[:n]
    clear = drop * np.sqrt(n_steps)
    is_odd |= clear < np.where(area < _TINY_AREA, _SPECK_SNR, _LEAST_SNR) * noise
    is_speck = (area < _SPECK_AREA) & (elongation < _SPECK_ELONGATION)
    is_body = (area < _BODY_AREA) & (elongation < _BODY_ELONGATION)
    is_body &= drop > _BODY_DROP * label_medians(labels, contrast)
    dim = np.where(is_speck, _DIM_SPECK, np.where(is_body, _DIM_BODY, _DIM))
    dim = np.where(elongation > _SLIM, _DIM_SLIM, np.where(clear > _SPECK_SNR * noise, dim, _DIM))
    is_odd |= drop < dim * usual
    is_odd[0] = True
    return _by_first_pixel(np.where(is_odd[labels], 0, labels))


def _usual_drop(drop: NDArray[np.float64], area: NDArray[np.float64]) -> float:
    """Give the drop of light at the edge of a typical nucleus: half of all light has more.

    By light rather than by area, as yolk, cytoplasm and haze may cover more than nuclei do; but at
    most twice that by area, as a single dead nucleus may outshine a sparse field.
    """
    area = np.where((area > _LEAST_TYPICAL) & (drop > 0), np.minimum(area, 1.0), 0.0)
    if not area.any():
        return 0.0
    by_light, by_area = (
        float(np.quantile(drop, 0.5, weights=weights, method="inverted_cdf"))
        for weights in (area * np.maximum(drop, 0.0), area)
    )
    return min(by_light, 2 * by_area)


def _by_first_pixel(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Renumber so that labels follow the reading order of their first pixels."""
    numbers, first = np.unique(labels, return_index=True)
    numbers, first = numbers[numbers > 0], first[numbers > 0]
    number = np.zeros(int(labels.max()) + 1, dtype=np.int32)
    number[numbers[np.argsort(first)]] = np.arange(1, len(numbers) + 1)
    return number[labels]


def _border_labels(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))


def _half_widths(image: NDArray[np.float32]) -> NDArray[np.float64]:
    """Largest distance to the edge in each piece above a plain threshold, in px."""
    side = max(16.0, min(image.shape) / 16)  # Stands in for the diameter, which is not yet known.
    contrast, threshold = _contrast(image, side)
    mask = opened(contrast > threshold)
    depth = ndi.gaussian_filter(depth_of(mask), 1.0)
    peaks: NDArray[np.float64] = depth[(ndi.maximum_filter(depth, 5) == depth) & (depth > 1)]
    return peaks.astype(np.float64)
