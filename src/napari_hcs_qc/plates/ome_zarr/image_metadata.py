"""What the metadata of an OME-Zarr image say; they are decoded once where fields are alike.

ngio is imported within the functions: it takes seconds, and most plates are not OME-Zarr.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from napari_hcs_qc.plates.ome_zarr.plain_metadata import image_facts
from napari_hcs_qc.plates.ome_zarr.zarr_image import (
    METADATA_FILES,
    ImageFacts,
    attributes_of,
    micrometres_per,
    opened,
    refuse_excess,
    short_reason,
    stored_chunks,
)
from napari_hcs_qc.plates.pixels import UnreadableImageError
from napari_hcs_qc.plates.remote import MissingRemoteError, RemoteError, RemotePath, as_location

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ngio import Image

_ARRAY_FILES = ("zarr.json", ".zarray")


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
        if min(facts.chunks, default=1) < 1:
            raise UnreadableImageError("claims chunks of no pixels. Its metadata is damaged")
        if len(set(facts.axes)) < len(facts.axes):
            raise UnreadableImageError(f"has the axes {', '.join(facts.axes)}, one of them twice")
        if raw is None:
            return facts
        if len(_known) >= _KNOWN_AT_MOST:
            _known.clear()
        _known[raw] = facts
    return _known[raw]


def _decode(folder: Path) -> ImageFacts:
    from ngio import open_image

    try:
        # The largest array comes first, by the specification; ngio checks axes and transforms.
        image = open_image(opened(folder), mode="r")
        refuse_excess(image.zarr_array)
        channels = image.meta.channels_meta
        return ImageFacts(
            level=image.path,
            axes=tuple(image.axes),
            shape=tuple(image.shape),
            chunks=stored_chunks(image.zarr_array),
            channel_names=tuple(each.label for each in channels.channels) if channels else (),
            pixel_size_um=_pixel_size_of(image, folder),
        )
    except RemoteError as error:
        raise UnreadableImageError(str(error)) from error
    except UnreadableImageError:
        raise
    except Exception as error:  # noqa: BLE001  Whatever a damaged group makes the libraries raise.
        refusal = error
    try:
        return image_facts(folder)
    except Exception as error:  # ngio says better what is wrong.
        raise UnreadableImageError(
            f"cannot be opened as an OME-Zarr image ({short_reason(refusal)})"
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


def _pixel_size_of(image: Image, folder: Path) -> float | None:
    """Pixel size in x in µm; None where the image states neither a scale nor a unit."""
    scale = float(image.pixel_size.x)
    # ngio fills in micrometres where there is no unit, and so does this, but for the scale of 1
    # that writers put where they know nothing.
    if scale == 1.0 and not _has_unit(folder):
        return None
    factor = micrometres_per(str(image.space_unit))
    return None if factor is None else scale * factor


def _has_unit(folder: Path) -> bool:
    attributes = attributes_of(folder)
    axes = attributes.get("ome", attributes)["multiscales"][0].get("axes", [])
    return any(isinstance(axis, dict) and axis.get("unit") for axis in axes)
