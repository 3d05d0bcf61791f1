"""Whether a path is likely a plate, from names and headers alone: napari asks while one waits."""

from __future__ import annotations

import itertools
import json
import os
import re
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.plates.readers.names.known_names import NAME_FORMATS
from napari_hcs_qc.plates.readers.registry import readers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BUILT_IN = ("image folder", "ome-zarr", "loaddata")
_MOST_NAMES = 2000  # of a folder that are looked at
_HEADER_BYTES = 65_536
_COLUMN = re.compile(r"(?:Image_)?(?:FileName|URL)_.", re.IGNORECASE)
_ZARR_FILES = ("zarr.json", ".zattrs")


def looks_like_plate(path: Path) -> bool:
    """Whether a path has the signs of a plate; whether it is one is seen when it is opened."""
    try:
        if path.is_dir():
            is_zarr = any((path / name).is_file() for name in (*_ZARR_FILES, ".zgroup"))
            is_built_in = _has_zarr_plate(path) if is_zarr else _has_images_of_wells(path)
        else:
            is_built_in = path.suffix.lower() == ".htd" or _has_image_columns(path)
    except OSError:
        return False
    others = (reader for reader in readers() if reader.name not in _BUILT_IN)
    return is_built_in or any(reader.recognises(path) for reader in others)


def _has_zarr_plate(path: Path) -> bool:
    for name in _ZARR_FILES:
        try:
            document: Any = json.loads((path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        attributes = document.get("attributes", document) if isinstance(document, dict) else {}
        for place in (attributes, attributes.get("ome", {})):
            if isinstance(place, dict) and "plate" in place:
                return True
    return False


def _has_images_of_wells(path: Path) -> bool:
    names = list(itertools.islice(_names(path), _MOST_NAMES))
    n_loose = 0
    for folder, name in names:
        fitting = [each for each in NAME_FORMATS.values() if each.match(folder, name) is not None]
        if any(not each.is_loose for each in fitting):
            return True
        n_loose += bool(fitting)
    return 2 * n_loose > len(names)  # plain names: of other pictures a few may look like wells


def _names(path: Path) -> Iterator[tuple[str, str]]:
    for folder, below, names in os.walk(path):
        below[:] = [name for name in below if not name.startswith(".")]
        for name in names:
            yield folder, name


def _has_image_columns(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        import pyarrow.parquet as pq

        try:
            columns = pq.read_schema(path).names
        except (OSError, ValueError):
            return False
    elif suffix in (".csv", ".tsv", ".txt"):
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES).decode("utf-8", "replace").lstrip("\ufeff")
        first, *_ = head.splitlines() or [""]
        columns = [name.strip(' "') for name in first.replace("\t", ",").split(",")]
    else:
        return False
    return any(_COLUMN.match(column) for column in columns)
