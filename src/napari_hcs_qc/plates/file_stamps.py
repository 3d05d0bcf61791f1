"""Sizes and dates of the files of a plate, by which a change of them is noticed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from napari_hcs_qc.files import stamp_of
from napari_hcs_qc.plates.zip_archive import archive_of

if TYPE_CHECKING:
    from collections.abc import Iterable

_ZARR_FILES = ("zarr.json", ".zattrs", "0/zarr.json", "0/.zarray")


class Stamps(NamedTuple):
    """A path of a plate as its files are; of an OME-Zarr image, those of its metadata."""

    name: str  # as seen from the deepest folder above all, where there is one
    # `stamp_of` each file
    files: list[tuple[int, int, int]]


def stamps_of(paths: Iterable[str], *, is_zarr: bool) -> dict[str, Stamps]:
    """Look at the files of a plate."""
    try:
        start = len(os.path.commonpath({os.path.dirname(path) for path in paths}))
    except ValueError:  # two drives of Windows
        start = 0
    return {
        path: Stamps(path[start:].replace(os.sep, "/").lstrip("/"), _file_stamps(path, is_zarr))
        for path in paths
    }


def _file_stamps(path: str, is_zarr: bool) -> list[tuple[int, int, int]]:
    archive = archive_of(path)
    if archive is not None:
        files = [archive[0]]
    else:
        files = [os.path.join(path, name) for name in _ZARR_FILES] if is_zarr else [path]
    stamps = []
    for file in files:
        try:
            stamps.append(stamp_of(os.stat(file)))
        except OSError:
            stamps.append((-1, -1, -1))
    return stamps
