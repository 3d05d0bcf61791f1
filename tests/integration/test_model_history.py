"""The models of an assay: listed, noted, compared, restored."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from napari_hcs_qc.assay.models.model_in_use import chosen_model, model_in_use
from napari_hcs_qc.assay.models.train_options import TrainOptions, model_encoder
from napari_hcs_qc.assay.scoring.plate_scores import score
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.workflow import export
from napari_hcs_qc.workflow.model_history import compare, list_models, restore, set_note
from napari_hcs_qc.workflow.training import train


def retrain(assay, states, options, **rest):
    """Train as the desk does: all open plates are scored, figures follow."""
    return train(assay, options, states=states, figures=False, scores=True, **rest)


@pytest.fixture
def two(assay_copy):
    """An assay with a linear model (cross-validated) and a kNN model (not yet)."""
    assay = AssayFolder.open(assay_copy)
    encoder = model_encoder(chosen_model(assay).manifest)
    states = {"SIM": load_plate(assay, "SIM")}
    retrain(assay, states, TrainOptions(head="knn"), encoder=encoder, note="tried kNN")
    return assay, states, encoder


def test_models_are_listed_newest_first(two) -> None:
    assay, _, _ = two
    newest, oldest = list_models(assay)
    assert (newest.id, newest.head, newest.note, newest.is_in_use) == (
        "0002",
        "knn",
        "tried kNN",
        True,
    )
    assert (newest.f1, newest.f1_ci, newest.auc) == (None, None, None)
    assert (oldest.id, oldest.head, oldest.is_in_use) == ("0001", "linear", False)
    assert oldest.f1_ci[0] < oldest.f1 <= oldest.f1_ci[1]
    assert 0.5 < oldest.auc <= 1
    assert oldest.encoder == "efficientnet-lite0"
    assert oldest.recipe == "nucleus"
    assert set(oldest.n_annotated) == {"normal", "abnormal"}
    assert oldest.created < newest.created


def test_a_note_stays_and_can_be_taken_away(two) -> None:
    assay, _, _ = two
    set_note(assay, "0001", "  the good one ")
    assert [line.note for line in list_models(assay)] == ["tried kNN", "the good one"]
    assert chosen_model(assay, "0001").manifest.n_wells > 3  # the rest is as it was
    set_note(assay, "0001", "")
    assert list_models(assay)[1].note == ""
    with pytest.raises(HcsQcError, match="no model '0009'; it has 0001, 0002"):
        set_note(assay, "0009", "x")


def test_an_older_model_can_be_restored_until_the_next_training(two, tmp_path) -> None:
    assay, _, _ = two
    restore(assay, "0001")
    assert [line.is_in_use for line in list_models(assay)] == [False, True]
    again = AssayFolder.open(assay.path)
    assert chosen_model(again).id == "0001"
    assert score(again)[0].prediction.model == "0001"
    export.export(again, tmp_path / "t")
    assert json.loads((tmp_path / "t" / "provenance.json").read_text())["model"] == "0001"
    restore(assay, "0002")  # the latest is in use without being named
    assert assay.settings.model is None
    restore(assay, "0001")
    trained = train(assay, TrainOptions(n_seeds=1)).model
    assert chosen_model(assay).id == trained.id == "0003"
    with pytest.raises(HcsQcError, match="no model '0009'"):
        restore(assay, "0009")


def test_a_run_that_trains_nothing_new_takes_over_too(two) -> None:
    assay, _, _ = two
    latest = train(assay, TrainOptions(n_seeds=1)).model
    restore(assay, "0001")
    assert train(assay, TrainOptions(n_seeds=1), reuse=True).model.id == latest.id
    assert chosen_model(assay).id == latest.id


def test_a_restored_model_that_is_gone_is_told(two, tmp_path) -> None:
    assay, states, encoder = two
    retrain(assay, states, TrainOptions(head="knn"), encoder=encoder)
    restore(assay, "0002")
    shutil.rmtree(assay.models_folder / "0002")
    model, told = model_in_use(assay)
    assert model.id == "0003"
    assert "0002" in told
    assert "no longer exists" in told
    assert [line.is_in_use for line in list_models(assay)] == [True, False]
    export.export(assay, tmp_path / "t")
    provenance = json.loads((tmp_path / "t" / "provenance.json").read_text())
    assert provenance["model_warning"] == told


def test_a_damaged_model_stands_in_the_list_with_what_is_wrong(two) -> None:
    assay, _, _ = two
    (assay.models_folder / "0001" / "model.json").write_text('{"format_version": 99}')
    newest, damaged = list_models(assay)
    assert newest.problem == ""
    assert "version 99" in damaged.problem
    (assay.models_folder / "0001" / "model.json").write_text('{"model_version": 1}')
    assert "damaged" in list_models(assay)[1].problem


def test_two_models_are_compared_cell_by_cell_and_well_by_well(two) -> None:
    assay, states, _ = two
    assay.update_settings(include_cut=True)  # the two differ on cells that the image border cuts
    states = {name: replace(state, include_cut=True) for name, state in states.items()}
    found = compare(assay, states, "0001", "0002")
    assert (found.a.id, found.b.id, found.threshold) == ("0001", "0002", 0.5)
    [change] = found.plates
    before, after = (score(assay, model=chosen_model(assay, name))[0] for name in ("0001", "0002"))
    classes = [one.predictions["predicted_class"].to_numpy() for one in (before, after)]
    assert change.n_cells == len(classes[0])
    assert change.n_changed == (classes[0] != classes[1]).sum() > 0
    assert change.share_changed == change.n_changed / change.n_cells
    assert change.n_to_abnormal == ((classes[0] == "normal") & (classes[1] == "abnormal")).sum()
    assert change.n_to_abnormal + change.n_to_normal == change.n_changed
    flagged = [
        set(w.loc[w["is_flagged"], "well"]) for w in (before.scores.wells, after.scores.wells)
    ]
    assert set(change.newly_flagged) == flagged[1] - flagged[0]
    assert set(change.no_longer_flagged) == flagged[0] - flagged[1]
    [back] = compare(assay, states, "0002", "0001").plates
    assert (back.newly_flagged, back.n_to_abnormal) == (
        change.no_longer_flagged,
        change.n_to_normal,
    )
    [same] = compare(assay, states, "0001", "0001").plates
    assert (same.n_changed, same.newly_flagged, same.no_longer_flagged) == (0, (), ())


def test_a_click_since_then_does_not_hinder_a_comparison(two) -> None:
    assay, states, _ = two
    before = compare(assay, states, "0001", "0002").plates[0]
    assay.journal().annotate("SIM", "B02", 1, 100.0, 120.0, "unsure", None, "tester")
    states = {"SIM": load_plate(assay, "SIM")}
    after = compare(assay, states, "0001", "0002").plates[0]
    assert after.n_cells == before.n_cells + 1
    assert np.abs(after.n_changed - before.n_changed) <= 1
    for store in assay.embeddings_folder.iterdir():
        if store.is_dir():
            shutil.rmtree(store)
    assay.journal().annotate("SIM", "B02", 1, 50.0, 60.0, "unsure", None, "tester")
    with pytest.raises(HcsQcError, match="has not classified plate SIM, and its embeddings"):
        compare(assay, {"SIM": load_plate(assay, "SIM")}, "0001", "0002")
