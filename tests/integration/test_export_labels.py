"""Judged cells as OME-Zarr labels: what other programs and we ourselves read back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import zarr
from ngio import open_ome_zarr_plate

from napari_hcs_qc import Assay
from napari_hcs_qc.assay.embeddings.artefact_maps import ArtefactMaps
from napari_hcs_qc.assay.models.model_in_use import chosen_model
from napari_hcs_qc.assay.models.train_options import model_encoder
from napari_hcs_qc.assay.scoring.plate_scores import score
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.cli import main
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.workflow.export_labels import MAP_STEPS

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.study.simulation.synthetic import SimulatedPlate


def test_labels_have_every_cell_with_its_class_and_score(
    assay_copy: Path, made: SimulatedPlate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["export", str(assay_copy), str(out), "--labels", "--quiet"]) == 0
    assert "and labels of 1 plate" in capsys.readouterr().out
    path = out / "labels" / "SIM.zarr"
    table = pd.read_parquet(out / "cells.parquet")
    cells = load_plate(AssayFolder.open(assay_copy), "SIM").cells
    seen = []
    plate = open_ome_zarr_plate(path)
    for name, well in plate.get_wells(max_workers=1).items():
        image = zarr.open_group(path / name / well.paths()[0], mode="r")
        label = image["labels/cells"]
        about = label.attrs["ome"]["image-label"]
        assert [entry["label-value"] for entry in about["colors"]] == [
            entry["label-value"] for entry in about["properties"]
        ]
        ids, grey = label["0"][:], image["0"][0]
        assert set(np.unique(ids)) - {0} == {p["label-value"] for p in about["properties"]}
        for entry in about["properties"]:
            row = table.loc[entry["row"]]
            seen.append(entry["row"])
            assert entry["label-value"] == entry["row"] + 1
            assert entry["p_abnormal"] == pytest.approx(row["p_abnormal"], abs=1e-4)
            cls = row["annotated_class"] if row["annotated_class"] else row["predicted_class"]
            assert entry["class"] == cls
            assert entry["Metadata_cqc_cell_is_outlier"] == row["Metadata_cqc_cell_is_outlier"]
            y, x = np.nonzero(ids == entry["label-value"])
            assert set(grey[y, x]) == {["normal", "abnormal", "unsure"].index(cls) + 1}
            is_circle = cells["label"].iloc[entry["row"]] == 0  # drawn where no other is
            assert is_circle or abs(y.mean() - row["y_px"]) + abs(x.mean() - row["x_px"]) < 0.1
    assert sorted(seen) == [row for row in range(len(table)) if row in seen]
    has_mask = np.flatnonzero(cells["label"].to_numpy() > 0)
    assert set(has_mask) <= set(seen)

    # Our own come back in as masks.
    other = Assay.new(tmp_path / "other", [made.plate_dir])
    found = other.cells(cells_from=path)["SIM"].cells
    assert len(found) == len(seen)
    # What is there is written anew, unless it is not ours.
    assay = Assay.open(assay_copy)
    assert path in assay.export(out, labels=True).files
    (path / "zarr.json").unlink()
    with pytest.raises(HcsQcError, match=r"SIM.zarr exists and was not made by this command"):
        assay.export(out, labels=True)


def test_an_artefact_map_is_a_second_channel_of_the_labels(
    assay_copy: Path, tmp_path: Path
) -> None:
    assert main(["export", str(assay_copy), str(tmp_path), "--artefact-maps", "--quiet"]) == 0
    state = load_plate(AssayFolder.open(assay_copy), "SIM")
    model = chosen_model(AssayFolder.open(assay_copy))
    maps = ArtefactMaps(state, model.recipe, model_encoder(model.manifest))
    site = state.plate.sites[0]
    field = tmp_path / "labels" / "SIM.zarr" / site.well[0] / site.well[1:] / str(site.site)
    group = zarr.open_group(field, mode="r")
    names = [channel["label"] for channel in group.attrs["ome"]["omero"]["channels"]]
    assert names == ["class", "artefact map"]
    expected = np.clip(maps.of_site(site) * MAP_STEPS, 0, 255)
    np.testing.assert_allclose(group["0"][1], expected, atol=0.51)


def test_positions_without_masks_are_circles(
    assay_copy: Path, made: SimulatedPlate, tmp_path: Path
) -> None:
    cells = load_plate(AssayFolder.open(assay_copy), "SIM").plate_cells.cells
    positions = tmp_path / "positions.csv"
    cells[["well", "site", "y_px", "x_px"]].to_csv(positions, index=False)
    assay = Assay.new(tmp_path / "other", [made.plate_dir])
    assay.cells(cells_from=positions)
    assay.predict()
    assay.export(tmp_path / "out", labels=True)
    [scored] = score(AssayFolder.open(tmp_path / "other"))
    group = zarr.open_group(tmp_path / "out" / "labels" / "SIM.zarr" / "A" / "01" / "1", mode="r")
    ids = group["labels/cells/0"][:]
    mine = scored.state.cells.query("well == 'A01'")
    assert set(np.unique(ids)) - {0} <= {*(mine.index + 1)}
    assert len(np.unique(ids)) > 0.9 * len(mine)
