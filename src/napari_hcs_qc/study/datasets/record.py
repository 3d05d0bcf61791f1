"""What was fetched: the archives' hashes beside the data, and the files of each plate."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import explained_writes, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_hcs_qc.study.datasets.archive import Image

REGISTRY = "registry.json"
"""Hashes of all archives ever fetched into a folder."""

MANIFEST = "fetched.json"
"""In a plate's folder: its files, by wavelength."""


class Registry:
    """SHA-256 of every archive as it was at its first download."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / REGISTRY
        self._lock = folder / f".{REGISTRY}.lock"

    def known(self, archive: str) -> dict[str, Any] | None:
        """Return the record of an archive: ``sha256``, ``size``, ``url``, ``first_downloaded``."""
        entry = self._read().get(archive)
        if entry is not None and not (isinstance(entry, dict) and "sha256" in entry):
            raise HcsQcError(
                f"{self.path}: the entry of {archive} has no sha256; remove the entry."
            )
        return entry

    def add(self, archive: str, sha256: str, size: int, url: str) -> None:
        """Record an archive, unless it is recorded already."""
        with explained_writes(self.path), FileLock(self._lock):
            entries = self._read()
            if archive not in entries:
                now = datetime.now(UTC).isoformat(timespec="seconds")
                entry = {"sha256": sha256, "size": size, "url": url, "first_downloaded": now}
                write_json(self.path, dict(sorted({**entries, archive: entry}.items())))

    def _read(self) -> dict[str, Any]:
        return read_json(self.path) if self.path.exists() else {}


@dataclass
class Manifest:
    """Files of one plate, by wavelength."""

    folder: Path  # folder of the plate
    # Wavelength to file name to ``[well, site, size in bytes, CRC-32]``
    images: dict[str, dict[str, list[Any]]] = field(default_factory=dict)

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
            return cls(folder)
        images = read_json(path).get("images")
        if not isinstance(images, dict) or not all(map(_is_listing, images.values())):
            raise HcsQcError(
                f"{path} is none that this command wrote; remove {folder} to fetch it anew."
            )
        return cls(folder, images)

    def write(self) -> None:
        """Write it, atomically."""
        write_json(self.folder / MANIFEST, {"plate": self.folder.name, "images": self.images})

    def add(self, wave: str, images: Iterable[Image]) -> None:
        """Take in the images of a wavelength."""
        self.images[wave] = {
            image.file: [image.well, image.site, image.size, image.crc] for image in images
        }

    def damaged(self, wave: str, sizes: dict[str, int]) -> list[str]:
        """Files of a wavelength that are gone or of another size than unpacked."""
        files = self.images.get(wave, {})
        return [name for name, (_, _, size, _) in files.items() if sizes.get(name) != size]

    def sizes(self) -> dict[str, int]:
        """Sizes in bytes of the files that are there, by name."""
        if not self.folder.is_dir():
            return {}
        with os.scandir(self.folder) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}

    def wells_and_sites(self) -> tuple[list[str], int, int]:
        """Wells, number of sites in all, and most sites of a well."""
        places = {(e[0], int(e[1])) for files in self.images.values() for e in files.values()}
        wells = sorted({well for well, _ in places})
        return wells, len(places), max(site for _, site in places)


def _is_listing(files: object) -> bool:
    return isinstance(files, dict) and all(
        isinstance(entry, list) and len(entry) == 4 for entry in files.values()
    )
