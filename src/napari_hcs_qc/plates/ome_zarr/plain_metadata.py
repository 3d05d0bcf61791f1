"""NGFF metadata read as they stand, where ngio refuses them: older versions, and channels alike.

ngio reads 0.4 and 0.5 and wants channels with distinct labels, a colour and a window; plates of
0.1 to 0.3 and of other writers have less, and enough to be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.ome_zarr.zarr_image import (
    ImageFacts,
    attributes_of,
    micrometres_per,
    open_level0,
    stored_chunks,
    unique_names,
)

if TYPE_CHECKING:
    from pathlib import Path

_AXES = ("t", "c", "z", "y", "x")  # of 0.1 and 0.2, which have no others


@dataclass(frozen=True, kw_only=True)
class WellEntry:
    """A well as the plate lists it."""

    path: str  # of its group from that of the plate
    row_index: int | None = None
    column_index: int | None = None


@dataclass(frozen=True, kw_only=True)
class PlateMetadata:
    """What the plate group says."""

    name: str
    rows: tuple[str, ...]  # names
    columns: tuple[str, ...]  # names
    wells: tuple[WellEntry, ...]
    n_acquisitions: int = 1


def plate_metadata(folder: Path) -> PlateMetadata:
    """Read the metadata of a plate of any version; raises what a damaged group makes it raise."""
    plate = _ome(folder)["plate"]
    return PlateMetadata(
        name=str(plate.get("name") or ""),
        rows=tuple(str(row["name"]) for row in plate.get("rows", [])),
        columns=tuple(str(column["name"]) for column in plate.get("columns", [])),
        wells=tuple(
            WellEntry(
                path=str(well["path"]).strip("/"),
                row_index=_index(well, "rowIndex", "row_index"),
                column_index=_index(well, "columnIndex", "column_index"),
            )
            for well in plate["wells"]
        ),
        n_acquisitions=max(1, len(plate.get("acquisitions") or ())),
    )


def field_paths(well: Path) -> list[str]:
    """Paths of the images of a well."""
    return [str(image["path"]) for image in _ome(well)["well"]["images"]]


def image_facts(folder: Path) -> ImageFacts:
    """Read what is needed of the metadata of an image."""
    ome = _ome(folder)
    multiscale = ome["multiscales"][0]
    dataset = multiscale["datasets"][0]
    level = str(dataset["path"])
    array, _ = open_level0(folder, level)
    shape = tuple(int(length) for length in array.shape)
    listed = multiscale.get("axes")
    axes = tuple(
        str(axis["name"] if isinstance(axis, dict) else axis).lower()
        for axis in listed or _AXES[-len(shape) :]
    )
    if len(axes) != len(shape) or not set(axes) <= set(_AXES) or not {"y", "x"} <= set(axes):
        raise HcsQcError(f"its axes {', '.join(axes)} do not fit an array of {len(shape)} axes")
    names = [
        str(channel.get("label") or "") for channel in ome.get("omero", {}).get("channels", [])
    ]
    return ImageFacts(
        level=level,
        axes=axes,
        shape=shape,
        chunks=stored_chunks(array),
        channel_names=unique_names(names) if all(names) else (),
        pixel_size_um=_pixel_size(multiscale, dataset, listed),
    )


def _pixel_size(
    multiscale: dict[str, Any], dataset: dict[str, Any], axes: list[Any] | None
) -> float | None:
    """Pixel size in x; only where axes have a unit, since without one it may be anything."""
    unit = next(
        (axis.get("unit") for axis in axes or () if isinstance(axis, dict) and axis["name"] == "x"),
        None,
    )
    factor = micrometres_per(str(unit)) if unit else None
    if factor is None:
        return None
    size = factor
    for transforms in (
        dataset.get("coordinateTransformations"),
        multiscale.get("coordinateTransformations"),
    ):
        for transform in transforms or ():
            if transform.get("type") == "scale":
                size *= float(transform["scale"][-1])
    return size


def _ome(folder: Path) -> dict[str, Any]:
    attributes = attributes_of(folder)
    ome: dict[str, Any] = attributes.get("ome", attributes)
    return ome


def _index(well: dict[str, Any], *names: str) -> int | None:
    value = next((well[name] for name in names if name in well), None)
    return value if isinstance(value, int) else None
