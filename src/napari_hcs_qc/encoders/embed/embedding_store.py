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
from pydantic import BaseModel, ValidationError

from napari_hcs_qc.errors import HcsQcError, Problem
from napari_hcs_qc.files import read_json, validation_problems

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

StoreDtype: TypeAlias = Literal["float32", "float16"]

FORMAT_VERSION = 1
MANIFEST, ARRAY, JOURNAL = "manifest.json", "embeddings.npy", "done.jsonl"


class StoreManifest(BaseModel, extra="allow"):
    """What is in a store; `made_of` is what its numbers depend on."""

    format_version: int = FORMAT_VERSION
    shape: tuple[int, int]  # cells and features
    dtype: StoreDtype
    chunk_cells: int  # rows in a chunk; the last may have fewer
    complete: bool = False  # whether the work was finished
    unreadable: tuple[Problem, ...] = ()  # sites without pixels; the rows of their cells are NaN
    made_of: dict[str, str | int] = {}
    encoder: dict[str, Any] = {}
    recipe: dict[str, Any] = {}

    @property
    def row_bytes(self) -> int:
        """Length of one row in the array file."""
        return self.shape[1] * int(np.dtype(self.dtype).itemsize)

    @property
    def header(self) -> bytes:
        """Header of a NumPy file of version 1.0, padded to a multiple of 64 bytes: 128 here.

        Not left to NumPy, whose padding has changed between versions: the length of the file is
        what tells a whole one.
        """
        descr = np.dtype(self.dtype).newbyteorder("<").str
        text = repr({"descr": descr, "fortran_order": False, "shape": self.shape})
        return b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + text.ljust(117).encode() + b"\n"

    @property
    def n_bytes(self) -> int:
        """Length of the array file."""
        return len(self.header) + self.shape[0] * self.row_bytes


class EmbeddingStore:
    """Embeddings of one cell table, as they lie in a folder."""

    def __init__(self, folder: Path, manifest: StoreManifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def open(cls, folder: Path) -> EmbeddingStore:
        """Open a store, finished or not."""
        data = read_json(folder / MANIFEST)
        version = data.get("format_version")
        if version != FORMAT_VERSION:
            raise HcsQcError(
                f"The embedding store {folder} has format version {version!r}; this version of "
                f"napari-hcs-qc reads {FORMAT_VERSION}. Update it, or delete the folder to compute "
                "the embeddings again."
            )
        try:
            return cls(folder, StoreManifest.model_validate(data))
        except ValidationError as error:
            raise HcsQcError(
                f"{folder / MANIFEST} is damaged ({validation_problems(error)}); delete the "
                "folder to compute the embeddings again."
            ) from error

    @property
    def complete(self) -> bool:
        """Whether every row is there: the work was finished and the file is whole."""
        return self.manifest.complete and self.is_whole

    @property
    def is_whole(self) -> bool:
        """Whether the array file is there, begins as it should and is as long as its rows need."""
        header, path = self.manifest.header, self.folder / ARRAY
        try:
            with path.open("rb") as handle:
                begins_well = handle.read(len(header)) == header
            return begins_well and path.stat().st_size == self.manifest.n_bytes
        except OSError:
            return False

    @property
    def unreadable(self) -> tuple[Problem, ...]:
        """Sites whose pixels could not be had; the rows of their cells are NaN."""
        return self.manifest.unreadable

    @cached_property
    def embeddings(self) -> NDArray[np.floating[Any]]:
        """The embeddings, (n_cells, n_features), memory-mapped and read-only."""
        if not self.complete:
            raise HcsQcError(
                f"The embeddings in {self.folder} are not complete; run the same command again to "
                "compute the rest."
            )
        if self.manifest.shape[0] == 0:
            # An empty file cannot be mapped.
            return np.empty(self.manifest.shape, dtype=self.manifest.dtype)
        mapped: NDArray[np.floating[Any]] = np.load(self.folder / ARRAY, mmap_mode="r")
        return mapped
