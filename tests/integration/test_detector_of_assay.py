"""A detector of another package, from the command to the masks on screen."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from napari_hcs_qc import Assay
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.masks import site_masks
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.cli import main
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Cancelled, Job

if TYPE_CHECKING:
    from pathlib import Path

SITES = [(well, site) for well in ("A01", "B02") for site in range(1, 11)]  # two parts of sites

CODE = """
from skimage.measure import label

def halves(image, pixel_size_um):
    masks = label(image > 400)
    masks[:, : image.shape[1] // 2] = 0
    return masks

def whole(image, pixel_size_um):
    return label(image > 400)

def fails(image, pixel_size_um):
    raise ValueError("not today")
"""


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package with three detectors."""
    folder = tmp_path / "site-packages"
    info = folder / "toy_package-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-package\nVersion: 1.2\n")
    entries = "".join(f"{name} = toy_detectors:{name}\n" for name in ("halves", "whole", "fails"))
    (info / "entry_points.txt").write_text(f"[napari_hcs_qc.detectors]\n{entries}")
    (folder / "toy_detectors.py").write_text(CODE)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "toy_detectors", raising=False)


def drawn(folder: Path, sites: list[tuple[str, int]] = SITES) -> Path:
    """Draw a plate of discs."""
    folder.mkdir()
    y, x = np.mgrid[:120, :160]
    for seed, (well, site) in enumerate(sites):
        rng = np.random.default_rng(seed)
        image = rng.normal(150, 6, (120, 160))
        for number in range(12):
            row, column = 14 + 40 * np.array(divmod(number, 4)) + rng.uniform(-6, 6, 2)
            image[np.hypot(y - row, x - column) < rng.uniform(9, 12)] += 600
        path = folder / f"p_{well}_s{site}_w1.tif"
        tifffile.imwrite(path, image.round().astype(np.uint16))
    return folder


@pytest.fixture
def assay(tmp_path: Path) -> Assay:
    return Assay.new(tmp_path / "assay", [drawn(tmp_path / "P1")])


def rows(assay: Assay, plate: str = "P1") -> Any:
    return load_plate(AssayFolder.open(assay.path), plate).plate_cells


def test_its_cells_are_found_kept_and_shown(
    assay: Assay, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = assay.cells()["P1"]
    assert (ours.detector, ours.origin) == ("built-in", "nuclei")
    assert main(["cells", str(assay.path), "--detector", "halves", "--quiet"]) == 0
    shown = capsys.readouterr().out
    assert "nuclei found by halves (toy-package 1.2)" in shown
    assert "pixel size" in shown  # which the images do not state
    found = rows(assay)
    assert 60 < len(found.cells) < 0.7 * len(ours.cells)
    assert (found.detector, found.detector_package) == ("halves", "toy-package 1.2")
    assert (found.cells["x_px"] >= 79.5).all()
    assert set(found.cells["source"]) == {"nuclei"}
    assert found.cells["is_cut"].any()
    assert json.loads((assay.path / "assay.json").read_text())["settings"]["detector"] == "halves"
    state = load_plate(AssayFolder.open(assay.path), "P1")
    masks = site_masks(state.plate, state.plate_cells, state.plate.sites[0])
    assert masks is not None
    here = found.cells[(found.cells["well"] == "A01") & (found.cells["site"] == 1)]
    assert np.unique(masks[masks > 0]).tolist() == sorted(here["label"])


def test_it_stays_the_assays_until_another_is_named(assay: Assay, tmp_path: Path) -> None:
    assay.cells(detector="halves")
    known = (assay.path / "plates" / "P1" / "cells.json").stat().st_mtime_ns
    assay.cells()  # known already
    assay.cells(detector="halves")
    assert (assay.path / "plates" / "P1" / "cells.json").stat().st_mtime_ns == known
    Assay.new(assay.path, [drawn(tmp_path / "P2", SITES[:2])])
    assert assay.cells()["P2"].detector == "halves"
    Assay.new(assay.path, [tmp_path / "P2"], detector="whole")
    assert {name: plate.detector for name, plate in assay.cells().items()} == {
        "P1": "whole",
        "P2": "whole",
    }
    back = assay.cells(detector="built-in", plate="P1")["P1"]
    assert (back.detector, back.detector_package) == ("built-in", "")


def test_imported_cells_stay_unless_a_detector_is_named(assay: Assay, tmp_path: Path) -> None:
    positions = tmp_path / "cells.csv"
    positions.write_text("well,site,y_px,x_px\nA01,1,20,20\nB02,2,60,60\n")
    Assay.new(assay.path, [tmp_path / "P1"], detector="halves")
    assert len(assay.cells(cells_from=positions)["P1"].cells) == 2
    assert assay.cells()["P1"].source == str(positions)
    with pytest.raises(HcsQcError, match="give one of the two"):
        assay.cells(cells_from=positions, detector="whole")
    assert assay.cells(detector="halves")["P1"].detector == "halves"


def test_a_run_that_was_stopped_does_not_go_on_with_another_detector(assay: Assay) -> None:
    sites: list[int] = []

    def report(done: int, _total: int, message: str) -> None:
        if message.startswith("Finding nuclei"):
            sites.append(done)

    with pytest.raises(Cancelled):
        assay.cells(detector="halves", job=Job(report, lambda: 17 in sites))
    parts = list((assay.path / "plates" / "P1" / "parts").iterdir())
    assert len(parts) == 1
    assert list(parts[0].glob("00000.parquet"))  # the first part is finished
    cells = assay.cells(detector="whole")["P1"].cells
    assert (cells["x_px"] < 70).any()
    assert {str(well) for well in cells[cells["x_px"] < 70]["well"]} == {"A01", "B02"}


def test_a_detector_that_is_unknown_or_fails_is_named(
    assay: Assay, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cells", str(assay.path), "--detector", "nonsense"]) == 2
    assert "no detector 'nonsense'" in capsys.readouterr().err
    with pytest.raises(HcsQcError, match="no detector 'nonsense'"):
        Assay.new(tmp_path / "other", [tmp_path / "P1"], detector="nonsense")
    assert not (tmp_path / "other").exists()
    with pytest.raises(HcsQcError, match=r"segmented.*not today.*Check .*the detector fails"):
        assay.cells(detector="fails")
