"""Whatever a file from elsewhere holds, it is read or refused with a message, and soon."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from tests.integrity.damages import garbled

from napari_hcs_qc import Assay, open_plate
from napari_hcs_qc.assay.annotations.labels_csv import read_labels
from napari_hcs_qc.assay.store.platemap import read_platemap
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.ome_zarr.convert import convert_plate
from napari_hcs_qc.plates.pixels import inspect_image
from napari_hcs_qc.plates.readers.cellvoyager import read_measurement
from napari_hcs_qc.plates.readers.imagexpress import read_htd
from napari_hcs_qc.plates.readers.operetta import read_index
from napari_hcs_qc.screen.screen_spec import read_screen
from napari_hcs_qc.study.benchmark.benchmark_spec import read_spec
from napari_hcs_qc.study.simulation.synthetic import SimulatedPlate, SyntheticSpec, simulate_plate
from napari_hcs_qc.tables.plate_sites import PlateSites

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

N_INPUTS = int(os.environ.get("HCS_QC_FUZZ", "1000"))
LONGEST_S = 10.0
MOST_BYTES = 2 * 2**30

_INDEX = """<?xml version="1.0"?><EvaluationInputData><Plates><Plate><PlateRows>8</PlateRows>
<PlateColumns>12</PlateColumns></Plate></Plates><Images><Image Version="1"><ChannelID>1</ChannelID>
<ChannelName>DAPI</ChannelName><ImageResolutionX Unit="m">1.2E-06</ImageResolutionX>
<MainEmissionWavelength Unit="nm">456</MainEmissionWavelength></Image></Images>
</EvaluationInputData>"""
_MRF = """<?xml version="1.0"?><bts:MeasurementDetail xmlns:bts="http://www.yokogawa.co.jp/BTS/BTSSchema/1.0"
 bts:RowCount="16" bts:ColumnCount="24" bts:MeasurementSettingFileName="a.mes">
<bts:MeasurementChannel bts:Ch="1" bts:HorizontalPixelDimension="0.65"/></bts:MeasurementDetail>"""
_MES = """<?xml version="1.0"?><bts:MeasurementSetting xmlns:bts="http://www.yokogawa.co.jp/BTS/BTSSchema/1.0">
<bts:ChannelList><bts:Channel bts:Ch="1" bts:Target="DNA" bts:Fluorophore="DAPI"/></bts:ChannelList>
</bts:MeasurementSetting>"""
_SCREEN = """name = "S"\nassay = "assay"\n[cells]\nchannel = "DNA"\nz = 2\n[export]
keep_kinds = ["dead"]\n[rule]\nz_limit = 5\n[[plate]]\npath = "plate"\npattern = "(?P<well>.*)"
acquired = 2026-02-03T09:30:00\n"""
_SPEC = """name = "B"\nseeds = [0, 1]\n[[source]]\nassay = "assay"\n[[encoder]]\nname = "resnet18"
[[head]]\nname = "linear"\n"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimulatedPlate:
    spec = SyntheticSpec(
        n_wells=4, sites_per_well=1, shape_px=(64, 64), cells_per_mm2=2000.0, n_labels=20, seed=1
    )
    return simulate_plate(tmp_path_factory.mktemp("made"), spec)


@pytest.fixture(scope="module")
def new_assay(made: SimulatedPlate, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Assay.new(tmp_path_factory.mktemp("new") / "assay", [made.plate_dir]).path


@pytest.fixture(scope="module")
def seeds(made: SimulatedPlate, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Give a valid file of each kind, in a folder where it may be garbled."""
    folder = tmp_path_factory.mktemp("seeds")
    plate = open_plate(made.plate_dir)
    table = folder / "load_data.csv"
    lines = ["Metadata_Well,Metadata_Site,FileName_DNA,PathName_DNA"]
    lines += [
        f"{row.well},{row.site},{Path(row.path).name},{made.plate_dir}"
        for row in plate.planes[plate.planes["channel"] == 0].itertuples()
    ]
    table.write_text("\n".join(lines), encoding="utf-8")
    files = {"labels": made.labels, "platemap": made.platemap, "loaddata": table}
    for kind, name, text in (
        ("Index.xml", "Index.xml", _INDEX),
        ("SCREEN.toml", "SCREEN.toml", _SCREEN),
        ("SPEC.toml", "SPEC.toml", _SPEC),
        ("mrf", "MeasurementDetail.mrf", _MRF),
        ("mes", "a.mes", _MES),
    ):
        (folder / name).write_text(text, encoding="utf-8")
        files[kind] = folder / name
    files["HTD"] = next(made.plate_dir.glob("*.HTD"))
    first = plate.planes[(plate.planes["well"] == plate.wells[0]) & (plate.planes["channel"] == 0)]
    single = replace(plate, planes=first, channels=plate.channels[:1])
    for version, name in (("0.4", ".zattrs"), ("0.5", "zarr.json")):
        zarr = folder / f"{version}.zarr"
        convert_plate(single, zarr, version=version)
        files[name] = zarr / name
        files[f"image {name}"] = next(zarr.glob(f"*/*/*/{name}"))
        array = ".zarray" if name == ".zattrs" else name
        files[f"array {array}"] = next(zarr.glob(f"*/*/*/0/{array}"))
    tifffile.imwrite(
        folder / "ome.ome.tif",
        np.zeros((2, 16, 16), np.uint16),
        metadata={"axes": "CYX", "Channel": {"Name": ["a", "b"]}, "PhysicalSizeX": 0.5},
    )
    files["OME-XML"] = folder / "ome.ome.tif"
    return files


@pytest.fixture
def limited_memory() -> Iterator[None]:
    """Let this process take 2 GB more than it has, where the system can limit that."""
    if sys.platform != "linux":
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (has + MOST_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def _zarr(path: Path) -> None:
    root = next(parent for parent in path.parents if parent.suffix == ".zarr")
    plate = open_plate(root)
    for site in plate.sites:
        plate.read_site(site)
    if plate.problems:
        raise HcsQcError(str(plate.problems[0]))


def _reader(name: str, made: SimulatedPlate) -> Callable[[Path], object]:
    plate = open_plate(made.plate_dir)
    sites = {plate.name: PlateSites.of(plate)}
    readers: dict[str, Callable[[Path], object]] = {
        "labels": lambda path: read_labels(path, sites, annotator="a"),
        "platemap": lambda path: read_platemap(path, shape=plate.shape),
        "loaddata": open_plate,
        "SCREEN.toml": read_screen,
        "SPEC.toml": read_spec,
        "Index.xml": lambda path: read_index(path, {"1"}),
        "HTD": read_htd,
        "mrf": read_measurement,
        "mes": lambda path: read_measurement(path.parent / "MeasurementDetail.mrf"),
        "OME-XML": lambda path: inspect_image(str(path)),
    }
    return readers.get(name, _zarr)


_NAMES = (
    "labels",
    "platemap",
    "loaddata",
    "SCREEN.toml",
    "SPEC.toml",
    "Index.xml",
    "HTD",
    "mrf",
    "mes",
    ".zattrs",
    "zarr.json",
    "image .zattrs",
    "image zarr.json",
    "array .zarray",
    "array zarr.json",
    "OME-XML",
)


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.filterwarnings("ignore")  # of libraries, about what they read
@pytest.mark.usefixtures("limited_memory")
def test_a_garbled_file_is_read_or_refused(
    name: str, seeds: dict[str, Path], made: SimulatedPlate
) -> None:
    path, read = seeds[name], _reader(name, made)
    whole, rng = path.read_bytes(), random.Random(name)
    n_refused = 0
    try:
        for _ in range(N_INPUTS):
            data = garbled(whole, rng)
            path.write_bytes(data)
            began = time.monotonic()
            try:
                read(path)
            except HcsQcError:
                n_refused += 1
            except Exception as error:
                kept = path.with_suffix(".failed")
                kept.write_bytes(data)
                raise AssertionError(f"{type(error).__name__}: {error}; see {kept}") from error
            assert time.monotonic() - began < LONGEST_S
    finally:
        path.write_bytes(whole)
    assert n_refused > N_INPUTS / 100


@pytest.mark.parametrize(
    "name", ["labels", "platemap", "loaddata", "SCREEN.toml", "HTD", ".zattrs"]
)
def test_a_process_of_its_own_reads_or_refuses_a_garbled_file(
    name: str, seeds: dict[str, Path], made: SimulatedPlate, new_assay: Path, tmp_path: Path
) -> None:
    path, other = seeds[name], str(tmp_path / "other")
    new = ("new", other)
    arguments = {
        "labels": ("annotate", str(new_assay), "--annotator", "Ben", "--from", str(path)),
        "platemap": (*new, str(made.plate_dir), "--platemap", str(path)),
        "loaddata": (*new, str(path)),
        "SCREEN.toml": ("screen", str(path), "--out", other),
        "HTD": (*new, str(made.plate_dir)),
        ".zattrs": (*new, str(path.parent)),
    }[name]
    whole, rng = path.read_bytes(), random.Random(f"process {name}")
    try:
        for _ in range(max(1, N_INPUTS // 250)):
            shutil.rmtree(other, ignore_errors=True)
            path.write_bytes(garbled(whole, rng))
            ran = subprocess.run(
                [sys.executable, "-m", "napari_hcs_qc", *arguments],
                capture_output=True,
                text=True,
                timeout=900,
            )
            assert "Traceback" not in ran.stderr
            assert ran.returncode in (0, 2), ran.stderr
            assert (ran.returncode == 0) == ("error" not in ran.stderr), ran.stderr
    finally:
        path.write_bytes(whole)
