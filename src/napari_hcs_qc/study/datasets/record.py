"""What was fetched: the archives' hashes beside the data, and the files of each plate."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from filelock import FileLock
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import explained_writes, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_hcs_qc.study.datasets.archive import Image

REGISTRY = "registry.json"
"""Hashes of all archives ever fetched into a folder."""

MANIFEST = "fetched.json"
"""In a plate's folder: its files, by wavelength."""


class ArchiveRecord(BaseModel, extra="allow"):
    """An archive as it was at its first download."""

    sha256: str
    size: int = 0
    url: str = ""
    first_downloaded: str = "date unknown"


_RECORDS = TypeAdapter(dict[str, ArchiveRecord])


class Registry:
    """The records of all archives that were fetched into a folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / REGISTRY
        self._lock = folder / f".{REGISTRY}.lock"

    def read(self) -> dict[str, ArchiveRecord]:
        """Read the records, by the archive's name."""
        if not self.path.exists():
            return {}
        try:
            return _RECORDS.validate_python(read_json(self.path))
        except ValidationError as error:
            names = sorted({str(problem["loc"][0]) for problem in error.errors()})
            raise HcsQcError(
                f"{self.path}: no hash can be read for {', '.join(names)}; remove what it has of "
                "them."
            ) from error

    def add(self, archive: str, sha256: str, size: int, url: str) -> None:
        """Record an archive, unless it is recorded already."""
        with explained_writes(self.path), FileLock(self._lock):
            records = self.read()
            now = datetime.now(UTC).isoformat(timespec="seconds")
            new = ArchiveRecord(sha256=sha256, size=size, url=url, first_downloaded=now)
            if archive not in records:
                records = dict(sorted({**records, archive: new}.items()))
                write_json(self.path, _RECORDS.dump_python(records, mode="json"))


class ImageFile(NamedTuple):
    """An image that was unpacked."""

    well: str
    site: int
    size: int  # in bytes
    crc: int  # CRC-32


class Manifest(BaseModel):
    """Files of one plate, by wavelength and name."""

    folder: Path = Field(exclude=True)  # of the plate
    plate: str = ""
    images: dict[str, dict[str, ImageFile]] = {}

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of a plate; empty where the folder is not there yet."""
        path = folder / MANIFEST
        if not path.exists():
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise HcsQcError(
                    f"{folder} is there and was not fetched by this command (it has no {MANIFEST}"
                    "); nothing is written into it. Choose another folder with --out."
                )
            return cls(folder=folder, plate=folder.name)
        try:
            return cls.model_validate({"images": None, **read_json(path), "folder": folder})
        except ValidationError as error:
            raise HcsQcError(
                f"{path} is none that this command wrote; remove {folder} to fetch it anew."
            ) from error

    def write(self) -> None:
        """Write it, atomically."""
        write_json(self.folder / MANIFEST, self.model_dump(mode="json"))

    def add(self, wave: str, images: Iterable[Image]) -> None:
        """List the images of a wavelength."""
        self.images[wave] = {
            image.file: ImageFile(image.well, image.site, image.size, image.crc) for image in images
        }

    def damaged(self, wave: str) -> list[str]:
        """Files of a wavelength that are gone or of another size than unpacked."""
        sizes: dict[str, int] = {}
        if self.folder.is_dir():
            with os.scandir(self.folder) as entries:
                sizes = {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
        files = self.images.get(wave, {})
        return [name for name, file in files.items() if sizes.get(name) != file.size]

    def wells_and_sites(self) -> tuple[list[str], int, int]:
        """Wells, number of sites in all, and most sites of a well."""
        files = (file for files in self.images.values() for file in files.values())
        places = {(file.well, file.site) for file in files}
        wells = sorted({well for well, _ in places})
        return wells, len(places), max(site for _, site in places)
