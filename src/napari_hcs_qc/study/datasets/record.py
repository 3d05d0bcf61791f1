"""What was fetched: the archives' hashes beside the data, and the files of each plate."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from filelock import FileLock

from napari_hcs_qc.documents import Document, Part
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import explained_writes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_hcs_qc.study.datasets.archive import Image

REGISTRY = "registry.json"
"""Hashes of all archives ever fetched into a folder."""

MANIFEST = "fetched.json"
"""In a plate's folder: its files, by wavelength."""


class ArchiveRecord(Part):
    """An archive as it was at its first download."""

    sha256: str
    size: int = 0
    url: str = ""
    first_downloaded: str = "date unknown"


class Archives(Document):
    """The file of all archives that were ever fetched into a folder."""

    remedy: ClassVar[str] = "Remove the entries that are named here."

    format: Literal["napari-hcs-qc archives"] = "napari-hcs-qc archives"
    format_version: Literal[1] = 1
    archives: dict[str, ArchiveRecord]

    @classmethod
    def migrate(cls, data: dict[str, Any]) -> dict[str, Any]:
        return {"archives": data}


class Registry:
    """The records of all archives that were fetched into a folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / REGISTRY
        self._lock = folder / f".{REGISTRY}.lock"

    def read(self) -> dict[str, ArchiveRecord]:
        """Read the records, by the archive's name."""
        return Archives.load(self.path).archives if self.path.exists() else {}

    def add(self, archive: str, sha256: str, size: int, url: str) -> None:
        """Record an archive, unless it is recorded already."""
        with explained_writes(self.path), FileLock(self._lock):
            records = self.read()
            now = datetime.now(UTC).isoformat(timespec="seconds")
            new = ArchiveRecord(sha256=sha256, size=size, url=url, first_downloaded=now)
            if archive not in records:
                records = dict(sorted({**records, archive: new}.items()))
                Archives(archives=records).save(self.path)


class ImageFile(NamedTuple):
    """An image that was unpacked."""

    well: str
    site: int
    size: int  # in bytes
    crc: int  # CRC-32


class Manifest(Document):
    """Files of one plate, by wavelength and name."""

    remedy: ClassVar[str] = "Remove its folder to fetch the plate anew."

    format: Literal["napari-hcs-qc fetched plate"] = "napari-hcs-qc fetched plate"
    format_version: Literal[1] = 1
    plate: str = ""
    images: dict[str, dict[str, ImageFile]]

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of a plate; empty where the folder is not there yet."""
        path = folder / MANIFEST
        if path.exists():
            return cls.load(path)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise HcsQcError(
                f"{folder} is there and was not fetched by this command (it has no {MANIFEST}"
                "); nothing is written into it. Choose another folder with --out."
            )
        return cls(plate=folder.name, images={})

    def add(self, wave: str, images: Iterable[Image]) -> None:
        """List the images of a wavelength."""
        self.images[wave] = {
            image.file: ImageFile(image.well, image.site, image.size, image.crc) for image in images
        }

    def damaged(self, wave: str, folder: Path) -> list[str]:
        """Files of a wavelength that are gone or of another size than unpacked."""
        sizes: dict[str, int] = {}
        if folder.is_dir():
            with os.scandir(folder) as entries:
                sizes = {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
        files = self.images.get(wave, {})
        return [name for name, file in files.items() if sizes.get(name) != file.size]

    def wells_and_sites(self) -> tuple[list[str], int, int]:
        """Wells, number of sites in all, and most sites of a well."""
        files = (file for files in self.images.values() for file in files.values())
        places = {(file.well, file.site) for file in files}
        wells = sorted({well for well, _ in places})
        return wells, len(places), max(site for _, site in places)
