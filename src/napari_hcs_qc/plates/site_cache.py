"""Pixels of the sites looked at last, and of those that will be looked at next."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.errors import UnreadableSiteError
from napari_hcs_qc.job import Cancelled
from napari_hcs_qc.plates.plate import SiteKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from napari_hcs_qc.plates.plate import Plate, Projection

_CLOSE_S = 5.0  # so long a read that hangs, on a share that is gone say, may hold up a close


@dataclass(frozen=True, eq=False)
class SitePixels:
    """Pixels of one site."""

    site: SiteKey  # the site
    # Which channel of the plate each plane is: those that the site has, maybe not all
    channels: tuple[int, ...]
    pixels: NDArray[Any]  # (n_channels, height, width) in the plate's own dtype


@dataclass(eq=False)
class _Reading:
    """A site that somebody waits for, or that is being read."""

    site: SiteKey
    has_begun: bool = False
    waiting: list[Future[SitePixels]] = field(default_factory=list)


class SiteCache:
    """Reads sites of a plate once, and keeps as many as fit in memory, those used last.

    Safe to use from several threads. No site is read twice at the same time. What was asked for
    has a thread of its own, so that reading ahead does not hold it up; the next channel is read
    ahead only when nothing that was asked for waits.

    A context manager: `close` is called at its end.
    """

    def __init__(
        self, plate: Plate, *, projection: Projection = "max", max_bytes: int = 2**29
    ) -> None:
        self.plate = plate
        self.projection = projection
        self.max_bytes = max_bytes
        self._changed = threading.Condition()  # guards everything below
        self._kept: OrderedDict[SiteKey, SitePixels] = OrderedDict()
        self._n_bytes = 0
        self._readings: dict[SiteKey, _Reading] = {}
        self._asked: list[_Reading] = []
        self._n_urgent = 0  # sites being read that somebody waits for
        self._ahead: deque[SiteKey] = deque()
        self._ahead_bytes = 0
        self._threads: list[threading.Thread] = []
        self._is_closed = False

    def __enter__(self) -> SiteCache:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @property
    def n_bytes(self) -> int:
        """Size of the pixels kept, in bytes."""
        return self._n_bytes

    def peek(self, site: SiteKey) -> SitePixels | None:
        """Give a site that is in memory, at once; None when it is not."""
        with self._changed:
            return self._used(SiteKey(*site))

    def get(self, site: SiteKey) -> SitePixels:
        """Give a site, read in this thread where it is not in memory."""
        site = SiteKey(*site)
        with self._changed:
            if self._is_closed:
                raise Cancelled
            if (kept := self._used(site)) is not None:
                return kept
            reading = self._readings.setdefault(site, _Reading(site))
            is_mine = not reading.has_begun  # a request that still waits is served here as well
            if is_mine:
                self._begin(reading)
            future: Future[SitePixels] = Future()
            reading.waiting.append(future)
            self._changed.notify_all()
        if is_mine:
            self._read(reading, self._pixels)
            self._end()
        return future.result()

    def request(self, site: SiteKey) -> Future[SitePixels]:
        """Ask for a site and do not wait.

        The newest request is served first. ``cancel()`` of the future takes the request back
        while it waits. Its callbacks run in a thread of the cache, or at once in this one when
        the site is in memory.
        """
        site = SiteKey(*site)
        future: Future[SitePixels] = Future()
        with self._changed:
            if self._is_closed:
                future.cancel()
                return future
            kept = self._used(site)
            if kept is None:
                reading = self._readings.setdefault(site, _Reading(site))
                reading.waiting.append(future)
                if not reading.has_begun:
                    if reading in self._asked:
                        self._asked.remove(reading)
                    self._asked.append(reading)
                    self._start_threads()
                self._changed.notify_all()
                return future
        future.set_result(kept)
        return future

    def prefetch(self, sites: Iterable[SiteKey]) -> None:
        """Read sites ahead, in this order, in the background; what cannot be read is left.

        What an earlier call asked for and has not begun is dropped. It ends when half of
        `max_bytes` is used, so that what was read ahead does not push itself, or what is looked
        at, out of memory.
        """
        with self._changed:
            if self._is_closed:
                return
            self._ahead = deque(SiteKey(*site) for site in sites)
            self._ahead_bytes = 0
            if self._ahead:
                self._start_threads()
                self._changed.notify_all()

    def close(self, *, timeout_s: float = _CLOSE_S) -> None:
        """Drop everything, end the threads and wait for them; may be called again."""
        with self._changed:
            self._is_closed = True
            dropped = [future for reading in self._asked for future in reading.waiting]
            for reading in self._asked:
                self._readings.pop(reading.site, None)
            self._asked.clear()
            self._ahead.clear()
            self._kept.clear()
            self._n_bytes = 0
            threads, self._threads = self._threads, []
            self._changed.notify_all()
        for future in dropped:
            future.cancel()
        until = time.monotonic() + timeout_s
        for thread in threads:
            if thread is not threading.current_thread():  # a future's callback may close
                thread.join(max(0.0, until - time.monotonic()))

    def _used(self, site: SiteKey) -> SitePixels | None:
        kept = self._kept.get(site)
        if kept is not None:
            self._kept.move_to_end(site)
        return kept

    @property
    def _is_urgent(self) -> bool:
        return bool(self._asked) or self._n_urgent > 0

    def _start_threads(self) -> None:
        if not self._threads:
            self._threads = [
                threading.Thread(target=work, name=f"hcs-qc {name} sites", daemon=True)
                for work, name in ((self._serve, "asked"), (self._serve_ahead, "next"))
            ]
            for thread in self._threads:
                thread.start()

    def _serve(self) -> None:
        """Read what was asked for, the newest first."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or self._asked)
                if self._is_closed:
                    return
                reading = self._asked[-1]
                if all(future.cancelled() for future in reading.waiting):
                    del self._asked[-1], self._readings[reading.site]
                    self._changed.notify_all()
                    continue
                self._begin(reading)
            self._read(reading, self._pixels)
            del reading  # and with it the pixels
            self._end()

    def _begin(self, reading: _Reading) -> None:
        reading.has_begun = True
        if reading in self._asked:
            self._asked.remove(reading)
        self._n_urgent += 1

    def _end(self) -> None:
        with self._changed:
            self._n_urgent -= 1
            self._changed.notify_all()

    def _serve_ahead(self) -> None:
        """Read ahead while nothing that was asked for waits."""
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._is_closed or (self._ahead and not self._is_urgent)
                )
                if self._is_closed:
                    return
                site = self._ahead.popleft()
                if self._ahead_bytes >= self.max_bytes // 2:
                    self._ahead.clear()
                    continue
                if site in self._readings or self._used(site) is not None:
                    continue
                reading = self._readings[site] = _Reading(site, has_begun=True)
            n_bytes = self._read(reading, self._pixels_ahead)
            del reading
            with self._changed:
                self._ahead_bytes += n_bytes

    def _read(self, reading: _Reading, pixels_of: Callable[[_Reading], SitePixels]) -> int:
        """Read a site and hand it, or the error, to all who wait for it; give its bytes."""
        site_pixels: SitePixels | None = None
        error: BaseException | None = None
        try:
            site_pixels = pixels_of(reading)
        except BaseException as raised:  # noqa: BLE001 - raised again where the site was asked for
            error = raised
        with self._changed:
            del self._readings[reading.site]
            if site_pixels is not None and not self._is_closed:
                self._keep(site_pixels)
        for future in reading.waiting:
            if not future.set_running_or_notify_cancel():
                continue
            if site_pixels is not None:
                future.set_result(site_pixels)
            else:
                future.set_exception(error)
        return 0 if site_pixels is None else site_pixels.pixels.nbytes

    def _pixels(self, reading: _Reading) -> SitePixels:
        channels = self.plate.available_channels(reading.site)
        return self._made(reading.site, channels, self._planes(reading.site, channels))

    def _pixels_ahead(self, reading: _Reading) -> SitePixels:
        """Read channel by channel, so that who asks meanwhile soon has the processor and disk."""
        channels = self.plate.available_channels(reading.site)
        if len(channels) < 2:
            return self._pixels(reading)
        planes = []
        for channel in channels:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._is_closed or reading.waiting or not self._is_urgent
                )
                if self._is_closed and not reading.waiting:
                    raise Cancelled
            planes.append(self._planes(reading.site, (channel,)))
        return self._made(reading.site, channels, np.concatenate(planes))

    def _planes(self, site: SiteKey, channels: tuple[int, ...]) -> NDArray[Any]:
        try:
            return self.plate.read_site(site, channels, projection=self.projection)
        except OSError as error:  # a disk that goes away in the middle of a file
            raise UnreadableSiteError(f"{site}: {error}") from error

    @staticmethod
    def _made(site: SiteKey, channels: tuple[int, ...], pixels: NDArray[Any]) -> SitePixels:
        pixels.flags.writeable = False
        return SitePixels(site, channels, pixels)

    def _keep(self, pixels: SitePixels) -> None:
        self._kept[pixels.site] = pixels
        self._n_bytes += pixels.pixels.nbytes
        while self._n_bytes > self.max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._n_bytes -= oldest.pixels.nbytes
