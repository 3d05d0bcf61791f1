"""``hcs-qc new`` says of every case of ``../shared/cases/plates`` how it was understood."""

from __future__ import annotations

import csv
import json
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from napari_hcs_qc.cli import main

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.realdata
SMALLEST = "a guess: the smallest plate with all wells"
NAMES = "the names of the files"
UNKNOWN = "unknown: neither names nor headers state it"


@pytest.fixture(scope="module")
def cases(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = shared / "cases" / "plates" / "make_cases.py"
    if not script.is_file():
        pytest.skip(f"the cases are not at {script}")
    folder = tmp_path_factory.mktemp("cases")
    subprocess.run([sys.executable, script, folder], check=True)
    return folder


def new(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = main(["new", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def understood(
    capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str | Path
) -> tuple[list[str], dict[str, Any]]:
    """Give the five lines and what follows them, after checking that the JSON says the same."""
    code, out, _ = new(capsys, folder / "assay", *arguments)
    assert code == 0
    lines = [line.strip() for line in out.splitlines()[2:]]
    has_map = "--platemap" in arguments
    platemap = lines.pop() if has_map else ""
    _, out, _ = new(capsys, folder / "assay as json", *arguments, "--json")
    (data,) = json.loads(out)["plates"]
    shape, channels, planes, size, left_out, *problems = lines
    rows, columns = data["shape"]
    reason = data["shape_reason"] or SMALLEST
    assert data["shape_is_guess"] == (not data["shape_reason"])
    assert shape.startswith(f"Plate: {rows} × {columns} wells ({reason}); {data['n_wells']} well")
    assert f"({', '.join(data['wells'][:3])}" in shape
    assert f", {data['n_sites']} site" in shape
    assert channels == f"Channels: {', '.join(data['channels'])} ({data['channels_reason']})"
    assert planes.startswith(f"Planes: {data['n_z']} z plane")
    assert ("their maximum" in planes) == (data["z_projection"] == "max")
    assert f"{len(data['time_points'])} time point" in planes
    is_known = data["pixel_size_um"] is not None
    known = f"{data['pixel_size_um']} µm ({data['pixel_size_reason']})"
    assert size == f"Pixel size: {known if is_known else UNKNOWN}"
    assert problems == data["problems"]
    assert has_map == (data["platemap"] is not None)
    if has_map:
        assert platemap.startswith(f"Plate map {data['platemap']['file']}: ")
    assert left_out.startswith("Left out or in doubt: ")
    assert left_out.endswith("nothing") == (not problems)
    return lines, data


@pytest.mark.parametrize(
    ("case", "arguments", "shape", "channels", "size", "problem"),
    [
        ("c01_platemap/plate", [], f"6 × 8 wells ({SMALLEST})", "w1", UNKNOWN, ""),
        (
            "c01_platemap/plate",
            ["--platemap", "c01_platemap/map.csv"],
            "8 × 12 wells (the plate map map.csv)",
            "w1",
            UNKNOWN,
            "",
        ),
        ("c03_two_plates_one_folder", ["--plate-name", "P1"], "2 × 3", "w1", UNKNOWN, ""),
        ("c04_two_runs/z", ["--plate-name", "run1"], "2 × 3", "w1", UNKNOWN, ""),
        ("c04_two_runs/t", ["--plate-name", "run2"], "2 × 3", "w1", UNKNOWN, ""),
        ("c05_minority/names", [], "16 × 24", "d2", UNKNOWN, "1 image: left out, names do not fit"),
        ("c05_minority/png", [], "2 × 3", "w1", UNKNOWN, "1 image: left out"),
        (
            "c06_channel_layouts/binned",
            [],
            "2 × 3",
            "w1, w2, w3, w4",
            UNKNOWN,
            "channel w2: has 32×32 px and is scaled to 64×64 px of other channels.",
        ),
        ("c06_channel_layouts/depth", [], "2 × 3", "w1, w2, w3", UNKNOWN, ""),
        (
            "c07_zarr/absent_chunks.zarr",
            [],
            "2 × 3",
            "DAPI, GFP (the OME-Zarr)",
            "0.325 µm (the OME-Zarr)",
            "absent_chunks.zarr: 2 fields lack many of their chunks",
        ),
        ("c07_zarr/same_labels.zarr", [], "2 × 3", "Cy3, Cy3 2", "0.325 µm", ""),
        ("c07_zarr/rows_from_0.zarr", [], "2 × 3", "DAPI, GFP", "0.325 µm", ""),
        ("c08_load_data/load_data.csv", [], "2 × 3", "DNA (load_data.csv)", "0.65 µm", ""),
        ("c08_load_data/encoded/load_data.csv", [], "2 × 3", "DNA", UNKNOWN, ""),
        ("c09_tiff_metadata/ome", [], "2 × 3", "DAPI, GFP, RFP, Cy5 (OME-XML)", "0.325 µm", ""),
        ("c09_tiff_metadata/ome_ext", [], "2 × 3", "DAPI, GFP, RFP, Cy5", "0.325 µm", ""),
        ("c09_tiff_metadata/fiji", [], "2 × 3", "DAPI, GFP, RFP, Cy5 (the header", "0.65 µm", ""),
        ("c09_tiff_metadata/scenes", [], "1 well imaged (A01), 3 sites", "w1", UNKNOWN, ""),
        ("c09_tiff_metadata/rgb", [], "2 × 3", "w1, w2", UNKNOWN, ""),
        (
            "c10_pattern/from_zero",
            ["--pattern", r"U(?P<column0>\d+)_V(?P<row0>\d+)_X(?P<site>\d+)"],
            "(B02, B03, B04 and 6 more)",
            "C1",
            UNKNOWN,
            "",
        ),
        (
            "c10_pattern/site_letter",
            ["--pattern", r"(?P<well>[A-P]\d\d)_(?P<site>[a-z])_(?P<channel>\w+)\.tif$"],
            "2 wells imaged (A01, B02), 4 sites",
            "DAPI",
            UNKNOWN,
            "",
        ),
        ("c11_cellvoyager_mrf/plate", [], "8 × 12 wells (MeasurementDetail.mrf)",
         "DAPI, GFP (MeasurementDetail.mrf)", "0.325 µm (MeasurementDetail.mrf)", ""),
        ("c12_linked_folder/plate", [], "2 wells imaged (A01, A02)", "w1", UNKNOWN, ""),
    ],
)  # fmt: skip
def test_five_lines_and_the_same_as_json(
    cases: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    case: str,
    arguments: list[str],
    shape: str,
    channels: str,
    size: str,
    problem: str,
) -> None:
    options = [cases / each if each.endswith(".csv") else each for each in arguments]
    lines, _ = understood(capsys, tmp_path, cases / case, *options)
    assert shape in lines[0]
    assert lines[1].startswith(f"Channels: {channels}")
    assert lines[3].startswith(f"Pixel size: {size}")
    assert lines[5].startswith(problem) if problem else len(lines) == 5


def test_names_of_instruments(
    cases: Path, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (shared / "cases/plates/instrument_names.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for number, instrument in enumerate(dict.fromkeys(row["instrument"] for row in rows)):
        folder = tmp_path / str(number)
        folder.mkdir()
        _, data = understood(capsys, folder, cases / "c02_names" / instrument)
        own = [row for row in rows if row["instrument"] == instrument]
        assert set(data["wells"]) == {row["well"] for row in own}
        assert data["time_points"] == sorted({int(row["time"] or 0) for row in own})
        assert data["z_planes"] == sorted({int(row["z"] or 0) for row in own})
        names = {row["channel"] for row in own if row["channel"]}
        for name in data["channels"]:
            assert name in names or name.lstrip("Cdwhanel") in names or not names


@pytest.mark.parametrize(
    ("case", "what"),
    [
        ("c03_two_plates_one_folder", "P1 and P2"),
        ("c04_two_runs/z", "run1 and run2"),
        ("c04_two_runs/t", "run1 and run2"),
        ("c10_pattern/from_zero", "This pattern would read them"),
        ("c10_pattern/site_letter", "This pattern would read them"),
    ],
)
def test_what_is_refused_is_read_as_the_refusal_says(
    cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str, what: str
) -> None:
    code, _, error = new(capsys, tmp_path / "assay", cases / case)
    assert code == 2
    assert what in error
    flag = next(flag for flag in ("--pattern '", "--plate-name") if flag in error).split()[0]
    advice = shlex.split(error[error.index(flag) :].replace(")", " )"))[1]
    if flag == "--pattern":
        advice = shlex.split(error[error.index(flag) :])[1].removesuffix(".")
    understood(capsys, tmp_path, cases / case, flag, advice)
