"""Planes and label images of OME-Zarr fields, here or on a server."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_hcs_qc.plates.ome_zarr.image_metadata import describe_image
from napari_hcs_qc.plates.ome_zarr.zarr_chunks import truncated_blosc, truncated_chunks
from napari_hcs_qc.plates.ome_zarr.zarr_image import (
    ImageFacts,
    load_plane,
    open_level0,
    opened,
    refuse_excess,
    short_reason,
)
from napari_hcs_qc.plates.pixels import Layout, UnreadableImageError
from napari_hcs_qc.plates.remote import as_location
from napari_hcs_qc.plates.zip_archive import archive_of
from napari_hcs_qc.text import a_few

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_ome_zarr_plane(path: str, part: int, z: int, time: int) -> NDArray[Any]:
    """Read one plane of an OME-Zarr image at full resolution."""
    facts = describe_image(path)
    index = _index_of(facts, {"c": part, "z": z, "t": time})
    selection = tuple(slice(None) if at is None else at for at in index)
    location = as_location(path)
    array, store = open_level0(location, facts.level)
    if store is not None:  # Chunks are looked at once they are here, not asked for twice.
        pixels = load_plane(array, selection, facts.axes)
        # In an archive absent chunks are the fill value; a server that lost them looks alike.
        if store.absent and not store.fetched and archive_of(path) is None:
            raise UnreadableImageError(
                f"lacks {len(store.absent)} of the chunks of this plane, which are all of them "
                f"({a_few(store.absent)} of array {facts.level}); copy the plate to the server "
                "again"
            )
        _refuse_damage(facts, truncated_blosc(array, store.fetched), " to the server")
        return pixels
    _refuse_damage(facts, truncated_chunks(array, location / facts.level, index))
    return load_plane(array, selection, facts.axes)


def ome_zarr_layout(path: str) -> Layout:
    """Give shape and dtype of the planes of an image, from metadata alone."""
    facts = describe_image(path)
    array, _ = open_level0(as_location(path), facts.level)
    dtype = np.dtype(array.dtype).newbyteorder("=")
    return Layout((facts.size("y"), facts.size("x")), dtype)


def _index_of(facts: ImageFacts, wanted: dict[str, int]) -> list[int | None]:
    """Position on every axis of an image, None for those that are read whole."""
    for axis, at in wanted.items():
        if not 0 <= at < facts.size(axis):
            raise UnreadableImageError(
                f"has {facts.size(axis)} on its axis {axis}; index {at} was expected too"
            )
    return [wanted.get(axis) for axis in facts.axes]


def _refuse_damage(facts: ImageFacts, truncated: list[str], where: str = "") -> None:
    """Refuse a plane some of whose chunks are cut off."""
    if truncated:
        raise UnreadableImageError(
            f"has a damaged chunk: {a_few(truncated)} of array {facts.level} is truncated; copy "
            f"it{where} again"
        )


def list_ome_zarr_labels(path: str) -> list[str]:
    """Names of the label images that lie with an OME-Zarr image; empty where there are none."""
    from ngio import open_ome_zarr_container

    try:
        return list(open_ome_zarr_container(opened(Path(path)), mode="r").list_labels())
    except Exception as error:
        raise UnreadableImageError(f"cannot be opened ({short_reason(error)})") from error


def read_ome_zarr_label(path: str, name: str | None = None) -> NDArray[np.integer[Any]]:
    """Read a label image of an OME-Zarr field at full resolution."""
    from ngio import open_ome_zarr_container

    names = list_ome_zarr_labels(path)
    if name is None and len(names) == 1:
        name = names[0]
    if name is None or name not in names:
        if not names:
            raise UnreadableImageError("has no label images; give masks of another file")
        wanted = "" if name is None else f", and none called {name}"
        raise UnreadableImageError(
            f"has the label images {', '.join(names)}{wanted}; choose one by its name (--labels "
            f"{quote(names[0])})"
        )
    try:
        label = open_ome_zarr_container(opened(Path(path)), mode="r").get_label(name)
        array, axes = label.zarr_array, label.axes
    except Exception as error:
        raise UnreadableImageError(
            f"has a label image '{name}' that cannot be opened ({short_reason(error)})"
        ) from error
    refuse_excess(array)
    if array.dtype.kind not in "ui":
        raise UnreadableImageError(
            f"has a label image '{name}' of {array.dtype}; integer ids were expected"
        )
    index = tuple(0 if axis == "t" else slice(None) for axis in axes)
    labels = load_plane(array, index, axes)
    return cast("NDArray[np.integer[Any]]", labels)
