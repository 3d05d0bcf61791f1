"""Planes and label images of OME-Zarr fields, here or on a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from napari_hcs_qc.plates.ome_zarr.zarr_chunks import check_chunks, truncated_blosc
from napari_hcs_qc.plates.ome_zarr.zarr_image import (
    ImageFacts,
    describe_image,
    load_plane,
    open_level0,
    opened,
    short_reason,
)
from napari_hcs_qc.plates.pixels import UnreadableImageError
from napari_hcs_qc.plates.remote import RemoteError, RemotePath, as_location

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray


_SHOWN = 3


def read_ome_zarr_plane(path: str, part: int, z: int, time: int) -> NDArray[Any]:
    """Read one plane of an OME-Zarr image at full resolution."""
    location = as_location(path)
    if isinstance(location, RemotePath):
        return _read_remote_plane(location, {"c": part, "z": z, "t": time})
    facts, array = open_level0(path)
    wanted = {"c": part, "z": z, "t": time}
    index = _index_of(facts, wanted)
    check = check_chunks(array, Path(path) / facts.level, index)
    if check.absent:
        raise UnreadableImageError(
            f"lacks {check.n_absent} of the {check.n_needed} chunks of this plane "
            f"({_listed(check.absent)} of array {facts.level}), which Zarr reads as zeros: copy "
            "the plate again, or, where its writer left out chunks that are all zero, have it "
            "write empty chunks too"
        )
    if check.truncated:
        raise UnreadableImageError(
            f"has a damaged chunk: {_listed(check.truncated)} of array {facts.level} is truncated; "
            "copy it again"
        )
    return load_plane(array, tuple(slice(None) if at is None else at for at in index), facts.axes)


def _index_of(facts: ImageFacts, wanted: dict[str, int]) -> list[int | None]:
    """Position on every axis of an image, None for those that are read whole."""
    for axis, at in wanted.items():
        if not 0 <= at < facts.size(axis):
            raise UnreadableImageError(
                f"has {facts.size(axis)} on its axis {axis}; index {at} was expected too"
            )
    return [wanted.get(axis) for axis in facts.axes]


def _read_remote_plane(path: RemotePath, wanted: dict[str, int]) -> NDArray[Any]:
    """Read a plane from a server; chunks are looked at once they are here, not asked for twice."""
    from napari_hcs_qc.plates.ome_zarr.remote_zarr import open_remote_array

    facts = describe_image(str(path))
    index = _index_of(facts, wanted)
    try:
        array, store = open_remote_array(path / facts.level)
    except RemoteError as error:
        raise UnreadableImageError(str(error)) from error
    except Exception as error:  # Whatever a damaged array makes zarr raise.
        raise UnreadableImageError(
            f"has an array {facts.level} that cannot be opened ({short_reason(error)})"
        ) from error
    selection = tuple(slice(None) if at is None else at for at in index)
    pixels = load_plane(array, selection, facts.axes)
    if store.absent:
        raise UnreadableImageError(
            f"lacks {len(store.absent)} of the chunks of this plane ({_listed(store.absent)} of "
            f"array {facts.level}), which Zarr reads as zeros: copy the plate to the server again, "
            "or, where its writer left out chunks that are all zero, have it write empty chunks too"
        )
    truncated = truncated_blosc(array, store.fetched)
    if truncated:
        raise UnreadableImageError(
            f"has a damaged chunk: {_listed(truncated)} of array {facts.level} is truncated; "
            "copy it to the server again"
        )
    return pixels


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
        has = f"the label images {', '.join(names)}" if names else "no label images"
        wanted = "one of them by name" if name is None else f"'{name}'"
        raise UnreadableImageError(f"has {has}; {wanted} was expected")
    try:
        label = open_ome_zarr_container(opened(Path(path)), mode="r").get_label(name)
        array, axes = label.zarr_array, label.axes
    except Exception as error:
        raise UnreadableImageError(
            f"has a label image '{name}' that cannot be opened ({short_reason(error)})"
        ) from error
    if array.dtype.kind not in "ui":
        raise UnreadableImageError(
            f"has a label image '{name}' of {array.dtype}; integer ids were expected"
        )
    index = tuple(0 if axis == "t" else slice(None) for axis in axes)
    labels = load_plane(array, index, axes)
    return cast("NDArray[np.integer[Any]]", labels)


def _listed(keys: Sequence[str]) -> str:
    more = len(keys) - _SHOWN
    return ", ".join(keys[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
