"""One OME-Zarr image: opened at full resolution, its planes, its pixel size.

ngio and zarr are imported within the functions: they take seconds, and most plates are not
OME-Zarr.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.plates.pixels import UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ngio import Image
    from numpy.typing import NDArray

METADATA_FILES = ("zarr.json", ".zattrs")
"""Where a Zarr group keeps its attributes: format 3, format 2."""

_LONGEST = 160
_MICROMETRES = {
    "angstrom": 1e-4,
    "nanometer": 1e-3,
    "micrometer": 1.0,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "meter": 1e6,
}


def open_level0(path: str) -> Image:
    """Open an image at full resolution. The last ones are kept open until they are rewritten.

    Raises
    ------
    UnreadableImageError
        When there is no OME-Zarr image, or its metadata is damaged.
    """
    return _open_level0(path, _stamp_of(path))


@lru_cache(maxsize=64)
def _open_level0(path: str, _stamp: tuple[int, ...]) -> Image:
    from ngio import open_image

    try:
        # The largest array comes first, by the specification; ngio checks axes and transforms.
        image = open_image(path, mode="r")
        _ = image.zarr_array.shape
    except Exception as error:  # Whatever a damaged group makes the libraries raise.
        raise UnreadableImageError(
            f"cannot be opened as an OME-Zarr image ({short_reason(error)})"
        ) from error
    return image


def _stamp_of(path: str) -> tuple[int, ...]:
    """Dates of the metadata, so that a rewritten image is opened anew."""
    times = []
    for name in (*METADATA_FILES, "0/zarr.json", "0/.zarray"):
        try:
            times.append(os.stat(os.path.join(path, name)).st_mtime_ns)
        except OSError:
            times.append(-1)
    return tuple(times)


def load_plane(array: Any, index: tuple[int | slice, ...], axes: Sequence[str]) -> NDArray[Any]:
    """Read a selection that leaves y, x and at most z, of which the maximum is taken.

    Returns
    -------
    ndarray, (height, width)

    Raises
    ------
    UnreadableImageError
        When a chunk is damaged.
    """
    try:
        pixels = np.asarray(array[index])
    except Exception as error:  # A damaged chunk can make a codec raise anything.
        raise UnreadableImageError(
            f"has a damaged chunk ({short_reason(error)}): copy it again"
        ) from error
    left = [axis for axis, at in zip(axes, index, strict=True) if isinstance(at, slice)]
    pixels = pixels.transpose([left.index(axis) for axis in sorted(left, key="czyx".index)])
    pixels = pixels.reshape(-1, *pixels.shape[-2:]).max(axis=0) if pixels.ndim > 2 else pixels
    return np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))


def pixel_size_of(image: Image, folder: Path) -> float | None:
    """Pixel size in x in µm; None where the image states neither a scale nor a unit."""
    scale = float(image.pixel_size.x)
    # ngio fills in micrometres where there is no unit, and so does this, but for the scale of 1
    # that writers put where they know nothing.
    if scale == 1.0 and not _has_unit(folder):
        return None
    factor = _MICROMETRES.get(str(image.space_unit))
    return None if factor is None else scale * factor


def _has_unit(folder: Path) -> bool:
    attributes = attributes_of(folder)
    axes = attributes.get("ome", attributes)["multiscales"][0].get("axes", [])
    return any(isinstance(axis, dict) and axis.get("unit") for axis in axes)


def attributes_of(folder: Path) -> dict[str, Any]:
    """Attributes of a Zarr group."""
    import zarr

    return dict(zarr.open_group(folder, mode="r", use_consolidated=False).attrs)


def short_reason(error: BaseException) -> str:
    """Put a library's message on one line, cut where it gets long."""
    # ngio lists what each NGFF version has to say: the one that came furthest has most to say.
    text = max(re.split(r"Version \d\.\d: ", str(error)), key=len)
    text = " ".join(
        re.sub(r"\[type=.*?\]$|For further information.*", "", text, flags=re.M).split()
    )
    text = f"{text[:_LONGEST]}…" if len(text) > _LONGEST else text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
