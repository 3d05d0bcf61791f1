"""An assay that version 0.1.0 made is opened, and everything goes on from there."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_hcs_qc.assay.annotations.kinds import BUILT_IN_KINDS
from napari_hcs_qc.assay.models.model_in_use import chosen_model
from napari_hcs_qc.assay.models.train_options import TrainOptions
from napari_hcs_qc.assay.scoring.plate_scores import score
from napari_hcs_qc.assay.scoring.prediction import predict
from napari_hcs_qc.assay.scoring.saved_prediction import load_prediction
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.assay.store.saved_model import load_model, model_folders
from napari_hcs_qc.assay.views.label_issues_list import label_issues
from napari_hcs_qc.cli import main
from napari_hcs_qc.cli.outcome_text import figures
from napari_hcs_qc.plates.plate import Plate
from napari_hcs_qc.workflow import export, model_history
from napari_hcs_qc.workflow.status import assay_status
from napari_hcs_qc.workflow.training import train

FINGERPRINT = "ef7c128c47e9b938"
OLD = Path(__file__).resolve().parents[1] / "data" / "assay_0.1.0.zip"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with zipfile.ZipFile(OLD) as archive:
        archive.extractall(tmp_path)
    # The dates of the images are part of it, and an archive does not keep them.
    monkeypatch.setattr(Plate, "fingerprint", FINGERPRINT)
    return tmp_path / "assay"


def files_of(path: Path) -> dict[str, bytes]:
    locks = (".lock", ".lock.json")
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and not file.name.endswith(locks)
    }


def test_it_opens_and_nothing_of_it_is_rewritten(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_of(path)
    assay = AssayFolder.open(path)
    assert assay.plate("OLD").source == path.parent / "OLD"  # not where it was made
    (status,) = assay_status(assay).plates
    assert (status.n_wells, status.n_sites, status.n_cells) == (4, 4, 75)
    assert status.predicted_with == "0002"
    assert status.novelty is not None and status.novelty.n_novel == 3
    [problem] = status.warnings
    assert "only 2 control wells" in problem
    journal = assay.journal()
    assert set(journal.annotations()["annotator"]) == {"ann", "second"}
    verdicts = journal.verdicts().set_index("well")["verdict"]
    assert verdicts.to_dict() == {"B02": "exclude", "A02": "keep", "B01": "look again"}
    assert main(["status", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "3 cells (4.0 %) are unlike anything annotated" in printed
    assert "75 cells" in printed and "0002" in printed
    assert files_of(path) == before


def test_it_has_the_kinds_of_every_assay_and_takes_further_ones(path: Path) -> None:
    assay = AssayFolder.open(path)
    assert assay.kinds == BUILT_IN_KINDS
    fibre = assay.add_kind("fibre")
    assert AssayFolder.open(path).kinds == (*BUILT_IN_KINDS, fibre)


def test_both_models_are_read_with_their_figures(path: Path) -> None:
    assay = AssayFolder.open(path)
    newest, oldest = model_history.list_models(assay)
    assert (newest.id, newest.head, newest.problem) == ("0002", "knn", "")
    assert (oldest.id, oldest.head, oldest.f1, oldest.f1_ci) == ("0001", "linear", 1.0, None)
    knn, linear = (load_model(folder) for folder in reversed(model_folders(assay.models_folder)))
    assert knn.novelty is not None and linear.novelty is not None
    assert knn.manifest.cross_validation is not None
    assert len(knn.manifest.cross_validation.label_issues) == 12
    assert len(label_issues(knn.manifest)) == 12
    assert len(label_issues(knn.manifest, assay.journal().annotations())) > 0
    assert label_issues(linear.manifest) == ()
    # Its intervals were too narrow.
    told = "\n".join(figures(knn, 0.5))
    assert "weighted F1: 0.509 ± 0.000 (measure again for an interval)" in told
    assert knn.manifest.cross_validation.reliability is not None


def test_its_predictions_are_read(path: Path) -> None:
    assay = AssayFolder.open(path)
    state = load_plate(assay, "OLD")
    for model in ("0001", "0002"):
        prediction = load_prediction(assay, state, model)
        assert prediction is not None
        assert prediction.is_novelty_measured
        assert (prediction.table["novelty"] > 1).sum() == 3
        assert prediction.novelty is not None and prediction.novelty.n_novel == 3
        assert prediction.novelty.wells == (("B02", 3),)
        assert prediction.shift is None
    [scored] = score(assay)
    assert len(scored.scores.wells) == 4


def test_it_is_trained_predicted_exported_and_reported(path: Path, tmp_path: Path) -> None:
    assay = AssayFolder.open(path)
    old = score(assay, model=chosen_model(assay, "0001"))[0].prediction.table
    # 0.1.0 trained on an annotated cell that the image border cuts as well.
    assert load_plate(assay, "OLD").n_cut_annotated == 1
    assay.update_settings(include_cut=True)
    before = files_of(path)
    made = train(assay, TrainOptions(n_seeds=1, backend="auto"))
    assert made.model.id == "0003"
    assert made.model.manifest.n_annotated == chosen_model(assay, "0001").manifest.n_annotated
    [prediction] = predict(assay, ["OLD"], made.model)
    # The same cells, annotations, encoder and head.
    np.testing.assert_allclose(prediction.table["p_abnormal"], old["p_abnormal"], atol=0.05)
    [again] = predict(assay, ["OLD"], chosen_model(assay, "0001"))
    np.testing.assert_allclose(again.table["p_abnormal"], old["p_abnormal"], atol=2e-3)
    out = tmp_path / "out"
    export.export(assay, out)
    cells = pd.read_parquet(out / "cells.parquet")
    assert len(cells) == 75
    assert {"novelty", "p_abnormal"} <= set(cells.columns)
    export.report(assay, out / "report.html")
    assert "0003" in (out / "report.html").read_text(encoding="utf-8")
    after = files_of(path)
    changed = {name for name, content in before.items() if after.get(name) != content}
    assert all(name.startswith("predictions/OLD/0001") for name in changed)


def test_what_is_written_is_of_this_version(path: Path) -> None:
    assay = AssayFolder.open(path)
    assay.update_settings(threshold=0.4)
    model_history.set_note(assay, "0001", "the first")
    data = json.loads((path / "assay.json").read_text(encoding="utf-8"))
    assert data["format_version"] == 2 and "version" not in data
    assert AssayFolder.open(path).threshold == 0.4
    model = json.loads((path / "models" / "0001" / "model.json").read_text(encoding="utf-8"))
    assert "doubted" not in model["cross_validation"] and "model_version" not in model
    assert chosen_model(assay, "0001").manifest.note == "the first"
