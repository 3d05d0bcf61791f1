"""OME-Zarr plates, recognised by their metadata files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hcs_qc.plates.readers.registry import Reader
from napari_hcs_qc.plates.remote import ZARR_MARKS, is_remote

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.plates.plate import Plate


def _is_ome_zarr(path: Path) -> bool:
    is_named = path.suffix.lower() == ".zarr"
    if is_remote(path):
        return is_named or path.is_dir()
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

    return open_ome_zarr_plate(path, name=name, shape=shape, time=time)


READER = Reader(
    name="ome-zarr",
    title="an OME-Zarr plate",
    recognises=_is_ome_zarr,
    open=_open,
    options=frozenset({"plate_shape", "time"}),
)
