"""Defects that a person met who used the whole product."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.cli import main
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.heads.head_registry import make_head
from napari_hcs_qc.workflow import steps
from napari_hcs_qc.workflow.cell_options import CellOptions

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.study.simulation.synthetic import SimulatedPlate


@pytest.mark.parametrize("head", ["linear", "knn", "linear-paper"])
def test_cells_that_all_look_alike_can_be_trained_on(head: str) -> None:
    # A black plate: the clicks make cells, and every crop of them is the same.
    features = np.full((40, 30), 0.25, dtype=np.float32)
    classes = np.array(["normal", "normal", "normal", "abnormal"] * 10)
    fitted = make_head(head, 0).fit(features, classes, groups=np.arange(40) % 5)
    probabilities = fitted.predict_proba(features)
    assert np.isfinite(probabilities).all()
    assert (probabilities == probabilities[0]).all()


@pytest.fixture
def with_positions(made: SimulatedPlate, tmp_path: Path) -> tuple[AssayFolder, Path]:
    """An assay whose nuclei were found, and a file of other positions."""
    assay, _ = steps.new(tmp_path / "assay", [steps.PlateSource(made.plate_dir)])
    steps.cells(assay)
    positions = tmp_path / "positions.csv"
    pd.DataFrame(
        {
            "Metadata_Well": ["A01", "A01", "A02"],
            "Metadata_Site": 1,
            "ObjectNumber": [1, 2, 1],
            "Location_Center_X": [50.0, 120.0, 80.0],
            "Location_Center_Y": [60.0, 90.0, 70.0],
        }
    ).to_csv(positions, index=False)
    return assay, positions


def test_cells_asked_for_otherwise_are_found_again(
    with_positions: tuple[AssayFolder, Path],
) -> None:
    assay, positions = with_positions
    n_nuclei = len(load_plate(assay, "SIM").cells)
    assert n_nuclei > 3
    # As `run --cells-from` asks on an assay whose cells are known; it used to be passed over.
    asked = CellOptions(source=positions)
    assert len(steps.cells(assay, asked)["SIM"].cells) == 3
    # What was not asked for stays, and so does what is as asked for.
    written = assay.plate_folder("SIM") / "cells.json"
    date = written.stat().st_mtime_ns
    steps.cells(assay)
    steps.cells(assay, asked)
    steps.cells(assay, CellOptions(channel="DNA", projection="max"))
    assert written.stat().st_mtime_ns == date
    assert len(steps.cells(assay, again=True)["SIM"].cells) == n_nuclei
    # A model asks for its own way of finding cells, but does not undo a person's choice.
    assert len(steps.cells(assay, asked, again=False)["SIM"].cells) == n_nuclei


def test_cells_can_be_found_again_from_the_command_line(
    with_positions: tuple[AssayFolder, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assay, positions = with_positions

    def n_cells(*arguments: str) -> int:
        assert main(["cells", str(assay.path), *arguments, "--json", "--quiet"]) == 0
        found: int = json.loads(capsys.readouterr().out)["plates"]["SIM"]["n_cells"]
        return found

    n_nuclei = n_cells()
    assert n_cells("--from", str(positions)) == 3
    assert n_cells("--z", "max") == 3
    assert n_cells("--again") == n_nuclei


def test_a_plate_is_relocated_only_to_where_one_is(
    made: SimulatedPlate, assay_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assay = AssayFolder.open(assay_copy)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("no plate")
    with pytest.raises(HcsQcError, match="No images of a plate"):
        steps.relocate(assay, "SIM", tmp_path / "letters")
    assert assay.plate("SIM").source == made.plate_dir.resolve()
    same = shutil.copytree(made.plate_dir, tmp_path / "same")
    assert steps.relocate(assay, "SIM", same)[1]
    other = shutil.copytree(made.plate_dir, tmp_path / "other")
    image = next(other.glob("*_C03_*.tif"))
    tifffile.imwrite(image, tifffile.imread(image) + 1, compression="zlib")
    assert main(["relocate", str(assay_copy), "SIM", str(other), "--quiet"]) == 0
    assert "differ in size or date from those" in capsys.readouterr().out


def test_annotated_cells_that_cannot_be_read_are_told(
    made: SimulatedPlate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plate = shutil.copytree(made.plate_dir, tmp_path / "SIM")
    next(plate.glob("*_A02_*.tif")).write_bytes(b"")
    assay = str(tmp_path / "assay")
    for command in (
        ["new", assay, str(plate)],
        ["cells", assay],
        ["annotate", assay, "--from", str(made.labels)],
    ):
        assert main([*command, "--quiet"]) == 0
    n_lost = int((pd.read_csv(made.labels)["well"] == "A02").sum())
    capsys.readouterr()
    assert main(["train", assay, "--seeds", "1", "--head", "knn", "--quiet"]) == 0
    assert f"Left out of training: {n_lost} annotated cells" in capsys.readouterr().out
    assert main(["status", assay]) == 0
    assert "not yet classified by model 0001" in capsys.readouterr().out
    assert main(["predict", assay, "--quiet"]) == 0
    told = capsys.readouterr().out
    assert "Not read: A02 s1:" in told
    assert "A02 s1: A02 s1" not in told
    assert main(["status", assay]) == 0
    assert "A02 s1: A02 s1" not in capsys.readouterr().out


def test_a_plate_without_any_cell_is_judged_and_told(
    made: SimulatedPlate, assay_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    black = shutil.copytree(made.plate_dir, tmp_path / "black")
    for image in black.glob("*.tif"):
        tifffile.imwrite(image, np.zeros_like(tifffile.imread(image)))
    assay = str(assay_copy)
    assert main(["predict", assay, "--plate", str(black), "--quiet"]) == 0
    capsys.readouterr()
    assert main(["status", assay]) == 0
    assert "No cell was found on plate black" in capsys.readouterr().out
    assert main(["export", assay, str(tmp_path / "out"), "--quiet"]) == 0
    assert main(["report", assay, str(tmp_path / "report.html"), "--quiet"]) == 0
    assert "No cell was found on plate black" in (tmp_path / "report.html").read_text("utf-8")


def test_a_plate_of_other_channels_or_without_use_does_not_block_an_assay(
    ran, assay_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = tmp_path / "two"
    two.mkdir()
    for well in ("A01", "A02"):
        for channel in (1, 2):
            image = np.zeros((32, 32), np.uint16)
            tifffile.imwrite(two / f"two_{well}_s1_w{channel}.tif", image)
    assay = str(assay_copy)
    assert main(["new", assay, str(two)]) == 2
    assert "same channels" in capsys.readouterr().err
    assert main(["new", str(tmp_path / "fresh"), str(ran.made.plate_dir), str(two)]) == 2
    assert not (tmp_path / "fresh").exists()
    further = shutil.copytree(ran.made.plate_dir, tmp_path / "further")
    for image in further.glob("*.tif"):
        image.write_bytes(b"")
    assert main(["predict", assay, "--plate", str(further), "--quiet"]) == 2
    # Nobody annotated it, so training goes on without it; tables would silently lack it.
    assert main(["train", assay, "--seeds", "1", "--head", "knn", "--quiet"]) == 0
    assert main(["predict", assay, "--plate", "SIM", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["export", assay, str(tmp_path / "out"), "--quiet"]) == 2
    assert "hcs-qc remove" in capsys.readouterr().err
    assert main(["remove", assay, "further"]) == 0
    assert main(["export", assay, str(tmp_path / "out"), "--quiet"]) == 0
    assert main(["remove", assay, "further"]) == 2


def test_an_output_folder_that_is_a_file_is_told_before_any_work(
    made: SimulatedPlate, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.write_text("a file")
    with pytest.raises(HcsQcError, match="is a file; a folder"):
        steps.run(
            tmp_path / "assay",
            steps.PlateSource(made.plate_dir),
            made.labels,
            out,
            annotator="tester",
        )
    assert not (tmp_path / "assay").exists()
