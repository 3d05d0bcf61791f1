"""A plate is its content: what decides where the dates of its files differ."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from napari_hcs_qc.plates.plate import OME_ZARR
from napari_hcs_qc.plates.remote import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_hcs_qc.plates.plate import Plate

_BLOCK = 4096  # bytes at the beginning, in the middle and at the end of a file
_READERS = 8
_ZARR_FILES = ("zarr.json", ".zattrs", "0/zarr.json", "0/.zarray")


def content_of(plate: Plate) -> str:
    """Hash sizes and sampled bytes of all files of a plate; empty where that cannot be done.

    Dates have no part in it: copying, another time zone or ``touch`` change nothing.
    """
    paths = sorted(set(plate.planes["path"]))
    if not paths or any(is_remote(path) for path in paths):
        return ""
    start = len(os.path.commonpath([os.path.dirname(path) for path in paths]))
    files = [file for path in paths for file in _files(path, plate.format)]
    digest = hashlib.sha256()
    try:
        with ThreadPoolExecutor(_READERS, "hcs-qc content") as pool:
            for file, sample in zip(files, pool.map(_sampled, files), strict=True):
                digest.update(f"{file[start:].replace(os.sep, '/')}\0{len(sample)}\0".encode())
                digest.update(sample)
    except OSError:
        return ""
    return digest.hexdigest()[:32]


def _files(path: str, plate_format: str) -> Iterator[str]:
    if plate_format != OME_ZARR:
        yield path
        return
    for name in _ZARR_FILES:
        if os.path.isfile(os.path.join(path, name)):
            yield os.path.join(path, name)
    # The first chunk found on the way down, in which pixels are.
    folder = os.path.join(path, "0")
    while os.path.isdir(folder):
        entries = sorted(entry for entry in os.listdir(folder) if not entry.startswith((".", "z")))
        if not entries:
            return
        folder = os.path.join(folder, entries[len(entries) // 2])
    if os.path.isfile(folder):
        yield folder


def _sampled(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        parts = [str(size).encode()]
        for offset in sorted({0, max(0, size // 2 - _BLOCK // 2), max(0, size - _BLOCK)}):
            file.seek(offset)
            parts.append(file.read(_BLOCK))
    return b"\0".join(parts)
