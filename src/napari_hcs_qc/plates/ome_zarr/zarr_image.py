"""One OME-Zarr image: what its metadata says, and its planes at full resolution.

ngio and zarr are imported within the functions: they take seconds, and most plates are not
OME-Zarr.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_hcs_qc.plates.limits import excessive_size
from napari_hcs_qc.plates.pixels import UnreadableImageError
from napari_hcs_qc.plates.remote import MissingRemoteError, RemoteError, RemotePath, as_location

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import zarr
    from ngio import Image
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
    channel_names: tuple[str, ...]  # empty where none are given
    pixel_size_um: float | None  # none where it is unknown

    def size(self, axis: str) -> int:
        """Length of an axis; 1 for one that the image lacks."""
        return dict(zip(self.axes, self.shape, strict=True)).get(axis, 1)


class _Raw(NamedTuple):
    """Metadata as text, without what differs from field to field: names and display ranges."""

    ngff: str
    level: str
    array: str


_known: dict[_Raw, ImageFacts] = {}
_KNOWN_AT_MOST = 256


def describe_image(path: str) -> ImageFacts:
    """Read the metadata of an image.

    The fields of a plate are alike, and ngio takes 10 ms to decode and check one. So what was
    decoded before is looked up by its text.
    """
    folder = as_location(path)
    raw = _raw_metadata(folder)
    if raw is None or raw not in _known:
        facts = _decode(folder)
        if raw is None:
            return facts
        if len(_known) >= _KNOWN_AT_MOST:
            _known.clear()
        _known[raw] = facts
    return _known[raw]


def open_level0(image: Path, level: str) -> tuple[zarr.Array[Any], RemoteStore | None]:
    """Open the array of full resolution, and on a server the store that tells what it lacks."""
    folder = image / level
    try:
        if isinstance(folder, RemotePath):
            from napari_hcs_qc.plates.ome_zarr.remote_zarr import open_remote_array

            return open_remote_array(folder)
        files = (folder / name for name in _ARRAY_FILES)
        stamps = tuple(file.stat().st_mtime_ns for file in files if file.is_file())
        return _open_array(str(folder), stamps), None
    except RemoteError as error:
        raise UnreadableImageError(str(error)) from error
    except Exception as error:  # Whatever a damaged array makes zarr raise.
        raise UnreadableImageError(
            f"has an array {level} that cannot be opened ({short_reason(error)})"
        ) from error


@lru_cache(maxsize=64)
def _open_array(folder: str, _stamps: tuple[int, ...]) -> zarr.Array[Any]:
    """Open an array; the last ones are kept, for the other planes of a site."""
    import zarr

    return zarr.open_array(folder, mode="r")


def _decode(folder: Path) -> ImageFacts:
    from ngio import open_image

    try:
        # The largest array comes first, by the specification; ngio checks axes and transforms.
        image = open_image(opened(folder), mode="r")
        if excess := excessive_size(image.shape):
            raise UnreadableImageError(excess)
        channels = image.meta.channels_meta
        return ImageFacts(
            level=image.path,
            axes=tuple(image.axes),
            shape=tuple(image.shape),
            channel_names=tuple(each.label for each in channels.channels) if channels else (),
            pixel_size_um=_pixel_size_of(image, folder),
        )
    except RemoteError as error:
        raise UnreadableImageError(str(error)) from error
    except UnreadableImageError:
        raise
    except Exception as error:  # Whatever a damaged group makes the libraries raise.
        raise UnreadableImageError(
            f"cannot be opened as an OME-Zarr image ({short_reason(error)})"
        ) from error


def _raw_metadata(folder: Path) -> _Raw | None:
    """Read the metadata as text; None where that fails, which ngio explains."""
    try:
        name, text = next(_texts(folder, METADATA_FILES))
        data = json.loads(text)
        ome = data["attributes"]["ome"] if name == "zarr.json" else data
        multiscales = [{**each, "name": None} for each in ome["multiscales"]]
        level = str(multiscales[0]["datasets"][0]["path"])
        channels = [
            {**each, "window": sorted(each.get("window", ())), "color": "color" in each}
            for each in ome.get("omero", {}).get("channels", [])
        ]
        _, array = next(_texts(folder / level, _ARRAY_FILES))
        ngff = {"version": ome.get("version"), "multiscales": multiscales, "channels": channels}
        return _Raw(json.dumps([ngff, "omero" in ome]), level, array)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration):
        return None
    except RemoteError as error:
        raise UnreadableImageError(str(error)) from error


def _texts(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Read those files of a folder that there are."""
    for name in names:
        if isinstance(folder, RemotePath):
            from napari_hcs_qc.plates.ome_zarr.remote_zarr import metadata_of

            try:
                yield name, metadata_of(str(folder / name)).decode()
            except MissingRemoteError:
                continue
        elif (folder / name).is_file():
            yield name, (folder / name).read_text(encoding="utf-8")


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


def _pixel_size_of(image: Image, folder: Path) -> float | None:
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
