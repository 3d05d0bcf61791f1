"""Crops of cells in folders by class: whose pixels they are, and what says where they are from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image
from tests.gui.conftest import trained_folder

from napari_hcs_qc import Assay
from napari_hcs_qc.assay.scoring.plate_scores import score
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.cli import main
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.plate import SiteKey

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def assay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_folder(tmp_path_factory) / "assay"


def test_annotated_cells_are_in_the_folders_of_their_classes(assay: Path, tmp_path: Path) -> None:
    written = Assay(assay).crops(tmp_path / "crops", overlays=True)
    [plate] = score(AssayFolder.open(assay))
    said = plate.predictions["annotated_class"]
    table = pd.read_csv(tmp_path / "crops" / "crops.csv")
    assert len(table) == said.notna().sum() == sum(written.n_by_class.values())
    assert (table["folder"].str.split("-").str[0] == table["annotated_class"]).all()
    has_kind = table["annotated_kind"].notna()
    assert has_kind.any()
    kinds = table.loc[has_kind, "folder"].str.split("-").str[1]
    assert (kinds == table.loc[has_kind, "annotated_kind"]).all()
    images = {path.relative_to(tmp_path / "crops").as_posix() for path in tmp_path.rglob("*.tif")}
    assert images == set(table["file"])

    # Grey values are those of the image, all channels, the cell in the middle.
    side = tifffile.imread(tmp_path / "crops" / table["file"][0]).shape[-1]
    inside = table.query("@side < y_px < 220 - @side and @side < x_px < 260 - @side").iloc[0]
    site = SiteKey(inside["well"], int(inside["site"]))
    pixels = plate.state.plate.read_site(site)
    top, left = (int(np.rint(inside[name])) - side // 2 for name in ("y_px", "x_px"))
    crop = tifffile.imread(tmp_path / "crops" / inside["file"])
    np.testing.assert_array_equal(crop, pixels[:, top : top + side, left : left + side])
    assert crop.dtype == pixels.dtype
    with tifffile.TiffFile(tmp_path / "crops" / inside["file"]) as file:
        per_cm = file.pages[0].tags["XResolution"].value
        assert 1e4 * per_cm[1] / per_cm[0] == pytest.approx(plate.state.plate.pixel_size_um, 1e-3)

    sites = table[["well", "site"]].drop_duplicates()
    pictures = sorted((tmp_path / "crops" / "sites").glob("*.png"))
    assert len(pictures) == len(sites) == written.n_sites
    picture = np.asarray(Image.open(pictures[0]))
    assert picture.shape[:2] == pixels.shape[1:]
    assert (picture == (86, 180, 233)).all(axis=2).any()  # circles of normal cells

    with pytest.raises(HcsQcError, match="not empty"):
        Assay(assay).crops(tmp_path / "crops")


def test_predicted_cells_are_all_that_count_and_a_sample_is_the_same_again(
    assay: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "all")
    assert main(["crops", str(assay), out, "--of", "predicted", "--quiet", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)["n_by_class"]
    [plate] = score(AssayFolder.open(assay))
    assert sum(counts.values()) == int((~plate.state.is_left_out).sum())
    for name in ("a", "b"):
        written = Assay(assay).crops(tmp_path / name, of="predicted", most=4, seed=3)
        assert max(written.n_by_class.values()) == 4
    first, second = (
        pd.read_csv(tmp_path / name / "crops.csv")["file"].tolist() for name in ("a", "b")
    )
    assert first == second
