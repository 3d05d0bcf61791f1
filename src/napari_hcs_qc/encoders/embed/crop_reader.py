"""Read sites and cut crops in a thread of their own, in batches of constant size, bounded."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import torch

from napari_hcs_qc.cells.crops import cut_crops
from napari_hcs_qc.encoders.embed.crop_workers import limit_this_thread
from napari_hcs_qc.errors import Problem, UnreadableSiteError
from napari_hcs_qc.plates.plate import SiteKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from napari_hcs_qc.cells.intensity import IntensityRanges
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.job import Job
    from napari_hcs_qc.plates.plate import Plate, Projection

C = TypeVar("C")
C_contra = TypeVar("C_contra", contravariant=True)

# Batches between the threads: enough that neither waits, few enough that memory is bounded.
_QUEUE_BATCHES = 2
_POLL_S = 0.1


@dataclass(frozen=True, eq=False, kw_only=True)
class Batch:
    """Crops of some consecutive rows; rows of unreadable sites have none."""

    chunk: int
    n_cells: int
    rows: NDArray[np.intp]
    crops: torch.Tensor
    ends_chunk: bool
    unreadable: tuple[Problem, ...] = ()


@dataclass(eq=False)
class _Site:
    """The site that was read last: its pixels, or why there are none."""

    key: SiteKey
    pixels: NDArray[np.float32] | None
    problem: Problem | None = None


@dataclass(eq=False)
class CropSource:
    """Everything that the reading thread needs."""

    plate: Plate
    cells: pd.DataFrame
    ranges: IntensityRanges
    recipe: CropRecipe
    projection: Projection
    batch_cells: int
    channels: tuple[int, ...] = field(init=False)
    groups: tuple[tuple[int, ...], ...] = field(init=False)

    def __post_init__(self) -> None:
        groups = self.recipe.channel_groups([channel.name for channel in self.plate.channels])
        # Only the channels that are shown are read; the groups then count among these.
        self.channels = tuple(sorted({index for group in groups for index in group}))
        self.groups = tuple(
            tuple(self.channels.index(index) for index in group) for group in groups
        )
        self._wells = self.cells["well"].to_numpy(dtype=str)
        self._sites = self.cells["site"].to_numpy(dtype=np.int64)
        self._y_px = self.cells["y_px"].to_numpy(dtype=np.float64)
        self._x_px = self.cells["x_px"].to_numpy(dtype=np.float64)
        self._last: _Site | None = None

    def site_of(self, row: int) -> SiteKey:
        """Tell which site the cell of a row is in."""
        return SiteKey(str(self._wells[row]), int(self._sites[row]))

    def batches(self, chunks: Sequence[tuple[int, range]]) -> Iterator[Batch]:
        """Cut the crops of `chunks`, in batches of the same number of cells across sites."""
        for chunk, chunk_rows in chunks:
            for start in range(chunk_rows.start, chunk_rows.stop, self.batch_cells):
                stop = min(start + self.batch_cells, chunk_rows.stop)
                yield self._batch(chunk, start, stop, ends_chunk=stop == chunk_rows.stop)

    def _batch(self, chunk: int, start: int, stop: int, *, ends_chunk: bool) -> Batch:
        parts: list[torch.Tensor] = []
        rows: list[NDArray[np.intp]] = []
        problems: list[Problem] = []
        n_cells = stop - start
        while start < stop:
            end = self._same_site_until(start, stop)
            site = self.read(self.site_of(start))
            if site.pixels is None:
                problems.extend([site.problem] if site.problem else [])
            else:
                y_px, x_px = self._y_px[start:end], self._x_px[start:end]
                parts.append(cut_crops(site.pixels, y_px, x_px, self.recipe, self.groups))
                rows.append(np.arange(start, end))
            start = end
        crops = torch.cat(parts) if len(parts) > 1 else parts[0] if parts else torch.empty(0)
        all_rows = np.concatenate(rows) if rows else np.empty(0, dtype=np.intp)
        return Batch(
            chunk=chunk,
            n_cells=n_cells,
            rows=all_rows,
            crops=crops,
            ends_chunk=ends_chunk,
            unreadable=tuple(problems),
        )

    def _same_site_until(self, start: int, stop: int) -> int:
        other = (self._sites[start:stop] != self._sites[start]) | (
            self._wells[start:stop] != self._wells[start]
        )
        return start + int(np.argmax(other)) if other.any() else stop

    def read(self, key: SiteKey) -> _Site:
        """Read a site's pixels, or keep those of the last one."""
        if self._last is None or self._last.key != key:
            self._last = None  # its pixels are free before the next site's are read
            try:
                raw = self.plate.read_site(key, self.channels, projection=self.projection)
            except (UnreadableSiteError, OSError) as error:
                reason = str(error).removeprefix(f"{key}: ")
                self._last = _Site(key, None, Problem(str(key), reason))
            else:
                self._last = _Site(key, self.ranges.scale(raw, self.channels))
        return self._last


class BatchSource(Protocol[C_contra]):
    """What cuts the crops of chunks, one batch after the other."""

    def batches(self, chunks: Sequence[tuple[int, C_contra]]) -> Iterator[Batch]:
        """Give the batches."""
        ...


class CropReader:
    """The reading thread and the bounded queue to it."""

    def __init__(self, source: BatchSource[C], chunks: Sequence[tuple[int, C]]) -> None:
        self._batches = partial(source.batches, chunks)
        self._queue: queue.Queue[Batch | BaseException | None] = queue.Queue(_QUEUE_BATCHES)
        self._stopped, self._started = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="hcs-qc reader", daemon=True)

    def __enter__(self) -> CropReader:
        n_threads = torch.get_num_threads()
        self._thread.start()
        self._started.wait()
        torch.set_num_threads(n_threads)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stopped.set()
        # Not for long: a read from a share that hangs must not hold up a stop.
        self._thread.join(timeout=0.3)

    def next_batch(self, job: Job) -> Batch | None:
        """Wait for a batch; None after the last one."""
        while True:
            job.check()
            try:
                item = self._queue.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if isinstance(item, BaseException):
                raise item
            return item

    def _run(self) -> None:
        # One thread for the small operations of cutting: a second pool would fight the encoder's.
        limit_this_thread(1)
        self._started.set()
        try:
            for batch in self._batches():
                if not self._put(batch):
                    return
            self._put(None)
        except BaseException as error:  # noqa: BLE001 - raised again where the work was asked for
            self._put(error)

    def _put(self, item: Batch | BaseException | None) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False
