"""OME-Zarr plates, recognised by their metadata files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.readers.registry import Reader
from napari_hcs_qc.plates.remote import ZARR_MARKS, as_location, is_remote
from napari_hcs_qc.plates.zip_archive import archive_address, is_archive

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.plates.plate import Plate


def _is_ome_zarr(path: Path) -> bool:
    is_named = path.suffix.lower() == ".zarr"
    if is_remote(path):
        return is_named or path.is_dir()
    if is_archive(path):
        return path.is_file()
    return path.is_dir() and (is_named or any((path / mark).is_file() for mark in ZARR_MARKS))


def _open(
    path: Path,
    *,
    name: str | None = None,
    shape: tuple[int, int] | None = None,
    time: int | None = None,
) -> Plate:
    # Imported late: zarr and ngio take seconds to load and most plates need neither.
    from napari_hcs_qc.plates.ome_zarr.zarr_plate import open_ome_zarr_plate

    if not is_archive(path) or is_remote(path):
        return open_ome_zarr_plate(path, name=name, shape=shape, time=time)
    location = as_location(archive_address(str(path)))
    try:
        plate = open_ome_zarr_plate(location, name=name, shape=shape, time=time)
    except HcsQcError as error:
        raise HcsQcError(f"{path}: {error}") from error
    return replace(plate, source=path)


READER = Reader(
    name="ome-zarr",
    title="an OME-Zarr plate",
    recognises=_is_ome_zarr,
    open=_open,
    options=frozenset({"plate_shape", "time"}),
)
