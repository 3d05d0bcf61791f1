"""Retrain: quick, all or nothing, and figures that may follow."""

from __future__ import annotations

import threading
import time

import numpy as np
import pandas as pd
import pytest
import torch

from napari_hcs_qc.assay.embeddings.embed_plate import embed_plate
from napari_hcs_qc.assay.models.model_in_use import chosen_model
from napari_hcs_qc.assay.models.train_options import TrainOptions, model_encoder
from napari_hcs_qc.assay.scoring.plate_scores import score
from napari_hcs_qc.assay.scoring.prediction import predict
from napari_hcs_qc.assay.store.assay_folder import AssayBusyError, AssayFolder
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.assay.store.saved_model import load_model
from napari_hcs_qc.cli.outcome_text import figures
from napari_hcs_qc.encoders.registry import cached_encoder
from napari_hcs_qc.errors import HcsQcError, WriteError
from napari_hcs_qc.heads.linear.linear_head import LinearHead
from napari_hcs_qc.job import NO_JOB, Cancelled, Job
from napari_hcs_qc.run_in_thread import run_in_thread
from napari_hcs_qc.workflow import export, training
from napari_hcs_qc.workflow.measuring import add_figures, add_learning_curve
from napari_hcs_qc.workflow.model_history import restore
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


def everything(assay: AssayFolder) -> dict[str, bytes]:
    """All files of models and predictions, and the settings."""
    folders = (assay.models_folder, assay.path / "predictions")
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in [*files, assay.path / "assay.json"]}


def test_it_is_what_train_and_predict_and_judge_give(opened) -> None:
    assay, states, encoder = opened
    made = retrain(assay, states, QUICK, encoder=encoder, note=" first clicks ")
    assert made.model.id == "0002"
    assert made.model.manifest.note == "first clicks"
    assert chosen_model(assay).id == "0002"
    loaded = load_model(assay.models_folder / "0002")
    assert loaded.manifest == made.model.manifest
    # Step by step, as the command line does.
    trained = train(assay, QUICK).model
    [prediction] = predict(assay, ["SIM"], trained)
    table = made.scored["SIM"].prediction.table
    np.testing.assert_allclose(table["p_abnormal"], prediction.table["p_abnormal"], atol=1e-4)
    assert list(table["predicted_kind"]) == list(prediction.table["predicted_kind"])
    [again] = score(assay, ["SIM"], model=loaded)
    pd.testing.assert_frame_equal(again.scores.wells, made.scored["SIM"].scores.wells)
    pd.testing.assert_frame_equal(again.prediction.table, table)
    assert made.scored["SIM"].prediction.model == "0002"
    assert set(made.seconds) == {"collect", "fit", "score", "flag", "save", "total"}
    assert made.seconds["total"] >= made.seconds["fit"] > 0


def test_new_clicks_count(opened) -> None:
    assay, states, encoder = opened
    found = states["SIM"].plate_cells.cells
    far = found[(found["well"] == "A02") & ~found["is_cut"]].iloc[0]
    place = (far["well"], int(far["site"]), float(far["y_px"]), float(far["x_px"]))
    assay.journal().annotate("SIM", *place, "abnormal", None, "tester")
    states = {"SIM": load_plate(assay, "SIM")}
    made = retrain(assay, states, QUICK, encoder=encoder)
    n_before = chosen_model(assay, "0001").manifest.n_annotated["abnormal"]
    assert made.model.manifest.n_annotated["abnormal"] == n_before + 1
    row = made.scored["SIM"].predictions.loc[far["cell_id"]]
    assert row["annotated_class"] == "abnormal"


def test_figures_follow_on_the_cells_it_was_trained_on(opened, tmp_path) -> None:
    assay, states, encoder = opened
    made = retrain(assay, states, QUICK, encoder=encoder)
    # A model without figures is shown, exported and reported as such.
    assert made.model.manifest.cross_validation is None
    assert figures(made.model, 0.5) == ["Cross-validation: not yet done"]
    export.export(assay, tmp_path / "t")
    report = export.report(assay, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "not yet cross-validated" in report
    # People go on clicking meanwhile; the figures are of what the model knew.
    assay.journal().annotate("SIM", "B02", 1, 100.0, 120.0, "abnormal", "empty", "tester")
    states = {"SIM": load_plate(assay, "SIM")}
    told: list[str] = []
    model = add_figures(assay, "0002", states, QUICK, job=Job(lambda *a: told.append(a[2])))
    found = model.manifest.cross_validation
    assert model.manifest == load_model(assay.models_folder / "0002").manifest
    n_cells = sum(made.model.manifest.n_annotated.values())
    assert found.n_cells == n_cells
    assert np.sum(found.confusion) == pytest.approx(n_cells)
    assert found.reliability is not None
    assert found.learning_curve is None
    assert any("cross-validating" in text for text in told)
    expected = chosen_model(assay, "0001").manifest.cross_validation.mean["f1_weighted"]
    assert found.mean["f1_weighted"] == pytest.approx(expected, abs=0.03)
    told = figures(model, 0.7)
    assert f"{n_cells} annotated cells in" in told[0]
    assert "At the threshold 0.70" in told[0]
    assert "how many of the calls on all cells of a plate are right" in told[0]
    assert (assay.models_folder / "0002" / "head").is_dir()
    # The curve takes longer, and is kept beside the figures.
    model = add_learning_curve(assay, "0002", states, QUICK)
    measured = model.manifest.cross_validation
    assert isinstance(measured.learning_curve.verdict(), str)
    assert measured.model_copy(update={"learning_curve": None}) == found
    assert model.manifest == load_model(assay.models_folder / "0002").manifest


def test_a_model_without_figures_gets_no_curve(opened) -> None:
    assay, states, encoder = opened
    made = retrain(assay, states, QUICK, encoder=encoder)
    model = add_learning_curve(assay, made.model.id, states, QUICK)
    assert model.manifest.cross_validation is None


def test_figures_of_a_model_of_another_encoder_load_its_own(opened) -> None:
    assay, states, _ = opened
    cached_encoder(stages="last", pooling="mean")
    model = add_figures(assay, "0001", states, QUICK)
    assert model.manifest.cross_validation.confusion


@pytest.mark.parametrize("step", ["fit_heads", "predict_plate", "score_state", "publish_model"])
def test_whatever_fails_leaves_the_old_model(opened, step: str, monkeypatch) -> None:
    assay, states, encoder = opened
    before = everything(assay)

    def fail(*_args: object, **_kwargs: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(training, step, fail)
    with pytest.raises(torch.OutOfMemoryError):
        retrain(assay, states, QUICK, encoder=encoder)
    assert everything(assay) == before
    assert sorted(path.name for path in assay.models_folder.iterdir()) == ["0001"]
    assert score(assay)[0].prediction.model == "0001"
    with assay.lock():
        pass


def test_a_full_disk_leaves_the_old_model(opened, monkeypatch) -> None:
    import errno
    import os

    assay, states, encoder = opened
    before, n_synced, sync = everything(assay), 0, os.fsync

    def full(handle: int) -> None:
        nonlocal n_synced
        n_synced += 1
        if n_synced > 4:  # in the midst of the heads
            raise OSError(errno.ENOSPC, "full")
        sync(handle)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(WriteError, match="disk is full"):
            retrain(assay, states, QUICK, encoder=encoder)
    assert everything(assay) == before


@pytest.mark.parametrize("moment", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
def test_a_stop_at_any_moment_leaves_the_old_model(opened, moment: int) -> None:
    assay, states, encoder = opened
    before, asked = everything(assay), 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked >= moment

    try:
        retrain(assay, states, QUICK, encoder=encoder, job=Job(should_stop=stop))
    except Cancelled:
        assert everything(assay) == before
    else:  # it was done before it was asked so often
        assert asked < moment
        assert chosen_model(assay).id == "0002"


def test_a_head_that_takes_long_is_left_within_a_second(opened, monkeypatch) -> None:
    assay, states, encoder = opened
    before, fit, may_end = everything(assay), LinearHead.fit, threading.Event()

    def slow(self: LinearHead, *args: object, **kwargs: object) -> LinearHead:
        may_end.wait(20)
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(LinearHead, "fit", slow)
    began = time.monotonic()
    with pytest.raises(Cancelled):
        retrain(
            assay,
            states,
            QUICK,
            encoder=encoder,
            job=Job(should_stop=lambda: time.monotonic() - began > 0.5),
        )
    assert time.monotonic() - began < 1.5
    may_end.set()
    for thread in threading.enumerate():
        if thread.name.startswith("hcs-qc work"):
            thread.join(20)
    assert everything(assay) == before


def test_the_lock_is_held_only_for_writing(opened, monkeypatch) -> None:
    assay, states, encoder = opened
    seen: list[bool] = []
    score = training.predict_plate

    def look(*args: object, **kwargs: object) -> object:
        seen.append((assay.path / "assay.lock.json").exists())
        return score(*args, **kwargs)

    monkeypatch.setattr(training, "predict_plate", look)
    retrain(assay, states, QUICK, encoder=encoder)
    assert seen == [False]


def test_another_process_at_work_is_told(opened, monkeypatch) -> None:
    assay, states, encoder = opened
    monkeypatch.setattr(training, "PATIENCE_S", 0.2)
    held, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with assay.lock():
            held.set()
            may_end.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(5)
    try:
        with pytest.raises(AssayBusyError, match="in use"):
            retrain(assay, states, QUICK, encoder=encoder)
    finally:
        may_end.set()
        thread.join(5)
    assert chosen_model(assay).id == "0001"


def test_a_training_takes_over_from_a_restored_model(opened) -> None:
    assay, states, encoder = opened
    retrain(assay, states, QUICK, encoder=encoder)
    restore(assay, "0001")
    assert chosen_model(assay).id == "0001"
    retrain(assay, states, QUICK, encoder=encoder)
    assert chosen_model(assay).id == "0003"
    assert AssayFolder.open(assay.path).settings.model is None


def test_kinds_are_told_from_a_lower_threshold_on(opened) -> None:
    assay, states, encoder = opened
    assay.update_settings(threshold=0.1)
    made = retrain(assay, states, QUICK, encoder=encoder)
    table = made.scored["SIM"].prediction.table
    if made.model.kind_head is None:
        pytest.skip("no kind has enough annotations")
    told = table["predicted_kind"].notna().to_numpy()
    assert not told[table["p_abnormal"].to_numpy() < 0.1].any()
    low = table["p_abnormal"].between(0.1, 0.5)
    state = states["SIM"]
    stored = embed_plate(state, made.model.recipe, encoder, assay.embeddings_folder).rows
    n_cells = len(state.plate_cells.cells)
    chosen = np.flatnonzero(low.to_numpy()[:n_cells])
    expected = [kind is not None for kind in made.model.kind_head.predict(stored[chosen])]
    assert told[chosen].tolist() == expected
    assert set(table.loc[low, "predicted_class"]) == {"normal"}


def test_what_cannot_be_trained_is_told(opened) -> None:
    assay, states, encoder = opened
    with pytest.raises(HcsQcError, match="No plate is open"):
        retrain(assay, {}, QUICK, encoder=encoder)
    with pytest.raises(HcsQcError, match="Unknown head 'svm'"):
        retrain(assay, states, TrainOptions(head="svm"), encoder=encoder)
    with pytest.raises(HcsQcError, match="loaded with 'last'"):
        other = cached_encoder(stages="last", pooling="mean")
        retrain(assay, states, QUICK, encoder=other)


def test_work_aside_gives_its_result_its_error_and_its_progress() -> None:
    told: list[tuple[int, int, str]] = []

    def work(job) -> int:
        job.report(1, 2, "half")
        time.sleep(0.2)
        assert not job.is_cancelled
        return 7

    assert run_in_thread(work, Job(lambda *a: told.append(a))) == 7
    assert told == [(1, 2, "half")]

    def late(_job) -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        run_in_thread(late, NO_JOB)

    told_to_stop = threading.Event()

    def endless(job) -> None:
        while not job.is_cancelled:
            time.sleep(0.01)
        told_to_stop.set()

    def interrupted() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_thread(endless, Job(should_stop=interrupted))
    assert told_to_stop.wait(5)  # or Ctrl+C would wait for a whole training
