"""The real folders of ../shared/data, read as they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates import SiteKey, open_plate

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.realdata


def test_bbbc039(shared_data: Path) -> None:
    plate = open_plate(shared_data / "bbbc039" / "20585")
    assert (plate.name, plate.format, plate.shape) == ("20585", "imagexpress", (16, 24))
    assert (len(plate.wells), len(plate.sites)) == (91, 99)
    assert plate.problems == ()
    assert str(plate.layout) == "520×696 px uint16"
    for site in plate.sites:
        assert plate.read_site(site).shape == (1, 520, 696)
    labels = pd.read_csv(shared_data / "bbbc039" / "labels.csv")
    places = set(zip(labels["well"], labels["site"], strict=True))
    assert places <= set(plate.sites)
    image = tifffile.imread(next(plate.source.glob("IXMtest_A02_s1_w1051DAA7C-*.tif")))
    assert np.array_equal(plate.read_site(SiteKey("A02", 1))[0], image)


def test_bbbc039_with_its_masks_beside(shared_data: Path) -> None:
    plate = open_plate(shared_data / "bbbc039")
    assert len(plate.sites) == 99
    assert len(plate.problems) == 1
    assert "99 images" in str(plate.problems[0])


def test_imagexpress_3434(shared_data: Path) -> None:
    plate = open_plate(shared_data / "imagexpress_3434")
    assert [channel.name for channel in plate.channels] == ["DAPI", "FITC", "Texas Red"]
    assert plate.shape == (8, 12)
    assert plate.sites == (("B02", 1), ("B02", 2), ("B03", 1), ("B03", 2))
    assert plate.pixel_size_um == 1.3672
    assert sorted(set(plate.planes["z"])) == [1, 2]  # ZStep_0 is their projection
    assert len(plate.problems) == 2
    assert "wavelength w4 Cy5" in str(plate.problems[0])
    assert "left out, projections of stacks" in str(plate.problems[1])
    folder = plate.source / "TimePoint_1"
    z1, z2 = (tifffile.imread(folder / f"ZStep_{z}" / "9987_B02_s1_w1.TIF") for z in (1, 2))
    site = SiteKey("B02", 1)
    assert np.array_equal(plate.read_site(site, [0])[0], np.maximum(z1, z2))
    assert np.array_equal(plate.read_site(site, [0], projection=2)[0], z2)


def test_scanr(shared_data: Path) -> None:
    plate = open_plate(shared_data / "scanr")
    assert (plate.format, plate.shape) == ("scanr", (8, 12))
    assert plate.wells == ("A01", "A02", "B01", "B02")
    assert [channel.name for channel in plate.channels] == ["GFP", "mcherry"]
    assert plate.problems == ()
    tail = "--P00001--Z00000--T00000--mcherry.tif"
    image = tifffile.imread(plate.source / f"B1--W00013{tail}")
    assert np.array_equal(plate.read_site(SiteKey("B01", 1), [1])[0], image)


def test_bbbc022_three_channels_in_one_file(shared_data: Path) -> None:
    plate = open_plate(shared_data / "bbbc022_3ch")
    pixels = plate.read_site(SiteKey("A02", 9))
    assert pixels.shape == (3, 395, 695)
    assert [int((plane == 4095).sum()) for plane in pixels] == [0, 0, 545]  # the fibre


def test_bbbc006_in_and_out_of_focus(shared_data: Path) -> None:
    folder = shared_data / "bbbc006_focus"
    blurred = open_plate(folder / "defocused")
    assert (blurred.shape, len(blurred.wells)) == ((16, 24), 25)
    assert [channel.name for channel in blurred.channels] == ["w1"]
    with pytest.raises(HcsQcError, match="give a pattern"):
        open_plate(folder / "in_focus")
    pattern = r"__(?P<well>[a-p]\d\d)__s(?P<site>\d)__w(?P<channel>\d)_"
    sharp = open_plate(folder / "in_focus", pattern=pattern)
    assert len(sharp.wells) == 9
    site = SiteKey("A01", 1)
    assert sharp.read_site(site).std() > 2 * blurred.read_site(site).std()


def test_a_field_without_a_well_is_refused_with_its_files(shared_data: Path) -> None:
    with pytest.raises(HcsQcError, match="5 images, such as ERSyto"):
        open_plate(shared_data / "cell_painting_5ch")
