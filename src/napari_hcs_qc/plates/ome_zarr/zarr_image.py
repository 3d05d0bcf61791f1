"""One OME-Zarr image: what its metadata says, and its planes at full resolution.

ngio and zarr are imported within the functions: they take seconds, and most plates are not
OME-Zarr.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.plates.limits import excessive_array
from napari_hcs_qc.plates.pixels import UnreadableImageError
from napari_hcs_qc.plates.remote import RemoteError, RemotePath, as_location

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import zarr
    from numpy.typing import NDArray

    from napari_hcs_qc.plates.ome_zarr.remote_zarr import RemoteStore

METADATA_FILES = ("zarr.json", ".zattrs")
"""Where a Zarr group keeps its attributes: format 3, format 2."""

_ARRAY_FILES = ("zarr.json", ".zarray")
_LONGEST = 160
_MICROMETRES = {
    "angstrom": 1e-4,
    "nanometer": 1e-3,
    "micrometer": 1.0,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "meter": 1e6,
}


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """What the metadata of an image says of its full resolution."""

    level: str  # path of the array in the image group
    axes: tuple[str, ...]  # of the array; axes are ``t``, ``c``, ``z``, ``y``, ``x``
    shape: tuple[int, ...]  # of the array; axes are ``t``, ``c``, ``z``, ``y``, ``x``
    chunks: tuple[int, ...]  # shape of what lies in one file: a chunk, or a shard
    channel_names: tuple[str, ...]  # empty where none are given
    pixel_size_um: float | None  # none where it is unknown

    def size(self, axis: str) -> int:
        """Length of an axis; 1 for one that the image lacks."""
        return dict(zip(self.axes, self.shape, strict=True)).get(axis, 1)


def open_level0(image: Path, level: str) -> tuple[zarr.Array[Any], RemoteStore | None]:
    """Open the array of full resolution, and on a server the store that tells what it lacks."""
    folder = image / level
    try:
        if isinstance(folder, RemotePath):
            from napari_hcs_qc.plates.ome_zarr.remote_zarr import open_remote_array

            array, store = open_remote_array(folder)
        else:
            files = (folder / name for name in _ARRAY_FILES)
            stamps = tuple(file.stat().st_mtime_ns for file in files if file.is_file())
            array, store = _open_array(str(folder), stamps), None
    except RemoteError as error:
        raise UnreadableImageError(str(error)) from error
    except Exception as error:  # Whatever a damaged array makes zarr raise.
        raise UnreadableImageError(
            f"has an array {level} that cannot be opened ({short_reason(error)})"
        ) from error
    refuse_excess(array)
    return array, store


def refuse_excess(array: zarr.Array[Any]) -> None:
    """Refuse an array that claims more than is read, before any of it is."""
    if excess := excessive_array(array.shape, array.chunks, np.dtype(array.dtype)):
        raise UnreadableImageError(excess)


@lru_cache(maxsize=64)
def _open_array(folder: str, _stamps: tuple[int, ...]) -> zarr.Array[Any]:
    """Open an array; the last ones are kept, for the other planes of a site."""
    import zarr

    return zarr.open_array(folder, mode="r")


def stored_chunks(array: zarr.Array[Any]) -> tuple[int, ...]:
    """Shape of what lies in one file of an array."""
    return tuple(array.shards if array.shards is not None else array.chunks)


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """Tell channels of the same name apart by a number: ``Cy3``, ``Cy3 2``."""
    result: list[str] = []
    for name in names:
        number, candidate = 2, name
        while candidate.casefold() in {each.casefold() for each in result}:
            candidate, number = f"{name} {number}", number + 1
        result.append(candidate)
    return tuple(result)


def micrometres_per(unit: str) -> float | None:
    """Micrometres in a unit of NGFF; None for one that is none of length."""
    return _MICROMETRES.get(unit)


def opened(folder: Path) -> Any:
    """Give what ngio opens: the path of a group on this machine, or a group on a server."""
    folder = as_location(folder)
    if not isinstance(folder, RemotePath):
        return folder
    from napari_hcs_qc.plates.ome_zarr.remote_zarr import open_remote_group

    return open_remote_group(folder)


def load_plane(array: Any, index: tuple[int | slice, ...], axes: Sequence[str]) -> NDArray[Any]:
    """Read a selection that leaves y, x and at most z, of which the maximum is taken."""
    try:
        pixels = np.asarray(array[index])
    except RemoteError as error:
        raise UnreadableImageError(str(error)) from error
    except Exception as error:  # A damaged chunk can make a codec raise anything.
        raise UnreadableImageError(
            f"has a damaged chunk ({short_reason(error)}): copy it again"
        ) from error
    left = [axis for axis, at in zip(axes, index, strict=True) if isinstance(at, slice)]
    pixels = pixels.transpose([left.index(axis) for axis in sorted(left, key="czyx".index)])
    pixels = pixels.reshape(-1, *pixels.shape[-2:]).max(axis=0) if pixels.ndim > 2 else pixels
    return np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))


def attributes_of(folder: Path) -> dict[str, Any]:
    """Attributes of a Zarr group."""
    if isinstance(folder, RemotePath):
        return dict(opened(folder).attrs)
    import zarr

    return dict(zarr.open_group(folder, mode="r", use_consolidated=False).attrs)


def short_reason(error: BaseException) -> str:
    """Put a library's message on one line, cut where it gets long."""
    if isinstance(error, MemoryError):
        raise error  # no fault of the file
    # ngio lists what each NGFF version has to say: the one that came furthest has most to say.
    text = max(re.split(r"Version \d\.\d: ", str(error)), key=len)
    text = " ".join(
        re.sub(r"\[type=.*?\]$|For further information.*", "", text, flags=re.M).split()
    )
    text = f"{text[:_LONGEST]}…" if len(text) > _LONGEST else text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
