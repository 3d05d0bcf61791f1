"""Zipped OME-Zarr: the files in it have addresses, ``zip://folder/plate.zarr.zip/A/1/0``."""

from __future__ import annotations

import os
import re
import zipfile
from functools import lru_cache

from napari_hcs_qc.errors import HcsQcError

ENDINGS = (".zarr.zip", ".ozx")
SCHEME = "zip"
_ADDRESS = re.compile(
    rf"{SCHEME}:/+(.+?(?:{'|'.join(map(re.escape, ENDINGS))}))(?:/(.*))?", re.IGNORECASE
)
_LARGEST = 2**31  # bytes of one file; a chunk has some millions
_MARKS = ("zarr.json", ".zattrs", ".zgroup")


class MissingMemberError(HcsQcError):
    """There is no such file in the archive."""


def is_archive(path: object) -> bool:
    """Whether a path is named as a zipped OME-Zarr is."""
    return str(path).lower().endswith(ENDINGS)


def archive_address(path: str) -> str:
    """Give the address of what an archive holds."""
    return f"{SCHEME}://{os.path.abspath(path).replace(os.sep, '/').lstrip('/')}"


def archive_of(address: str) -> tuple[str, str] | None:
    """Give the path of the archive and of the file in it; None for other addresses."""
    match = _ADDRESS.fullmatch(address)
    if match is None:
        return None
    is_on_drive = re.match("[A-Za-z]:", match[1]) is not None
    return match[1] if is_on_drive else f"/{match[1]}", match[2] or ""


def has_member(archive: str, name: str) -> bool:
    """Whether an archive has a file."""
    opened, root = _opened(archive)
    return root + name in opened.NameToInfo


def read_member(archive: str, name: str) -> bytes:
    """Read a file of an archive."""
    opened, root = _opened(archive)
    info = opened.NameToInfo.get(root + name)
    if info is None:
        raise MissingMemberError("does not exist in the archive")
    if info.file_size > _LARGEST:
        raise HcsQcError(f"claims {info.file_size:,} bytes; it is damaged: copy it again")
    try:
        return opened.read(info)
    except Exception as error:  # A damaged archive can make zipfile and zlib raise anything.
        raise HcsQcError(f"is damaged in the archive ({error}): copy it again") from error


def _opened(archive: str) -> tuple[zipfile.ZipFile, str]:
    try:
        return _archive(archive, os.stat(archive).st_mtime_ns)
    except (OSError, zipfile.BadZipFile) as error:
        raise HcsQcError(f"cannot be opened as a zip archive ({error}): copy it again") from error


@lru_cache(maxsize=4)
def _archive(archive: str, _stamp: int) -> tuple[zipfile.ZipFile, str]:
    """Open an archive, and find the folder in it that the plate is in: many put one around it."""
    opened = zipfile.ZipFile(archive)
    tops = {name.partition("/")[0] for name in opened.namelist()}
    roots = ["", *(f"{top}/" for top in sorted(tops))]
    found = (root for root in roots if any(root + mark in opened.NameToInfo for mark in _MARKS))
    return opened, next(found, "")
