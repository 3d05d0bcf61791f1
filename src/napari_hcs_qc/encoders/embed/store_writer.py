"""Fill an embedding store chunk by chunk, so that a kill or a full disk costs one chunk."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from errno import ENOSPC
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.encoders.embed.embedding_store import (
    ARRAY,
    FORMAT_VERSION,
    JOURNAL,
    MANIFEST,
    EmbeddingStore,
    StoreDtype,
    array_header,
    row_bytes,
)
from napari_hcs_qc.errors import HcsQcError, Problem
from napari_hcs_qc.files import explained_writes, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray


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
        self._manifest: dict[str, Any] = {
            **about,
            "format_version": FORMAT_VERSION,
            "shape": list(shape),
            "dtype": dtype,
            "chunk_cells": chunk_cells,
            "complete": False,
        }
        self._done: dict[int, list[dict[str, str]]] = {}
        store = self._existing(shape, dtype)
        if store is None:
            self._create()
        else:
            self._manifest = store.manifest
            self._resume()
        self._check_room()

    @property
    def chunk_cells(self) -> int:
        """Rows in a chunk; the last may have fewer."""
        return int(self._manifest["chunk_cells"])

    @property
    def n_chunks(self) -> int:
        """Number of chunks of the whole array."""
        return -(-int(self._manifest["shape"][0]) // self.chunk_cells)

    @property
    def pending(self) -> list[int]:
        """Chunks still to be written, ascending."""
        return [chunk for chunk in range(self.n_chunks) if chunk not in self._done]

    @property
    def unreadable(self) -> dict[int, tuple[Problem, ...]]:
        """Sites that were unreadable, for each finished chunk that has any."""
        return {
            chunk: tuple(Problem(**problem) for problem in problems)
            for chunk, problems in self._done.items()
            if problems
        }

    def rows(self, chunk: int) -> range:
        """Rows of a chunk."""
        start = chunk * self.chunk_cells
        return range(start, min(start + self.chunk_cells, int(self._manifest["shape"][0])))

    def reopen(self, chunks: Iterable[int]) -> None:
        """Count finished chunks as not done."""
        for chunk in chunks:
            self._done.pop(chunk, None)
        if self.pending and self._manifest["complete"]:
            # From here on the rows are not to be trusted without their checksums.
            self._manifest["complete"] = False
            write_json(self.folder / MANIFEST, self._manifest)

    def write(
        self, chunk: int, features: NDArray[np.float32], unreadable: Sequence[Problem] = ()
    ) -> None:
        """Write one chunk and, once it is on the disk, its line in the journal."""
        dtype = np.dtype(self._manifest["dtype"]).newbyteorder("<")
        if dtype == np.float16:
            # Beyond its range a half becomes infinite, which no head could be fitted on.
            features = np.clip(features, np.finfo(np.float16).min, np.finfo(np.float16).max)
        data = np.ascontiguousarray(features, dtype=dtype).tobytes()
        problems = [
            {"where": problem.where, "what": problem.what, "fix": problem.fix}
            for problem in unreadable
        ]
        line = {"chunk": chunk, "crc32": zlib.crc32(data), "unreadable": problems}
        text = json.dumps(line, ensure_ascii=False) + "\n"
        with explained_writes(self._array_path), self._array_path.open("rb+") as handle:
            write_at(handle, self._offset(chunk), data)
        with explained_writes(self._journal_path), self._journal_path.open("ab") as handle:
            write_at(handle, None, text.encode())
        self._done[chunk] = problems

    def finish(self) -> EmbeddingStore:
        """Mark the store complete and open it."""
        if self.pending:
            raise AssertionError(f"chunks {self.pending} of {self.folder} are not written")
        # A site on the border of two chunks stands in the journal twice.
        problems = {
            problem["where"]: problem
            for chunk in sorted(self._done)
            for problem in self._done[chunk]
        }
        finished = {**self._manifest, "complete": True, "unreadable": list(problems.values())}
        if finished != self._manifest:
            write_json(self.folder / MANIFEST, finished)
            self._manifest = finished
        return EmbeddingStore.open(self.folder)

    def _existing(self, shape: tuple[int, int], dtype: StoreDtype) -> EmbeddingStore | None:
        """Find a store to go on with; None when there is none or it is damaged."""
        try:
            store = EmbeddingStore.open(self.folder)
        except HcsQcError:
            return None
        same = store.manifest["shape"] == list(shape) and store.manifest["dtype"] == dtype
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
        header = array_header(self._manifest)
        n_bytes = len(header) + int(self._manifest["shape"][0]) * row_bytes(self._manifest)
        with explained_writes(self._array_path), self._array_path.open("wb") as handle:
            handle.truncate(n_bytes)
            write_at(handle, 0, header)
        write_json(self.folder / MANIFEST, self._manifest)

    def _resume(self) -> None:
        """Read which chunks are finished, and cut off a line that a kill left half-written."""
        valid = 0
        # A complete store is trusted by its size: reading gigabytes at every opening would cost.
        trusted = bool(self._manifest["complete"])
        try:
            journal = self._journal_path.read_bytes()
        except FileNotFoundError:
            journal = b""
        with self._array_path.open("rb") as handle:
            for line in journal.splitlines(keepends=True):
                try:
                    entry = json.loads(line)
                    chunk, checksum = int(entry["chunk"]), int(entry["crc32"])
                    problems = list(entry["unreadable"])
                except (ValueError, KeyError, TypeError):
                    break
                if not line.endswith(b"\n"):
                    break
                valid += len(line)
                if trusted or self._checksum(handle, chunk) == checksum:
                    self._done[chunk] = problems
        if valid < len(journal):
            with explained_writes(self._journal_path):
                os.truncate(self._journal_path, valid)

    def _checksum(self, handle: BinaryIO, chunk: int) -> int:
        handle.seek(self._offset(chunk))
        return zlib.crc32(handle.read(len(self.rows(chunk)) * row_bytes(self._manifest)))

    def _check_room(self) -> None:
        """Say at the start, not after hours, that the disk is too small."""
        n_rows = sum(len(self.rows(chunk)) for chunk in self.pending)
        needed = n_rows * row_bytes(self._manifest)
        with explained_writes(self._array_path):
            free = shutil.disk_usage(self.folder).free
            if needed > free:
                reason = f"{needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free"
                raise OSError(ENOSPC, reason)

    def _offset(self, chunk: int) -> int:
        header = len(array_header(self._manifest))
        return header + self.rows(chunk).start * row_bytes(self._manifest)


def write_at(handle: BinaryIO, offset: int | None, data: bytes) -> None:
    """Write `data` at `offset` (None: where the file stands) and wait until it is on the disk."""
    if offset is not None:
        handle.seek(offset)
    handle.write(data)
    handle.flush()
    os.fsync(handle.fileno())
