from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from napari_hcs_qc.cells.detect import find_cells, plate_diameter
from napari_hcs_qc.cells.detectors import detector
from napari_hcs_qc.cells.nuclei import find_nuclei
from napari_hcs_qc.cells.table import cells_of_site, join_cells
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Cancelled, Job
from napari_hcs_qc.plates.plate import Plate, SiteKey

if TYPE_CHECKING:
    from pathlib import Path

MakePlate = Callable[..., Plate]


def test_the_cells_are_those_of_each_site(plate: Plate, fields: dict[SiteKey, Any]) -> None:
    result = find_cells(plate, diameter_px=28)
    expected = join_cells(
        cells_of_site(find_nuclei(field.image, diameter_px=28), field.image, site)
        for site, field in fields.items()
    )
    pd.testing.assert_frame_equal(result.cells, expected)
    assert len(expected) >= 25
    assert not (expected["well"].eq("B03") & expected["site"].eq(2)).any()
    inner = expected.loc[~expected["is_cut"], "diameter_px"]
    assert result.diameter_px == pytest.approx(inner.median())


def test_border_cells_are_kept_and_marked(plate: Plate) -> None:
    cells = find_cells(plate, diameter_px=28).cells
    marked = cells[cells["is_cut"]]
    assert 0 < len(marked) < len(cells)
    near = np.minimum.reduce(
        [marked["y_px"], 159 - marked["y_px"], marked["x_px"], 199 - marked["x_px"]]
    )
    assert (near < 20).all()


def test_the_diameter_is_estimated_once_for_the_plate(plate: Plate) -> None:
    diameter = plate_diameter(plate)
    assert diameter == pytest.approx(28, rel=0.15)
    pd.testing.assert_frame_equal(
        find_cells(plate).cells, find_cells(plate, diameter_px=diameter).cells
    )


def test_the_estimate_reports_each_look_at_a_field_and_stops_between_them(plate: Plate) -> None:
    steps: list[tuple[int, int, str]] = []
    plate_diameter(plate, job=Job(lambda *step: steps.append(step)))
    looks = [(done, total) for done, total, text in steps if text.startswith("Estimating")]
    assert len(looks) > 1
    assert looks == [(number, looks[0][1]) for number in range(len(looks))]
    known = plate_diameter(plate, job=Job(lambda *_: pytest.fail("estimated again")))
    assert plate_diameter(replace(plate)) == known
    assert len(looks) <= looks[0][1]
    n_steps = 0

    def is_enough() -> bool:
        return n_steps >= len(steps) - 1

    def count(*_: object) -> None:
        nonlocal n_steps
        n_steps += 1

    with pytest.raises(Cancelled):
        plate_diameter(replace(plate), job=Job(count, is_enough))
    assert n_steps == len(steps) - 1


def test_on_site_comes_in_this_thread_in_order_with_all_channels(
    plate: Plate, fields: dict[SiteKey, Any]
) -> None:
    seen = []

    def on_site(site: SiteKey, pixels: np.ndarray, labels: np.ndarray) -> None:
        assert threading.current_thread() is threading.main_thread()
        np.testing.assert_array_equal(pixels[0], fields[site].image)
        np.testing.assert_array_equal(pixels[1], fields[site].image[::-1])
        assert labels.shape == pixels.shape[1:]
        seen.append((site, int(labels.max())))

    result = find_cells(plate, diameter_px=28, on_site=on_site)
    assert [site for site, _ in seen] == list(plate.sites)
    assert sum(n for _, n in seen) == len(result.cells)
    assert seen[-1] == (SiteKey("B03", 2), 0)


def test_another_channel_can_hold_the_nuclei(plate: Plate, fields: dict[SiteKey, Any]) -> None:
    cells = find_cells(plate, channel=1, diameter_px=28).cells
    upright = find_cells(plate, channel=0, diameter_px=28).cells
    assert sorted((159 - cells["y_px"]).round(2)) == pytest.approx(
        sorted(upright["y_px"].round(2)), abs=1.5
    )
    with pytest.raises(HcsQcError, match="has no channel 7"):
        find_cells(plate, channel=7)


def test_some_sites_only(plate: Plate) -> None:
    wanted = [SiteKey("B03", 1), SiteKey("A01", 1)]
    cells = find_cells(plate, diameter_px=28, sites=wanted).cells
    assert list(dict.fromkeys(zip(cells["well"], cells["site"], strict=True))) == [
        ("B03", 1), ("A01", 1),
    ]  # fmt: skip


def test_a_bad_site_is_recorded_and_stops_nothing(
    tmp_path: Path, make_plate: MakePlate, fields: dict[SiteKey, Any]
) -> None:
    images: dict[tuple[SiteKey, int], Any] = {(s, 1): f.image for s, f in fields.items()}
    images[SiteKey("A01", 2), 1] = b"this is text"
    images[SiteKey("C01", 1), 2] = images[SiteKey("A01", 1), 1]  # no nucleus channel there
    plate = make_plate(tmp_path / "bad", images)
    visited: list[SiteKey] = []
    result = find_cells(
        plate, diameter_px=28, on_site=lambda site, _pixels, _labels: visited.append(site)
    )
    assert [problem.where for problem in result.unreadable] == ["A01 s2", "C01 s1"]
    assert "w1 has no file" in result.unreadable[1].what
    assert visited == [SiteKey("A01", 1), SiteKey("B03", 1), SiteKey("B03", 2)]
    assert set(result.cells["well"]) == {"A01", "B03"}


def test_a_plate_without_nuclei_gives_an_empty_table(
    tmp_path: Path, make_plate: MakePlate, draw_field: Callable[..., Any]
) -> None:
    images = {(SiteKey("A01", n), 1): draw_field((90, 100), n=0, seed=n).image for n in (1, 2)}
    plate = make_plate(tmp_path / "empty", images)
    result = find_cells(plate)
    assert result.cells.empty
    assert np.isnan(result.diameter_px)


def test_a_run_can_be_stopped(plate: Plate) -> None:
    done: list[int] = []
    job = Job(lambda now, _total, _message: done.append(now), lambda: len(done) >= 2)
    with pytest.raises(Cancelled):
        find_cells(plate, diameter_px=28, job=job)


def test_stopping_does_not_wait_for_a_slow_site(
    plate: Plate, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def slow(image: np.ndarray, **_: object) -> np.ndarray:
        release.wait(20)
        return np.zeros(image.shape, np.int32)

    monkeypatch.setattr(detector, "find_nuclei", slow)
    start = time.monotonic()
    try:
        with pytest.raises(Cancelled):
            find_cells(
                plate, diameter_px=28, job=Job(should_stop=lambda: time.monotonic() > start + 0.2)
            )
        assert time.monotonic() - start < 1.2
    finally:
        release.set()


def test_an_error_of_the_callback_comes_through(plate: Plate) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("of the callback")

    with pytest.raises(RuntimeError, match="of the callback"):
        find_cells(plate, diameter_px=28, on_site=fail)


def test_few_sites_wait_whatever_the_plate_holds(
    tmp_path: Path, make_plate: MakePlate, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.random.default_rng(0).integers(90, 110, (40, 50)).astype(np.uint16)
    sites = [SiteKey("A01", n) for n in range(1, 41)]
    plate = make_plate(tmp_path / "many", {(site, 1): image for site in sites})
    read, taken, ahead = [], [], []
    segment = find_nuclei

    def counting(image: np.ndarray, **kwargs: Any) -> np.ndarray:
        read.append(1)
        return segment(image, **kwargs)

    def on_site(site: SiteKey, _pixels: np.ndarray, _labels: np.ndarray) -> None:
        time.sleep(0.02)  # The caller is slower than the threads.
        taken.append(site)
        ahead.append(len(read) - len(taken))

    monkeypatch.setattr(detector, "find_nuclei", counting)
    find_cells(plate, diameter_px=28, on_site=on_site)
    assert taken == sites
    assert 1 <= max(ahead) <= 4
