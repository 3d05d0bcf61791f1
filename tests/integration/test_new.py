"""``hcs-qc new`` says how a plate was understood, and an assay reads it that way again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_state import open_assay_plate
from napari_hcs_qc.cli import main

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [f"{r}{c:02d},{'DMSO' if c < 3 else 'drug'}" for r in "ABCDEFGH" for c in range(1, 13)]


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    """Six wells of a plate of 96, in two time points."""
    for time in (1, 2):
        for well in ("C03", "C04", "D03", "D04", "E07", "F08"):
            path = tmp_path / "plate" / f"TimePoint_{time}" / f"p_{well}_s1_w1.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(
                path,
                np.full((48, 64), time, np.uint16),
                ome=True,
                metadata={
                    "axes": "YX",
                    "PhysicalSizeX": 0.65,
                    "PhysicalSizeXUnit": "µm",
                    "Channel": {"Name": ["Hoechst"]},
                },
            )
    (tmp_path / "plate" / "notes.xyz").write_text("x")
    return tmp_path / "plate"


@pytest.fixture
def platemap(tmp_path: Path) -> Path:
    path = tmp_path / "map.csv"
    path.write_text("\n".join(["well,treatment", *ROWS]))
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def test_five_lines_say_what_was_understood_and_why(
    plate: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = run(capsys, "new", tmp_path / "assay", plate).splitlines()
    assert [line.strip() for line in lines[1:]] == [
        "plate (imagexpress)",
        "Plate: 6 × 8 wells (a guess: the smallest plate with all wells); 6 wells imaged (C03, "
        "C04, D03 and 3 more), 6 sites",
        "Channels: Hoechst (OME-XML)",
        "Planes: 1 z plane; 2 time points (1, 2), 1 is read (--time for another or all)",
        "Pixel size: 0.65 µm (OME-XML)",
        "Left out or in doubt: 2 notes:",
        "time points: 2 (1, 2); the first, 1, is used. --time N reads another, --time all each.",
        "1 file: of a type that cannot be read: notes.xyz.",
    ]
    data = json.loads(run(capsys, "new", tmp_path / "other", plate, "--json"))["plates"][0]
    assert data["shape"] == [6, 8]
    assert data["shape_is_guess"]
    assert data["time_points"] == [1, 2]
    assert (data["channels"], data["channels_reason"]) == (["Hoechst"], "OME-XML")
    assert (data["pixel_size_um"], data["pixel_size_reason"]) == (0.65, "OME-XML")
    assert data["problems"][1:] == ["1 file: of a type that cannot be read: notes.xyz."]


def opened(assay: Path) -> Any:
    folder = AssayFolder.open(assay)
    return open_assay_plate(folder, folder.plates[0].name)


def test_a_plate_map_decides_the_shape_which_is_remembered(
    plate: Path, platemap: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assay = tmp_path / "assay"
    text = run(capsys, "new", assay, plate, "--platemap", platemap)
    assert "Plate: 8 × 12 wells (the plate map map.csv)" in text
    assert opened(assay).shape == (8, 12)
    assert main(["new", str(tmp_path / "no"), str(plate), "--platemap", str(platemap),
                 "--plate-shape", "6x8"]) == 2  # fmt: skip
    assert "outside the plate of 6 × 8 wells" in capsys.readouterr().err


def test_shape_time_and_pattern_are_remembered(
    plate: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assay = tmp_path / "assay"
    arguments = ["new", assay, plate, "--plate-shape", "384", "--time", "2"]
    arguments += ["--pattern", r"TimePoint_(?P<time>\d)/p_(?P<well>[A-P]\d\d)_s(?P<site>\d)"]
    text = run(capsys, *arguments)
    assert "Plate: 16 × 24 wells (--plate-shape)" in text
    assert "1 time point (2)" in text
    again = opened(assay)
    assert (again.format, again.shape, again.time_points) == ("pattern", (16, 24), (2,))
    assert again.read_site(again.sites[0]).max() == 2
    run(capsys, *arguments)  # the same again changes nothing
    run(capsys, "new", assay, plate)
    assert main(["new", str(assay), str(plate), "--time", "1"]) == 2
    error = capsys.readouterr().err
    assert "time point 2" in error
    assert "time point 1" in error


def test_a_pattern_may_begin_with_dashes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "plate"
    folder.mkdir()
    for well in ("A01", "B02"):
        tifffile.imwrite(folder / f"x--{well}=q.tif", np.ones((8, 9), np.uint16))
    data = json.loads(
        run(capsys, "new", tmp_path / "a", folder, "--json", "--pattern", "--(?P<well>[A-P]..)=")
    )
    assert data["plates"][0]["wells"] == ["A01", "B02"]


def test_channels_of_an_old_assay_keep_their_names(
    plate: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assay = tmp_path / "assay"
    run(capsys, "new", assay, plate)
    folder = AssayFolder.open(assay)
    of_0_1_0 = opened(assay).named_like(["w1"])
    document = json.loads((assay / "assay.json").read_text())
    assert document["plates"][0]["fingerprint"] == folder.plates[0].fingerprint
    folder.remove_plate("plate")
    folder.add_plate("plate", plate, fingerprint=of_0_1_0.fingerprint)
    assert [channel.name for channel in opened(assay).channels] == ["w1"]
    second = tmp_path / "second"
    second.symlink_to(plate)
    run(capsys, "new", assay, second)  # a further plate is read like the first
    assert [
        channel.name for channel in open_assay_plate(AssayFolder.open(assay), "second").channels
    ] == ["w1"]
