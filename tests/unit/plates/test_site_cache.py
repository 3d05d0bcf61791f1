from __future__ import annotations

import random
import threading
import time
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_hcs_qc.errors import UnreadableSiteError
from napari_hcs_qc.job import Cancelled
from napari_hcs_qc.plates.open import open_plate
from napari_hcs_qc.plates.plate import Plate, SiteKey
from napari_hcs_qc.plates.site_cache import SiteCache, SitePixels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_WELLS = ("A01", "A02", "A03", "A04", "B01", "B02", "B03", "B04")
_SITES = [SiteKey(well, 1) for well in _WELLS]
_BYTES = 2 * 6 * 8 * 2  # of a site with both channels
_SOON_S = 10.0


@pytest.fixture
def plate(write_images: Callable[..., Path]) -> Plate:
    """Eight sites of two channels; the last lacks its second."""
    names = [f"p_{well}_s1_w{channel}.tif" for well in _WELLS for channel in (1, 2)]
    return open_plate(write_images(names[:-1]))


class _Gate:
    """Counts the reads of a plate, and can hold them up."""

    def __init__(self, plate: Plate, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: list[SiteKey] = []  # when the first channel is read
        self.n_planes = 0  # read to the end
        self.threads: list[str] = []
        self.open = threading.Event()
        self.open.set()
        self.held: set[SiteKey] | None = None  # all of them
        read = Plate.read_site

        def read_site(this: Plate, site: SiteKey, channels: Any = None, **options: Any) -> Any:
            if 0 in channels:
                self.begun.append(site)
                self.threads.append(threading.current_thread().name)
            _until(lambda: self.open.is_set() or site not in (self.held or {site}))
            self.n_planes += len(channels)
            return read(this, site, channels, **options)

        monkeypatch.setattr(Plate, "read_site", read_site)

    def until(self, n: int) -> None:
        """Wait until n reads have begun."""
        _until(lambda: len(self.begun) >= n)


def _until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + _SOON_S
    while not is_so():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


@pytest.fixture
def gate(plate: Plate, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Gate]:
    made = _Gate(plate, monkeypatch)
    yield made
    made.open.set()


@pytest.fixture
def cache(plate: Plate) -> Iterator[SiteCache]:
    with SiteCache(plate) as made:
        yield made


def _cache_threads() -> list[threading.Thread]:
    # By its whole name: encoders keep threads of their own for the rest of the run.
    return [thread for thread in threading.enumerate() if thread.name.endswith(" sites")]


def test_a_site_is_read_once_as_the_plate_reads_it(
    cache: SiteCache, plate: Plate, gate: _Gate
) -> None:
    assert cache.peek(_SITES[0]) is None
    found = cache.get(_SITES[0])
    assert found.site == _SITES[0]
    assert found.channels == (0, 1)
    np.testing.assert_array_equal(found.pixels, plate.read_site(_SITES[0], (0, 1)))
    gate.begun.clear()
    assert cache.get(_SITES[0]) is found
    assert cache.peek(_SITES[0]) is found
    assert cache.request(_SITES[0]).result(0) is found
    assert gate.begun == []
    assert cache.n_bytes == found.pixels.nbytes == _BYTES


def test_pixels_cannot_be_changed_as_others_see_them_too(cache: SiteCache) -> None:
    with pytest.raises(ValueError, match="read-only"):
        cache.get(_SITES[0]).pixels[0] = 0


def test_a_site_that_lacks_a_channel_comes_with_those_it_has(cache: SiteCache) -> None:
    found = cache.get(_SITES[7])
    assert found.channels == (0,)
    assert found.pixels.shape == (1, 6, 8)


@pytest.mark.parametrize(("projection", "value"), [("max", 3), (2, 2)])
def test_stacks_are_read_as_asked(
    write_images: Callable[..., Path],
    value_of: Callable[..., int],
    projection: Any,
    value: int,
) -> None:
    names = [f"TimePoint_1/ZStep_{z}/p_A01_s1_w1.tif" for z in (1, 2, 3)]
    stack = open_plate(write_images(names))
    with SiteCache(stack, projection=projection) as cache:
        assert value_of(cache.get(stack.sites[0]).pixels[0]) == value


def test_the_sites_used_last_are_kept(plate: Plate) -> None:
    with SiteCache(plate, max_bytes=3 * _BYTES) as cache:
        for site in _SITES[:3]:
            cache.get(site)
        cache.peek(_SITES[0])  # so the second is now the oldest
        cache.get(_SITES[3])
        kept = [site for site in _SITES if cache.peek(site) is not None]
        assert kept == [_SITES[0], _SITES[2], _SITES[3]]
        assert cache.n_bytes == 3 * _BYTES


def test_a_site_larger_than_the_cache_is_given_but_not_kept(plate: Plate) -> None:
    with SiteCache(plate, max_bytes=_BYTES - 1) as cache:
        assert cache.get(_SITES[0]).pixels.nbytes == _BYTES
        assert cache.peek(_SITES[0]) is None
        assert cache.n_bytes == 0


def test_a_bad_file_is_told_by_every_way_and_tried_again(cache: SiteCache, plate: Plate) -> None:
    path = plate.planes.loc[plate.planes["well"] == "A02", "path"].iloc[0]
    with open(path, "rb") as handle:
        whole = handle.read()
    assert plate.layout.shape == (6, 8)
    with open(path, "wb") as handle:
        handle.write(whole[:40])
    with pytest.raises(UnreadableSiteError, match="A02 s1"):
        cache.get(_SITES[1])
    assert isinstance(cache.request(_SITES[1]).exception(_SOON_S), UnreadableSiteError)
    assert cache.peek(_SITES[1]) is None
    with open(path, "wb") as handle:
        handle.write(whole)
    assert cache.get(_SITES[1]).channels == (0, 1)


def test_a_disk_that_goes_away_while_reading_is_an_unreadable_site(
    cache: SiteCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Plate, "read_site", fail)
    with pytest.raises(UnreadableSiteError, match=r"A01 s1: .*Input/output error"):
        cache.get(_SITES[0])


def test_an_unknown_site_is_told(cache: SiteCache) -> None:
    with pytest.raises(UnreadableSiteError, match="no site D09 s7"):
        cache.get(SiteKey("D09", 7))


def test_one_read_serves_all_who_ask_meanwhile(cache: SiteCache, gate: _Gate) -> None:
    gate.open.clear()
    found: list[SitePixels] = []
    callers = [
        threading.Thread(target=lambda: found.append(cache.get(_SITES[0]))) for _ in range(4)
    ]
    futures = [cache.request(_SITES[0])]
    gate.until(1)
    for thread in callers:
        thread.start()
    futures.append(cache.request(_SITES[0]))
    time.sleep(0.05)
    gate.open.set()
    for thread in callers:
        thread.join(_SOON_S)
    assert gate.begun == [_SITES[0]]
    assert {id(one) for one in found} == {id(future.result(_SOON_S)) for future in futures}
    assert len(found) == 4


def test_get_serves_a_request_that_still_waits(cache: SiteCache, gate: _Gate) -> None:
    gate.held = {_SITES[0]}
    gate.open.clear()
    first = cache.request(_SITES[0])
    gate.until(1)
    second = cache.request(_SITES[1])
    assert cache.get(_SITES[1]) is second.result(0)
    assert gate.threads[1] == threading.current_thread().name
    assert not first.done()
    gate.open.set()
    first.result(_SOON_S)
    assert gate.begun == _SITES[:2]


def test_the_newest_request_comes_first_and_can_be_taken_back(
    cache: SiteCache, gate: _Gate
) -> None:
    gate.open.clear()
    futures = [cache.request(_SITES[0])]
    gate.until(1)
    futures += [cache.request(site) for site in _SITES[1:5]]
    assert futures[2].cancel()
    again = cache.request(_SITES[1])  # the newest now
    gate.open.set()
    wait([futures[1], futures[3], futures[4], again], _SOON_S)
    assert gate.begun == [_SITES[0], _SITES[1], _SITES[4], _SITES[3]]
    assert futures[2].cancelled()


def test_a_request_does_not_wait_for_what_is_read_ahead(cache: SiteCache, gate: _Gate) -> None:
    gate.held = {_SITES[0]}
    gate.open.clear()
    cache.prefetch(_SITES[:4])
    gate.until(1)
    assert cache.request(_SITES[5]).result(_SOON_S).site == _SITES[5]
    assert gate.begun == [_SITES[0], _SITES[5]]
    gate.open.set()
    _until(lambda: all(cache.peek(site) is not None for site in _SITES[:4]))


def test_nothing_is_read_ahead_while_a_request_waits(cache: SiteCache, gate: _Gate) -> None:
    gate.held = {_SITES[0]}
    gate.open.clear()
    asked = cache.request(_SITES[0])
    gate.until(1)
    cache.prefetch(_SITES[1:3])
    time.sleep(0.1)
    assert gate.begun == [_SITES[0]]
    gate.open.set()
    asked.result(_SOON_S)
    _until(lambda: cache.peek(_SITES[2]) is not None)
    assert gate.begun == _SITES[:3]


def test_reading_ahead_rests_between_channels_while_somebody_waits(
    cache: SiteCache, gate: _Gate
) -> None:
    gate.held = {_SITES[0], _SITES[5]}
    gate.open.clear()
    cache.prefetch([_SITES[0]])
    gate.until(1)
    asked = cache.request(_SITES[5])
    gate.until(2)
    gate.held = {_SITES[5]}
    _until(lambda: gate.n_planes == 1)
    time.sleep(0.1)
    assert gate.n_planes == 1  # the second channel is not read
    # But it goes on when that very site is asked for.
    assert cache.request(_SITES[0]).result(_SOON_S).channels == (0, 1)
    assert not asked.done()
    gate.open.set()
    assert asked.result(_SOON_S).channels == (0, 1)
    assert gate.begun == [_SITES[0], _SITES[5]]


def test_closing_ends_a_rest(plate: Plate, gate: _Gate) -> None:
    cache = SiteCache(plate)
    gate.held = {_SITES[0], _SITES[5]}
    gate.open.clear()
    cache.prefetch([_SITES[0]])
    gate.until(1)
    asked = cache.request(_SITES[5])
    gate.until(2)
    gate.held = {_SITES[5]}
    _until(lambda: gate.n_planes == 1)
    threading.Timer(0.1, gate.open.set).start()
    cache.close()
    assert not _cache_threads()
    assert asked.result(0).site == _SITES[5]
    assert gate.n_planes == 3


def test_reading_ahead_goes_on_after_a_request_is_taken_back(cache: SiteCache, gate: _Gate) -> None:
    gate.held = {_SITES[0]}
    gate.open.clear()
    cache.request(_SITES[0])
    gate.until(1)
    cache.request(_SITES[6]).cancel()
    cache.prefetch([_SITES[1]])
    gate.open.set()
    _until(lambda: cache.peek(_SITES[1]) is not None)
    assert _SITES[6] not in gate.begun


def test_a_newer_prefetch_replaces_what_has_not_begun(cache: SiteCache, gate: _Gate) -> None:
    gate.open.clear()
    cache.prefetch(_SITES[:4])
    gate.until(1)
    cache.prefetch(_SITES[5:7])
    gate.open.set()
    _until(lambda: cache.peek(_SITES[6]) is not None)
    assert gate.begun == [_SITES[0], _SITES[5], _SITES[6]]


def test_reading_ahead_leaves_room_and_passes_over_bad_sites(plate: Plate, gate: _Gate) -> None:
    with SiteCache(plate, max_bytes=6 * _BYTES) as cache:
        cache.get(_SITES[7])
        cache.prefetch([SiteKey("D09", 7), _SITES[7], *_SITES[:6]])
        _until(lambda: cache.peek(_SITES[2]) is not None)
        time.sleep(0.05)
        assert [site for site in _SITES if cache.peek(site)] == [*_SITES[:3], _SITES[7]]


def test_closing_ends_the_threads_and_all_who_wait(plate: Plate, gate: _Gate) -> None:
    before = _cache_threads()
    cache = SiteCache(plate)
    gate.open.clear()
    running = cache.request(_SITES[0])
    cache.prefetch(_SITES[3:])
    gate.until(1)
    waits = cache.request(_SITES[1])
    threading.Timer(0.1, gate.open.set).start()
    cache.close()
    assert [thread for thread in _cache_threads() if thread not in before] == []
    assert running.result(0).site == _SITES[0]
    assert waits.cancelled()
    assert gate.begun == [_SITES[0]]
    assert cache.n_bytes == 0
    assert cache.peek(_SITES[0]) is None
    cache.close()


def test_a_closed_cache_gives_nothing_and_starts_no_thread(plate: Plate, gate: _Gate) -> None:
    before = _cache_threads()
    cache = SiteCache(plate)
    cache.close()
    with pytest.raises(Cancelled):
        cache.get(_SITES[0])
    assert cache.request(_SITES[0]).cancelled()
    cache.prefetch(_SITES)
    assert gate.begun == []
    assert _cache_threads() == before


def test_a_read_that_hangs_does_not_hold_up_the_close(plate: Plate, gate: _Gate) -> None:
    cache = SiteCache(plate)
    gate.open.clear()
    running = cache.request(_SITES[0])
    gate.until(1)
    start = time.monotonic()
    cache.close(timeout_s=0.05)
    assert time.monotonic() - start < 1.0
    gate.open.set()
    assert running.result(_SOON_S).site == _SITES[0]
    _until(lambda: not _cache_threads())
    assert cache.n_bytes == 0


def test_a_callback_may_close_the_cache(plate: Plate) -> None:
    cache = SiteCache(plate)
    closed = threading.Event()

    def close(_future: object) -> None:
        cache.close()
        closed.set()

    cache.request(_SITES[0]).add_done_callback(close)
    assert closed.wait(_SOON_S)
    _until(lambda: not _cache_threads())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_many_threads_at_once_get_what_they_asked_for(plate: Plate, seed: int) -> None:
    """Any mixture of calls ends, gives the right site, and keeps the count of bytes right."""
    errors: list[BaseException] = []
    with SiteCache(plate, max_bytes=3 * _BYTES) as cache:

        def work(number: int) -> None:
            rng = random.Random(1000 * seed + number)
            try:
                for _ in range(150):
                    site, way = rng.choice(_SITES), rng.random()
                    if way < 0.4:
                        assert cache.get(site).site == site
                    elif way < 0.7:
                        assert cache.request(site).result(_SOON_S).site == site
                    elif way < 0.8:
                        cache.request(site).cancel()
                    else:
                        cache.prefetch(rng.sample(_SITES, 4))
            except BaseException as error:  # noqa: BLE001 - shown below
                errors.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert errors == []
        cache.prefetch(())
        _until(lambda: not cache._readings)
        kept = [found for site in _SITES if (found := cache.peek(site)) is not None]
        assert cache.n_bytes == sum(found.pixels.nbytes for found in kept) <= 3 * _BYTES
    assert not _cache_threads()
