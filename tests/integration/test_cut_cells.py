"""Cells that the image border cuts: shown and exported, but not counted unless asked for."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_hcs_qc.api.assay import Assay
from napari_hcs_qc.assay.annotations.annotation import Annotation
from napari_hcs_qc.assay.models.model_in_use import chosen_model
from napari_hcs_qc.assay.models.train_options import TrainOptions
from napari_hcs_qc.assay.scoring.plate_scores import score
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.masks import site_masks
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.cli import main
from napari_hcs_qc.cli.outcome_text import scored_lines
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.workflow.export import export, report
from napari_hcs_qc.workflow.training import train

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from napari_hcs_qc.study.simulation.synthetic import SimulatedPlate

OPTIONS = TrainOptions(n_seeds=1)


def annotate(assay: AssayFolder, cells: pd.DataFrame, cls: str) -> None:
    annotations = [
        Annotation(plate="SIM", well=row.well, site=row.site, y_px=row.y_px, x_px=row.x_px, cls=cls)
        for row in cells.itertuples()
    ]
    assay.journal().annotate_many(annotations, "tester")


def scored_wells(assay: AssayFolder) -> tuple[Any, pd.DataFrame]:
    scored = score(assay)[0]
    return scored, scored.scores.wells.set_index("well")


def test_a_cell_whose_mask_touches_the_border_is_cut(assay_copy: Path) -> None:
    state = load_plate(AssayFolder.open(assay_copy), "SIM")
    cells = state.cells[(state.cells["well"] == "A01") & (state.cells["source"] == "nuclei")]
    masks = site_masks(state.plate, state.plate_cells, SiteKey("A01", 1))
    assert masks is not None
    inner = masks[1:-1, 1:-1]
    touching = set(np.unique(masks)) - {0}
    touching = {n for n in touching if (masks == n).sum() > (inner == n).sum()}
    assert set(cells.loc[cells["is_cut"], "label"]) == touching
    assert 0 < len(touching) < len(cells)


def test_cut_cells_are_in_no_share_and_no_outlier_by_prediction(
    assay_copy: Path, tmp_path: Path
) -> None:
    assay = AssayFolder.open(assay_copy)
    scored, wells = scored_wells(assay)
    cells, predictions = scored.state.cells, scored.predictions
    is_open = predictions["annotated_class"].isna()
    for well, mine in cells.groupby("well"):
        is_left_out = mine["is_cut"] & is_open[mine.index]
        assert wells.loc[well, "n_cells"] == len(mine)
        assert wells.loc[well, "n_cut"] == is_left_out.sum()
        assert wells.loc[well, "n_scored"] == len(mine) - is_left_out.sum()
    export(assay, tmp_path / "out", scored=[scored])
    table = pd.read_parquet(tmp_path / "out" / "cells.parquet")
    cut = table[table["is_cut"] & table["annotated_class"].isna()]
    assert (cut["predicted_class"] == "abnormal").any(), "none that the rule could leave out"
    assert not cut["Metadata_cqc_cell_is_outlier"].any()
    assert cut["p_abnormal"].notna().all()  # exported with its score
    assert table["Metadata_cqc_cell_is_outlier"].any()


def test_what_a_person_says_of_a_cut_cell_is_kept_counted_and_not_trained_on(
    assay_copy: Path, tmp_path: Path
) -> None:
    assay = AssayFolder.open(assay_copy)
    before, wells_before = scored_wells(assay)
    is_open = before.predictions["annotated_class"].isna()
    cut = before.state.cells[before.state.cells["is_cut"] & is_open]
    chosen = cut[cut["well"] == "A01"].iloc[:2]
    annotate(assay, chosen, "abnormal")
    after, wells = scored_wells(assay)
    assert wells.loc["A01", "n_cut"] == wells_before.loc["A01", "n_cut"] - 2
    assert wells.loc["A01", "n_abnormal"] == wells_before.loc["A01", "n_abnormal"] + 2
    export(assay, tmp_path / "out", scored=[after])
    table = pd.read_parquet(tmp_path / "out" / "cells.parquet")
    assert table.loc[chosen.index, "Metadata_cqc_cell_is_outlier"].all()
    # One where nothing was found, so near to the border that it reaches beyond.
    place = {"well": "B02", "site": 1, "y_px": 1.0, "x_px": 100.0}  # an empty well
    annotate(assay, pd.DataFrame([place]), "normal")
    state = load_plate(assay, "SIM")
    assert len(state.cells) == len(before.state.cells) + 1
    assert bool(state.cells["is_cut"].iloc[-1])
    manifest = train(assay, OPTIONS).model.manifest
    assert manifest.n_cut == state.n_cut_annotated >= 3
    trained_on = {(cell.well, cell.y_px, cell.x_px) for cell in manifest.training_cells}
    for row in chosen.itertuples():
        assert (row.well, round(float(row.y_px), 2), round(float(row.x_px), 2)) not in trained_on


def test_an_assay_may_include_them(assay_copy: Path) -> None:
    folder = AssayFolder.open(assay_copy)
    n_cut = score(folder)[0].scores.wells["n_cut"].sum()
    assert n_cut > 0
    [entry] = folder.plates
    Assay.new(assay_copy, [entry.source], plate_name=entry.name, include_cut=True)
    folder.reload()
    assert json.loads((assay_copy / "assay.json").read_text())["settings"]["include_cut"] is True
    scored, wells = scored_wells(folder)
    assert wells["n_cut"].sum() == 0
    assert wells["n_scored"].sum() == len(scored.state.cells)
    assert scored.state.n_cut_annotated == 0
    Assay.new(assay_copy, [entry.source], plate_name=entry.name)  # stays as it is
    folder.reload()
    assert folder.include_cut
    assert chosen_model(folder).manifest.n_cut >= 0


def test_every_count_of_abnormal_cells_is_the_same(
    assay_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `predict`, `run`, the tables and the report give it; people may differ from the model."""
    assay = AssayFolder.open(assay_copy)
    cells = score(assay)[0].state.cells
    annotate(assay, cells[cells["is_cut"]].iloc[:3], "abnormal")
    annotate(assay, cells[~cells["is_cut"]].iloc[:5], "normal")
    free = cells.iloc[:1].assign(y_px=1.0)  # on the border, where no nucleus was found
    annotate(assay, free, "abnormal")
    scored = score(assay)[0]
    assert len(scored.state.matched.added) > 0
    p_abnormal = scored.prediction.table["p_abnormal"]
    n = scored.n_abnormal
    assert n not in (0, (p_abnormal >= assay.threshold).sum())

    assert main(["predict", str(assay_copy), "--quiet", "--json"]) == 0
    [data] = json.loads(capsys.readouterr().out)["plates"]
    assert main(["predict", str(assay_copy), "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert (data["n_abnormal"], data["n_counted"]) == (n, scored.n_counted)
    assert data["n_cells"] - data["n_added"] == len(scored.state.plate_cells.cells)
    assert f" cells ({data['n_added']} added by annotations; " in printed
    assert f", {n} of {scored.n_counted} abnormal by model 0001; " in printed
    assert scored_lines([scored])[0] in printed  # what `run` prints
    export(assay, tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out" / "cells.parquet")
    assert table["Metadata_cqc_cell_is_outlier"].sum() == n
    page = report(assay, tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"{n:,} of {scored.n_counted:,}" in page


def test_before_any_prediction_the_step_is_named_that_needs_no_annotations(
    made: SimulatedPlate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "an assay"
    Assay.new(path, [made.plate_dir])
    for command in (["export", str(path), str(tmp_path / "out")],
                    ["report", str(path), str(tmp_path / "r.html")]):  # fmt: skip
        assert main(command) == 2
        error = capsys.readouterr().err
        step = re.search(r"run: hcs-qc (.*?) \(it needs no annotations\)", error)
        assert step is not None
        assert main([*shlex.split(step[1]), "--quiet"]) == 0
        assert main(command) == 0
        shutil.rmtree(path / "models")
