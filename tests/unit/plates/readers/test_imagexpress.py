from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates import SiteKey, open_plate
from napari_hcs_qc.plates.readers.imagexpress import read_htd

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


def htd(
    *, projection: str | None = "TRUE", wells: str = "A01", n_sites: int = 1, rows: int = 8
) -> str:
    lines = ['"HTSInfoFile", Version 1.0', '"Description", "µ screen"', f'"YWells", {rows}']
    lines += ['"XWells", 12', '"NWavelengths", 2', '"WaveName1", "DAPI"', '"WaveName2", "Cy5 µ"']
    chosen = wells.split()
    for row in range(rows):
        marks = [f"{chr(65 + row)}{column:02d}" in chosen for column in range(1, 13)]
        lines.append(f'"WellsSelection{row + 1}", ' + ", ".join(str(m).upper() for m in marks))
    lines += ['"Sites", TRUE', f'"XSites", {n_sites}', '"YSites", 1']
    lines.append('"SiteSelection1", ' + ", ".join(["TRUE"] * n_sites))
    if projection is not None:
        lines.append(f'"ZProjection", {projection}')
    return "\r\n".join([*lines, '"EndFile"'])


def write_htd(root: Path, text: str, name: str = "9987.HTD") -> None:
    (root / name).write_bytes(text.encode("latin-1"))


def test_the_description_names_channels_and_the_plate(write_images: Callable[..., Path]) -> None:
    root = write_images(["TimePoint_1/x_A01_s1_w1.tif", "TimePoint_1/x_A01_s1_w2.tif"])
    write_htd(root, htd())
    plate = open_plate(root)
    assert [channel.name for channel in plate.channels] == ["DAPI", "Cy5 µ"]
    assert plate.shape == (8, 12)
    assert plate.problems == ()
    # Found as well from the files that users point at.
    assert open_plate(root / "9987.HTD").channels == plate.channels
    assert open_plate(root / "TimePoint_1").channels == plate.channels


def test_unkept_promises_are_one_problem(write_images: Callable[..., Path]) -> None:
    root = write_images(["x_A01_s1_w1.tif", "x_A02_s1_w1.tif", "x_A02_s2_w1.tif"])
    write_htd(root, htd(wells="A01 A02 B05 B06", n_sites=2))
    plate = open_plate(root)
    assert len(plate.problems) == 1
    text = str(plate.problems[0])
    assert "2 of 4 wells (B05, B06)" in text
    assert "some of the 2 sites of A01" in text
    assert "wavelength w2 Cy5 µ" in text


def test_a_well_outside_the_described_plate_is_dropped(write_images: Callable[..., Path]) -> None:
    root = write_images(["x_A01_s1_w1.tif", "x_A01_s1_w2.tif", "x_P24_s1_w1.tif"])
    write_htd(root, htd())
    plate = open_plate(root)
    assert plate.wells == ("A01",)
    assert len(plate.problems) == 1
    assert "outside this plate of 8×12 wells, A01 to H12" in str(plate.problems[0])


@pytest.mark.parametrize(
    ("folders", "projection", "planes", "values"),
    [
        (["ZStep_0", "ZStep_1", "ZStep_2"], "TRUE", [1, 2], [2, 3]),
        (["ZStep_0", "ZStep_1", "ZStep_2"], None, [1, 2], [2, 3]),
        (["ZStep_0", "ZStep_1", "ZStep_2"], "FALSE", [0, 1, 2], [1, 2, 3]),
        ([".", "ZStep_1", "ZStep_2"], "TRUE", [1, 2], [2, 3]),
        (["ZStep_0"], "TRUE", [0], [1]),
        (["."], None, [0], [1]),
    ],
)
def test_a_projection_is_used_only_without_its_planes(
    write_images: Callable[..., Path],
    value_of: Callable[[NDArray[Any]], int],
    folders: list[str],
    projection: str | None,
    planes: list[int],
    values: list[int],
) -> None:
    root = write_images([f"TimePoint_1/{folder}/x_A01_s1_w1.tif" for folder in folders])
    write_htd(root, htd(projection=projection))
    plate = open_plate(root)
    assert plate.planes["z"].tolist() == planes
    site = SiteKey("A01", 1)
    assert value_of(plate.read_site(site)[0]) == max(values)
    assert [value_of(plate.read_site(site, projection=z)[0]) for z in planes] == values


def test_a_wave_with_its_projection_only_beside_one_with_planes(
    write_images: Callable[..., Path], value_of: Callable[[NDArray[Any]], int]
) -> None:
    names = ["ZStep_0/x_A01_s1_w1.tif", "ZStep_1/x_A01_s1_w1.tif", "ZStep_2/x_A01_s1_w1.tif"]
    plate = open_plate(write_images([*names, "ZStep_0/x_A01_s1_w2.tif"]))
    site = SiteKey("A01", 1)
    assert [value_of(p) for p in plate.read_site(site)] == [3, 4]
    assert [value_of(p) for p in plate.read_site(site, projection=1)] == [2, 4]


def test_waves_of_the_same_name_stay_apart(write_images: Callable[..., Path]) -> None:
    root = write_images(["x_A01_s1_w1.tif", "x_A01_s1_w2.tif"])
    write_htd(root, htd().replace("Cy5 µ", "dapi"))
    assert [channel.name for channel in open_plate(root).channels] == ["DAPI", "dapi 2"]


def test_a_description_that_is_none_is_a_problem_not_an_error(
    write_images: Callable[..., Path],
) -> None:
    root = write_images(["x_A01_s1_w1.tif"])
    write_htd(root, "nonsense\n\x00\x01")
    plate = open_plate(root)
    assert plate.wells == ("A01",)
    assert "not an HTD file" in str(plate.problems[0])
    with pytest.raises(HcsQcError, match="cannot be read"):
        read_htd(root / "absent.HTD")
