from __future__ import annotations

import json
import shutil
import sqlite3
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import tifffile
from sklearn.metrics import f1_score

from napari_hcs_qc.assay.models.model_in_use import chosen_model
from napari_hcs_qc.assay.models.train_options import TrainOptions
from napari_hcs_qc.assay.scoring.plate_scores import score
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.cli import outcome_text
from napari_hcs_qc.encoders.encoder import Encoder
from napari_hcs_qc.errors import HcsQcError, WriteError
from napari_hcs_qc.job import Cancelled, Job
from napari_hcs_qc.workflow import export, steps
from napari_hcs_qc.workflow.status import assay_status
from napari_hcs_qc.workflow.training import train

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.study.simulation.synthetic import SimulatedPlate


def test_the_run_finds_what_the_simulation_hid(ran) -> None:
    truth = pd.read_parquet(ran.made.truth_cells)
    state = ran.result.scored[0].state
    predictions = ran.result.scored[0].predictions
    # Every cell found is compared with the true one under it, labelled for training or not.
    found, true = [], []
    for (well, site), cells in state.cells.groupby(["well", "site"]):
        here = truth[(truth["well"] == well) & (truth["site"] == site)]
        if not len(here):
            continue
        distance = np.hypot(
            cells["y_px"].to_numpy()[:, None] - here["y_px"].to_numpy(),
            cells["x_px"].to_numpy()[:, None] - here["x_px"].to_numpy(),
        )
        near = distance.min(axis=1) < state.plate_cells.diameter_px / 2
        found += predictions["predicted_class"].to_numpy()[cells.index[near]].tolist()
        true += here["class"].to_numpy()[distance.argmin(axis=1)[near]].tolist()
    assert len(true) > 150
    assert f1_score(true, found, average="weighted") > 0.85


def test_the_empty_and_the_defocused_well_are_flagged_with_the_reason(ran) -> None:
    wells = ran.result.scored[0].scores.wells.set_index("well")
    assert wells.loc["B02", "is_flagged"]
    assert "no nuclei" in wells.loc["B02", "flag_reason"]
    assert wells.loc["C03", "is_flagged"]
    assert wells["is_flagged"].sum() <= 4


def test_the_tables_are_there_and_agree(ran) -> None:
    cells = pd.read_parquet(ran.out / "cells.parquet")
    wells = pd.read_csv(ran.out / "wells.csv")
    state = ran.result.scored[0].state
    assert len(cells) == len(state.cells)
    assert list(wells["Metadata_Well"]) == list(state.plate.wells)
    assert wells["n_cells"].sum() == len(cells)
    labels = pd.read_csv(ran.made.labels)
    assert (cells["annotated_class"].notna().sum()) == labels["label"].notna().sum()
    # For a cell the annotation beats the prediction.
    said = cells["annotated_class"].fillna(cells["predicted_class"])
    counts = ~cells["is_cut"] | cells["annotated_class"].notna()
    assert (((said == "abnormal") & counts) == cells["Metadata_cqc_cell_is_outlier"]).all()
    # Nobody reviewed a well, so none is out.
    assert not cells["Metadata_cqc_well_is_outlier"].any()
    provenance = json.loads((ran.out / "provenance.json").read_text())
    assert provenance["model_manifest"]["encoder"]["weights_sha256"].startswith("57934424")
    report = (ran.out / "report.html").read_text()
    assert "B02" in report
    assert "http://" not in report.replace("http://www.w3.org", "")


def test_a_second_run_computes_no_embedding_and_adds_no_annotation(
    ran, assay_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(Encoder, "encode", refuse)
    again = steps.run(
        assay_copy,
        steps.PlateSource(ran.made.plate_dir),
        ran.made.labels,
        tmp_path / "out",
        annotator="tester",
    )
    assert again.labels.n_new == 0
    assert again.model.id == "0001"  # nor is the same model trained again
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "out" / "cells.parquet"),
        pd.read_parquet(ran.out / "cells.parquet"),
    )


def test_figures_come_from_wells_never_seen(ran) -> None:
    validation = ran.result.model.manifest.cross_validation
    assert "well" in validation.sentence
    by_name = {figure.name: figure for figure in validation.figures}
    assert by_name["weighted F1"].mean > 0.8
    low, high = by_name["weighted F1"].ci95
    assert low < by_name["weighted F1"].mean <= high
    assert "AUC" in by_name
    error = by_name["expected calibration error"]
    assert error.mean == validation.reliability.ece
    low, high = error.ci95
    assert 0 <= low <= error.mean <= high <= 1
    told = [line for line in outcome_text.figures(ran.result.model, 0.5) if "calibration" in line]
    assert f"{error.mean:.3f} (95 % interval {low:.3f}" in told[0]
    assert f"if perfectly calibrated: {error.perfect:.3f}" in told[0]
    report = ran.result.report.read_text(encoding="utf-8")
    assert "expected calibration error" in report
    assert "Reliability of the scores" in report
    issues = assay_status(AssayFolder.open(ran.result.assay.path)).label_issues
    assert ("Annotations to review" in report) == bool(issues)
    assert all(f"{issue.plate} {issue.site}, x {issue.x_px:.0f}, " in report for issue in issues)


def test_a_further_plate_is_judged_without_clicks(ran, assay_copy: Path, tmp_path: Path) -> None:
    second = tmp_path / "SECOND"
    shutil.copytree(ran.made.plate_dir, second)
    for path in list(second.iterdir()):
        path.rename(second / path.name.replace("SIM", "SECOND"))
    assay = AssayFolder.open(assay_copy)
    [entry] = steps.add_plate(assay, steps.PlateSource(second))
    prediction = steps.predict_plates(assay, [entry.name])[0]
    # Without the cells that clicks on the first plate have made.
    first = ran.result.scored[0].predictions.iloc[: len(prediction.table)]
    assert len(prediction.table) == len(ran.result.scored[0].state.plate_cells.cells)
    np.testing.assert_allclose(prediction.table["p_abnormal"], first["p_abnormal"], atol=1e-4)
    assert not prediction.warnings  # the same images are not unlike themselves
    assert prediction.shift is not None
    exported = export.export(assay, tmp_path / "tables")
    cells = pd.read_parquet(next(p for p in exported.files if p.name == "cells.parquet"))
    assert set(cells["Metadata_Plate"]) == {"SIM", entry.name}
    assert entry.name in export.report(assay, tmp_path / "r.html").read_text()


def test_a_plate_unlike_the_training_data_is_told(
    made: SimulatedPlate, assay_copy: Path, tmp_path: Path
) -> None:
    noisy = tmp_path / "NOISY"
    noisy.mkdir()
    rng = np.random.default_rng(0)
    for path in sorted(made.plate_dir.iterdir()):
        target = noisy / path.name.replace("SIM", "NOISY")
        if path.suffix != ".tif":
            shutil.copy(path, target)
            continue
        image = tifffile.imread(path)
        grey = image + rng.normal(0, 150, image.shape)
        tifffile.imwrite(target, np.clip(grey, 0, 4095).astype(image.dtype))
    assay = AssayFolder.open(assay_copy)
    [entry] = steps.add_plate(assay, steps.PlateSource(noisy))
    prediction = steps.predict_plates(assay, [entry.name])[0]
    assert prediction.warnings
    assert "NOISY" in prediction.warnings[0]
    # It is in the report and the status too, not only on the day it was computed.
    statuses = {plate.name: plate for plate in assay_status(assay).plates}
    assert "NOISY: " in " ".join(statuses[entry.name].warnings)


def test_another_channel_set_is_refused(assay_copy: Path, tmp_path: Path, made) -> None:
    other = tmp_path / "OTHER"
    other.mkdir()
    for path in sorted(made.plate_dir.glob("*_w1.tif"))[:3]:
        for wave in ("w1", "w2"):
            shutil.copy(path, other / path.name.replace("SIM", "OTHER").replace("w1", wave))
    with pytest.raises(HcsQcError, match="same channels"):
        steps.add_plate(AssayFolder.open(assay_copy), steps.PlateSource(other))


def test_a_click_where_no_nucleus_was_found_makes_a_cell(ran, assay_copy: Path) -> None:
    assay = AssayFolder.open(assay_copy)
    n_before = len(ran.result.scored[0].state.cells)
    assay.journal().annotate("SIM", "B02", 1, 100.0, 120.0, "abnormal", "empty", "tester")
    state = load_plate(assay, "SIM")
    assert len(state.cells) == n_before + 1
    assert state.cells["source"].iloc[-1] == "annotation"
    assert state.annotated["annotated_kind"].iloc[-1] == "empty"
    # What was predicted is of other cells now, and says so.
    with pytest.raises(HcsQcError, match="was not predicted with model"):
        score(assay)
    prediction = steps.predict_plates(assay)[0]
    assert len(prediction.table) == n_before + 1
    assert np.isfinite(prediction.table["p_abnormal"].iloc[-1])
    assert len(score(assay)[0].predictions) == n_before + 1


def test_verdicts_decide_what_is_out(ran, assay_copy: Path, tmp_path: Path) -> None:
    assay = AssayFolder.open(assay_copy)
    steps.set_verdict(assay, "c03", "exclude", reviewer="tester", note="blurred")
    steps.set_verdict(assay, "B02", "keep", reviewer="tester")
    export.export(assay, tmp_path / "t", exclude_unreviewed=True)
    cells = pd.read_parquet(tmp_path / "t" / "cells.parquet")
    out = set(cells.loc[cells["Metadata_cqc_well_is_outlier"], "Metadata_Well"])
    assert "C03" in out
    assert "B02" not in out
    with pytest.raises(HcsQcError, match="no images of well D01"):
        steps.set_verdict(assay, "D01", "keep", reviewer="tester")
    with pytest.raises(HcsQcError, match="no site 7; it has 1"):
        steps.set_verdict(assay, "A01", "keep", reviewer="tester", site=7)


def test_kinds_that_are_biology_stay_in(ran, assay_copy: Path, tmp_path: Path) -> None:
    assay = AssayFolder.open(assay_copy)
    export.export(assay, tmp_path / "all")
    export.export(assay, tmp_path / "kept", keep_kinds=("dead",))
    every, kept = (pd.read_parquet(tmp_path / name / "cells.parquet") for name in ("all", "kept"))
    dead = every["annotated_kind"] == "dead"
    assert dead.any()
    assert every.loc[dead, "Metadata_cqc_cell_is_outlier"].all()
    assert not kept.loc[dead, "Metadata_cqc_cell_is_outlier"].any()


def test_the_paper_head_knn_and_recipe_can_be_had(assay_copy: Path) -> None:
    assay = AssayFolder.open(assay_copy)
    model = train(assay, TrainOptions(head="knn", n_seeds=1)).model
    assert model.id == "0002"
    assert chosen_model(assay).id == "0002"
    assert chosen_model(assay, "0001").manifest.head == "linear"
    with pytest.raises(HcsQcError, match="no model '0009'; it has 0001, 0002"):
        chosen_model(assay, "0009")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (TrainOptions(head="svm"), "Unknown head 'svm'"),
        (TrainOptions(recipe="big"), "No recipe 'big'"),
        (TrainOptions(encoder="nothing"), "nothing"),
        (TrainOptions(rgb=("a", "b", "c"), recipe="paper-128px"), "no channel 'a'"),
    ],
)
def test_wrong_options_are_told(assay_copy: Path, options: TrainOptions, told: str) -> None:
    with pytest.raises(HcsQcError, match=told):
        train(AssayFolder.open(assay_copy), options)


def test_training_needs_both_classes(made: SimulatedPlate, assay_copy: Path) -> None:
    assay = AssayFolder.open(assay_copy)
    (assay.journal_path).unlink()
    from napari_hcs_qc.assay.annotations.journal import Journal

    Journal.open(assay.journal_path)
    with pytest.raises(HcsQcError, match="0 normal, 0 abnormal cells annotated"):
        train(assay)


def test_a_stopped_training_leaves_the_old_model(assay_copy: Path) -> None:
    assay = AssayFolder.open(assay_copy)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3

    with pytest.raises(Cancelled):
        train(assay, job=Job(should_stop=stop))
    assert chosen_model(assay).id == "0001"


def test_bad_sites_are_listed_and_stop_nothing(made: SimulatedPlate, tmp_path: Path) -> None:
    plate = tmp_path / "SIM"
    shutil.copytree(made.plate_dir, plate)
    images = sorted(plate.glob("*.tif"))
    images[0].write_bytes(images[0].read_bytes()[:2000])  # A01 truncated
    images[1].write_bytes(b"")  # A02
    images[2].write_text("not an image")  # A03
    result = steps.run(
        tmp_path / "assay",
        steps.PlateSource(plate),
        made.labels,
        tmp_path / "out",
        annotator="tester",
        train_options=TrainOptions(n_seeds=1),
    )
    unreadable = {str(problem.where) for problem in result.scored[0].unreadable}
    assert {"A01 s1", "A02 s1", "A03 s1"} <= unreadable
    wells = pd.read_parquet(tmp_path / "out" / "wells.parquet").set_index("Metadata_Well")
    assert wells.loc[["A01", "A02", "A03"], "is_flagged"].all()
    assert "could not be read" in wells.loc["A01", "flag_reason"]
    report = (tmp_path / "out" / "report.html").read_text()
    assert "A01 s1" in report
    (status,) = assay_status(result.assay).plates
    assert sum("A0" in problem for problem in status.problems) >= 3


def test_a_vanished_plate_is_told_and_can_be_found_again(
    made: SimulatedPlate, assay_copy: Path, tmp_path: Path
) -> None:
    assay = AssayFolder.open(assay_copy)
    moved = tmp_path / "moved"
    shutil.copytree(made.plate_dir, moved / "SIM")
    entry = assay.relocate_plate("SIM", moved / "SIM")
    assert entry.source == moved / "SIM"
    shutil.rmtree(moved)
    (status,) = assay_status(AssayFolder.open(assay_copy)).plates
    assert "no longer at" in status.problems[0]
    with pytest.raises(HcsQcError, match="relocate"):
        load_plate(assay, "SIM")


def test_a_newer_model_is_told(assay_copy: Path) -> None:
    path = assay_copy / "models" / "0001" / "model.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "format_version": 99}))
    with pytest.raises(HcsQcError, match="format version 99"):
        chosen_model(AssayFolder.open(assay_copy))


def test_a_full_disk_ends_in_a_word_and_loses_no_click(
    made: SimulatedPlate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import os

    folder = tmp_path / "assay"
    assay, _ = steps.new(folder, [steps.PlateSource(made.plate_dir)])
    steps.annotate(assay, made.labels, "tester")

    def full(*_args: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(WriteError, match="disk is full"):
            steps.cells(assay)
    with sqlite3.connect(assay.journal_path) as database:
        assert database.execute("SELECT count(*) FROM annotations").fetchone()[0] == 80
    assert len(steps.cells(assay)["SIM"].cells) > 100
