"""Pictures of cells for a gallery, made in a thread of their own."""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_hcs_qc.assay.views.montage import CROP_DIAMETERS
from napari_hcs_qc.assay.views.pictures import cell_pictures
from napari_hcs_qc.gui.canvas.layers import picture_style
from napari_hcs_qc.gui.session.background_jobs import error_text
from napari_hcs_qc.job import Cancelled, Job
from napari_hcs_qc.plates.site_cache import SiteCache

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_hcs_qc.assay.store.plate_cells import PlateCells
    from napari_hcs_qc.assay.views.pictures import PictureStyle
    from napari_hcs_qc.cells.intensity import IntensityRanges
    from napari_hcs_qc.plates.plate import Plate

_CACHE_BYTES = 2**28  # of pixels; the viewer has a cache of its own
_LARGEST_PX = 160  # of a picture: enough for large tiles, small enough to keep thousands
_AT_ONCE = 16  # pictures handed over together, so that the event loop is not flooded
_LATEST_S = 0.05  # after which fewer are handed over
_POLL_MS = 25  # so often is looked for what was made, while there is something to make
_IDLE_S = 5.0  # after which a thread with nothing to do ends
_CLOSE_S = 5.0


class GallerySource(QObject):
    """Makes the pictures that a gallery wants, those wanted last first.

    A site is read in a thread and nothing waits for it. What was wanted before the last call of
    `want` and is not made yet is left.
    """

    arrived = Signal(object, object)
    failed = Signal(object)
    message = Signal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._makers: list[_Maker] = []  # the last one is in use, the others are ending
        # The threads know nothing of Qt: what they make is looked for, so none of them ever
        # touches an object that is being deleted.
        self._poll = QTimer(self)
        self._poll.setInterval(_POLL_MS)
        self._poll.timeout.connect(self._collect)

    def set_plate(self, plate: Plate | None, cells: PlateCells | None) -> None:
        """Make pictures of another plate; None makes none."""
        self._end_all()
        self._makers = [maker for maker in self._makers if maker.is_alive]
        if plate is not None and cells is not None and len(cells.cells):
            self._makers.append(_Maker(plate, cells))

    def set_look(self, style: PictureStyle, ranges: IntensityRanges) -> bool:
        """Make pictures in other colours from now on; give whether they are others."""
        return bool(self._makers) and self._makers[-1].set_look(style, ranges)

    def request(self, rows: ArrayLike) -> None:
        """Make these pictures, in place of all that were wanted before."""
        if self._makers:
            self._makers[-1].request(np.asarray(rows, dtype=np.int64))
            self._poll.start()

    def close(self) -> None:
        """End the threads and wait for them, at most as long as a site takes to read."""
        self._poll.stop()
        self._end_all()
        for maker in self._makers:
            maker.join()
        self._makers.clear()

    def _end_all(self) -> None:
        for maker in self._makers:
            maker.end()

    def _collect(self) -> None:
        maker = self._makers[-1] if self._makers else None
        if maker is None or maker.has_ended:
            self._poll.stop()
            return
        is_idle = maker.is_idle  # asked before looking: what it made until then is all found
        for batch in maker.collect():
            if batch.text is not None:
                self.message.emit(batch.text)
            if batch.pictures is None:
                self.failed.emit(batch.rows)
            else:
                self.arrived.emit(batch.rows, batch.pictures)
        if is_idle:
            self._poll.stop()


class _Batch(NamedTuple):
    """Rows and their pictures, None where there are none; and a message."""

    rows: NDArray[np.int64]
    pictures: NDArray[np.uint8] | None
    text: str | None = None


class _Maker:
    """One plate's pictures, and the thread that makes them."""

    def __init__(self, plate: Plate, cells: PlateCells) -> None:
        self._cells = cells.cells[["well", "site", "y_px", "x_px"]]
        self._ranges = cells.ranges
        self._style = picture_style(plate)
        self._side_px = max(8, round(CROP_DIAMETERS * cells.diameter_px))
        self._cache = SiteCache(plate, projection=cells.projection, max_bytes=_CACHE_BYTES)
        self._finished: SimpleQueue[_Batch] = SimpleQueue()
        self._changed = threading.Condition()  # guards the four below
        self._requested: NDArray[np.int64] | None = None
        self._is_busy = False
        self._is_over = True  # no thread runs, or the last one is about to end
        self.has_ended = False
        self._has_reported = False
        self._thread: threading.Thread | None = None

    def set_look(self, style: PictureStyle, ranges: IntensityRanges) -> bool:
        """Use other colours; give whether they are others."""
        with self._changed:
            is_new = (style, ranges) != (self._style, self._ranges)
            self._style, self._ranges = style, ranges
        return is_new

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being made or waits to be."""
        with self._changed:
            return not self._is_busy and self._requested is None

    def collect(self) -> list[_Batch]:
        """Give what was made since it was last asked for."""
        batches = []
        while not self._finished.empty():
            batches.append(self._finished.get())
        return batches

    def request(self, rows: NDArray[np.int64]) -> None:
        """Make these next; the thread begins with the first request."""
        with self._changed:
            if self.has_ended or (self._is_over and not len(rows)):
                return
            self._requested = rows
            self._changed.notify_all()
            if self._is_over:
                self._is_over = False
                name = "hcs-qc gallery"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()

    def end(self) -> None:
        """Ask the thread to end; it does so when the site it reads is read."""
        with self._changed:
            self.has_ended = True
            self._changed.notify_all()
        self._cache.close(timeout_s=0)  # it has no threads of its own: sites are read in ours

    def join(self) -> None:
        """Wait for the thread; a share that hangs does not hold up for ever."""
        thread = self._thread
        if thread is not None:
            thread.join(_CLOSE_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_busy = False
                self._changed.wait_for(
                    lambda: self.has_ended or self._requested is not None, _IDLE_S
                )
                requested, self._requested = self._requested, None
                if self.has_ended or requested is None:
                    # Also when a gallery was deleted without notice to this thread.
                    self._is_over = True
                    return
                self._is_busy = True
            self._make(requested)

    def _should_stop(self) -> bool:
        return self.has_ended or self._requested is not None

    def _make(self, requested: NDArray[np.int64]) -> None:
        done: list[tuple[int, NDArray[np.uint8] | None]] = []
        since = 0.0
        try:
            for index, picture in cell_pictures(
                self._cache,
                self._cells.iloc[requested],
                self._ranges,
                self._style,
                side_px=self._side_px,
                shown_px=min(self._side_px, _LARGEST_PX),
                job=Job(should_stop=self._should_stop),
            ):
                done.append((int(requested[index]), picture))
                if len(done) >= _AT_ONCE or time.monotonic() - since > _LATEST_S:
                    self._put(done)
                    done, since = [], time.monotonic()
        except Cancelled:
            pass  # by another request, or the end
        except Exception as error:  # noqa: BLE001 - whatever it is ends in a message
            text = (
                None if self._has_reported else f"The images cannot be shown: {error_text(error)}"
            )
            self._has_reported = True  # once is enough: each scroll would repeat it
            self._put(done)
            self._finished.put(_Batch(requested, None, text))
            return
        self._put(done)

    def _put(self, done: list[tuple[int, NDArray[np.uint8] | None]]) -> None:
        pictures = [(row, picture) for row, picture in done if picture is not None]
        if pictures:
            rows = np.array([row for row, _ in pictures], dtype=np.int64)
            self._finished.put(_Batch(rows, np.stack([picture for _, picture in pictures])))
        failed = [row for row, picture in done if picture is None]
        if failed:
            self._finished.put(_Batch(np.array(failed, dtype=np.int64), None))
