"""Thumbnails of an OME-Zarr are made from its pyramid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from napari_hcs_qc.assay.views.montage import site_pictures
from napari_hcs_qc.assay.views.pictures import PictureStyle
from napari_hcs_qc.cells.intensity import ChannelRange, IntensityRanges
from napari_hcs_qc.plates import Plate, SiteKey, open_plate
from napari_hcs_qc.plates.ome_zarr.convert import convert_plate
from napari_hcs_qc.plates.ome_zarr.pyramid import read_coarse_site
from napari_hcs_qc.plates.site_cache import SiteCache

if TYPE_CHECKING:
    from pathlib import Path

SITE = SiteKey("A01", 1)


@pytest.fixture
def plate(tmp_path: Path) -> Plate:
    """A stack of two planes in two channels, with levels of 600, 300, 150 and 75 px."""
    rows, columns = np.mgrid[:400, :600]
    for channel in (1, 2):
        for z in (1, 2):
            pixels = (rows * channel + columns * z).astype(np.uint16)
            tifffile.imwrite(tmp_path / f"P_A01_s1_w{channel}_z{z}.tif", pixels)
    return open_plate(convert_plate(open_plate(tmp_path), tmp_path / "p.zarr", version="0.4").path)


def test_the_coarsest_level_that_suffices_is_read(plate: Plate) -> None:
    coarse = read_coarse_site(plate, SITE, 120, "max")
    assert coarse is not None
    assert coarse.shape == (2, 100, 150)
    blocks = plate.read_site(SITE).reshape(2, 100, 4, 150, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(coarse, blocks, atol=1)
    second = read_coarse_site(plate, SITE, 120, 0)
    assert second is not None
    expected = plate.read_site(SITE, projection=0).reshape(2, 100, 4, 150, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(second, expected, atol=1)
    assert read_coarse_site(plate, SITE, 301, "max") is None


def test_thumbnails_need_no_pixels_of_full_resolution(plate: Plate) -> None:
    ranges = IntensityRanges(
        tuple(
            ChannelRange(channel=channel.name, low=0.0, high=2000.0, saturation_level=None,
                         background=0.0, dtype="uint16")
            for channel in plate.channels
        )
    )  # fmt: skip
    style = PictureStyle(((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)))
    with SiteCache(plate) as cache:
        coarse = site_pictures([SITE], cache, ranges, style)[SITE]
        assert cache.peek(SITE) is None
        cache.get(SITE)
        fine = site_pictures([SITE], cache, ranges, style)[SITE]
    assert coarse is not None
    assert fine is not None
    assert coarse.shape == fine.shape == (80, 120, 3)
    assert np.abs(coarse.astype(int) - fine).mean() < 2


def test_a_damaged_level_is_not_shown(plate: Plate) -> None:
    level = plate.source / "A/01/1/2"
    chunk = next(path for path in level.rglob("*") if path.is_file() and path.name[0] != ".")
    chunk.write_bytes(chunk.read_bytes()[:20])
    assert read_coarse_site(plate, SITE, 120, "max") is None
