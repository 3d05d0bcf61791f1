"""Which files lie below a folder, by their names."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.bioio_image import BIOIO_EXTENSIONS
from napari_hcs_qc.plates.pixels import PICTURE_EXTENSIONS, TIFF_EXTENSIONS

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.plates.readers.names.runs import Image

COMPANIONS = frozenset(
    {".csv", ".tsv", ".txt", ".parquet", ".xls", ".xlsx", ".json", ".yaml", ".yml", ".xml"}
    | {".xsl", ".xslt", ".xsd", ".htd", ".mrf", ".mes", ".mlf", ".wpi", ".wpp", ".icr", ".dat"}
    | {".md", ".pdf", ".htm", ".html", ".log", ".ini", ".cfg", ".db", ".sqlite", ".zip", ".npy"}
    | {"", ".py", ".ipynb", ".cppipe", ".cpproj", ".lnk", ".xdce", ".acapx", ".settings", ".ets"}
)
"""Files that lie beside images for good reason and are no loss when not read."""

_ASIDE = re.compile(
    r"(?:^|[^A-Za-z0-9])(?:flat[ _-]?fields?|dark(?:[ _-]?frames?)?|illum\w*|shading|masks?|labels?"
    r"|outlines?|overlays?|segmentations?|thumb\w*|overview|montage|stitch\w*|preview"
    r"|(?:zproj|tsf|decon)(?=\[))"  # Gen5 puts what it did before the channel: ZProj[DAPI]
    r"(?=[^A-Za-z0-9]|$)",
    re.IGNORECASE,
)


@dataclass
class Listing:
    """Names below a folder. Nothing is opened, and no file's status is asked for."""

    root: Path  # the folder
    # Of files ``(folder relative to root with "/", name)``, sorted
    tiffs: list[Image] = field(default_factory=list)
    pictures: list[Image] = field(default_factory=list)
    others: list[Image] = field(default_factory=list)
    # OME-Zarr folders met, which are plates of their own and not looked into
    plates: list[str] = field(default_factory=list)

    def companion(self, names: re.Pattern[str]) -> Path | None:
        """Find the file of that name nearest to the folder."""
        companions = [(f.count("/") + bool(f), f, n) for f, n in self.others if names.fullmatch(n)]
        if not companions:
            return None
        _, folder, name = min(companions)
        return self.root / folder / name


def list_folder(root: Path) -> Listing:
    """List a folder and all below it, without hidden files; a linked folder is followed once."""

    def refuse(error: OSError) -> None:
        raise HcsQcError(
            f"{error.filename} cannot be read: {error.strerror or error}. Check the disk, and that "
            "you may read this folder."
        ) from error

    listing = Listing(root)
    visited = {os.path.realpath(root)}
    for folder, below, names in os.walk(root, onerror=refuse, followlinks=True):
        relative = os.path.relpath(folder, root).replace(os.sep, "/")
        relative = "" if relative == "." else relative
        listing.plates += [f"{relative}/{name}".lstrip("/") for name in below if _is_zarr(name)]
        below[:] = sorted(
            name
            for name in below
            if not _is_zarr(name)
            and not name.startswith((".", "__MAC"))
            and _is_new(os.path.join(folder, name), visited)
        )
        for name in sorted(names):
            if name.startswith("."):
                continue
            extension = os.path.splitext(name)[1].lower()
            if extension in TIFF_EXTENSIONS | BIOIO_EXTENSIONS:
                listing.tiffs.append((relative, name))
            elif extension in PICTURE_EXTENSIONS:
                listing.pictures.append((relative, name))
            else:
                listing.others.append((relative, name))
    return listing


def is_mask_or_overview(image: Image) -> bool:
    """Whether a file beside the images of a plate is a mask, a flat field, an overview."""
    return _ASIDE.search("/".join(image)) is not None


def _is_new(folder: str, visited: set[str]) -> bool:
    real = os.path.realpath(folder)
    if real in visited:
        return False
    visited.add(real)
    return True


def _is_zarr(name: str) -> bool:
    return name.lower().endswith(".zarr")
