"""Cells unlike anything annotated, from training to the export."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from napari_hcs_qc.assay.embeddings.embed_plate import embed_plate
from napari_hcs_qc.assay.models.model_in_use import chosen_model
from napari_hcs_qc.assay.models.train_options import TrainOptions, model_encoder
from napari_hcs_qc.assay.scoring.plate_scores import score
from napari_hcs_qc.assay.scoring.prediction import predict
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.assay.store.saved_model import NOVELTY, change_manifest
from napari_hcs_qc.cli import main
from napari_hcs_qc.cli.outcome_text import scored_lines
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import write_json
from napari_hcs_qc.workflow import export, steps
from napari_hcs_qc.workflow.measuring import add_novelty
from napari_hcs_qc.workflow.training import train

QUICK = TrainOptions(n_seeds=1)


def retrain(assay, states, options, **rest):
    """Train as the desk does: all open plates are scored, figures follow."""
    return train(assay, options, states=states, figures=False, scores=True, **rest)


@pytest.fixture
def opened(assay_copy):
    assay = AssayFolder.open(assay_copy)
    encoder = model_encoder(chosen_model(assay).manifest)
    return assay, {"SIM": load_plate(assay, "SIM")}, encoder


def test_a_run_says_it_of_each_cell(ran, capsys) -> None:
    assay, model = ran.result.assay, ran.result.model
    [scored] = score(assay)
    ratio = scored.prediction.table["novelty"].to_numpy()
    assert ratio.dtype == np.float32
    is_scored = scored.prediction.table["p_abnormal"].notna().to_numpy()
    assert np.isfinite(ratio[is_scored]).all()
    encoder = model_encoder(model.manifest)
    rows = embed_plate(scored.state, model.recipe, encoder, assay.embeddings_folder).rows
    assert model.novelty is not None
    np.testing.assert_array_equal(ratio, model.novelty.ratio(rows))
    is_counted = ~scored.state.is_left_out
    assert scored.prediction.novelty.n_novel == (ratio > 1)[is_counted].sum()
    exported = pd.read_parquet(ran.out / "cells.parquet")
    np.testing.assert_array_equal(exported["novelty"].to_numpy(), ratio)
    assert "novelty" in pd.read_csv(ran.out / "cells.csv").columns
    assert model.manifest.no_novelty == ""
    sentence = scored.prediction.novelty.sentence
    if sentence:
        assert any(sentence in line for line in scored_lines([scored]))
        assert main(["status", str(assay.path)]) == 0
        assert sentence in capsys.readouterr().out
        assert sentence in ran.result.report.read_text(encoding="utf-8")


def test_after_retrain_it_follows(opened, tmp_path) -> None:
    assay, states, encoder = opened
    made = retrain(assay, states, QUICK, encoder=encoder)
    assert not made.scored["SIM"].prediction.is_novelty_measured
    assert not score(assay)[0].prediction.is_novelty_measured
    # An export does not wait for it; people go on clicking meanwhile.
    export.export(assay, tmp_path / "out")
    assay.journal().annotate("SIM", "B02", 1, 100.0, 120.0, "abnormal", "empty", "tester")
    annotations = assay.journal().annotations()
    later = made.scored["SIM"].with_annotations(annotations, 0.5)
    assert len(later.predictions) == len(made.scored["SIM"].predictions) + 1
    found = add_novelty(assay, made.model, made.scored)["SIM"]
    ratio = found.prediction.table["novelty"].to_numpy()
    np.testing.assert_array_equal(found.predictions["novelty"], ratio)
    np.testing.assert_array_equal(
        pd.read_parquet(tmp_path / "out" / "cells.parquet")["novelty"], ratio
    )
    # What predict gives, up to whether the head knew the plate.
    [predicted] = predict(assay, ["SIM"], made.model, states=states)
    np.testing.assert_array_equal(predicted.table["novelty"], ratio)
    # What was judged meanwhile takes it in; a cell that was added since has none.
    taken = later.with_novelty(found.state, found.prediction)
    n_found = len(taken.state.plate_cells.cells)
    np.testing.assert_array_equal(taken.predictions["novelty"][:n_found], ratio[:n_found])
    assert np.isnan(taken.predictions["novelty"].iloc[-1])
    assert add_novelty(assay, made.model, {"SIM": found}) == {}


def test_it_is_kept_with_the_prediction(opened) -> None:
    assay, states, encoder = opened
    made = retrain(assay, states, QUICK, encoder=encoder)
    found = add_novelty(assay, made.model, made.scored)["SIM"]
    [again] = score(assay, model=chosen_model(assay))
    pd.testing.assert_frame_equal(again.prediction.table, found.prediction.table)
    assert again.prediction.novelty == found.prediction.novelty
    pd.testing.assert_frame_equal(again.scores.wells, found.scores.wells)


def test_much_of_a_plate_warns_once(opened) -> None:
    assay, states, encoder = opened
    made = retrain(assay, states, QUICK, encoder=encoder)
    novelty = made.model.novelty
    assert novelty is not None
    novelty.limit_ /= 10  # everything is ten times as far
    found = add_novelty(assay, made.model, made.scored)["SIM"]
    assert found.prediction.novelty.is_much
    assert sum("unlike anything annotated" in text for text in found.warnings) == 1
    [again] = score(assay)
    assert sorted(again.warnings) == sorted(found.warnings)
    lines = scored_lines([again])
    assert sum("unlike anything annotated" in line for line in lines) == 1


def test_a_model_of_an_earlier_version_still_works(opened, tmp_path) -> None:
    assay, states, _ = opened
    folder = assay.models_folder / "0001"
    (folder / NOVELTY).unlink()
    with assay.lock():
        change_manifest(folder, no_novelty="", novelty_sha256="")
    manifest = chosen_model(assay).manifest
    for path in assay.predictions_folder("SIM").glob("*.json"):
        text = path.read_text(encoding="utf-8").replace('"novelty"', '"other"')
        write_json(path, {**json.loads(text), "table_sha256": ""})
    table_path = assay.predictions_folder("SIM") / "0001.parquet"
    pd.read_parquet(table_path).drop(columns="novelty").to_parquet(table_path, index=False)
    [scored] = score(assay)
    assert scored.prediction.novelty is None
    export.export(assay, tmp_path / "out")
    assert pd.read_parquet(tmp_path / "out" / "cells.parquet")["novelty"].isna().all()
    export.report(assay, tmp_path / "report.html")
    [found] = predict(assay, ["SIM"], chosen_model(assay), states=states)
    assert found.table["novelty"].isna().all()
    assert "trained by an earlier version" in found.novelty.sentence
    assert found.warnings == scored.prediction.warnings
    assert manifest.no_novelty == ""


def test_too_few_annotations_are_told_and_stop_nothing(opened, monkeypatch) -> None:
    assay, states, encoder = opened
    monkeypatch.setattr("napari_hcs_qc.evaluation.novelty.MIN_ANNOTATED", 500)
    model = train(assay, QUICK, states=states, encoder=encoder).model
    assert model.novelty is None
    assert "at least 500 in 3 wells" in model.manifest.no_novelty
    [found] = steps.predict_plates(assay)
    assert found.table["novelty"].isna().all()
    assert found.novelty.sentence == model.manifest.no_novelty
    assert found.novelty.n_novel == 0
    assert not found.warnings
    [scored] = score(assay)
    assert any("cannot be computed yet" in line for line in scored_lines([scored]))


def test_a_damaged_file_is_told(opened) -> None:
    assay, _, _ = opened
    (assay.models_folder / "0001" / NOVELTY).write_bytes(b"no tensors")
    with pytest.raises(HcsQcError, match=r"annotated\.safetensors.*damaged.* Train again"):
        chosen_model(assay)


def test_cells_that_were_not_judged_have_none(opened) -> None:
    assay, states, encoder = opened
    made = retrain(assay, states, QUICK, encoder=encoder)
    one = made.scored["SIM"]
    table = one.prediction.table.copy()
    table.loc[[0, 5], "p_abnormal"] = np.nan
    unread = replace(one, prediction=replace(one.prediction, table=table))
    found = add_novelty(assay, made.model, {"SIM": unread})["SIM"]
    ratio = found.prediction.table["novelty"]
    assert ratio[[0, 5]].isna().all()
    assert ratio.notna().sum() == len(ratio) - 2
    is_counted = ~found.state.is_left_out
    assert ratio[is_counted].notna().sum() == found.prediction.novelty.n_measured
