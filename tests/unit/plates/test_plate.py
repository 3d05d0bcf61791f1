from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_hcs_qc.errors import HcsQcError, UnreadableSiteError
from napari_hcs_qc.plates import Channel, Plate, SiteKey, open_plate
from napari_hcs_qc.plates import plate as plate_module

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

PLACES = [(well, site, wave) for well in ("B02", "A10") for site in (2, 1) for wave in (1, 2)]
NAMES = [f"x_{well}_s{site}_w{wave}.tif" for well, site, wave in PLACES]


@pytest.fixture
def plate(write_images: Callable[..., Path]) -> Plate:
    return open_plate(write_images(NAMES))


def path_of(plate: Plate, name: str) -> Path:
    return plate.source / name


def test_wells_and_sites_are_in_plate_order(plate: Plate) -> None:
    assert plate.wells == ("A10", "B02")
    assert plate.sites == (("A10", 1), ("A10", 2), ("B02", 1), ("B02", 2))
    assert [str(site) for site in plate.sites[:1]] == ["A10 s1"]
    assert plate.shape == (8, 12)
    assert plate.name == "plate 20 µ"
    assert "4 sites" in repr(plate)


def test_every_site_and_channel_gives_its_own_file(
    plate: Plate, value_of: Callable[[NDArray[Any]], int]
) -> None:
    for number, (well, site, wave) in enumerate(PLACES, start=1):
        pixels = plate.read_site(SiteKey(well, site), [wave - 1])
        assert pixels.shape == (1, 6, 8)
        assert pixels.dtype == np.uint16
        assert value_of(pixels[0]) == number


def test_channels_come_in_the_order_asked(
    plate: Plate, value_of: Callable[[NDArray[Any]], int]
) -> None:
    assert [value_of(p) for p in plate.read_site(SiteKey("B02", 2))] == [1, 2]
    assert [value_of(p) for p in plate.read_site(SiteKey("B02", 2), [1, 0, 1])] == [2, 1, 2]


def test_channel_index_by_name_and_number(plate: Plate) -> None:
    assert plate.channel_index("w2") == plate.channel_index("W2 ") == plate.channel_index(1) == 1
    for wrong in ("w3", 2, -1):
        with pytest.raises(HcsQcError, match=r"0 w1, 1 w2"):
            plate.channel_index(wrong)


def test_available_channels(write_images: Callable[..., Path]) -> None:
    plate = open_plate(write_images(["x_A01_s1_w1.tif", "x_A01_s1_w2.tif", "x_A02_s1_w2.tif"]))
    assert plate.available_channels(SiteKey("A01", 1)) == (0, 1)
    assert plate.available_channels(SiteKey("A02", 1)) == (1,)
    assert plate.available_channels(SiteKey("H12", 1)) == ()
    with pytest.raises(UnreadableSiteError, match="A02 s1: channel w1 has no file"):
        plate.read_site(SiteKey("A02", 1))
    assert plate.read_site(SiteKey("A02", 1), [1]).shape == (1, 6, 8)
    assert any(
        "w1" in str(problem) and "1 of 2 sites" in str(problem) for problem in plate.problems
    )


def test_a_stack_is_projected_or_one_plane_chosen(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    stack = random.integers(0, 4096, (3, 6, 8), dtype=np.uint16)
    single = random.integers(0, 4096, (6, 8), dtype=np.uint16)
    for z, pixels in enumerate(stack, start=1):
        folder = tmp_path / "TimePoint_1" / f"ZStep_{z}"
        folder.mkdir(parents=True)
        tifffile.imwrite(folder / "x_A01_s1_w1.tif", pixels)
    tifffile.imwrite(tmp_path / "TimePoint_1" / "ZStep_1" / "x_A01_s1_w2.tif", single)
    plate = open_plate(tmp_path)
    site = plate.sites[0]
    assert np.array_equal(plate.read_site(site), [stack.max(axis=0), single])
    assert np.array_equal(plate.read_site(site, projection=2), [stack[1], single])
    with pytest.raises(UnreadableSiteError, match="no plane z = 4; it has 1, 2, 3"):
        plate.read_site(site, projection=4)


def test_a_file_of_several_planes_is_opened_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planes = np.arange(3 * 20 * 30, dtype=np.uint16).reshape(3, 20, 30)
    tifffile.imwrite(tmp_path / "x_A01_s1.tif", planes, photometric="minisblack")
    plate = open_plate(tmp_path)
    assert [channel.name for channel in plate.channels] == ["C1", "C2", "C3"]
    assert plate.layout.shape == (20, 30)
    opened = []
    read = plate_module.read_planes

    def counted(path: str, *arguments: Any, **options: Any) -> Any:
        opened.append(path)
        return read(path, *arguments, **options)

    monkeypatch.setattr(plate_module, "read_planes", counted)
    assert np.array_equal(plate.read_site(SiteKey("A01", 1)), planes)
    assert len(opened) == 1


def test_time_points_are_counted_from_zero(
    write_images: Callable[..., Path], value_of: Callable[[NDArray[Any]], int]
) -> None:
    names = ["TimePoint_3/x_A01_s1_w1.tif", "TimePoint_7/x_A01_s1_w1.tif"]
    plate = open_plate(write_images(names))
    site = plate.sites[0]
    assert [value_of(plate.read_site(site, time=time)[0]) for time in (0, 1)] == [1, 2]
    with pytest.raises(UnreadableSiteError, match="no file at time point 2"):
        plate.read_site(site, time=2)


# Fingerprint ----------------------------------------------------------------------------------


def test_fingerprint_stays_when_the_plate_moves(plate: Plate, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / plate.source.name
    shutil.copytree(plate.source, moved)  # keeps sizes and dates
    assert open_plate(moved).fingerprint == plate.fingerprint
    assert open_plate(plate.source).fingerprint == plate.fingerprint


@pytest.mark.parametrize("change", ["content", "date", "removed", "added", "name", "unreadable"])
def test_fingerprint_changes_with_the_plate(plate: Plate, change: str) -> None:
    before = plate.fingerprint
    path = path_of(plate, NAMES[0])
    name = None
    if change == "content":
        path.write_bytes(path.read_bytes() + b"\0")
    elif change == "date":
        os.utime(path, ns=(1, 1))
    elif change == "removed":
        path.unlink()
    elif change == "added":
        shutil.copy2(path, path.with_name("x_A11_s1_w1.tif"))
    elif change == "name":
        name = "another"
    else:
        path.write_bytes(b"")
    assert open_plate(plate.source, name=name).fingerprint != before


# Bad sites ------------------------------------------------------------------------------------


def damage(path: Path, how: str) -> None:
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-20])
    elif how == "zero bytes":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("this is no image")
    elif how == "rgb":
        colour = np.random.default_rng(0).integers(0, 9, (6, 8, 3), np.uint8)
        tifffile.imwrite(path, colour, photometric="rgb")
    elif how == "shape":
        tifffile.imwrite(path, np.zeros((8, 6), np.uint16))
    elif how == "dtype":
        tifffile.imwrite(path, np.zeros((6, 8), np.uint8))
    elif how == "planes":
        tifffile.imwrite(path, np.zeros((2, 6, 8), np.uint16), photometric="minisblack")
    elif how == "absent":
        path.unlink()
    else:
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("truncated", "truncated"),
        ("zero bytes", "empty"),
        ("text", "not a readable image"),
        ("rgb", "colour image"),
        ("shape", "8×6 px uint16; 6×8 px uint16 was expected"),
        ("dtype", "6×8 px uint8; 6×8 px uint16 was expected"),
        ("planes", "holds 2 planes"),
        ("absent", "does not exist"),
        ("folder", "cannot be read"),
    ],
)
@pytest.mark.parametrize("is_damaged_first", [True, False])
def test_one_bad_file_spoils_its_site_only(
    plate: Plate, how: str, words: str, is_damaged_first: bool
) -> None:
    bad = path_of(plate, NAMES[0])
    if is_damaged_first:  # damage there when the layout is found, and damage done later
        damage(bad, how)
    else:
        assert plate.layout.shape == (6, 8)
        damage(bad, how)
    for site in plate.sites:
        if site == ("B02", 2):
            with pytest.raises(UnreadableSiteError, match=words) as caught:
                plate.read_site(site)
            assert "B02 s2" in str(caught.value)
            assert str(bad) in str(caught.value)
            assert plate.read_site(site, [1]).shape == (1, 6, 8)
        else:
            assert plate.read_site(site).shape == (2, 6, 8)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_inf_make_a_site_unreadable(tmp_path: Path, bad: float) -> None:
    for well, value in (("A01", 1.0), ("A02", bad)):
        tifffile.imwrite(tmp_path / f"x_{well}_s1_w1.tif", np.full((6, 8), value, np.float32))
    plate = open_plate(tmp_path)
    assert plate.read_site(SiteKey("A01", 1)).dtype == np.float32
    with pytest.raises(UnreadableSiteError, match=r"A02 s1.*48 NaN or Inf"):
        plate.read_site(SiteKey("A02", 1))


def test_a_plate_without_a_readable_file_says_so(plate: Plate) -> None:
    for name in NAMES:
        path_of(plate, name).write_bytes(b"")
    with pytest.raises(HcsQcError, match=r"No image of plate .* is empty"):
        _ = plate.layout
    with pytest.raises(UnreadableSiteError, match="B02 s2"):
        plate.read_site(SiteKey("B02", 2))


def test_the_layout_is_found_although_the_sample_is_bad(write_images: Callable[..., Path]) -> None:
    root = write_images([f"x_A{number:02d}_s1_w1.tif" for number in range(1, 13)])
    for number in range(1, 13):
        if number != 5:
            (root / f"x_A{number:02d}_s1_w1.tif").write_bytes(b"")
    assert open_plate(root).layout.shape == (6, 8)


def test_an_unknown_site_is_named(plate: Plate) -> None:
    with pytest.raises(UnreadableSiteError, match="no site C03 s1"):
        plate.read_site(SiteKey("C03", 1))


def test_a_plane_table_without_columns_is_refused() -> None:
    with pytest.raises(HcsQcError, match="lacks the columns site, channel"):
        Plate(
            name="p",
            source=Path("p"),
            format="pattern",
            shape=(8, 12),
            channels=(Channel("a"),),
            planes=pd.DataFrame({"well": []}),
        )
