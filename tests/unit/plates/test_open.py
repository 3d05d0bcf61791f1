from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates import PLATE_SHAPES, SiteKey, open_plate, well_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


def words_of(problems: tuple[Any, ...]) -> str:
    return " | ".join(str(problem) for problem in problems)


@pytest.mark.parametrize(
    ("names", "plate_format", "channels"),
    [
        (["p_A01_s1_w1.tif", "p_A02_s1_w1.tif"], "imagexpress", ["w1"]),
        (
            ["Images/r01c01f01p01-ch2sk1fk1fl1.tiff", "Images/r01c02f01p01-ch2sk1fk1fl1.tiff"],
            "operetta",
            ["ch2"],
        ),
        (
            [
                "A1--W00001--P00001--Z00000--T00000--GFP.tif",
                "A2--W00002--P00001--Z00000--T00000--GFP.tif",
            ],
            "scanr",
            ["GFP"],
        ),
        (
            ["a_A01_T0001F001L01A01Z01C03.tif", "a_A02_T0001F001L01A01Z01C03.tif"],
            "cellvoyager",
            ["C3"],
        ),
    ],
)
def test_each_format_is_recognised_by_its_names(
    write_images: Callable[..., Path],
    value_of: Callable[[NDArray[Any]], int],
    names: list[str],
    plate_format: str,
    channels: list[str],
) -> None:
    plate = open_plate(write_images(names))
    assert plate.format == plate_format
    assert [channel.name for channel in plate.channels] == channels
    assert plate.sites == (("A01", 1), ("A02", 1))
    assert [value_of(plate.read_site(site)[0]) for site in plate.sites] == [1, 2]
    assert plate.problems == ()
    assert plate.name == "plate 20 µ"


@pytest.mark.parametrize("shape", PLATE_SHAPES.values())
def test_every_plate_size_with_gaps_keeps_its_positions(
    write_images: Callable[..., Path],
    value_of: Callable[[NDArray[Any]], int],
    shape: tuple[int, int],
) -> None:
    rows, columns = shape
    wells = [well_name(rows - 1, columns - 1), well_name(0, 1), well_name(rows - 1, 0)]
    plate = open_plate(write_images([f"x_{well}_s{4 + n}_w2.tif" for n, well in enumerate(wells)]))
    assert plate.shape == shape
    for number, well in enumerate(wells):
        assert value_of(plate.read_site(SiteKey(well, 4 + number))[0]) == number + 1
    assert len(plate.sites) == 3


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    st.sets(
        st.tuples(
            st.integers(0, 31), st.integers(0, 47), st.integers(1, 30), st.sampled_from("125")
        ),
        min_size=1,
        max_size=12,
    )
)
def test_any_set_of_names_is_indexed_one_to_one(
    tmp_path_factory: pytest.TempPathFactory, places: set[tuple[int, int, int, str]]
) -> None:
    root = tmp_path_factory.mktemp("plate")
    for row, column, site, wave in places:
        (root / f"x_{well_name(row, column)}_s{site}_w{wave}.tif").touch()
    plate = open_plate(root)
    found = {
        (well, site, plate.channels[channel].name, os.path.basename(path))
        for well, site, channel, path in plate.planes[
            ["well", "site", "channel", "path"]
        ].itertuples(index=False)
    }
    expected = set()
    for row, column, site, wave in places:
        well = well_name(row, column)
        expected.add((well, site, f"w{wave}", f"x_{well}_s{site}_w{wave}.tif"))
    assert found == expected
    assert len(plate.planes) == len(places)


def test_a_user_pattern_over_folders(
    write_images: Callable[..., Path], value_of: Callable[[NDArray[Any]], int]
) -> None:
    root = write_images(["B-07/f2 DNA.tif", "B-07/f2 Actin.tif", "C-08/f10 DNA.tif", "notes.tif"])
    plate = open_plate(root, pattern=r"(?P<well>\w-\d+)/f(?P<site>\d+) (?P<channel>\w+)\.tif")
    assert plate.format == "pattern"
    assert [channel.name for channel in plate.channels] == ["Actin", "DNA"]
    assert plate.sites == (("B07", 2), ("C08", 10))
    assert value_of(plate.read_site(SiteKey("B07", 2), [plate.channel_index("dna")])[0]) == 1
    assert "1 image: left out, names do not fit the pattern: notes.tif" in words_of(plate.problems)


def test_a_user_pattern_that_fits_nothing_or_no_number(write_images: Callable[..., Path]) -> None:
    root = write_images(["A01 fx.tif", "A02 f2.tif"])
    with pytest.raises(HcsQcError, match="None fits the pattern"):
        open_plate(root, pattern=r"(?P<well>[A-P]\d\d)_(?P<site>\d+)")
    plate = open_plate(root, pattern=r"(?P<well>[A-P]\d\d) f(?P<site>\w+)")
    assert plate.wells == ("A02",)
    assert "'site' is not a whole number: A01 fx.tif" in words_of(plate.problems)
    with pytest.raises(HcsQcError, match="not a valid regular expression"):
        open_plate(root, pattern="(")


def test_a_pattern_that_tells_plates_apart_needs_a_name(
    write_images: Callable[..., Path], value_of: Callable[[NDArray[Any]], int]
) -> None:
    root = write_images(["p1/A01.tif", "p2/A01.tif"])
    pattern = r"(?P<plate>p\d)/(?P<well>[A-P]\d\d)"
    with pytest.raises(HcsQcError, match=r"2 plates .*p1, p2; give the name"):
        open_plate(root, pattern=pattern)
    with pytest.raises(HcsQcError, match="none is called p3"):
        open_plate(root, pattern=pattern, name="p3")
    plate = open_plate(root, pattern=pattern, name="p2")
    assert plate.name == "p2"
    assert value_of(plate.read_site(plate.sites[0])[0]) == 2


def test_the_format_most_names_fit_is_taken_and_the_rest_listed_once(
    write_images: Callable[..., Path],
) -> None:
    names = [f"x_A0{n}_s1_w1.tif" for n in range(1, 5)]
    names += ["r01c01f01p01-ch1sk1fk1fl1.tiff", "overview.tif", "flat.tif", "dark.tif"]
    root = write_images([*names, "x_A01_s1_w1_thumb.tif"])
    for name in ("platemap.csv", "notes.txt", "Index.xml", ".hidden.tif", "a.json", "Thumbs.db"):
        (root / name).write_text("x")
    plate = open_plate(root)
    assert plate.format == "imagexpress"
    assert len(plate.sites) == 4
    assert len(plate.problems) == 2
    assert "1 image: left out, thumbnails of MetaXpress" in str(plate.problems[1])
    text = str(plate.problems[0])
    assert text.startswith("4 images: left out, names do not fit")
    assert "dark.tif, flat.tif, overview.tif and 1 more" in text
    (root / "screen.oib").write_text("x")
    assert "1 file: of a type that cannot be read: screen" in words_of(open_plate(root).problems)


def test_tiffs_go_before_masks_of_the_same_name(write_images: Callable[..., Path]) -> None:
    root = write_images(["x_A01_s1_w1.tif"])
    (root / "masks").mkdir()
    Image.fromarray(np.zeros((6, 8), np.uint8)).save(root / "masks" / "x_A01_s1_w1.png")
    plate = open_plate(root)
    assert plate.planes["path"].tolist() == [str(root / "x_A01_s1_w1.tif")]
    assert "images are TIFF and these are not: masks/x_A01_s1_w1.png" in words_of(plate.problems)


def test_a_folder_of_pngs_is_a_plate(tmp_path: Path) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    Image.fromarray(pixels).save(tmp_path / "x_A01_s1_w1.png")
    plate = open_plate(tmp_path)
    assert np.array_equal(plate.read_site(plate.sites[0])[0], pixels)


def test_duplicates_keep_the_first_and_name_both(
    write_images: Callable[..., Path], value_of: Callable[[NDArray[Any]], int]
) -> None:
    root = write_images(["b/x_A01_s1_w1.tif", "a/x_a1_s1_w1.tif", "a/x_A02_s1_w1.tif"])
    plate = open_plate(root)
    assert value_of(plate.read_site(SiteKey("A01", 1))[0]) == 2
    assert len(plate.problems) == 1
    text = str(plate.problems[0])
    assert text.startswith("A01 s1: ")
    assert str(root / "a/x_a1_s1_w1.tif") in text
    assert str(root / "b/x_A01_s1_w1.tif") in text


def test_a_folder_of_several_plates_is_refused(write_images: Callable[..., Path]) -> None:
    names = [f"x_A{n:02d}_s1_w1.tif" for n in range(1, 7)]
    root = write_images(
        [f"{folder}/TimePoint_1/{name}" for folder in ("p1", "p2") for name in names]
    )
    with pytest.raises(HcsQcError, match="several plates, or several runs of one: p1 and p2;"):
        open_plate(root)
    assert len(open_plate(root / "p1").sites) == 6
    assert open_plate(root / "p1" / "TimePoint_1").name == "p1"


def test_one_folder_a_well_is_one_plate(write_images: Callable[..., Path]) -> None:
    root = write_images([f"{w}/x_{w}_s{s}_w1.tif" for w in ("A01", "A02") for s in range(1, 7)])
    assert len(open_plate(root).sites) == 12


def test_wells_on_no_plate_are_listed_and_dropped(write_images: Callable[..., Path]) -> None:
    plate = open_plate(write_images(["x_A01_s1_w1.tif", "x_AG01_s1_w1.tif", "x_A49_s1_w1.tif"]))
    assert plate.wells == ("A01",)
    text = words_of(plate.problems)
    assert "well A49: " in text
    assert "well AG01: " in text
    assert "Left out: x_A49_s1_w1.tif." in text


def test_files_that_name_no_channel_among_others_that_do(write_images: Callable[..., Path]) -> None:
    plate = open_plate(write_images(["x_A01_s1_w1.tif", "x_A02_s1_w1.tif", "x_A03_s1.tif"]))
    assert plate.wells == ("A01", "A02")
    assert "1 file: left out, their names state no channel" in words_of(plate.problems)


def test_a_z_stack_in_each_file(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).integers(0, 99, (5, 20, 30)).astype(np.uint16)
    for wave in (1, 2):
        path = tmp_path / f"x_A01_s1_w{wave}.tif"
        tifffile.imwrite(path, stack * wave, photometric="minisblack")
    plate = open_plate(tmp_path)
    site = plate.sites[0]
    assert [channel.name for channel in plate.channels] == ["w1", "w2"]
    assert np.array_equal(plate.read_site(site), [stack.max(0), stack.max(0) * 2])
    assert np.array_equal(plate.read_site(site, [1], projection=3), stack[None, 3] * 2)


def test_channels_and_z_in_each_file(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).integers(0, 99, (2, 5, 20, 30)).astype(np.uint16)
    path = tmp_path / "x_A01_s1.tif"
    tifffile.imwrite(path, stack, ome=True, photometric="minisblack", metadata={"axes": "CZYX"})
    plate = open_plate(tmp_path)
    assert np.array_equal(plate.read_site(plate.sites[0]), stack.max(axis=1))
    assert np.array_equal(plate.read_site(plate.sites[0], projection=4), stack[:, 4])


def test_nothing_recognised_names_files_and_known_formats(
    write_images: Callable[..., Path],
) -> None:
    root = write_images(["Hoechst.tif", "Mito.tif", "ER.tif", "AGP.tif"])
    with pytest.raises(HcsQcError) as caught:
        open_plate(root)
    text = str(caught.value)
    assert "4 images, such as AGP.tif, ER.tif, Hoechst.tif and 1 more" in text
    for known in ("ImageXpress", "Operetta", "ScanR", "CellVoyager", "(?P<well>"):
        assert known in text


def test_empty_and_imageless_folders(tmp_path: Path) -> None:
    with pytest.raises(HcsQcError, match="it holds no files"):
        open_plate(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(HcsQcError, match=r"1 file, such as a\.txt"):
        open_plate(tmp_path)
    (tmp_path / "p.zarr").mkdir()
    with pytest.raises(HcsQcError, match=r"OME-Zarr p\.zarr"):
        open_plate(tmp_path)


def test_only_wells_on_no_plate_is_an_error(write_images: Callable[..., Path]) -> None:
    with pytest.raises(HcsQcError, match=r"no image of a plate.*A49"):
        open_plate(write_images(["x_A49_s1_w1.tif"]))


def test_paths_that_are_no_plate(tmp_path: Path, write_images: Callable[..., Path]) -> None:
    with pytest.raises(HcsQcError, match="does not exist"):
        open_plate(tmp_path / "absent")
    root = write_images(["x_A01_s1_w1.tif"])
    with pytest.raises(HcsQcError, match="single file"):
        open_plate(root / "x_A01_s1_w1.tif")
    with pytest.raises(HcsQcError, match="image root is for a LoadData"):
        open_plate(root, image_root=tmp_path)
    (root / "t.csv").write_text("a")
    with pytest.raises(HcsQcError, match="omit the pattern"):
        open_plate(root / "t.csv", pattern="(?P<well>A01)")
    with pytest.raises(HcsQcError, match="is not a folder"):
        open_plate(root / "t.csv", image_root=tmp_path / "absent")


def test_a_folder_that_cannot_be_listed_is_an_error(
    write_images: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_images(["x_A01_s1_w1.tif"])

    def refuse(_path: object) -> None:
        raise PermissionError(13, "Permission denied", str(root))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(HcsQcError, match=f"{re.escape(str(root))} cannot be read: Permission"):
        open_plate(root)


def test_relative_and_home_paths(
    write_images: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_images(["x_A01_s1_w1.tif"])
    monkeypatch.chdir(root.parent)
    plate = open_plate(root.name)
    assert plate.source == root
    assert os.path.isabs(plate.planes["path"].iloc[0])


def test_opening_reads_no_more_than_a_few_headers(
    write_images: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_images([f"x_{well_name(r, c)}_s1_w1.tif" for r in range(8) for c in range(12)])
    opened = []
    genuine = tifffile.TiffFile

    def counted(path: str, *arguments: Any, **options: Any) -> Any:
        opened.append(path)
        return genuine(path, *arguments, **options)

    monkeypatch.setattr(tifffile, "TiffFile", counted)
    assert len(open_plate(root).sites) == 96
    assert len(opened) == 1


# Shape and time -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [96, "96", "8x12", "8×12", "8 X 12"])
def test_a_given_shape_goes_before_the_guess(
    write_images: Callable[..., Path], shape: str | int
) -> None:
    root = write_images(["x_C03_s1_w1.tif", "x_F08_s1_w1.tif"])
    guess = open_plate(root)
    assert (guess.shape, guess.reasons.shape) == ((6, 8), "")
    given = open_plate(root, plate_shape=shape)
    assert (given.shape, given.reasons.shape) == ((8, 12), "--plate-shape")
    with pytest.raises(HcsQcError, match="F08 is outside this plate of 2×3 wells"):
        open_plate(root, plate_shape=6)
    with pytest.raises(HcsQcError, match=r"'7x9' is none of a standard plate; 6 \(2x3\)"):
        open_plate(root, plate_shape="7x9")


def test_a_guess_grows_and_a_fact_does_not(write_images: Callable[..., Path]) -> None:
    root = write_images(["x_C03_s1_w1.tif"])
    plate = open_plate(root).grown(["H12"], "the plate map")
    assert (plate.shape, plate.reasons.shape) == ((8, 12), "the plate map")
    assert plate.fingerprint == open_plate(root).fingerprint
    assert open_plate(root).grown(["A01"], "the plate map").shape == (3, 4)
    assert open_plate(root, plate_shape=96).grown(["P24"], "the plate map").shape == (8, 12)


def test_the_name_of_a_plate_tells_its_size(write_images: Callable[..., Path]) -> None:
    root = write_images(["x_C03_s1_w1.tif"], folder="Greiner_384well_P7")
    assert open_plate(root).shape == (16, 24)
    assert open_plate(root, plate_shape=96).shape == (8, 12)
    assert open_plate(write_images(["x_C03_s1_w1.tif"], folder="P1384 well")).shape == (3, 4)


def test_one_time_point_is_chosen_by_its_number(
    write_images: Callable[..., Path], value_of: Callable[[NDArray[Any]], int]
) -> None:
    root = write_images([f"TimePoint_{time}/x_A01_s1_w1.tif" for time in (3, 7)])
    plate = open_plate(root)
    assert plate.time_points == (3, 7)
    assert value_of(plate.read_site(plate.sites[0])[0]) == 1
    later = open_plate(root, time=7)
    assert later.time_points == (7,)
    assert value_of(later.read_site(later.sites[0])[0]) == 2
    assert later.fingerprint != plate.fingerprint
    with pytest.raises(HcsQcError, match="no time point 5; it has 3, 7"):
        open_plate(root, time=5)
