"""Conversion to OME-Zarr: round trip, resumed after a kill, and what cannot be read or written."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

from napari_hcs_qc.errors import HcsQcError, WriteError
from napari_hcs_qc.job import Cancelled, Job
from napari_hcs_qc.plates.ome_zarr import convert
from napari_hcs_qc.plates.ome_zarr.convert import convert_plate
from napari_hcs_qc.plates.ome_zarr.zarr_plate import open_ome_zarr_plate
from napari_hcs_qc.plates.plate import PLANE_COLUMNS, Channel, Plate, SiteKey

VERSIONS = ("0.4", "0.5")
SHAPE = (151, 270)
CHANNELS = ("DNA", "Actin", "Mito")
# A 384-well plate with gaps; the last site lacks a channel. Z numbers from 1, as microscopes count.
SITES = (("A01", 1), ("A01", 9), ("C07", 4), ("P24", 2))
LACKS = (SiteKey("P24", 2), 0)


def write_tiffs(folder: Path, *, n_z: int = 2, dtype: str = "uint16") -> Plate:
    """A plate of TIFFs of random pixels, one of them all zero."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for well, site in SITES:
        for channel, z in np.ndindex(len(CHANNELS), n_z):
            if (SiteKey(well, site), channel) == LACKS:
                continue
            path = folder / f"{well}_s{site}_w{channel}_z{z + 1}.tif"
            pixels = rng.integers(0, 200, SHAPE).astype(dtype)
            tifffile.imwrite(path, pixels * (0 if (well, channel) == ("C07", 1) else 1))
            rows.append((well, site, channel, z + 1, 0, str(path), -1))
    return Plate(
        name="BR-00117",
        source=folder,
        format="pattern",
        shape=(16, 24),
        channels=tuple(Channel(name) for name in CHANNELS),
        planes=pd.DataFrame(rows, columns=list(PLANE_COLUMNS)),
        pixel_size_um=0.656,
    )


def assert_same(plate: Plate, other: Plate) -> None:
    assert other.sites == plate.sites
    assert other.wells == plate.wells
    assert other.shape == plate.shape
    assert [each.name for each in other.channels] == [each.name for each in plate.channels]
    assert other.name == plate.name
    zs = sorted(plate.planes["z"].unique())
    for site in plate.sites:
        channels = plate.available_channels(site)
        assert other.available_channels(site) == channels
        for index, z in enumerate(zs):
            expected = plate.read_site(site, channels, projection=int(z))
            pixels = other.read_site(site, channels, projection=index)
            assert pixels.dtype == expected.dtype
            np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(
    ("version", "dtype"),
    [("0.4", "uint16"), ("0.5", "uint16"), ("0.5", "uint8"), ("0.4", "float32")],
)
def test_round_trip(tmp_path: Path, version: Any, dtype: str) -> None:
    plate = write_tiffs(tmp_path / "é x", dtype=dtype)
    out = tmp_path / "made here" / "plåte.zarr"
    progress: list[tuple[int, int]] = []

    def note(done: int, total: int, _message: str) -> None:
        progress.append((done, total))

    result = convert_plate(plate, out, version=version, job=Job(note))
    assert (result.path, result.n_sites, result.n_written, result.unreadable) == (out, 4, 4, ())
    assert progress == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    again = open_ome_zarr_plate(out)
    assert again.problems == ()
    assert again.pixel_size_um == pytest.approx(0.656)
    assert_same(plate, again)


def test_round_trip_from_one_version_to_the_other(tmp_path: Path) -> None:
    old = convert_plate(write_tiffs(tmp_path / "t", n_z=1), tmp_path / "4.zarr", version="0.4")
    plate = open_ome_zarr_plate(old.path)
    new = convert_plate(plate, tmp_path / "5.zarr", version="0.5")
    assert_same(plate, open_ome_zarr_plate(new.path))


@pytest.mark.parametrize("version", VERSIONS)
def test_written_metadata_is_valid_ngff(tmp_path: Path, version: Any) -> None:
    out = convert_plate(write_tiffs(tmp_path / "t", n_z=1), tmp_path / "o.zarr", version=version)

    def attributes(folder: Path) -> dict[str, Any]:
        if version == "0.4":
            return json.loads((folder / ".zattrs").read_text())
        data = json.loads((folder / "zarr.json").read_text())
        assert (data["zarr_format"], data["node_type"]) == (3, "group")
        assert data["attributes"]["ome"]["version"] == "0.5"
        return data["attributes"]["ome"]

    plate = attributes(out.path)["plate"]
    assert [row["name"] for row in plate["rows"]] == list("ABCDEFGHIJKLMNOP")
    assert [int(column["name"]) for column in plate["columns"]] == list(range(1, 25))
    for well in plate["wells"]:
        row, column = plate["rows"][well["rowIndex"]], plate["columns"][well["columnIndex"]]
        assert well["path"] == f"{row['name']}/{column['name']}"
    wells = {well["path"]: attributes(out.path / well["path"])["well"] for well in plate["wells"]}
    assert {path: [image["path"] for image in well["images"]] for path, well in wells.items()} == {
        "A/01": ["1", "9"], "C/07": ["4"], "P/24": ["2"]
    }  # fmt: skip
    image = attributes(out.path / "A" / "01" / "1")
    (scales,) = (
        [dataset["coordinateTransformations"][0]["scale"] for dataset in multiscale["datasets"]]
        for multiscale in image["multiscales"]
    )
    assert [axis["name"] for axis in image["multiscales"][0]["axes"]] == list("tczyx")
    assert scales[0] == pytest.approx([1, 1, 1, 0.656, 0.656])
    # The true ratio where a side is odd: 151 px become 37.
    assert scales[2] == pytest.approx([1, 1, 1, 0.656 * 151 / 37, 0.656 * 270 / 67])
    assert [channel["label"] for channel in image["omero"]["channels"]] == list(CHANNELS)


@pytest.mark.parametrize("version", VERSIONS)
def test_pyramid_halves_by_the_mean(tmp_path: Path, version: Any) -> None:
    plate = write_tiffs(tmp_path / "t", n_z=1)
    convert_plate(plate, tmp_path / "o.zarr", version=version)
    image = zarr.open_group(tmp_path / "o.zarr" / "A" / "01" / "1", mode="r")
    full, half, quarter = (np.asarray(image[str(level)][0, :, 0]) for level in range(3))
    assert "3" not in image
    np.testing.assert_array_equal(full, plate.read_site(SiteKey("A01", 1)))
    for level, below in ((half, full), (quarter, half)):
        rows, columns = level.shape[-2:]
        assert abs(rows - below.shape[-2] / 2) < 1
        assert abs(columns - below.shape[-1] / 2) < 1
        for y, x in ((0, 0), (7, 31), (rows - 1, columns - 1)):
            block = below[:, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].astype(float)
            np.testing.assert_allclose(level[:, y, x], block.mean(axis=(1, 2)), atol=0.5)


def test_unknown_pixel_size_stays_unknown(tmp_path: Path) -> None:
    plate = write_tiffs(tmp_path / "t", n_z=1)
    unknown = Plate(
        name=plate.name,
        source=plate.source,
        format=plate.format,
        shape=plate.shape,
        channels=plate.channels,
        planes=plate.planes,
    )
    result = convert_plate(unknown, tmp_path / "o.zarr")
    assert open_ome_zarr_plate(result.path).pixel_size_um is None


@pytest.mark.parametrize("version", VERSIONS)
def test_unreadable_site_is_left_out_listed_and_tried_again(tmp_path: Path, version: Any) -> None:
    plate = write_tiffs(tmp_path / "t")
    bad = tmp_path / "t" / "C07_s4_w1_z2.tif"
    whole = bad.read_bytes()
    status = bad.stat()
    bad.write_bytes(b"no tiff" + bytes(len(whole) - 7))
    os.utime(bad, ns=(status.st_atime_ns, status.st_mtime_ns))
    result = convert_plate(plate, tmp_path / "o.zarr", version=version)
    assert (result.n_sites, result.n_written) == (3, 3)
    assert [problem.where for problem in result.unreadable] == ["C07 s4"]
    assert bad.name in result.unreadable[0].what
    again = open_ome_zarr_plate(result.path)
    assert again.wells == ("A01", "P24")
    (problem,) = again.problems
    assert problem.where == "C07 s4"
    assert bad.name in problem.what
    bad.write_bytes(whole)
    os.utime(bad, ns=(status.st_atime_ns, status.st_mtime_ns))
    result = convert_plate(plate, tmp_path / "o.zarr", version=version)
    assert (result.n_sites, result.n_written, result.unreadable) == (4, 1, ())
    again = open_ome_zarr_plate(result.path)
    assert again.problems == ()
    assert_same(plate, again)


def test_cancelled_keeps_what_is_whole_and_goes_on(tmp_path: Path) -> None:
    plate = write_tiffs(tmp_path / "t")
    out = tmp_path / "o.zarr"
    # Asked once a site and once a stack of planes: this stops within the third site.
    answers = iter([False] * 8 + [True])
    with pytest.raises(Cancelled):
        convert_plate(plate, out, job=Job(should_stop=lambda: next(answers)))
    assert [file.name for file in (out / "C" / "07").iterdir()] == ["zarr.json"]
    unfinished = open_ome_zarr_plate(out)
    assert unfinished.sites == plate.sites[:2]
    assert "not finished" in unfinished.problems[0].what
    result = convert_plate(plate, out)
    assert (result.n_sites, result.n_written) == (4, 2)
    assert open_ome_zarr_plate(out).problems == ()
    assert_same(plate, open_ome_zarr_plate(out))
    assert convert_plate(plate, out).n_written == 0


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_convert import Job, convert_plate, write_tiffs
calls = 0
def stop():
    global calls
    calls += 1
    if calls == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return False
convert_plate(write_tiffs(Path(sys.argv[1])), Path(sys.argv[2]), job=Job(should_stop=stop))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_goes_on_after_a_kill_in_the_middle_of_a_field(tmp_path: Path) -> None:
    tiffs, out = tmp_path / "t", tmp_path / "o.zarr"
    script = KILLED.format(here=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", script, tiffs, out], check=False)
    assert done.returncode == -signal.SIGKILL
    names = sorted(folder.name for folder in (out / "C" / "07").iterdir())
    assert names == ["4.partial", "zarr.json"]
    plate = read_back(tiffs)
    result = convert_plate(plate, out)
    assert (result.n_sites, result.n_written) == (4, 2)
    assert not list(out.rglob("*.partial"))
    assert_same(plate, open_ome_zarr_plate(out))


def read_back(tiffs: Path) -> Plate:
    """The plate of `write_tiffs` as the killed process saw it, its files untouched."""
    copy = tiffs.with_name("copy")
    shutil.copytree(tiffs, copy)
    plate = write_tiffs(tiffs)
    shutil.rmtree(tiffs)
    copy.rename(tiffs)
    return plate


@pytest.mark.parametrize(
    ("number", "message"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only")]
)
def test_full_disk_and_read_only_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    plate = write_tiffs(tmp_path / "t")
    out = tmp_path / "o.zarr"
    import zarr.storage._local as local

    real, calls = local._put, []

    def put(path: Path, *args: Any, **kwargs: Any) -> Any:
        calls.append(path)
        if len(calls) == 60 or number == errno.EROFS:
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(local, "_put", put)
        with pytest.raises(WriteError, match=message):
            convert_plate(plate, out)
    # A half of a field may be left, by Zarr's own threads; it is no field, and is written anew.
    assert convert_plate(plate, out).n_sites == 4
    assert not list(out.rglob("*.partial"))
    assert_same(plate, open_ome_zarr_plate(out))


def test_folder_of_something_else_is_not_touched(tmp_path: Path) -> None:
    plate = write_tiffs(tmp_path / "t", n_z=1)
    out = tmp_path / "o.zarr"
    out.mkdir()
    (out / "thesis.txt").write_text("precious")
    with pytest.raises(HcsQcError, match="not made by this command"):
        convert_plate(plate, out)
    assert [file.name for file in out.iterdir()] == ["thesis.txt"]
    zarr.create_group(tmp_path / "other.zarr")
    with pytest.raises(HcsQcError, match="not made by this command"):
        convert_plate(plate, tmp_path / "other.zarr")
    convert_plate(plate, tmp_path / "mine.zarr")
    with pytest.raises(HcsQcError, match="another plate"):
        convert_plate(plate, tmp_path / "mine.zarr", version="0.4")
    os.utime(tmp_path / "t" / "A01_s1_w0_z1.tif")
    with pytest.raises(HcsQcError, match="earlier state"):
        convert_plate(write_tiffs(tmp_path / "t", n_z=1), tmp_path / "mine.zarr")
    with pytest.raises(HcsQcError, match=r"version '0\.3'"):
        convert_plate(plate, tmp_path / "new.zarr", version="0.3")  # type: ignore[arg-type]


def test_memory_is_bounded_by_one_stack_of_planes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plate = write_tiffs(tmp_path / "t", n_z=3)
    shapes: list[tuple[int, ...]] = []
    real = convert._write_levels

    def spy(levels: Any, index: Any, pixels: Any) -> None:
        shapes.append(pixels.shape)
        real(levels, index, pixels)

    monkeypatch.setattr(convert, "_write_levels", spy)
    convert_plate(plate, tmp_path / "o.zarr")
    assert set(shapes) == {(3, *SHAPE), (2, *SHAPE)}
    assert len(shapes) == 4 * 3


@pytest.mark.realdata
def test_real_fields_survive(tmp_path: Path, shared_data: Path) -> None:
    folder = shared_data / "bbbc039" / "20585"
    rows = []
    for well, site in (("A12", 7), ("L11", 4)):
        (file,) = folder.glob(f"IXMtest_{well}_s{site}_w1*.tif")
        rows.append((well, site, 0, 0, 0, str(file), -1))
    planes = pd.DataFrame(rows, columns=list(PLANE_COLUMNS))
    plate = Plate(
        name="20585",
        source=folder,
        format="pattern",
        shape=(16, 24),
        channels=(Channel("w1"),),
        planes=planes,
        pixel_size_um=0.656,
    )
    result = convert_plate(plate, tmp_path / "o.zarr")
    assert_same(plate, open_ome_zarr_plate(result.path))
    attributes = json.loads((result.path / "zarr.json").read_text())["attributes"]
    assert attributes["ome"]["plate"]["name"] == "20585"
