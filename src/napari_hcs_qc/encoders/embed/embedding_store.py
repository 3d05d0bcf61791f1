"""Embeddings on disk, memory-mapped when read.

A store is a folder named by the fingerprint of all that its numbers depend on:

- ``manifest.json``: what they depend on, and, once complete, the sites that were unreadable;
- ``embeddings.npy``: one row a cell, in the order of the cell table;
- ``done.jsonl``: one line a finished chunk of rows, appended when its rows are on the disk.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from napari_hcs_qc.errors import HcsQcError, Problem
from napari_hcs_qc.files import read_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

StoreDtype: TypeAlias = Literal["float32", "float16"]

FORMAT_VERSION = 1
MANIFEST, ARRAY, JOURNAL = "manifest.json", "embeddings.npy", "done.jsonl"


class EmbeddingStore:
    """Embeddings of one cell table, as they lie in a folder."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self.manifest = dict(manifest)

    @classmethod
    def open(cls, folder: Path) -> EmbeddingStore:
        """Open a store, finished or not."""
        manifest = read_json(folder / MANIFEST)
        version = manifest.get("format_version")
        if version != FORMAT_VERSION:
            raise HcsQcError(
                f"The embedding store {folder} has format version {version!r}; this version of "
                f"napari-hcs-qc reads {FORMAT_VERSION}. Update it, or delete the folder to compute "
                "the embeddings again."
            )
        try:
            n_cells, n_features = (int(length) for length in manifest["shape"])
            np.dtype(manifest["dtype"])
        except (KeyError, TypeError, ValueError) as error:
            raise HcsQcError(
                f"{folder / MANIFEST} is damaged ({error!r}); delete the folder to compute the "
                "embeddings again."
            ) from error
        return cls(folder, {**manifest, "shape": [n_cells, n_features]})

    @property
    def n_cells(self) -> int:
        """Number of rows."""
        return int(self.manifest["shape"][0])

    @property
    def n_features(self) -> int:
        """Number of columns: the encoder's features of every view, one view after the other."""
        return int(self.manifest["shape"][1])

    @property
    def complete(self) -> bool:
        """Whether every row is there: the work was finished and the file is whole."""
        return bool(self.manifest.get("complete")) and self.is_whole

    @property
    def is_whole(self) -> bool:
        """Whether the array file is there, begins as it should and is as long as its rows need."""
        header = array_header(self.manifest)
        path = self.folder / ARRAY
        try:
            with path.open("rb") as handle:
                begins_well = handle.read(len(header)) == header
            size = path.stat().st_size
        except OSError:
            return False
        return begins_well and size == len(header) + self.n_cells * row_bytes(self.manifest)

    @property
    def unreadable(self) -> tuple[Problem, ...]:
        """Sites whose pixels could not be had; the rows of their cells are NaN."""
        return tuple(Problem(**problem) for problem in self.manifest.get("unreadable", ()))

    @cached_property
    def embeddings(self) -> NDArray[np.floating[Any]]:
        """The embeddings, (n_cells, n_features), memory-mapped and read-only."""
        if not self.complete:
            raise HcsQcError(
                f"The embeddings in {self.folder} are not complete; run the same command again to "
                "compute the rest."
            )
        if self.n_cells == 0:
            # An empty file cannot be mapped.
            return np.empty((0, self.n_features), dtype=self.manifest["dtype"])
        mapped: NDArray[np.floating[Any]] = np.load(self.folder / ARRAY, mmap_mode="r")
        return mapped


def row_bytes(manifest: Mapping[str, Any]) -> int:
    """Length of one row in the array file."""
    itemsize: int = np.dtype(manifest["dtype"]).itemsize
    return int(manifest["shape"][1]) * itemsize


def array_header(manifest: Mapping[str, Any]) -> bytes:
    """Header of a NumPy file of version 1.0, which pads it to a multiple of 64 bytes: 128 here.

    Not left to NumPy, whose padding has changed between versions: the length of the file is what
    tells a whole one.
    """
    shape = tuple(int(length) for length in manifest["shape"])
    descr = np.dtype(manifest["dtype"]).newbyteorder("<").str
    text = repr({"descr": descr, "fortran_order": False, "shape": shape})
    return b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + text.ljust(117).encode() + b"\n"
