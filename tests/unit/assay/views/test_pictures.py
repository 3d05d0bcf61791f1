from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_hcs_qc.assay.views.pictures import (
    PictureStyle,
    cell_pictures,
    composite,
    site_thumbnail,
)
from napari_hcs_qc.cells.crops import cut_squares
from napari_hcs_qc.cells.intensity import ChannelRange, IntensityRanges
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Cancelled, Job
from napari_hcs_qc.plates.open import open_plate
from napari_hcs_qc.plates.plate import Plate, SiteKey
from napari_hcs_qc.plates.site_cache import SiteCache, SitePixels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_STYLE = PictureStyle(((1.0, 0.0, 0.0), (0.0, 1.0, 0.5), (0.2, 0.2, 0.2)))
_SHAPE = (70, 90)


def _ranges(low: float = 100.0, high: float = 3100.0, n: int = 3) -> IntensityRanges:
    return IntensityRanges(
        tuple(
            ChannelRange(
                channel=f"C{i}",
                low=low,
                high=high,
                saturation_level=None,
                background=low,
                dtype="uint16",
            )
            for i in range(n)
        )
    )


def _exact(pixels: NDArray[Any], channels: tuple[int, ...], style: PictureStyle) -> NDArray[Any]:
    """What `composite` is to give, by its definition."""
    grey = _ranges().scale(pixels, channels).astype(np.float64) ** style.gamma
    colours = np.array([style.colours[index] for index in channels])
    light = np.einsum("chw,ck->hwk", grey, colours)
    return 255 * np.minimum(light, 1)


def _noise(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(0, 4000, shape).astype(np.uint16)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32", "float64"])
@pytest.mark.parametrize("gamma", [0.4, 0.6, 1.0, 2.0])
def test_channels_add_up_in_their_colours(dtype: str, gamma: float) -> None:
    style = PictureStyle(_STYLE.colours, gamma)
    pixels = _noise((2, 30, 40)).astype(dtype)
    picture = composite(pixels, (2, 0), _ranges(), style)
    assert picture.dtype == np.uint8
    assert picture.shape == (30, 40, 3)
    # Half for the rounding, the rest for the steps of the table, coarsest where gamma is steep.
    assert np.abs(picture - _exact(pixels, (2, 0), style)).max() < (0.6 if gamma >= 1 else 3.0)


def test_light_beyond_the_range_is_clipped_and_not_wrapped() -> None:
    style = PictureStyle(((1.0, 1.0, 1.0), (1.0, 0.5, 0.0)))
    pixels = np.array([[[0, 65535]], [[65535, 65535]]], np.uint16)
    picture = composite(pixels, (0, 1), _ranges(), style)
    np.testing.assert_array_equal(picture[0], [[255, 128, 0], [255, 255, 255]])


def test_the_plates_range_counts_and_not_the_pictures_own() -> None:
    dim = np.full((1, 5, 5), 130, np.uint16)
    dim[0, 2, 2] = 160
    picture = composite(dim, (0,), _ranges(), _STYLE)
    assert picture.max() < 30
    assert composite(dim, (0,), _ranges(130, 160), _STYLE).max() == 255


def test_an_image_without_channels_is_black() -> None:
    picture = composite(np.empty((0, 4, 5), np.uint16), (), _ranges(), _STYLE)
    assert picture.shape == (4, 5, 3)
    assert not picture.any()


def test_what_does_not_fit_together_is_told() -> None:
    pixels = _noise((2, 5, 5))
    with pytest.raises(HcsQcError, match="3 channels"):
        composite(pixels, (0, 1, 2), _ranges(), _STYLE)
    with pytest.raises(HcsQcError, match=r"Channel 3 has no .* 4 ranges and 3 colours"):
        composite(pixels, (0, 3), _ranges(n=4), _STYLE)
    with pytest.raises(HcsQcError, match="gamma of 0"):
        PictureStyle(_STYLE.colours, 0.0)
    with pytest.raises(HcsQcError, match="red, green and blue"):
        PictureStyle(((255.0, 0.0, 0.0),))


@pytest.mark.parametrize(
    ("shape", "longer_px", "expected"),
    [
        ((100, 200), 50, (25, 50)),
        ((300, 200), 64, (64, 43)),
        ((101, 203), 70, (35, 70)),
        ((40, 30), 64, (40, 30)),
        ((4, 400), 20, (1, 20)),
    ],
)
def test_a_thumbnail_is_as_large_as_asked_for_and_never_enlarged(
    shape: tuple[int, int], longer_px: int, expected: tuple[int, int]
) -> None:
    site = SitePixels(SiteKey("A01", 1), (0, 1), _noise((2, *shape)))
    picture = site_thumbnail(site, _ranges(), _STYLE, longer_px)
    assert picture.shape == (*expected, 3)
    assert picture.dtype == np.uint8


def test_a_thumbnail_shows_the_site_in_small() -> None:
    pixels = np.full((1, 200, 300), 100, np.uint16)
    pixels[0, 100:, 150:] = 3100
    site = SitePixels(SiteKey("A01", 1), (0,), pixels)
    picture = site_thumbnail(site, _ranges(), _STYLE, 45)
    assert picture.shape == (30, 45, 3)
    bright = picture[..., 0] > 127
    np.testing.assert_array_equal(np.argwhere(bright).min(axis=0), [15, 22])
    assert not picture[..., 1:].any()
    assert picture[:14, :21].max() == 0
    assert picture[17:, 25:, 0].min() == 255
    with pytest.raises(HcsQcError, match="0 px"):
        site_thumbnail(site, _ranges(), _STYLE, 0)


@pytest.fixture
def plate(tmp_path: Path) -> Plate:
    """Three sites of two channels; the second file of A02 is damaged."""
    for number, well in enumerate(("A01", "A02", "B01")):
        for channel in (1, 2):
            image = _noise(_SHAPE, 10 * number + channel)
            tifffile.imwrite(tmp_path / f"p_{well}_s1_w{channel}.tif", image)
    path = tmp_path / "p_A02_s1_w2.tif"
    path.write_bytes(path.read_bytes()[:500])
    return open_plate(tmp_path)


@pytest.fixture
def cache(plate: Plate) -> Iterator[SiteCache]:
    with SiteCache(plate) as made:
        yield made


def _cells(*cells: tuple[str, float, float]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "well": [well for well, _, _ in cells],
            "site": 1,
            "y_px": [y for _, y, _ in cells],
            "x_px": [x for _, _, x in cells],
        },
        index=range(100, 100 + len(cells)),  # rows chosen from a larger table
    )


@pytest.mark.parametrize("side_px", [1, 15, 16, 64, 200])
def test_a_cells_picture_is_its_crop_mirrored_at_borders_as_for_the_encoder(
    cache: SiteCache, plate: Plate, side_px: int
) -> None:
    rng = np.random.default_rng(3)
    places = [(0, 0), (69, 89), (0, 89.4), (-0.4, 40), (35.5, 44.5), (34.5, 45.5), (69.4, 2)]
    places += list(zip(rng.uniform(0, 69, 15), rng.uniform(0, 89, 15), strict=True))
    cells = _cells(*(("A01", y, x) for y, x in places))
    found = dict(cell_pictures(cache, cells, _ranges(), _STYLE, side_px=side_px, shown_px=side_px))
    assert sorted(found) == list(range(len(places)))
    pixels = plate.read_site(SiteKey("A01", 1)).astype(np.float32)
    crops = cut_squares(pixels, cells["y_px"], cells["x_px"], side_px)
    for index, crop in enumerate(crops):
        np.testing.assert_array_equal(found[index], composite(crop, (0, 1), _ranges(), _STYLE))


@pytest.mark.parametrize("shown_px", [9, 24, 50])
def test_pictures_come_in_the_size_asked_for(cache: SiteCache, shown_px: int) -> None:
    cells = _cells(("A01", 30, 40), ("B01", 5, 5))
    for _, picture in cell_pictures(cache, cells, _ranges(), _STYLE, side_px=24, shown_px=shown_px):
        assert picture is not None
        assert picture.shape == (shown_px, shown_px, 3)
        assert picture.dtype == np.uint8
        assert picture.std() > 5


def test_an_enlarged_picture_keeps_what_is_where(tmp_path: Path) -> None:
    image = np.full(_SHAPE, 100, np.uint16)
    image[20:30, 40:60] = 3100
    tifffile.imwrite(tmp_path / "p_A01_s1_w1.tif", image)
    with SiteCache(open_plate(tmp_path)) as cache:
        cells = _cells(("A01", 30, 50))
        ((_, picture),) = cell_pictures(cache, cells, _ranges(), _STYLE, side_px=40, shown_px=80)
    assert picture is not None
    y, x = np.nonzero(picture[..., 0] > 127)
    assert (y.min(), y.max(), x.min(), x.max()) == (20, 39, 20, 59)


def test_unreadable_sites_and_cells_outside_have_no_picture_and_stop_nothing(
    cache: SiteCache,
) -> None:
    cells = _cells(
        ("A02", 10, 10), ("A01", 10, 10), ("A01", 75, 10), ("A01", 10, np.nan), ("D09", 1, 1),
        ("B01", 3, 3),
    )  # fmt: skip
    found = dict(cell_pictures(cache, cells, _ranges(), _STYLE, side_px=20, shown_px=20))
    assert sorted(found) == [0, 1, 2, 3, 4, 5]
    assert [index for index, picture in found.items() if picture is not None] == [1, 5]


def test_sites_in_memory_come_first_then_as_the_cells_name_them(cache: SiteCache) -> None:
    cells = _cells(("B01", 5, 5), ("A02", 5, 5), ("A01", 5, 5), ("B01", 9, 9), ("A01", 9, 9))
    cache.get(SiteKey("A01", 1))
    found = cell_pictures(cache, cells, _ranges(), _STYLE, side_px=8, shown_px=8)
    assert [index for index, _ in found] == [2, 4, 0, 3, 1]


def test_no_cells_give_no_pictures(cache: SiteCache) -> None:
    cells = _cells(("A01", 5, 5)).iloc[:0]
    assert not list(cell_pictures(cache, cells, _ranges(), _STYLE, side_px=8, shown_px=8))


def test_it_stops_when_told(cache: SiteCache) -> None:
    cells = _cells(*(("A01", 5.0, float(x)) for x in range(80)))
    found = []
    with pytest.raises(Cancelled):
        for one in cell_pictures(
            cache,
            cells,
            _ranges(),
            _STYLE,
            side_px=8,
            shown_px=8,
            job=Job(should_stop=lambda: len(found) >= 20),
        ):
            found.append(one)
    assert 20 <= len(found) < 40


def test_a_size_of_nothing_is_refused(cache: SiteCache) -> None:
    with pytest.raises(HcsQcError, match="0 px at 8 px"):
        list(cell_pictures(cache, _cells(), _ranges(), _STYLE, side_px=0, shown_px=8))


def test_a_cell_costs_little_however_large_its_site(tmp_path: Path) -> None:
    """Only the crops are made into colours: many times faster than the site would be."""
    tifffile.imwrite(tmp_path / "p_A01_s1_w1.tif", _noise((1500, 2000)))
    with SiteCache(open_plate(tmp_path)) as cache:
        whole = cache.get(SiteKey("A01", 1))
        cells = _cells(*(("A01", 40.0 * n, 40.0 * n) for n in range(20)))

        def seconds(do: Any) -> float:
            taken = []
            for _ in range(5):
                start = time.perf_counter()
                do()
                taken.append(time.perf_counter() - start)
            return min(taken)

        site_s = seconds(lambda: composite(whole.pixels, (0,), _ranges(), _STYLE))
        cells_s = seconds(
            lambda: list(cell_pictures(cache, cells, _ranges(), _STYLE, side_px=48, shown_px=48))
        )
    assert cells_s < site_s
