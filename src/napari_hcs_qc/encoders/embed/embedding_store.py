"""Embeddings on disk, memory-mapped when read.

A store is a folder named by the fingerprint of all that its numbers depend on:

- ``manifest.json``: what they depend on, and, once complete, the sites that were unreadable;
- ``embeddings.npy``: one row a cell, in the order of the cell table;
- ``done.jsonl``: one line a finished chunk of rows, appended when its rows are on the disk.
"""

from __future__ import annotations

import os
import shutil
import zlib
from concurrent.futures import ThreadPoolExecutor
from errno import ENOSPC
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, ValidationError

from napari_hcs_qc.documents import problems_text
from napari_hcs_qc.errors import HcsQcError, Problem
from napari_hcs_qc.files import explained_writes, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

StoreDtype: TypeAlias = Literal["float32", "float16"]

FORMAT_VERSION = 1
MANIFEST, ARRAY, JOURNAL = "manifest.json", "embeddings.npy", "done.jsonl"
_REMEDY = "Run the same command again; it computes the embeddings anew."
_READERS = 4  # threads that compare rows with their checksums
_READ_BYTES = 2**20  # that each of them has in memory

# Array files whose rows have their checksums, and how each was then: they are read once a process.
_SOUND: dict[Path, tuple[int, int]] = {}


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

    @property
    def n_chunks(self) -> int:
        """Number of chunks."""
        return -(-self.shape[0] // self.chunk_cells)

    def rows(self, chunk: int) -> range:
        """Rows of a chunk."""
        start = chunk * self.chunk_cells
        return range(start, min(start + self.chunk_cells, self.shape[0]))

    def offset(self, chunk: int) -> int:
        """Where a chunk begins in the array file."""
        return len(self.header) + self.rows(chunk).start * self.row_bytes


class EmbeddingStore:
    """Embeddings of one cell table, as they lie in a folder."""

    def __init__(self, folder: Path, manifest: StoreManifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def open(cls, folder: Path) -> EmbeddingStore:
        """Open a store, finished or not."""
        data = read_json(folder / MANIFEST, remedy=_REMEDY)
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
                f"{folder / MANIFEST} is damaged ({problems_text(error, StoreManifest)}); delete "
                "the folder to compute the embeddings again."
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
    def is_sound(self) -> bool:
        """Whether every chunk has its checksum; looked up where the file is as it was then."""
        path = self.folder / ARRAY
        if _SOUND.get(path.absolute()) == _mark(path):
            return True
        return not self.damaged_chunks()

    def damaged_chunks(self) -> list[int]:
        """Compare all rows with the checksums that were kept when they were written."""
        path, (finished, _) = self.folder / ARRAY, _finished(self.folder)
        mark, chunks = _mark(path), range(self.manifest.n_chunks)

        def is_damaged(chunk: int) -> bool:
            entry = finished.get(chunk)
            return entry is None or _checksum(path, self.manifest, chunk) != entry.crc32

        with ThreadPoolExecutor(_READERS, "hcs-qc checksums") as pool:
            is_wrong = list(pool.map(is_damaged, chunks))
        damaged = [chunk for chunk, wrong in zip(chunks, is_wrong, strict=True) if wrong]
        if not damaged:
            _SOUND[path.absolute()] = mark
        return damaged

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


class _Finished(BaseModel, frozen=True):
    """A line of the journal."""

    chunk: int
    crc32: int
    unreadable: tuple[Problem, ...]
    line: int | None = None  # checksum of the rest; None in stores of an earlier version

    @property
    def is_whole(self) -> bool:
        """Whether the line is as it was written."""
        return self.line in (None, self.checksum)

    @property
    def checksum(self) -> int:
        """What `line` has to be."""
        return zlib.crc32(self.model_dump_json(exclude={"line"}).encode())


def _finished(folder: Path) -> tuple[dict[int, _Finished], int]:
    """Read which chunks are finished, and how long the part of the journal is that is whole."""
    try:
        journal = (folder / JOURNAL).read_bytes()
    except FileNotFoundError:
        journal = b""
    entries: dict[int, _Finished] = {}
    length = 0
    for line in journal.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        try:
            entry = _Finished.model_validate_json(line)
        except ValueError:
            break
        length += len(line)
        if entry.is_whole:
            entries[entry.chunk] = entry
    return entries, length


def _checksum(path: Path, manifest: StoreManifest, chunk: int) -> int:
    checksum, left = 0, len(manifest.rows(chunk)) * manifest.row_bytes
    with path.open("rb") as handle:
        handle.seek(manifest.offset(chunk))
        while data := handle.read(min(left, _READ_BYTES)):
            checksum, left = zlib.crc32(data, checksum), left - len(data)
    return checksum


def _mark(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return (-1, -1)
    return status.st_mtime_ns, status.st_size


class StoreWriter:
    """The one that fills a store; a single process at a time.

    Opening it makes the folder, or finds what an earlier, interrupted run has finished. A chunk
    counts as finished when its line is in the journal, which is written after the chunk's rows
    have reached the disk.
    """

    def __init__(
        self,
        folder: Path,
        shape: tuple[int, int],
        dtype: StoreDtype,
        chunk_cells: int,
        about: Mapping[str, Any],
    ) -> None:
        self.folder = folder
        self._array_path, self._journal_path = folder / ARRAY, folder / JOURNAL
        self._manifest = StoreManifest(shape=shape, dtype=dtype, chunk_cells=chunk_cells, **about)
        self._done: dict[int, tuple[Problem, ...]] = {}
        store = self._existing(shape, dtype)
        if store is None:
            self._create()
        else:
            self._manifest = store.manifest
            self._resume(store)
            self.reopen(())
        self._check_room()

    @property
    def pending(self) -> list[int]:
        """Chunks still to be written, ascending."""
        return [chunk for chunk in range(self._manifest.n_chunks) if chunk not in self._done]

    @property
    def unreadable(self) -> dict[int, tuple[Problem, ...]]:
        """Sites that were unreadable, for each finished chunk that has any."""
        return {chunk: problems for chunk, problems in self._done.items() if problems}

    def rows(self, chunk: int) -> range:
        """Rows of a chunk."""
        return self._manifest.rows(chunk)

    def reopen(self, chunks: Iterable[int]) -> None:
        """Count finished chunks as not done."""
        for chunk in chunks:
            self._done.pop(chunk, None)
        if self.pending and self._manifest.complete:
            # From here on the rows are not to be trusted without their checksums.
            self._write_manifest(complete=False)

    def write(
        self, chunk: int, features: NDArray[np.float32], unreadable: Sequence[Problem] = ()
    ) -> None:
        """Write one chunk and, once it is on the disk, its line in the journal."""
        dtype = np.dtype(self._manifest.dtype).newbyteorder("<")
        if dtype == np.float16:
            # Beyond its range a half becomes infinite, which no head could be fitted on.
            features = np.clip(features, np.finfo(np.float16).min, np.finfo(np.float16).max)
        data = np.ascontiguousarray(features, dtype=dtype).tobytes()
        line = _Finished(chunk=chunk, crc32=zlib.crc32(data), unreadable=tuple(unreadable))
        line = line.model_copy(update={"line": line.checksum})
        with explained_writes(self._array_path), self._array_path.open("rb+") as handle:
            write_at(handle, self._manifest.offset(chunk), data)
        with explained_writes(self._journal_path), self._journal_path.open("ab") as handle:
            write_at(handle, None, line.model_dump_json().encode() + b"\n")
        self._done[chunk] = line.unreadable

    def finish(self) -> EmbeddingStore:
        """Mark the store complete and open it."""
        if self.pending:
            raise AssertionError(f"chunks {self.pending} of {self.folder} are not written")
        # A site on the border of two chunks stands in the journal twice.
        problems = {
            problem.where: problem for chunk in sorted(self._done) for problem in self._done[chunk]
        }
        self._write_manifest(complete=True, unreadable=tuple(problems.values()))
        return EmbeddingStore.open(self.folder)

    def _write_manifest(self, **changes: Any) -> None:
        changed = self._manifest.model_copy(update=changes)
        if changed != self._manifest:
            write_json(self.folder / MANIFEST, changed.model_dump(mode="json"))
            self._manifest = changed

    def _existing(self, shape: tuple[int, int], dtype: StoreDtype) -> EmbeddingStore | None:
        """Find a store to go on with; None when there is none or it is damaged."""
        try:
            store = EmbeddingStore.open(self.folder)
        except HcsQcError:
            return None
        same = store.manifest.shape == shape and store.manifest.dtype == dtype
        return store if same and store.is_whole else None

    def _create(self) -> None:
        with explained_writes(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            # The manifest goes first and comes last: without it there is no store to resume. The
            # array goes as well: whoever has mapped it keeps the old file, and one that is cut
            # short under a map takes the process down.
            for name in (MANIFEST, JOURNAL, ARRAY):
                (self.folder / name).unlink(missing_ok=True)
        self._check_room()
        with explained_writes(self._array_path), self._array_path.open("wb") as handle:
            handle.truncate(self._manifest.n_bytes)
            write_at(handle, 0, self._manifest.header)
        write_json(self.folder / MANIFEST, self._manifest.model_dump(mode="json"))

    def _resume(self, store: EmbeddingStore) -> None:
        """Read which chunks are finished, and cut off a line that a kill left half-written."""
        finished, length = _finished(self.folder)
        # What is complete is read once a process: gigabytes at every step would cost.
        is_known = store.complete and store.is_sound
        self._done = {
            chunk: entry.unreadable
            for chunk, entry in finished.items()
            if is_known or _checksum(self._array_path, store.manifest, chunk) == entry.crc32
        }
        if self._journal_path.is_file() and length < self._journal_path.stat().st_size:
            with explained_writes(self._journal_path):
                os.truncate(self._journal_path, length)

    def _check_room(self) -> None:
        """Say at the start, not after hours, that the disk is too small."""
        n_rows = sum(len(self.rows(chunk)) for chunk in self.pending)
        needed = n_rows * self._manifest.row_bytes
        with explained_writes(self._array_path):
            free = shutil.disk_usage(self.folder).free
            if needed > free:
                reason = f"{needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free"
                raise OSError(ENOSPC, reason)


def write_at(handle: BinaryIO, offset: int | None, data: bytes) -> None:
    """Write `data` at `offset` (None: where the file stands) and wait until it is on the disk."""
    if offset is not None:
        handle.seek(offset)
    handle.write(data)
    handle.flush()
    os.fsync(handle.fileno())
