from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_hcs_qc.cells.intensity import (
    ChannelRange,
    IntensityRanges,
    find_saturation,
    measure_intensity,
    spread_sample,
)
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Cancelled, Job
from napari_hcs_qc.plates.open import open_plate
from napari_hcs_qc.plates.plate import Plate, SiteKey

MakePlate = Callable[..., Plate]


def grey(seed: int, shape: tuple[int, int] = (120, 150), **blob: Any) -> np.ndarray:
    """Background 150 with noise, a tenth of the field a smooth hill up to 1000."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    hill = 850 * np.exp(-((y - 60) ** 2 + (x - 70) ** 2) / (2 * blob.get("width", 14) ** 2))
    return (150 + hill + rng.normal(0, 5, shape)).round().astype(np.uint16)


def clipped(image: np.ndarray, level: int, gain: float = 3.0) -> np.ndarray:
    bright = 150 + (image.astype(float) - 150) * gain
    return np.minimum(bright, level).round().astype(image.dtype)


def test_ranges_scale_by_the_plate_and_clip() -> None:
    ranges = IntensityRanges(
        (
            ChannelRange(
                channel="a",
                low=100,
                high=300,
                saturation_level=None,
                background=110,
                dtype="uint16",
            ),
            ChannelRange(
                channel="b", low=0, high=1000, saturation_level=4095, background=20, dtype="uint16"
            ),
        )
    )
    pixels = np.array([[[0, 500, 2000]], [[100, 200, 400]]], np.uint16)
    scaled = ranges.scale(pixels, [1, 0])
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, [[[0, 0.5, 1]], [[0, 0.5, 1]]])
    with pytest.raises(HcsQcError, match="given for 1 channels"):
        ranges.scale(pixels, [0])
    with pytest.raises(HcsQcError, match="no channel 2"):
        ranges.scale(pixels, [0, 2])


def test_ranges_survive_json_and_tell_apart() -> None:
    one = IntensityRanges(
        (
            ChannelRange(
                channel="DNA",
                low=1.5,
                high=3.25,
                saturation_level=None,
                background=2.0,
                dtype="uint8",
            ),
        )
    )
    other = IntensityRanges(
        (
            ChannelRange(
                channel="DNA",
                low=1.5,
                high=3.25,
                saturation_level=255.0,
                background=2.0,
                dtype="uint8",
            ),
        )
    )
    again = IntensityRanges.from_dict(json.loads(json.dumps(one.to_dict())))
    assert again == one
    assert again.fingerprint == one.fingerprint != other.fingerprint
    with pytest.raises(HcsQcError, match="not intensity ranges"):
        IntensityRanges.from_dict({"channels": [{"channel": "DNA"}]})


@given(st.integers(0, 400), st.integers(1, 60), st.integers(0, 5))
def test_a_sample_is_spread_over_the_plate(n_sites: int, n: int, seed: int) -> None:
    sites = [SiteKey("A01", number) for number in range(n_sites)]
    sample = spread_sample(sites, n, seed)
    assert sample == spread_sample(sites, n, seed)
    assert len(sample) == min(n, n_sites)
    assert sample == sorted(set(sample))
    if n_sites > n:
        gaps = np.diff([key.site for key in sample])
        assert (gaps <= 2 * np.ceil(n_sites / n)).all()


@pytest.mark.parametrize("level", [4095, 36863, 65535])
@pytest.mark.parametrize("offset", [0, 1000])
def test_saturation_is_found_at_any_level(level: int, offset: int) -> None:
    rng = np.random.default_rng(1)
    image = level - 600 - offset + np.cumsum(rng.integers(0, 9, (200, 200)), axis=1)
    image = np.minimum(image + rng.integers(0, 9, image.shape), level)
    found = find_saturation(image.astype(np.uint16))
    assert found == (level if image.max() == level else None)


def test_what_is_not_clipped_is_not_saturated() -> None:
    image = grey(0)
    assert find_saturation(image) is None
    assert find_saturation(np.full((50, 50), 4095, np.uint16)) is None
    hot = image.copy()
    hot[3::20, 5::20] = 4095  # hot pixels lie apart
    assert find_saturation(hot) is None
    smooth = grey(0, width=60) // 8  # eight bits: many pixels share each of few values
    assert find_saturation(smooth.astype(np.uint8)) is None
    disc = np.where(np.hypot(*np.mgrid[-40:40, -40:40]) < 20, 900, 100).astype(np.uint16)
    assert find_saturation(disc) is None


def test_clipped_fields_are_saturated_in_every_dtype() -> None:
    image = clipped(grey(0), 1500)
    assert find_saturation(image) == 1500
    assert find_saturation(image.astype(np.float32) / 1500) == 1.0
    eight_bits = np.minimum((grey(0) - 100) / 3, 255).astype(np.uint8)
    assert find_saturation(eight_bits) == 255


def test_one_bright_site_does_not_set_the_range(tmp_path: Path, make_plate: MakePlate) -> None:
    images: dict[tuple[SiteKey, int], Any] = {
        (SiteKey("A01", number), 1): grey(number) for number in range(1, 9)
    }
    clean = measure_intensity(make_plate(tmp_path / "clean", images))
    fibre = grey(3)
    fibre[40:80] = np.minimum(fibre[40:80].astype(int) * 30, 4095)
    images[SiteKey("A01", 3), 1] = fibre
    spoiled = measure_intensity(make_plate(tmp_path / "spoiled", images))
    (before,), (after,) = clean.channels, spoiled.channels
    assert (before.saturation_level, after.saturation_level) == (None, 4095)
    assert before.high == pytest.approx(1000, rel=0.05)
    assert after.high == pytest.approx(before.high, rel=0.05)
    assert after.low == pytest.approx(before.low, abs=5)
    assert before.background == pytest.approx(150, abs=4)
    assert (before.channel, before.dtype) == ("w1", "uint16")


def test_saturation_of_one_channel_is_not_that_of_another(
    tmp_path: Path, make_plate: MakePlate
) -> None:
    images = {}
    for number in (1, 2):
        images[SiteKey("C05", number), 1] = clipped(grey(number), 2000)
        images[SiteKey("C05", number), 2] = grey(number)
    ranges = measure_intensity(make_plate(tmp_path / "p", images))
    assert [channel.saturation_level for channel in ranges.channels] == [2000, None]


def test_an_empty_plate_has_a_range_all_the_same(tmp_path: Path, make_plate: MakePlate) -> None:
    flat = {(SiteKey("A01", number), 1): np.full((30, 40), 100, np.uint16) for number in (1, 2)}
    (channel,) = measure_intensity(make_plate(tmp_path / "p", flat)).channels
    assert channel.high > channel.low
    assert channel.saturation_level is None


def test_bad_sites_are_passed_over_and_rare_channels_found(
    tmp_path: Path, make_plate: MakePlate
) -> None:
    images: dict[tuple[SiteKey, int], Any] = {
        (SiteKey("A01", number), 1): grey(number) for number in range(1, 12)
    }
    images[SiteKey("A01", 1), 1] = b"no image"
    images[SiteKey("A01", 11), 2] = grey(0)
    plate = make_plate(tmp_path / "p", images)
    ranges = measure_intensity(plate, n_sites=1, seed=3)
    assert [channel.channel for channel in ranges.channels] == ["w1", "w2"]
    assert ranges == measure_intensity(plate, n_sites=1, seed=3)


def test_a_channel_without_any_readable_file_is_an_error(
    tmp_path: Path, make_plate: MakePlate
) -> None:
    images: dict[tuple[SiteKey, int], Any] = {(SiteKey("A01", n), 1): grey(n) for n in (1, 2)}
    plate = make_plate(tmp_path / "p", images)
    for path in set(plate.planes["path"]):
        Path(path).write_bytes(b"")
    with pytest.raises(HcsQcError, match="w1"):
        measure_intensity(open_plate(tmp_path / "p"))


def test_measuring_can_be_stopped(plate: Plate) -> None:
    asked = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 2

    with pytest.raises(Cancelled):
        measure_intensity(plate, job=Job(should_stop=stop))


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("folder", "levels"),
    [
        ("bbbc039/20585", {"w1": 4095}),
        ("scanr", {"GFP": 36863, "mcherry": 36863}),
        ("imagexpress_3434", {"DAPI": None, "FITC": None, "Texas Red": None}),
    ],
)
def test_saturation_of_real_plates(
    shared_data: Path, folder: str, levels: dict[str, float | None]
) -> None:
    ranges = measure_intensity(open_plate(shared_data / folder))
    assert {each.channel: each.saturation_level for each in ranges.channels} == levels
    for channel in ranges.channels:
        assert channel.low <= channel.background < channel.high


@pytest.mark.realdata
def test_saturation_of_a_real_five_channel_field(shared_data: Path) -> None:
    import tifffile

    found = {
        path.stem: find_saturation(tifffile.imread(path))
        for path in (shared_data / "cell_painting_5ch").glob("*.tif")
    }
    assert found == {
        "Hoechst": None, "ERSyto": None, "ERSytoBleed": 4095, "Ph_golgi": 4095, "Mito": None,
    }  # fmt: skip


@pytest.mark.realdata
@pytest.mark.parametrize("plate", ["bbbc039/20585", "scanr", "imagexpress_3434"])
def test_the_ground_of_nuclei_in_fluorescence_is_dark(shared_data: Path, plate: str) -> None:
    nuclei, *_ = measure_intensity(open_plate(shared_data / plate), n_sites=2).channels
    assert nuclei.ground < 0.1


def test_the_ground_of_brightfield_is_not(tmp_path: Path, make_plate: MakePlate) -> None:
    dark = {(SiteKey("A01", site), 1): grey(site) for site in range(1, 5)}
    bright = {key: (2000 - image).astype(np.uint16) for key, image in dark.items()}
    [of_dark] = measure_intensity(make_plate(tmp_path / "dark", dark)).channels
    [of_bright] = measure_intensity(make_plate(tmp_path / "bright", bright)).channels
    assert of_dark.ground < 0.2
    assert of_bright.ground > 0.4
