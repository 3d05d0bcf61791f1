"""The images in a downloaded ZIP file: listed, checked, and unpacked without leaving the folder."""

from __future__ import annotations

import lzma
import re
import stat
import struct
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from napari_hcs_qc.download import bytes_text, need_space
from napari_hcs_qc.errors import HcsQcError, Problem, ProblemsError
from napari_hcs_qc.files import explained_writes
from napari_hcs_qc.plates.readers.names.known_names import match_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_hcs_qc.job import Job

_BLOCK_BYTES = 1 << 20
_OUTSIDE = re.compile(r"^[/\\]|^[A-Za-z]:|(?:^|[/\\])\.\.(?:[/\\]|$)|\0")
_RESERVED = re.compile(r'[<>:"|?*\\]')


class DamagedArchiveError(HcsQcError):
    """A ZIP file is truncated or corrupt: download it anew."""


class Image(NamedTuple):
    """One image in an archive."""

    member: str
    file: str
    well: str
    site: int
    wave: str
    size: int
    crc: int


def list_images(path: Path) -> list[Image]:
    """Images of a plate in a ZIP file, by their ImageXpress names; other files are passed over."""
    with _explained_damage(path), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    problems = [
        Problem(repr(member.filename), why) for member in members if (why := _unsafe(member))
    ]
    images, seen = [], set[str]()
    for member in members:
        name = PurePosixPath(member.filename)
        place = None if member.is_dir() else match_name("imagexpress", "", name.name)
        if place is None or not place.channel or "__MACOSX" in name.parts:
            continue
        if name.name.casefold() in seen:
            problems.append(Problem(repr(member.filename), "is a second file of this name."))
        seen.add(name.name.casefold())
        images.append(
            Image(
                member=member.filename,
                file=name.name,
                well=place.well,
                site=place.site,
                wave=place.channel,
                size=member.file_size,
                crc=member.CRC,
            )
        )
    if problems:
        summary = f"{path} is not unpacked, for it could write where it should not"
        raise ProblemsError(f"{summary} ({len(problems)} of {len(members)} members)", problems)
    if not images:
        raise HcsQcError(
            f"{path} holds {len(members)} files and none is an image of a plate; names such as "
            "IXMtest_A01_s1_w1….tif were expected. Check the base URL."
        )
    return images


def unpack(path: Path, images: Sequence[Image], folder: Path, *, job: Job, message: str) -> None:
    """Unpack images into a folder, flat; every byte is checked against the archive's CRC-32."""
    total, done = sum(image.size for image in images), 0
    need_space(folder, total, f"unpack {path.name}")
    with _explained_damage(path), zipfile.ZipFile(path) as archive:
        for image in images:
            target = folder / image.file
            with archive.open(image.member) as source:
                with explained_writes(target):
                    handle = target.open("wb")
                with handle:
                    while block := source.read(_BLOCK_BYTES):
                        job.check()
                        with explained_writes(target):
                            handle.write(block)
                        done += len(block)
                        job.report(done, total, message)
                    with explained_writes(target):
                        handle.flush()
            if target.stat().st_size != image.size:
                raise zipfile.BadZipFile(f"{image.member} is shorter than listed")


def _unsafe(member: zipfile.ZipInfo) -> str:
    """Why a member is not to be unpacked; empty where it may."""
    name = member.filename
    if _OUTSIDE.search(name) or _OUTSIDE.search(member.orig_filename):
        return "leads outside the folder it is unpacked into."
    if _RESERVED.search(name):
        return "has a character that no file name may have on Windows."
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device, not a plain file."
    if member.flag_bits & 0x1:
        return "is encrypted."
    return ""


@contextmanager
def _explained_damage(path: Path) -> Iterator[None]:
    """Turn what zipfile raises on a damaged archive into an error that says what is there."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, struct.error) as error:
        raise DamagedArchiveError(
            f"{path.name} ({_what_is(path)}) is truncated or corrupt: {error}; a whole ZIP file "
            "was expected."
        ) from error
    except (NotImplementedError, ValueError, UnicodeDecodeError, OverflowError) as error:
        raise DamagedArchiveError(
            f"{path.name} ({_what_is(path)}) cannot be unpacked: {error}; a whole ZIP file was "
            "expected."
        ) from error


def _what_is(path: Path) -> str:
    """Size of a file, and how it begins where that is no ZIP file."""
    with path.open("rb") as handle:
        start = handle.read(40)
    size = bytes_text(path.stat().st_size)
    if start.startswith(b"PK"):
        return size
    # Often a login or error page in place of the file.
    return f"{size}, begins with {start.decode('ascii', 'replace').split(chr(10))[0]!r}"
