"""Embeddings of positions that people gave, each computed once and kept in one file.

A click beside every found nucleus has no row in the store of its plate, and with each such click
the list of them changes. So they are kept by position: a file for each plate, encoder and recipe,
to which only ever whole records are added.
"""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from napari_hcs_qc.assay.annotations.matching import cells_at
from napari_hcs_qc.errors import HcsQcError, Problem
from napari_hcs_qc.files import explained_writes, fingerprint
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.store.model_manifest import EncoderRecord
    from napari_hcs_qc.assay.store.plate_cells import PlateCells
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.embed.embed_cells import Fingerprinted
    from napari_hcs_qc.encoders.encoder import Encoder
    from napari_hcs_qc.plates.plate import Plate

POSITIONS = "positions"
"""Folder of these files among the stores."""
_FORMAT = 1
_BATCH_VIEWS = 64
_MOST_FEATURES = 1_000_000
_CHUNK = 64  # positions that are finished together
_KEY = np.dtype([("well", "S8"), ("site", "<i4"), ("y", "<i4"), ("x", "<i4")])


class PositionStore:
    """The file of embedded positions of one plate, encoder and recipe."""

    def __init__(self, path: Path, n_features: int) -> None:
        self.path = path
        self._record = np.dtype([("key", _KEY), ("crc32", "<u4"), ("row", "<f4", (n_features,))])

    @classmethod
    def of_file(cls, path: Path) -> PositionStore | None:
        """Open a file by its first record, whose checksum tells how long rows are; None if none."""
        with path.open("rb") as file:
            key, checksum = file.read(_KEY.itemsize), file.read(4)
            row = file.read(4 * _MOST_FEATURES)
        found = zlib.crc32(key)
        for end in range(4, len(row) + 1, 4):
            found = zlib.crc32(row[end - 4 : end], found)
            if found == int.from_bytes(checksum, "little"):
                return cls(path, end // 4)
        return None

    def read(self) -> dict[bytes, NDArray[np.float32]]:
        """Read all embeddings by the key of their position, see `position_keys`.

        A record that a kill left unfinished, or that was damaged, is passed over: it is computed
        again.
        """
        try:
            records = self._records()
        except OSError:
            return {}
        return {record["key"].tobytes(): record["row"] for record in records if _is_whole(record)}

    def count(self) -> tuple[int, int]:
        """Count the records that are whole, and all."""
        size = self.path.stat().st_size
        return sum(map(_is_whole, self._records())), -(-size // self._record.itemsize)

    def _records(self) -> NDArray[Any]:
        n_whole = self.path.stat().st_size // self._record.itemsize
        return np.fromfile(self.path, self._record, n_whole)

    def append(self, keys: NDArray[Any], rows: NDArray[np.float32]) -> None:
        """Add embeddings; when it returns they are on the disk."""
        records = np.zeros(len(keys), self._record)
        records["key"], records["row"] = keys, rows
        records["crc32"] = [_checksum(record["key"], record["row"]) for record in records]
        with explained_writes(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Several windows may add at once; the lock is the system's and ends with its process.
            with FileLock(self.path.with_suffix(".lock")), self.path.open("ab") as handle:
                end = handle.tell()
                if end % self._record.itemsize:  # a kill came between
                    end -= end % self._record.itemsize
                    os.truncate(self.path, end)
                try:
                    handle.write(records.tobytes())
                    handle.flush()
                    os.fsync(handle.fileno())
                except OSError:
                    os.truncate(self.path, end)
                    raise


def embed_positions(
    plate: Plate,
    plate_cells: PlateCells,
    positions: pd.DataFrame,
    recipe: CropRecipe,
    encoder: Encoder,
    folder: Path,
    *,
    job: Job = NO_JOB,
) -> tuple[NDArray[np.float32], tuple[Problem, ...]]:
    """Embed positions of a plate, only those that are not kept already."""
    n_features = recipe.n_views(len(plate.channels)) * encoder.n_features
    rows = np.full((len(positions), n_features), np.nan, dtype=np.float32)
    if not len(positions):
        return rows, ()
    store = _store(plate, plate_cells, recipe, encoder, folder, n_features)
    keys = position_keys(positions)
    known = store.read()
    first: dict[bytes, int] = {}
    for row, key in enumerate(keys):
        name = key.tobytes()
        if name in known:
            rows[row] = known[name]
        else:
            first.setdefault(name, row)
    problems: dict[str, Problem] = {}
    missing = np.fromiter(first.values(), dtype=np.int64, count=len(first))
    job.report(len(keys) - len(missing), len(keys), f"Embedding annotated cells of {plate.name}")
    for start in range(0, len(missing), _CHUNK):
        chosen = missing[start : start + _CHUNK]
        part, unread = _encode(plate, plate_cells, positions.iloc[chosen], recipe, encoder, job=job)
        problems |= {problem.where: problem for problem in unread}
        usable = ~np.isnan(part).any(axis=1)
        if usable.any():
            store.append(keys[chosen[usable]], part[usable])
        rows[chosen] = part
        done = len(keys) - len(missing) + start + len(chosen)
        job.report(done, len(keys), f"Embedding annotated cells of {plate.name}")
    for row, key in enumerate(keys):  # the same position twice
        rows[row] = rows[first.get(key.tobytes(), row)]
    return rows, tuple(problems.values())


def stored_positions(
    plate: Plate,
    plate_cells: PlateCells,
    positions: pd.DataFrame,
    recipe: CropRecipe,
    encoder: EncoderRecord,
    folder: Path,
) -> NDArray[np.float32] | None:
    """Give what `embed_positions` gives, where every position is kept already; else None."""
    n_features = recipe.n_views(len(plate.channels)) * encoder.n_features
    known = _store(plate, plate_cells, recipe, encoder, folder, n_features).read()
    rows = [known.get(key.tobytes()) for key in position_keys(positions)]
    kept = [row for row in rows if row is not None]
    return np.stack(kept) if kept and len(kept) == len(rows) else None


def position_keys(positions: pd.DataFrame) -> NDArray[Any]:
    """Give what makes two positions of a plate the same: well, site, and y and x to 0.01 px."""
    keys = np.zeros(len(positions), _KEY)
    keys["well"] = positions["well"].to_numpy(dtype="S8")
    keys["site"] = positions["site"]
    for name in ("y", "x"):
        keys[name] = np.rint(positions[f"{name}_px"].to_numpy(dtype=np.float64) * 100)
    return keys


def _store(
    plate: Plate,
    plate_cells: PlateCells,
    recipe: CropRecipe,
    encoder: Fingerprinted,
    folder: Path,
    n_features: int,
) -> PositionStore:
    name = fingerprint(
        {
            "format": _FORMAT,
            "plate": plate.fingerprint,
            "ranges": plate_cells.ranges.fingerprint,
            "recipe": recipe.fingerprint,
            "encoder": encoder.fingerprint,
            "projection": plate_cells.projection,
        }
    )
    return PositionStore(folder / POSITIONS / f"{name}.bin", n_features)


def _encode(
    plate: Plate,
    plate_cells: PlateCells,
    positions: pd.DataFrame,
    recipe: CropRecipe,
    encoder: Encoder,
    *,
    job: Job,
) -> tuple[NDArray[np.float32], tuple[Problem, ...]]:
    from napari_hcs_qc.encoders.embed.crop_reader import CropReader, CropSource

    n_views = recipe.n_views(len(plate.channels))
    cells = cells_at(positions.reset_index(drop=True), 0, plate_cells.diameter_px)
    batch_cells = max(1, _BATCH_VIEWS // n_views)
    source = CropSource(
        plate, cells, plate_cells.ranges, recipe, plate_cells.projection, batch_cells
    )
    rows = np.full((len(cells), n_views * encoder.n_features), np.nan, dtype=np.float32)
    problems: list[Problem] = []
    with CropReader(source, [(0, range(len(cells)))]) as reader:
        while (batch := reader.next_batch(job)) is not None:
            problems.extend(batch.unreadable)
            if not len(batch.rows):
                continue
            encoded = encoder.encode(batch.crops.flatten(0, 1), job=job)
            job.check()
            features = encoded.view(len(batch.rows), -1).numpy()
            if not np.isfinite(features).all():
                raise HcsQcError(
                    f"The encoder {encoder.name} returned features that are not finite numbers; "
                    "its weights file may be damaged. Download it again or use another encoder."
                )
            rows[batch.rows] = features
    return rows, tuple(problems)


def _is_whole(record: Any) -> bool:
    return bool(record["crc32"] == _checksum(record["key"], record["row"]))


def _checksum(key: Any, row: NDArray[np.float32]) -> int:
    return zlib.crc32(row.tobytes(), zlib.crc32(key.tobytes()))
