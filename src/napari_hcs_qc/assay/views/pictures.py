"""Sites and cells as small colour pictures: for the gallery, for thumbnails and montages.

Grey values are brought to brightness by the plate's intensity ranges, never by the picture's own,
so that an empty or a saturated picture looks like one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image

from napari_hcs_qc.errors import HcsQcError, UnreadableSiteError
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates.plate import SiteKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from napari_hcs_qc.cells.intensity import IntensityRanges
    from napari_hcs_qc.plates.site_cache import SiteCache, SitePixels

Colour: TypeAlias = tuple[float, float, float]
"""Red, green and blue, 0 to 1."""

_LEVELS = 2**14  # so many that no step is seen, so few that the table is quick to look up
_CROPS_AT_ONCE = 8  # few, so that what is computed stays in the processor's cache


@dataclass(frozen=True)
class PictureStyle:
    """How channels become colour."""

    colours: tuple[Colour, ...]  # of each channel of the plate
    gamma: float = 0.6  # exponent of the brightness

    def __post_init__(self) -> None:
        if not 0 < self.gamma < float("inf"):
            raise HcsQcError(f"A gamma of {self.gamma:g} was given; a number above 0 was expected.")
        colours: tuple[tuple[float, ...], ...] = self.colours
        for colour in colours:
            if len(colour) != 3 or not all(0 <= part <= 1 for part in colour):
                raise HcsQcError(
                    f"The colour {colour} was given; red, green and blue from 0 to 1 were expected."
                )


def composite(
    pixels: NDArray[Any], channels: Sequence[int], ranges: IntensityRanges, style: PictureStyle
) -> NDArray[np.uint8]:
    """Add up the channels of an image in their colours."""
    if pixels.ndim != 3 or len(pixels) != len(channels):
        raise HcsQcError(
            f"Pixels of shape {pixels.shape} were given for {len(channels)} channels; "
            f"({len(channels)}, height, width) was expected."
        )
    n_known = min(len(ranges.channels), len(style.colours))
    unknown = [index for index in channels if not 0 <= index < n_known]
    if unknown:
        raise HcsQcError(
            f"Channel {unknown[0]} has no intensity range or no colour: "
            f"{len(ranges.channels)} ranges and {len(style.colours)} colours were given, "
            "and channels count from 0."
        )
    if not len(channels):
        return np.zeros((*pixels.shape[1:], 3), dtype=np.uint8)
    brightness = _brightness_of_level(style.gamma)
    shown = np.empty(pixels.shape, dtype=np.float32)
    for plane, target, index in zip(pixels, shown, channels, strict=True):
        grey = ranges.channels[index]
        np.subtract(plane, grey.low, out=target, casting="unsafe", dtype=np.float32)
        target *= (_LEVELS - 1) / (grey.high - grey.low)
        np.clip(target, 0, _LEVELS - 1, out=target)
        np.take(brightness, target.astype(np.uint16), out=target, mode="clip")
    colours = np.array([style.colours[index] for index in channels], dtype=np.float32)
    light = shown.reshape(len(shown), -1).T @ colours
    np.minimum(light, 255, out=light)
    light += 0.5  # to the nearest, where the cast below cuts off
    return light.astype(np.uint8).reshape(*pixels.shape[1:], 3)


def site_thumbnail(
    site: SitePixels, ranges: IntensityRanges, style: PictureStyle, longer_px: int
) -> NDArray[np.uint8]:
    """Make a small picture of a site."""
    if longer_px < 1:
        raise HcsQcError(f"A picture of {longer_px} px was requested; at least 1 px is needed.")
    height, width = site.pixels.shape[1:]
    shrink = max(1.0, max(height, width) / longer_px)
    small = _block_means(site.pixels, min(int(shrink), height, width))
    picture = composite(small, site.channels, ranges, style)
    size = (max(1, round(height / shrink)), max(1, round(width / shrink)))
    return _resized(picture, size)


def cell_pictures(
    cache: SiteCache,
    cells: pd.DataFrame,
    ranges: IntensityRanges,
    style: PictureStyle,
    *,
    side_px: int,
    shown_px: int,
    job: Job = NO_JOB,
) -> Iterator[tuple[int, NDArray[np.uint8] | None]]:
    """Cut pictures of cells, site by site: sites in memory first, then as the cells name them.

    At its borders the image is mirrored, as it is for the encoder.
    """
    if side_px < 1 or shown_px < 1:
        raise HcsQcError(
            f"Pictures of {side_px} px at {shown_px} px were requested; at least 1 px is needed."
        )
    groups: Any = cells.groupby(["well", "site"], sort=False, observed=True).indices
    rows_of = {SiteKey(str(well), int(site)): rows for (well, site), rows in groups.items()}
    positions = cells[["y_px", "x_px"]].to_numpy(np.float64)
    for site in sorted(rows_of, key=lambda site: cache.peek(site) is None):
        job.check()
        rows = rows_of[site]
        try:
            pixels = cache.get(site)
        except UnreadableSiteError:
            yield from ((int(row), None) for row in rows)
            continue
        is_inside = _inside(positions[rows], pixels.pixels.shape[1:])
        yield from ((int(row), None) for row in rows[~is_inside])
        rows = rows[is_inside]
        for start in range(0, len(rows), _CROPS_AT_ONCE):
            job.check()
            some = rows[start : start + _CROPS_AT_ONCE]
            crops = _squares(pixels.pixels, positions[some], side_px)
            # One below the other they are one image.
            stacked = composite(
                crops.reshape(len(crops), -1, side_px), pixels.channels, ranges, style
            )
            pictures = stacked.reshape(len(some), side_px, side_px, 3)
            for row, picture in zip(some, pictures, strict=True):
                yield int(row), _resized(picture, (shown_px, shown_px))


@lru_cache(maxsize=4)
def _brightness_of_level(gamma: float) -> NDArray[np.float32]:
    """Brightness, 0 to 255, of grey values in `_LEVELS` steps; a power of each pixel is slow."""
    table = (255 * np.linspace(0, 1, _LEVELS) ** gamma).astype(np.float32)
    table.flags.writeable = False  # it is shared
    return table


def _inside(positions: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    # The middle of the first pixel is 0, so the image reaches half a pixel beyond.
    is_inside = (positions >= -0.5) & (positions <= np.asarray(shape) - 0.5)
    return np.asarray(is_inside.all(axis=1))


def _squares(pixels: NDArray[Any], positions: NDArray[np.float64], side_px: int) -> NDArray[Any]:
    """Cut squares as `napari_hcs_qc.cells.crops.cut_squares`, without a copy of the whole image."""
    n_channels, height, width = pixels.shape
    squares = np.empty((n_channels, len(positions), side_px, side_px), pixels.dtype)
    before = side_px // 2
    for number, (y_px, x_px) in enumerate(positions):
        top = min(max(round(y_px), 0), height - 1) - before
        left = min(max(round(x_px), 0), width - 1) - before
        if min(top, left) >= 0 and top + side_px <= height and left + side_px <= width:
            square = pixels[:, top : top + side_px, left : left + side_px]
        else:
            rows, columns = _mirrored(top, side_px, height), _mirrored(left, side_px, width)
            square = pixels[:, rows[:, None], columns]
        squares[:, number] = square
    return squares


def _mirrored(start: int, n: int, length: int) -> NDArray[np.intp]:
    """Give `n` indices from `start` on, mirrored at both ends of an axis as often as needed."""
    if length == 1:
        return np.zeros(n, dtype=np.intp)
    period = 2 * (length - 1)
    indices = np.arange(start, start + n) % period
    return np.minimum(indices, period - indices)


def _block_means(pixels: NDArray[Any], side: int) -> NDArray[np.float32]:
    """Mean of blocks of `side` x `side` px; what is left at the right and below is left out."""
    if side == 1:
        return pixels.astype(np.float32)
    n_channels, height, width = pixels.shape
    blocks = pixels[:, : height // side * side, : width // side * side]
    blocks = blocks.reshape(n_channels, height // side, side, -1)
    rows = blocks.sum(axis=2, dtype=np.float32)  # whole rows first: memory is read in its order
    sums = rows.reshape(n_channels, height // side, -1, side).sum(axis=3)
    return np.asarray(sums / np.float32(side * side), dtype=np.float32)


def _resized(picture: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    if picture.shape[:2] == shape:
        return np.ascontiguousarray(picture)
    height, width = shape
    resized = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
    return np.array(resized)
