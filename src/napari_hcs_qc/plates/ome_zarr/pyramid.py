"""Small pictures of OME-Zarr fields are made from a coarse level, not from all pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.ome_zarr.image_metadata import describe_image
from napari_hcs_qc.plates.ome_zarr.zarr_chunks import truncated_chunks
from napari_hcs_qc.plates.ome_zarr.zarr_image import attributes_of, load_plane, open_level0
from napari_hcs_qc.plates.remote import as_location

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.plates.plate import Plate, Projection, SiteKey


def read_coarse_site(
    plate: Plate, site: SiteKey, longer_px: int, projection: Projection
) -> NDArray[Any] | None:
    """Read the channels of a site from the coarsest level of at least so many pixels.

    None where there is no such level, or where it is damaged: the full resolution tells then.
    """
    planes = plate.planes
    own = planes[(planes["well"] == site.well) & (planes["site"] == site.site)]
    parts = own.drop_duplicates("channel").sort_values("channel")
    try:
        channels = [
            _read(str(path), int(part), longer_px, projection, plate.time_points[0])
            for path, part in zip(parts["path"], parts["part"], strict=True)
        ]
    except (HcsQcError, LookupError, TypeError, ValueError):
        return None
    shapes = {None if pixels is None else pixels.shape for pixels in channels}
    if len(shapes) != 1 or None in shapes:
        return None
    return np.stack([pixels for pixels in channels if pixels is not None])


def _read(
    path: str, part: int, longer_px: int, projection: Projection, time: int
) -> NDArray[Any] | None:
    facts = describe_image(path)
    location = as_location(path)
    for level in reversed(_levels(location)[1:]):
        array, store = open_level0(location, level)
        sizes = dict(zip(facts.axes, array.shape, strict=True))
        if max(sizes["y"], sizes["x"]) < longer_px:
            continue
        if projection != "max" and sizes.get("z", 1) != facts.size("z"):
            return None  # planes of the stack were joined, too
        wanted = {"c": part, "t": time, "z": None if projection == "max" else projection}
        index = [wanted.get(axis) for axis in facts.axes]
        if store is None and truncated_chunks(array, location / level, index):
            return None
        selection = tuple(slice(None) if at is None else at for at in index)
        pixels = load_plane(array, selection, facts.axes)
        return None if store is not None and store.absent else pixels
    return None


def _levels(folder: Path) -> list[str]:
    """Paths of the arrays, the finest first."""
    attributes = attributes_of(folder)
    ome = attributes.get("ome", attributes)
    return [str(dataset["path"]) for dataset in ome["multiscales"][0]["datasets"]]
