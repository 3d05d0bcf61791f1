"""Hand-made image-quality features of crops: what a learned encoder has to beat.

The figures are those image-quality work on high-content screens has settled on (Bray et al.
2012, J. Biomol. Screen. 17; CellProfiler's MeasureImageQuality): slope of the power spectrum,
focus scores, share saturated, intensity statistics; and the shape of what is bright.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import laplace

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Images = NDArray[np.float32]

SATURATED = 0.999
"""Scaled intensity from which a pixel counts as saturated."""

_QUANTILES = (1, 5, 25, 50, 75, 95, 99)
_INTENSITY = ("min", "max", "mean", "sd", "mad", *(f"q{q:02d}" for q in _QUANTILES), "saturated")
_TEXTURE = (
    "focus",
    "laplacian_var",
    "gradient_energy",
    "correlation_1px",
    "correlation_4px",
    "power_slope",
    "power_residual",
)
_SHAPE = ("area", "eccentricity", "compactness", "off_centre", "contrast")
_IMAGES_AT_ONCE = 128
_TINY = 1e-6


def hand_features(
    crops: ArrayLike, *, job: Job = NO_JOB
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Measure crops.

    Each view and channel is measured whole and, but for the shape, in the middle half of its
    sides, where the cell is.
    """
    stack = np.asarray(crops)
    if stack.ndim != 5 or min(stack.shape[3:]) < 16:
        raise HcsQcError(
            f"Crops of the shape {stack.shape} were given; expected (cells, views, channels, "
            "height, width) with sides of 16 px or more."
        )
    n_cells, n_views, n_channels = stack.shape[:3]
    names = tuple(
        f"view{view}_channel{channel}_{name}"
        for view in range(n_views)
        for channel in range(n_channels)
        for name in feature_names()
    )
    features = np.empty((n_cells, len(names)), np.float32)
    step = max(1, _IMAGES_AT_ONCE // max(1, n_views * n_channels))
    for start in range(0, n_cells, step):
        job.check()
        job.report(start, n_cells, "measuring crops")
        block = np.asarray(stack[start : start + step], np.float32)
        measured = _measure(block.reshape(-1, *block.shape[3:]))
        features[start : start + step] = measured.reshape(len(block), -1)
    job.report(n_cells, n_cells, "measuring crops")
    return features, names


def feature_names() -> tuple[str, ...]:
    """Names of the features of one view and channel."""
    parts = [(place, name) for place in ("whole", "centre") for name in (*_INTENSITY, *_TEXTURE)]
    return (*(f"{place}_{name}" for place, name in parts), *(f"shape_{name}" for name in _SHAPE))


def _measure(images: Images) -> NDArray[np.float32]:
    height, width = images.shape[1:]
    rows = slice(height // 4, height - height // 4)
    columns = slice(width // 4, width - width // 4)
    centre = np.ascontiguousarray(images[:, rows, columns])
    parts = [
        *_intensity(images),
        *_texture(images),
        *_intensity(centre),
        *_texture(centre),
        *_shape(images),
    ]
    measured = np.stack(parts, axis=1).astype(np.float32)
    measured[~np.isfinite(images).all(axis=(1, 2))] = np.nan
    return measured


def _intensity(images: Images) -> list[NDArray[Any]]:
    flat = np.sort(images.reshape(len(images), -1), axis=1)
    n_pixels = flat.shape[1]
    quantiles = [flat[:, round(q / 100 * (n_pixels - 1))] for q in _QUANTILES]
    median = quantiles[_QUANTILES.index(50)]
    away = np.abs(flat - median[:, np.newaxis])
    mad = np.partition(away, n_pixels // 2, axis=1)[:, n_pixels // 2]
    saturated = (flat >= SATURATED).mean(axis=1)
    return [
        flat[:, 0],
        flat[:, -1],
        flat.mean(axis=1),
        flat.std(axis=1),
        mad,
        *quantiles,
        saturated,
    ]


def _texture(images: Images) -> list[NDArray[Any]]:
    mean = images.mean(axis=(1, 2))
    variance = images.var(axis=(1, 2))
    gradient_energy = (np.diff(images, axis=1) ** 2).mean(axis=(1, 2)) + (
        np.diff(images, axis=2) ** 2
    ).mean(axis=(1, 2))
    second = laplace(images, mode="reflect", axes=(1, 2))
    return [
        variance / (mean + _TINY),  # normalised variance: how contrasted for its brightness
        second.var(axis=(1, 2)),
        gradient_energy,
        _correlation(images, 1),
        _correlation(images, 4),
        *_power(images),
    ]


def _correlation(images: Images, distance_px: int) -> NDArray[Any]:
    """Correlation of pixels with those `distance_px` right and below, 0 for a flat image."""
    deviation = images - images.mean(axis=(1, 2), keepdims=True)
    variance = (deviation**2).mean(axis=(1, 2))
    across = (deviation[:, :, distance_px:] * deviation[:, :, :-distance_px]).mean(axis=(1, 2))
    down = (deviation[:, distance_px:] * deviation[:, :-distance_px]).mean(axis=(1, 2))
    correlation: NDArray[Any] = (across + down) / 2 / (variance + _TINY**2)
    return correlation


def _power(images: Images) -> tuple[NDArray[Any], NDArray[Any]]:
    """Slope of log power over log frequency, and how far the spectrum is from that line."""
    height, width = images.shape[1:]
    window, ring, log_frequency = _rings(height, width)
    deviation = images - images.mean(axis=(1, 2), keepdims=True)
    spectrum = np.fft.rfft2(deviation * window)
    power = (spectrum.real**2 + spectrum.imag**2).reshape(len(images), -1)
    radial = np.log10(power @ ring + _TINY**2)
    x = log_frequency - log_frequency.mean()
    centred = radial - radial.mean(axis=1, keepdims=True)
    slope = centred @ x / (x @ x)
    residual = (centred - slope[:, np.newaxis] * x).std(axis=1)
    return slope, residual


@lru_cache(maxsize=8)
def _rings(height: int, width: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Hann window, ``(n_frequencies, n_rings)`` averaging matrix, log of each ring's frequency."""
    window = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)
    y, x = np.fft.fftfreq(height)[:, np.newaxis], np.fft.rfftfreq(width)
    radius = np.hypot(y, x).ravel()
    # Below two periods a crop, mean and window leave little of what was there.
    edges = np.geomspace(2.5 / min(height, width), 0.5, 11)
    number = np.digitize(radius, edges) - 1
    member = (number[:, np.newaxis] == np.arange(10)).astype(np.float32)
    filled = member.sum(axis=0) > 0
    member = member[:, filled]
    frequency = (radius @ member) / member.sum(axis=0)
    return window, member / member.sum(axis=0), np.log10(frequency)


def _shape(images: Images) -> list[NDArray[Any]]:
    """Shape of the pixels above half-way between background and bright: a rough nucleus."""
    flat = images.reshape(len(images), -1)
    count = flat.shape[1]
    low, high = np.partition(flat, (count // 10, count * 95 // 100), axis=1)[
        :, [count // 10, count * 95 // 100]
    ].T
    bright = images > ((low + high) / 2)[:, np.newaxis, np.newaxis]
    mask = bright.astype(np.float32)
    height, width = images.shape[1:]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, np.newaxis]
    x = np.linspace(-1, 1, width, dtype=np.float32)
    area = mask.mean(axis=(1, 2))
    total = np.maximum(mask.sum(axis=(1, 2)), 1)
    mean_y, mean_x = (mask * y).sum(axis=(1, 2)) / total, (mask * x).sum(axis=(1, 2)) / total
    var_y = (mask * y**2).sum(axis=(1, 2)) / total - mean_y**2
    var_x = (mask * x**2).sum(axis=(1, 2)) / total - mean_x**2
    cov = (mask * y * x).sum(axis=(1, 2)) / total - mean_y * mean_x
    middle = (var_y + var_x) / 2
    swing = np.sqrt(((var_y - var_x) / 2) ** 2 + cov**2)
    long, short = middle + swing, np.maximum(middle - swing, 0)
    edge = np.abs(np.diff(mask, axis=1)).sum(axis=(1, 2))
    edge += np.abs(np.diff(mask, axis=2)).sum(axis=(1, 2))
    return [
        area,
        np.sqrt(np.maximum(1 - short / np.maximum(long, _TINY), 0)),
        edge**2 / (16 * total),  # 1 for a square; grows with every ragged edge
        np.hypot(mean_y, mean_x),
        high - low,
    ]
