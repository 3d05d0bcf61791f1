"""Two plates or runs that lie in one folder are never mixed."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates import open_plate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

WELLS = ("A01", "A02", "B01", "B02")


def names(form: str, wells: tuple[str, ...] = WELLS, **parts: tuple[object, ...]) -> list[str]:
    """Names of all wells, and of all combinations of further parts."""
    result = [form.replace("{w}", well) for well in wells]
    for part, values in parts.items():
        result = [name.replace(f"{{{part}}}", str(value)) for name in result for value in values]
    return result


TWO = {
    "prefixes, the same wells": (
        names("P1_{w}_s1_w1.tif"),
        names("P2_{w}_s1_w1.tif"),
        ("P1", "P2"),
    ),
    "prefixes, other wells": (
        names("P1_{w}_s1_w1.tif", ("A01", "A02")),
        names("P2_{w}_s1_w1.tif", ("B01", "B02")),
        ("P1", "P2"),
    ),
    "a few of another plate": (
        names("P1_{w}_s1_w1.tif", tuple(f"C{n:02d}" for n in range(1, 13))),
        names("test_{w}_s1_w1.tif", ("C01", "C02")),
        ("P1", "test"),
    ),
    "folders, the same wells": (
        names("p1/x_{w}_s1_w1.tif"),
        names("p2/x_{w}_s1_w1.tif"),
        ("p1", "p2"),
    ),
    "folders, other wells": (
        names("p1/x_{w}_s1_w1.tif", ("A01", "A02")),
        names("p2/x_{w}_s1_w1.tif", ("B01", "B02")),
        ("p1", "p2"),
    ),
    "folders, other sites": (
        names("p1/x_{w}_s1_w1.tif"),
        names("p2/x_{w}_s2_w1.tif"),
        ("p1", "p2"),
    ),
    "one well each": (["p1/x_A01_s1_w1.tif"], ["p2/x_A01_s1_w1.tif"], ("p1", "p2")),
    "a z stack and a single plane": (
        names("run1/ZStep_{z}/P_{w}_s1_w1.tif", z=(1, 2)),
        names("run2/P_{w}_s1_w1.tif"),
        ("run1", "run2"),
    ),
    "a z stack beside a single plane by name": (
        names("run1/P_{w}_s1_w1_z{z}.tif", z=(1, 2)),
        names("run2/P_{w}_s1_w1.tif"),
        ("run1", "run2"),
    ),
    "a time series and a single run": (
        names("run1/TimePoint_1/P_{w}_s1_w1.tif"),
        names("run2/P_{w}_s1_w1.tif"),
        ("run1", "run2"),
    ),
    "a flat run beside a time series": (
        names("TimePoint_1/P_{w}_s1_w1.tif"),
        names("P_{w}_s1_w1.tif"),
        ("plate 20 µ", "without TimePoint"),
    ),
    "two measurements of Harmony": (
        names("plate__1/Images/r{r}c01f01p01-ch1sk1fk1fl1.tiff", ("",), r=("01", "02")),
        names("plate__2/Images/r{r}c01f01p01-ch1sk1fk1fl1.tiff", ("",), r=("01", "02")),
        ("plate__1", "plate__2"),
    ),
    "two plates of CellVoyager": (
        names("a_{w}_T0001F001L01A01Z01C01.tif"),
        names("b_{w}_T0001F001L01A01Z01C01.tif"),
        ("a", "b"),
    ),
    "two jobs of Leica": (
        names("i--L0--S00--U0{u}--V01--J07--X00--Y00--Z00--C00.tif", ("",), u=(0, 1)),
        names("i--L0--S00--U0{u}--V01--J08--X00--Y00--Z00--C00.tif", ("",), u=(0, 1)),
        ("i--J07", "i--J08"),
    ),
    "plain names": (
        names("exp1_{w}_f1_DAPI.tif"),
        names("exp2_{w}_f1_DAPI.tif"),
        ("exp1", "exp2"),
    ),
}


@pytest.mark.parametrize("case", TWO)
def test_two_runs_are_refused_by_their_names_of_which_one_is_chosen(
    write_images: Callable[..., Path], value_of: Callable[[NDArray[Any]], int], case: str
) -> None:
    first, second, labels = TWO[case]
    root = write_images(first + second)
    with pytest.raises(HcsQcError, match="several plates, or several runs of one: ") as caught:
        open_plate(root)
    assert all(label in str(caught.value) for label in labels)
    assert f"--plate-name {quote(labels[0])}" in str(caught.value)
    own = {*range(1, len(first) + 1)}
    for label, numbers in zip(
        labels, (own, {*range(len(first) + 1, len(first + second) + 1)}), strict=True
    ):
        plate = open_plate(root, name=label)
        assert plate.name == label
        assert plate.problems == ()
        assert len(plate.planes) == len(numbers)
        assert {value_of(plate.read_site(site)[0]) for site in plate.sites} <= numbers
    with pytest.raises(HcsQcError, match="None is called nobody"):
        open_plate(root, name="nobody")


@pytest.mark.parametrize(
    "files",
    [
        names("{w}/x_{w}_s{s}_w1.tif", s=(1, 2)),
        names("A/x_{w}_s1_w1.tif", ("A01", "A02")) + names("B/x_{w}_s1_w1.tif", ("B01", "B02")),
        names("w{c}/x_{w}_s1_w{c}.tif", c=(1, 2)),
        names("site {s}/x_{w}_s{s}_w1.tif", s=(1, 2)),
        names("TimePoint_{t}/ZStep_{z}/x_{w}_s1_w1.tif", t=(1, 2), z=(1, 2)),
        names("DAPI/{w}_f1.tif") + names("GFP/{w}_f1.tif"),
        names("DAPI_{w}_f1.tif") + names("GFP_{w}_f1.tif"),
        names("{t}/{w}_0_0_BF.tif", t=(0, 1)),
        [f"{n:03d}_{well}_s1_w1.tif" for n, well in enumerate(WELLS)],
    ],
)
def test_folders_and_beginnings_that_tell_the_place_are_one_plate(
    write_images: Callable[..., Path], files: list[str]
) -> None:
    plate = open_plate(write_images(files))
    assert len(plate.planes) == len(files)
    assert [problem.where for problem in plate.problems] == (
        ["time points"] if len(plate.time_points) > 1 else []
    )


@pytest.mark.parametrize(
    "files",
    [
        names("P_{w}_s1_w1.tif") + names("P_{w}_s1_w1.tiff"),
        names("{w}_f1_DAPI.tif") + names("{w}_f01_DAPI.tif"),
    ],
)
def test_names_that_do_not_tell_files_apart_are_refused(
    write_images: Callable[..., Path], files: list[str]
) -> None:
    with pytest.raises(HcsQcError, match=r"Most planes have several files.*--pattern"):
        open_plate(write_images(files))


def test_a_stray_copy_is_noted_and_does_not_stand_in_for_the_plate(
    write_images: Callable[..., Path], value_of: Callable[[NDArray[Any]], int]
) -> None:
    root = write_images([*names("P1_{w}_s1_w1.tif"), "A copy_A01_s1_w1.tif"])
    plate = open_plate(root)
    assert value_of(plate.read_site(plate.sites[0])[0]) == 1
    assert "A copy_A01_s1_w1.tif is a second file" in str(plate.problems[0])


def test_a_stray_name_does_not_outvote_the_plate(write_images: Callable[..., Path]) -> None:
    files = [f"img_{n}_of_nothing_{chr(97 + n % 26)}q.tif" for n in range(30)]
    root = write_images([*files, "other_A01_w2.tif"])
    with pytest.raises(HcsQcError, match="Only 1 of 31 images have names of") as caught:
        open_plate(root)
    assert "other_A01_w2.tif" in str(caught.value)
    assert "img_0_of_nothing_aq.tif" in str(caught.value)


def test_the_common_name_is_taken_and_a_stray_left_out(write_images: Callable[..., Path]) -> None:
    files = [f"AS_1_O{k % 24 + 1:02d}f{k // 24:02d}d2.TIF" for k in range(30)]
    plate = open_plate(write_images([*files, "other_A01_w2.tif"]))
    assert (plate.format, plate.shape, len(plate.sites)) == ("cellomics", (16, 24), 30)
    assert "other_A01_w2.tif" in str(plate.problems[0])


def test_a_plate_of_pictures_beside_a_flat_field(write_images: Callable[..., Path]) -> None:
    root = write_images(["flatfield_A01_w1.tif"])
    for number, well in enumerate(WELLS, start=1):
        pixels = np.full((6, 8), number, np.uint16)
        Image.fromarray(pixels).save(root / f"P_{well}_s1_w1.png")
    plate = open_plate(root)
    assert plate.wells == WELLS
    assert [int(plate.read_site(site).max()) for site in plate.sites] == [1, 2, 3, 4]
    assert "flatfield_A01_w1.tif" in str(plate.problems[0])


def test_a_flat_field_beside_the_images_is_left_out(write_images: Callable[..., Path]) -> None:
    root = write_images([*names("P_{w}_s1_w1.tif"), "flatfield_A01_w1.tif", "masks/A01_f1_w1.tif"])
    plate = open_plate(root)
    assert len(plate.planes) == 4
    assert "flatfield_A01_w1.tif" in str(plate.problems[0])


def test_a_linked_folder_is_followed_once(
    write_images: Callable[..., Path], tmp_path: Path
) -> None:
    elsewhere = write_images(names("P_{w}_s1_w1.tif"), folder="elsewhere")
    plate = tmp_path / "plate"
    plate.mkdir()
    (plate / "images").symlink_to(elsewhere)
    (elsewhere / "again").symlink_to(plate)  # a circle
    opened = open_plate(plate)
    assert opened.wells == WELLS
    assert opened.problems == ()


def test_images_that_gen5_stitched_are_told_from_tiles(
    write_images: Callable[..., Path], value_of: Callable[[NDArray[Any]], int]
) -> None:
    tiles = names("{w}_01_1_{s}_DAPI 377,447_001.tif", s=(1, 2))
    computed = [
        name
        for form in ("Stitched[DAPI 377,447]", "ZProj[DAPI 377,447]", "Tsf[Stitched[DAPI 377,447]]")
        for name in names(f"{{w}}_-1_1_1_{form}_001.tif")
    ]
    plate = open_plate(write_images(tiles + computed))
    assert [channel.name for channel in plate.channels] == ["DAPI 377,447"]
    assert len(plate.planes) == 8
    (problem,) = plate.problems
    assert str(problem).startswith("12 images: left out, named as")
    assert "Stitched[DAPI 377,447]" in str(problem)
    assert "in a folder of their own they are read" in str(problem)
    own = open_plate(write_images(computed[:4], folder="stitched"))
    assert [channel.name for channel in own.channels] == ["Stitched[DAPI 377,447]"]
    assert own.problems == ()


def test_thumbnails_masks_and_what_fits_nothing_are_named(
    write_images: Callable[..., Path],
) -> None:
    root = write_images(
        [
            *names("P_{w}_s1_w1.tif"),
            *names("P_{w}_s1_w1_thumb.tif"),
            *names("masks/P_{w}_s1_w1.tif"),
        ]
    )
    assert [str(problem) for problem in open_plate(root).problems] == [
        "4 images: left out, thumbnails of MetaXpress: P_A01_s1_w1_thumb.tif, "
        "P_A02_s1_w1_thumb.tif, P_B01_s1_w1_thumb.tif and 1 more.",
        "4 images: left out, named as masks, flat fields, overviews, or images that are stitched "
        "or computed from others (in a folder of their own they are read): "
        "masks/P_A01_s1_w1.tif, masks/P_A02_s1_w1.tif, masks/P_B01_s1_w1.tif and 1 more.",
    ]


def test_tiffs_that_fit_nothing_beside_pictures_are_named(
    write_images: Callable[..., Path],
) -> None:
    root = write_images(["overview of all.tif"])
    for well in WELLS:
        Image.fromarray(np.ones((6, 8), np.uint16)).save(root / f"P_{well}_s1_w1.png")
    (problem,) = open_plate(root).problems
    assert str(problem).startswith("1 image: left out, names do not fit")


def test_projections_beside_their_planes_are_named(write_images: Callable[..., Path]) -> None:
    root = write_images(names("TimePoint_1/ZStep_{z}/P_{w}_s1_w1.tif", z=(0, 1, 2)))
    plate = open_plate(root)
    assert len(plate.planes) == 8
    (problem,) = plate.problems
    assert str(problem).startswith("4 images: left out, projections of stacks")


def test_channels_that_differ_in_case_are_one_unless_a_site_has_both(
    write_images: Callable[..., Path],
) -> None:
    root = write_images([*names("{w}_f1_DAPI.tif", WELLS[:3]), "B02_f1_dapi.tif"])
    plate = open_plate(root)
    assert [channel.name for channel in plate.channels] == ["DAPI"]
    assert len(plate.sites) == 4
    assert "channels DAPI and dapi: differ in upper and lower case" in str(plate.problems[0])
    (root / "A01_f1_Dapi.tif").write_bytes((root / "B02_f1_dapi.tif").read_bytes())
    with pytest.raises(HcsQcError, match=r"DAPI, Dapi and dapi of .* A01 s1 has both") as caught:
        open_plate(root)
    assert "Rename the files of one of them" in str(caught.value)
    (root / "A01_f1_Dapi.tif").rename(root / "A01_f1_other.tif")
    assert [channel.name for channel in open_plate(root).channels] == ["DAPI", "other"]


@pytest.mark.parametrize(
    ("files", "labels", "own"),
    [
        (
            [
                f"r01c0{c}f01p01-ch{k}sk1fk1fl{fl}.tiff"
                for c in (1, 2)
                for fl in (1, 2)
                for k in "12"
            ],
            ("fl1", "fl2"),
            4,
        ),
        (
            names("P_{w}_T0001F001L01A0{a}Z01C01.tif", a=(1, 2))
            + names("P_{w}_T0001F001L01A03Z01C02.tif"),
            ("L01A01", "L01A02"),
            8,
        ),
        (names("P_{w}_T0001F001L0{l}A01Z01C01.tif", l=(1, 2)), ("L01A01", "L02A01"), 4),
    ],
)
def test_acquisitions_of_the_same_places_are_chosen_by_name(
    write_images: Callable[..., Path], files: list[str], labels: tuple[str, str], own: int
) -> None:
    root = write_images(files)
    with pytest.raises(HcsQcError, match="several images of the same places") as caught:
        open_plate(root)
    assert f"--plate-name {labels[0]}" in str(caught.value)
    assert "emove" not in str(caught.value)
    for label in labels:
        plate = open_plate(root, name=label)
        assert (plate.name, len(plate.planes), plate.problems) == (label, own, ())
        assert any(label in path for path in plate.planes["path"])
    with pytest.raises(HcsQcError, match="None is called fl9"):
        open_plate(root, name="fl9")


@pytest.mark.parametrize(
    ("marks", "times"),
    [
        (["sk1fk1", "sk2fk1", "sk5fk1"], (1, 2, 5)),
        (["sk1fk1", "sk1fk2", "sk1fk3"], (1, 2, 3)),
        (["sk1fk1", "sk1fk2", "sk2fk1", "sk2fk2"], (1, 2, 3, 4)),
    ],
)
def test_fast_and_slow_kinetics_of_harmony_are_time_points(
    write_images: Callable[..., Path],
    value_of: Callable[[NDArray[Any]], int],
    marks: list[str],
    times: tuple[int, ...],
) -> None:
    plate = open_plate(write_images([f"r01c01f01p01-ch1{mark}fl1.tiff" for mark in marks]))
    assert plate.time_points == times
    for rank in range(len(times)):
        assert value_of(plate.read_site(plate.sites[0], time=rank)[0]) == rank + 1
