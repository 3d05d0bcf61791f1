"""Two plates or runs that lie in one folder are never mixed."""

from __future__ import annotations

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
    with pytest.raises(HcsQcError, match="several plates") as caught:
        open_plate(root)
    assert all(label in str(caught.value) for label in labels)
    assert f"--plate-name {labels[0]}" in str(caught.value)
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
