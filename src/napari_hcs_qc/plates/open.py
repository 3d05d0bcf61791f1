"""Recognise what a path holds and open it as a plate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.readers.image_folder import open_folder
from napari_hcs_qc.plates.readers.loaddata import open_load_data
from napari_hcs_qc.plates.remote import RemotePath, as_location

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.plates.plate import Plate

_TABLES = frozenset({".csv", ".tsv", ".parquet", ".pq"})
_DESCRIPTIONS = frozenset({".htd", ".xml"})
_ZARR_MARKS = ("zarr.json", ".zattrs", ".zgroup")


def open_plate(
    path: str | Path,
    *,
    pattern: str | None = None,
    image_root: str | Path | None = None,
    name: str | None = None,
) -> Plate:
    """Open a plate: names and metadata are read, pixels are not.

    Parameters
    ----------
    path
        A folder of images with names of ImageXpress/MetaXpress, Opera/Operetta/Phenix, ScanR or
        CellVoyager; a CellProfiler LoadData CSV or Parquet file; or an OME-Zarr plate. The last
        two may lie on a server (``https://…/plate.zarr``, ``s3://bucket/load_data.csv``).
    pattern
        For a folder with other names: a regular expression with the named groups ``well`` (or
        ``row`` and ``column``), ``site``, ``channel``, and optionally ``z``, ``time``, ``plate``,
        searched in the path relative to the folder.
    image_root
        For a LoadData table whose images moved: the folder they are in now.
    name
        Name of the plate, or which of several to open.

    Returns
    -------
    Plate
        What was not understood is in its ``problems``.

    Raises
    ------
    HcsQcError
        When the path does not exist, holds no plate that is recognised, or several.
    """
    path = as_location(path).expanduser().absolute()
    if isinstance(path, RemotePath):
        return _open_remote(path, pattern=pattern, image_root=image_root, name=name)
    if not path.exists():
        raise HcsQcError(
            f"{path} does not exist; a folder of images, a LoadData CSV or Parquet file, or an "
            "OME-Zarr plate was expected."
        )
    is_table = path.is_file() and path.suffix.lower() in _TABLES
    if pattern is not None and (is_table or _is_zarr(path)):
        raise HcsQcError(
            f"A pattern is for file names in a folder of images, which {path} is not; omit the "
            "pattern."
        )
    if image_root is not None:
        image_root = as_location(image_root).expanduser().absolute()
        if not is_table:
            raise HcsQcError(
                f"An image root is for a LoadData table, which {path} is not; omit the image root."
            )
        if not isinstance(image_root, RemotePath) and not image_root.is_dir():
            raise HcsQcError(f"The image root {image_root} is not a folder.")
    if is_table:
        return open_load_data(path, image_root=image_root, name=name)
    if path.is_file():
        if path.suffix.lower() in _DESCRIPTIONS:
            return open_folder(path.parent, pattern=pattern, name=name)
        raise HcsQcError(
            f"{path} is a single file; its folder, a LoadData CSV or Parquet file, or an OME-Zarr "
            "plate was expected."
        )
    if _is_zarr(path):
        # Imported late: zarr and ngio take seconds to load and most plates need neither.
        from napari_hcs_qc.plates.ome_zarr.zarr_plate import open_ome_zarr_plate

        return open_ome_zarr_plate(path, name=name)
    return open_folder(path, pattern=pattern, name=name)


def _open_remote(
    path: RemotePath,
    *,
    pattern: str | None,
    image_root: str | Path | None,
    name: str | None,
) -> Plate:
    """Open a plate on a server."""
    is_table = path.suffix.lower() in _TABLES
    if pattern is not None:
        raise HcsQcError(
            f"A pattern is for file names in a folder on this computer, which {path} is not; omit "
            "the pattern."
        )
    if image_root is not None and not is_table:
        raise HcsQcError(
            f"An image root is for a LoadData table, which {path} is not; omit the image root."
        )
    if is_table:
        root = None if image_root is None else as_location(image_root).expanduser().absolute()
        return open_load_data(path, image_root=root, name=name)
    if path.suffix.lower() == ".zarr" or path.is_dir():
        from napari_hcs_qc.plates.ome_zarr.zarr_plate import open_ome_zarr_plate

        return open_ome_zarr_plate(path, name=name)
    raise HcsQcError(
        f"{path} is not recognised, or the server is not reachable; on a server a LoadData CSV or "
        "Parquet file, or an OME-Zarr plate was expected (folders of images cannot be listed "
        "there)."
    )


def _is_zarr(path: Path) -> bool:
    return path.is_dir() and (
        path.suffix.lower() == ".zarr" or any((path / mark).is_file() for mark in _ZARR_MARKS)
    )
