"""Pictures come from a thread that never holds up the window and ends when asked."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_state import PlateState, load_plate
from napari_hcs_qc.assay.views.montage import CROP_DIAMETERS
from napari_hcs_qc.assay.views.pictures import cell_pictures
from napari_hcs_qc.errors import UnreadableSiteError
from napari_hcs_qc.gui.canvas.layers import picture_style
from napari_hcs_qc.gui.gallery import gallery_source
from napari_hcs_qc.gui.gallery.gallery_source import GallerySource
from napari_hcs_qc.plates.plate import Plate, SiteKey
from napari_hcs_qc.plates.site_cache import SiteCache

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot


@pytest.fixture(scope="module")
def state(trained: Path) -> PlateState:
    return load_plate(AssayFolder.open(trained / "assay"), "SIM")


@pytest.fixture
def source(qtbot: QtBot) -> Iterator[GallerySource]:
    made = GallerySource()
    yield made
    made.close()
    assert not threads()


@pytest.fixture
def pictures(source: GallerySource) -> dict[int, NDArray[np.uint8] | None]:
    taken: dict[int, NDArray[np.uint8] | None] = {}
    source.arrived.connect(
        lambda rows, images: taken.update(zip(rows.tolist(), images, strict=True))
    )
    source.failed.connect(lambda rows: taken.update(dict.fromkeys(rows.tolist())))
    return taken


def threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "hcs-qc gallery"]


def test_the_pictures_requested_arrive_as_the_core_makes_them(
    qtbot: QtBot, source: GallerySource, pictures: dict, state: PlateState
) -> None:
    source.set_plate(state.plate, state.plate_cells)
    assert not threads()  # none before the first wish
    rows = np.arange(len(state.plate_cells.cells))[::7]
    source.request(rows)
    qtbot.waitUntil(lambda: len(pictures) == len(rows), timeout=10_000)
    assert set(pictures) == set(rows.tolist())
    side_px = round(CROP_DIAMETERS * state.plate_cells.diameter_px)
    with SiteCache(state.plate) as cache:
        expected = cell_pictures(
            cache,
            state.plate_cells.cells.iloc[rows],
            state.plate_cells.ranges,
            picture_style(state.plate),
            side_px=side_px,
            shown_px=side_px,
        )
        for index, picture in expected:
            np.testing.assert_array_equal(pictures[int(rows[index])], picture)


def test_cells_of_a_site_that_cannot_be_read_fail(
    qtbot: QtBot,
    source: GallerySource,
    pictures: dict,
    state: PlateState,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bad = state.plate.sites[1]
    read = Plate.read_site

    def read_site(plate: Plate, site: SiteKey, *args: object, **kwargs: object) -> object:
        if site == bad:
            raise UnreadableSiteError("gone")
        return read(plate, site, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Plate, "read_site", read_site)
    source.set_plate(state.plate, state.plate_cells)
    rows = np.concatenate([state.by_site.rows(site)[:3] for site in state.plate.sites])
    source.request(rows)
    qtbot.waitUntil(lambda: len(pictures) == len(rows), timeout=10_000)
    failed = {row for row, picture in pictures.items() if picture is None}
    assert failed == set(state.by_site.rows(bad)[:3].tolist())


def test_an_error_of_another_sort_is_told_once_and_the_thread_goes_on(
    qtbot: QtBot,
    source: GallerySource,
    pictures: dict,
    state: PlateState,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object, **__: object) -> Iterator[object]:
        raise ZeroDivisionError("no such thing")
        yield

    messages: list[str] = []
    source.message.connect(messages.append)
    source.set_plate(state.plate, state.plate_cells)
    with monkeypatch.context() as patched:
        patched.setattr(gallery_source, "cell_pictures", broken)
        for row in (0, 1):
            source.request([row])
            qtbot.waitUntil(lambda row=row: row in pictures, timeout=5000)
    assert messages == ["The images cannot be shown: ZeroDivisionError: no such thing"]
    source.request([2])
    qtbot.waitUntil(lambda: pictures.get(2) is not None, timeout=5000)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Until this is set, the reading of a site does not end."""
    may_go_on = threading.Event()
    read = Plate.read_site

    def read_site(plate: Plate, *args: object, **kwargs: object) -> object:
        assert may_go_on.wait(10)
        return read(plate, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Plate, "read_site", read_site)
    return may_go_on


def test_the_newest_wish_replaces_what_was_wanted_before(
    qtbot: QtBot,
    source: GallerySource,
    pictures: dict,
    state: PlateState,
    slow: threading.Event,
) -> None:
    first, *between, last = state.plate.sites
    source.set_plate(state.plate, state.plate_cells)
    started = time.perf_counter()
    for site in (first, *between, last):
        source.request(state.by_site.rows(site))
    assert time.perf_counter() - started < 0.5  # nothing waits for the disk
    qtbot.wait(50)
    slow.set()
    newest = set(state.by_site.rows(last).tolist())
    qtbot.waitUntil(lambda: newest <= set(pictures), timeout=10_000)
    for site in between:
        assert not set(state.by_site.rows(site).tolist()) & set(pictures)


def test_pictures_of_a_plate_that_was_left_do_not_arrive(
    qtbot: QtBot,
    source: GallerySource,
    pictures: dict,
    state: PlateState,
    slow: threading.Event,
) -> None:
    source.set_plate(state.plate, state.plate_cells)
    source.request([0, 1])
    qtbot.waitUntil(lambda: len(threads()) == 1)
    started = time.perf_counter()
    source.set_plate(None, None)
    assert time.perf_counter() - started < 0.5
    source.request([0])  # of no plate
    slow.set()
    qtbot.waitUntil(lambda: not threads())
    qtbot.wait(50)
    assert not pictures


def test_a_thread_with_nothing_to_do_ends_and_another_goes_on(
    qtbot: QtBot,
    source: GallerySource,
    pictures: dict,
    state: PlateState,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gallery_source, "_IDLE_S", 0.05)
    source.set_plate(state.plate, state.plate_cells)
    for row in (0, 1):
        source.request([row])
        qtbot.waitUntil(lambda row=row: row in pictures, timeout=5000)
        qtbot.waitUntil(lambda: not threads(), timeout=5000)


def test_a_thread_outlives_a_deleted_gallery_only_until_it_is_idle(
    qtbot: QtBot, state: PlateState, slow: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery_source, "_IDLE_S", 0.05)
    source = GallerySource()
    source.set_plate(state.plate, state.plate_cells)
    source.request(np.arange(len(state.plate_cells.cells)))
    qtbot.waitUntil(lambda: len(threads()) == 1)
    with qtbot.waitSignal(source.destroyed):
        source.deleteLater()
    slow.set()
    qtbot.waitUntil(lambda: not threads(), timeout=5000)


def test_a_plate_without_cells_makes_no_pictures(source: GallerySource, state: PlateState) -> None:
    source.set_plate(state.plate, None)
    source.request([])
    source.request([3])
    assert not threads()
