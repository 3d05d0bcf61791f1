"""Quality of a whole image, measured without any model.

An artefact can hide the very nuclei it spoils, so nothing here looks at predictions: an empty,
blurred or hazy site is seen even where no cell is found on it.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.qc.quality_measures import MEASURES, QUALITY_COLUMNS, ChannelQuality

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from napari_hcs_qc.cells.intensity import ChannelRange, IntensityRanges
    from napari_hcs_qc.plates.plate import SiteKey

_N_BANDS = 24
_FIRST_PERIODS = 4  # an image; below, a band holds too few frequencies for a mean
_TILE_DIAMETERS = 4.0
_PLAUSIBLE_NUCLEUS = 4.0  # times the area of a typical nucleus; what is larger is no nucleus
_MARGIN_DIAMETERS = 0.3  # halo of a nucleus that does not count as outside of it
_STRUCTURE_DIAMETERS = 1.75  # wider than any nucleus, narrower than a fibre out of focus
_BRIGHT = 0.06  # of the plate's intensity range, above the site's own background
_BRIGHT_STRUCTURE = 0.10
_BRIGHT_FIBRE = 0.25  # about half the height of a nucleus, so that neighbours do not join
_FALLBACK_DIAMETER = 0.05  # of the shorter side of the image, where no nucleus tells the size
_NAN = float("nan")

# Mean of |x| below 3 times the median of |x|, for standard normal x.
_TRIM = 3 * 0.6744897501960817
_TRIMMED_MEAN = math.sqrt(2 / math.pi) * (1 - math.exp(-(_TRIM**2) / 2)) / math.erf(_TRIM / 2**0.5)


def measure_site(
    pixels: NDArray[Any],
    labels: NDArray[np.integer[Any]] | None,
    ranges: IntensityRanges,
    channels: Sequence[int] | None = None,
    *,
    nuclear_channel: int | None = 0,
    diameter_px: float | None = None,
) -> tuple[ChannelQuality, ...]:
    """Measure the image quality of each channel of one site."""
    indices = tuple(range(len(ranges.channels))) if channels is None else tuple(channels)
    if pixels.ndim != 3 or len(pixels) != len(indices):
        raise HcsQcError(
            f"Pixels of shape {pixels.shape} were given for {len(indices)} channels; "
            f"({len(indices)}, height, width) was expected."
        )
    if labels is not None and labels.shape != pixels.shape[1:]:
        raise HcsQcError(
            f"The mask of the nuclei is {labels.shape[0]} x {labels.shape[1]} px; the image is "
            f"{pixels.shape[1]} x {pixels.shape[2]} px. Give the mask of the same image."
        )
    areas = None if labels is None else np.bincount(labels.ravel())[1:]
    if diameter_px is None:
        diameter_px = _typical_diameter(areas, min(pixels.shape[1:]))
    return tuple(
        _measure_channel(
            plane,
            ranges.channels[index],
            diameter_px,
            labels if index == nuclear_channel else None,
            areas,
            is_nuclear=index == nuclear_channel,
        )
        for plane, index in zip(pixels, indices, strict=True)
    )


def quality_table(rows: Iterable[tuple[SiteKey, ChannelQuality]]) -> pd.DataFrame:
    """Put measured sites into one table, sorted by well, site and given order of channels."""
    table = pd.DataFrame(
        [{"well": site[0], "site": site[1], **asdict(quality)} for site, quality in rows],
        columns=list(QUALITY_COLUMNS),
    )
    table = table.astype({"site": "int32"} | dict.fromkeys(MEASURES, "float64"))
    return table.sort_values(["well", "site"], kind="stable", ignore_index=True)


def octave_power_slope(image: NDArray[np.floating[Any]]) -> float:
    """Slope of the log-log power spectrum of an image, radially averaged.

    The frequencies from 4 periods an image up to the Nyquist frequency are cut into bands of
    equal width in the logarithm, so that each octave weighs the same. A Hann window keeps the
    edges of the image out of the spectrum.
    """
    height, width = image.shape
    if min(height, width) < 16 or float(np.ptp(image)) == 0:
        return _NAN
    window, band, frequency, count = _bands(height, width)
    spectrum = scipy.fft.rfft2((image - np.float32(np.median(image))) * window)
    # Two passes without a temporary of complex products: |z|^2 by its parts.
    power = np.square(spectrum.real)
    power += np.square(spectrum.imag)
    total = np.bincount(band, weights=power.ravel(), minlength=_N_BANDS + 2)[1:-1]
    seen = (count > 0) & (total > 0)
    if seen.sum() < 4:
        return _NAN
    return float(np.polyfit(np.log(frequency[seen]), np.log(total[seen] / count[seen]), 1)[0])


def power_log_log_slope(image: NDArray[np.floating[Any]]) -> float:
    """Slope of the log-log power spectrum as CellProfiler defines it.

    The power is summed, not averaged, in rings of whole radii from 2 periods an image up to an
    eighth of its shorter side, without a window (centrosome's ``radial_power_spectrum``; Bray et
    al. 2012). The value does not change with the unit of the grey values.
    """
    height, width = image.shape
    radii = np.arange(2, min(height, width) // 8)
    if len(radii) < 2 or float(np.ptp(image)) == 0:
        return _NAN
    spectrum = scipy.fft.fft2(image - image.mean(dtype=np.float64))
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    ring = _cellprofiler_rings(height, width)
    total = np.bincount(ring.ravel(), weights=power.ravel())[radii]
    seen = total > 0
    if seen.sum() < 2:
        return _NAN
    return float(np.polyfit(np.log(radii[seen]), np.log(total[seen]), 1)[0])


def noise_level(image: NDArray[np.floating[Any]]) -> float:
    """Estimate the standard deviation of the pixel noise in the dark half of an image.

    Differences of neighbours along both axes (x11 - x12 - x21 + x22, of twice the deviation of
    the pixels) cancel every plane and every step along an axis. The mean of their moduli up to
    three times their median, where no edge of a nucleus counts, is scaled as for normal noise; a
    median alone would be a whole number.
    """
    if min(image.shape) < 2:
        return _NAN
    mixed = np.abs(image[:-1, :-1] - image[1:, :-1] - image[:-1, 1:] + image[1:, 1:])
    mixed = mixed[image[:-1, :-1] <= np.median(image)]
    limit = 3 * float(np.median(mixed))
    if limit == 0:
        return float(np.sqrt(np.pi / 2) * mixed.mean() / 2)
    return float(mixed[mixed <= limit].mean() / _TRIMMED_MEAN / 2)


def edge_width(
    image: NDArray[np.floating[Any]], diameter_px: float, least_contrast: float
) -> float:
    """Width of the steepest edges, in px, of the median tile of an image.

    Each tile, four nuclei wide, gives the ratio of its contrast to its steepest slope, so that
    neither the number of cells nor their brightness counts, and one bright fibre spoils a few
    tiles only. A Gaussian edge of standard deviation s gives s.
    """
    smooth = scipy.ndimage.gaussian_filter(image, 1.0, truncate=3.0)
    slope_y, slope_x = np.gradient(smooth)
    slope = np.hypot(slope_y, slope_x)
    height, width = image.shape
    rows = max(1, round(height / (_TILE_DIAMETERS * diameter_px)))
    columns = max(1, round(width / (_TILE_DIAMETERS * diameter_px)))
    edge_widths = []
    for row in range(rows):
        for column in range(columns):
            tile = np.s_[
                row * height // rows : (row + 1) * height // rows,
                column * width // columns : (column + 1) * width // columns,
            ]
            low, high = np.percentile(smooth[tile], [5.0, 99.5])
            if high - low >= least_contrast:
                steepest = np.percentile(slope[tile], 99.5)
                edge_widths.append((high - low) / (steepest * np.sqrt(2 * np.pi)))
    return float(np.median(edge_widths)) if edge_widths else _NAN


def _measure_channel(
    plane: NDArray[Any],
    grey: ChannelRange,
    diameter_px: float,
    labels: NDArray[np.integer[Any]] | None,
    areas: NDArray[np.integer[Any]] | None,
    *,
    is_nuclear: bool,
) -> ChannelQuality:
    image = plane.astype(np.float32, copy=False)
    span = max(grey.high - grey.low, 1e-12)
    background, top = (float(value) for value in np.percentile(image, [5.0, 99.5]))
    noise = noise_level(image)
    saturated_share, spot_px = _saturation(plane, grey)
    wide = _wider_than_nuclei(image, diameter_px)
    low, high = np.percentile(wide, [2.0, 98.0])
    nucleus = np.pi * diameter_px**2 / 4
    signal = top
    if labels is not None and labels.any():
        signal = float(np.median(image[labels > 0]))
    bright_outside = n_nuclei = nuclei_area = _NAN
    if labels is not None and areas is not None:
        threshold = background + _BRIGHT * span
        bright_outside = _bright_outside(image, labels, areas, threshold, diameter_px)
        n_nuclei = float(np.count_nonzero(areas))
        nuclei_area = float(areas.sum()) / image.size
    return ChannelQuality(
        channel=grey.channel,
        octave_power_slope=octave_power_slope(image),
        power_log_log_slope=power_log_log_slope(image),
        edge_width_px=edge_width(image, diameter_px, max(10 * noise, 0.05 * span)),
        saturated_share=saturated_share,
        saturated_spot_nuclei=spot_px / nucleus,
        background=background,
        background_rise=(background - grey.background) / span,
        background_span=float(high - low) / span,
        bright_outside_share=bright_outside,
        bright_structure_share=(
            float(np.mean(wide > background + _BRIGHT_STRUCTURE * span)) if is_nuclear else _NAN
        ),
        bright_extent_nuclei=(
            _longest(image, background + _BRIGHT_FIBRE * span) / diameter_px if is_nuclear else _NAN
        ),
        noise=noise,
        signal_to_noise=(signal - background) / noise if noise > 0 else _NAN,
        mean_intensity=float(image.mean(dtype=np.float64)),
        n_nuclei=n_nuclei,
        nuclei_area_share=nuclei_area,
    )


def _saturation(plane: NDArray[Any], grey: ChannelRange) -> tuple[float, int]:
    """Give the share of saturated pixels and the largest connected saturated area in px."""
    level = grey.saturation_level
    if level is None:
        # The sample of sites may have missed the only one that saturates: a plateau at the top
        # of this image, brighter than the plate's range, is saturation as well.
        level = float(plane.max())
        if level <= grey.high or np.count_nonzero(plane == level) < 20:
            return 0.0, 0
    mask = plane >= level
    share = float(mask.mean())
    if share == 0:
        return 0.0, 0
    spots, n_spots = scipy.ndimage.label(mask, structure=np.ones((3, 3)))
    largest = int(np.bincount(spots.ravel())[1:].max()) if n_spots else 0
    if grey.saturation_level is None and largest < 9:
        return 0.0, 0
    return share, largest


def _bright_outside(
    image: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
    areas: NDArray[np.integer[Any]],
    threshold: float,
    diameter_px: float,
) -> float:
    is_nucleus = np.concatenate(
        [[False], (areas > 0) & (areas <= _PLAUSIBLE_NUCLEUS * np.pi * diameter_px**2 / 4)]
    )
    size = 2 * max(1, round(_MARGIN_DIAMETERS * diameter_px)) + 1
    nuclei = scipy.ndimage.maximum_filter(is_nucleus[labels].view(np.uint8), size=size)
    return float(np.mean((image > threshold) & (nuclei == 0)))


def _longest(image: NDArray[np.floating[Any]], threshold: float) -> int:
    """Longer side in px of the largest bounding box of what is connected and bright."""
    # Averaging 3 x 3 px closes the gaps that noise makes in a thin structure.
    structures, _ = scipy.ndimage.label(scipy.ndimage.uniform_filter(image, 3) > threshold)
    boxes = scipy.ndimage.find_objects(structures)
    return max((max(y.stop - y.start, x.stop - x.start) for y, x in boxes), default=0)


def _wider_than_nuclei(image: NDArray[np.floating[Any]], diameter_px: float) -> NDArray[Any]:
    """Open the image with a square wider than a nucleus: background and large structures stay."""
    height, width = image.shape
    # At an eighth of a diameter a pixel nothing of interest is lost, and it is fast.
    step = max(1, min(int(diameter_px / 8), height // 8, width // 8))
    rows, columns = height // step, width // step
    small = image[: rows * step, : columns * step]
    small = small.reshape(rows, step, columns, step).mean(axis=(1, 3))
    size = max(3, round(_STRUCTURE_DIAMETERS * diameter_px / step))
    sides = (min(size, rows), min(size, columns))
    opened: NDArray[Any] = scipy.ndimage.grey_opening(small, size=sides)
    return opened


def _typical_diameter(areas: NDArray[np.integer[Any]] | None, side_px: int) -> float:
    if areas is not None and np.count_nonzero(areas) >= 5:
        return float(np.sqrt(4 * np.median(areas[areas > 0]) / np.pi))
    return _FALLBACK_DIAMETER * side_px


@lru_cache(maxsize=2)
def _cellprofiler_rings(height: int, width: int) -> NDArray[np.intp]:
    """Ring of each frequency: CellProfiler counts distances from the corners, and from 1."""
    y, x = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in (height, width))
    return np.floor(np.hypot(y[:, None], x[None, :])).astype(np.intp) + 1


@lru_cache(maxsize=2)
def _bands(
    height: int, width: int
) -> tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.float64], NDArray[np.intp]]:
    """Window, band of each frequency, middle frequency and size of the bands, for one shape."""
    window = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)
    frequency = np.hypot(scipy.fft.fftfreq(height)[:, None], scipy.fft.rfftfreq(width)[None, :])
    edges = np.geomspace(_FIRST_PERIODS / min(height, width), 0.5, _N_BANDS + 1)
    band = np.digitize(frequency.ravel(), edges)
    count = np.bincount(band, minlength=_N_BANDS + 2)[1:-1]
    return window, band, np.sqrt(edges[:-1] * edges[1:]), count
