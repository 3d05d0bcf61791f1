"""Sizes and dates of the files of a plate, by which a change of them is noticed."""

from __future__ import annotations

import os

from napari_hcs_qc.plates.zip_archive import archive_of

_ZARR_FILES = ("zarr.json", ".zattrs", "0/zarr.json", "0/.zarray")


def file_stamps(path: str, *, is_zarr: bool) -> list[int]:
    """Size in bytes and date in ns of a file; of an OME-Zarr image, those of its metadata."""
    archive = archive_of(path)
    if archive is not None:
        files = [archive[0]]
    else:
        files = [os.path.join(path, name) for name in _ZARR_FILES] if is_zarr else [path]
    numbers = []
    for file in files:
        try:
            status = os.stat(file)
            numbers += [status.st_size, status.st_mtime_ns]
        except OSError:
            numbers += [-1, -1]
    return numbers
