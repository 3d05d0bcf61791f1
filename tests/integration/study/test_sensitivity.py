from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from napari_hcs_qc.assay.embeddings.training_set import MoreCells
from napari_hcs_qc.assay.models.extra_cells import WithMoreCells
from napari_hcs_qc.assay.models.train_options import TrainOptions, chosen_options, save_options
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.cells.recipe import get_recipe
from napari_hcs_qc.cli import main
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.heads.knn import KNNHead
from napari_hcs_qc.job import Cancelled, Job
from napari_hcs_qc.study.artefacts import measure, sensitivity
from napari_hcs_qc.study.artefacts.artefact_cells import ArtefactCells
from napari_hcs_qc.study.artefacts.sensitivity import measure_sensitivity
from napari_hcs_qc.study.artefacts.sensitivity_options import SensitivityOptions
from napari_hcs_qc.study.benchmark.benchmark_spec import EncoderSpec
from napari_hcs_qc.study.benchmark.sources import annotated_cells
from napari_hcs_qc.workflow.training import train

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.integration.conftest import Ran

    from napari_hcs_qc.study.artefacts.objects import Donor

FAST = SensitivityOptions(
    encoders=(EncoderSpec("hand-made"),),
    kinds=("empty", "dead"),
    severities=(1.0,),
    n_cells=6,
    simulated=("noise", "dead"),
)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours for the forest of the baseline, which takes seconds to fit."""
    monkeypatch.setattr(measure, "make_head", lambda *_: KNNHead())


@pytest.mark.parametrize("name", ["nucleus", "paper-128px"])
def test_untouched_scenes_give_the_very_crops_of_the_site(ran: Ran, name: str) -> None:
    cells = annotated_cells(ran.result.assay, "sim")
    made = ArtefactCells(cells, get_recipe(name))
    rows = np.arange(len(cells.classes))
    height, width = cells.states[0].plate.read_site(cells.where[0][1]).shape[1:]
    is_cut = [min(y, x, height - y, width - x) < 15 for *_, y, x in cells.where]
    assert any(is_cut)
    rows = np.concatenate([rows[is_cut][:6], rows[np.invert(is_cut)][:6]])
    made.load(rows.tolist())
    crops = made.crops([(made.plate_of(row), made.scene(row)) for row in rows.tolist()])
    assert torch.equal(crops, cells.crops(get_recipe(name), rows))


@pytest.mark.usefixtures("quick")
def test_donors_of_tested_cells_are_held_out_and_those_of_training_cells_are_not(
    ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[str] = set()
    pairs: list[tuple[str, int, set[str]]] = []
    cells = annotated_cells(ran.result.assay, "sim")
    real_donors, real_apply = ArtefactCells.donors, sensitivity.apply_artefact

    def donors(self: ArtefactCells, rows: Sequence[int], plate: int) -> list[Donor]:
        nonlocal asked
        asked = set(cells.groups[list(rows)].tolist())
        return real_donors(self, rows, plate)

    def apply_artefact(scene: Any, kind: Any, severity: float, **how: Any) -> Any:
        if kind.kind == "dead" and how["cell"] != "shown":
            pairs.append((how["cell"], how["seed"], asked))
        return real_apply(scene, kind, severity, **how)

    monkeypatch.setattr(ArtefactCells, "donors", donors)
    monkeypatch.setattr(sensitivity, "apply_artefact", apply_artefact)
    measure_sensitivity(ran.result.assay, FAST, tmp_path)
    well_of = dict(zip(cells.ids.tolist(), cells.groups.tolist(), strict=True))
    everything = set(cells.groups.tolist())
    tested = [(cell, wells) for cell, seed, wells in pairs if seed == 0]
    trained = [(cell, wells) for cell, seed, wells in pairs if seed >= 1000]
    assert len(tested) == 6
    assert trained
    for cell, wells in [*tested, *trained]:
        assert well_of[cell] in wells  # on the side that the cell is on
        assert wells < everything
    sides = {frozenset(wells) for _, wells in tested}
    assert len(set().union(*sides)) == sum(map(len, sides))  # the folds are disjoint
    for _, wells in trained:
        assert any(wells == everything - side for side in _folds(cells))


def _folds(cells: Any) -> list[set[str]]:
    split = sensitivity.well_folds(cells.classes, cells.groups, 0)
    return [set(cells.groups[split.fold == fold].tolist()) for fold in range(split.n_folds)]


def test_the_command_writes_everything_and_goes_on_where_it_was(
    ran: Ran, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["sensitivity", str(ran.result.assay.path), "--out", str(out), "--json"]
    arguments += [
        "--kinds",
        "saturation,empty",
        "--severities",
        "0.5,1",
        "--cells",
        "4",
        "--head",
        "knn",
    ]
    assert main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["provenance"]["n_spoiled"] == 4
    assert (
        told["provenance"]["encoders"]["efficientnet-lite0"].startswith("5a")
        or len(told["provenance"]["encoders"]["efficientnet-lite0"]) == 64
    )
    with (out / "sensitivity.csv").open(encoding="utf-8") as handle:
        lines = list(csv.DictReader(handle))
    assert [line["severity"] for line in lines] == ["0.0", "0.5", "1.0"] * 2
    assert float(lines[2]["amount"]) == 16.0
    assert {line["untouched_called_abnormal"] for line in lines} == {lines[0]["called_abnormal"]}
    # Over-exposed sixteen times, every nucleus is a white disc: nobody may miss that.
    assert float(lines[2]["called_abnormal"]) > float(lines[0]["called_abnormal"])
    with Image.open(out / "sensitivity.png") as image:
        assert image.width > 1000
    assert (out / "sensitivity.pdf").read_bytes().startswith(b"%PDF")
    page = (out / "sensitivity.html").read_text(encoding="utf-8")
    assert (out / "sensitivity.svg").read_text(encoding="utf-8") in page
    for words in ("efficientnet-lite0", "SHA-256", "head knn", "4 normal ones", "SIM", "<svg"):
        assert words in page
    assert "| saturation | efficientnet-lite0 | real |" in (out / "sensitivity.md").read_text(
        encoding="utf-8"
    )
    kept = {path: path.stat().st_mtime_ns for path in out.glob("*/*.json")}
    assert len(kept) == 3  # two kinds, and the figures on real cells
    assert main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/*.json")} == kept


@pytest.mark.usefixtures("quick")
def test_a_stop_keeps_what_is_finished(ran: Ran, tmp_path: Path) -> None:
    def stop() -> bool:
        return any((tmp_path / "cells").glob("*.json"))

    with pytest.raises(Cancelled):
        measure_sensitivity(ran.result.assay, FAST, tmp_path, job=Job(should_stop=stop))
    (first,) = (tmp_path / "cells").glob("*.json")
    written = first.stat().st_mtime_ns
    found = measure_sensitivity(ran.result.assay, FAST, tmp_path)
    assert [one.kind for one in found.results] == ["empty", "dead"]
    assert first.stat().st_mtime_ns == written
    again = measure_sensitivity(ran.result.assay, FAST, tmp_path / "elsewhere")
    assert again.results == found.results
    assert again.accuracy == found.accuracy
    assert {row.trained for row in found.results[0].rows} == {"real", "simulated"}


def test_wrong_options_are_told_before_any_work(
    ran: Ran, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["sensitivity", str(ran.result.assay.path), "--out", str(tmp_path)]
    for more, words in (
        (["--kinds", "fog"], "'fog'"),
        (["--severities", "0.5,2"], "less than or equal to 1"),
        (["--severities", "x"], "separated by commas"),
        (["--head", "finetune"], "choose linear"),
        (
            ["--encoder", "resnet18=gone.safetensors"],
            "gone.safetensors does not exist",
        ),
        (["--numerical-aperture", "1.3"], "in air"),
        (["--weights", "some.safetensors"], "0 of the encoders"),
    ):
        assert main([*arguments, *more]) == 2
        assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_model_can_be_trained_on_simulated_cells_and_says_so(assay_copy: Path) -> None:
    assay = AssayFolder.open(assay_copy)
    plain = TrainOptions(head="knn", n_seeds=1)
    asked = replace(plain, simulated=("noise", "empty"))
    before = train(assay, plain).model
    model = train(assay, asked).model
    assert before.manifest.simulated == ()
    assert model.manifest.simulated == ("noise", "empty")
    assert model.manifest.n_annotated == before.manifest.n_annotated  # simulated are no words
    assert model.manifest.inputs != before.manifest.inputs
    assert model.manifest.cross_validation.figures
    # Every one of them is in the fitted head, as many as there are abnormal cells.
    n_added = len(model.head.cells_) - len(before.head.cells_)  # type: ignore[union-attr]
    assert n_added == before.manifest.n_annotated["abnormal"]
    assert train(assay, asked, reuse=True).model.id == model.id
    save_options(assay, asked)
    assert chosen_options(assay) == asked


def test_simulated_cells_go_with_their_wells() -> None:
    class Recorder:
        classes_ = np.array(["abnormal", "normal"])

        def fit(self, X: Any, y: Any, groups: Any) -> None:
            self.seen = list(zip(X[:, 0].tolist(), y.tolist(), groups.tolist(), strict=True))

    wells = np.array(["P/A01", "P/B01"])
    more = MoreCells(np.array([[7.0], [8.0]], np.float32), np.full(2, "abnormal"), wells)
    head: Any = Recorder()
    groups = np.array(["P/A01", "P/B01", "P/B01", "P/C01"])
    both = WithMoreCells(head, more, groups)
    both.fit([[1.0], [2.0]], ["normal", "abnormal"], groups=["P/A01", "P/C01"])
    assert head.seen == [
        (1.0, "normal", "P/A01"),
        (2.0, "abnormal", "P/C01"),
        (7.0, "abnormal", "P/A01"),
    ]
    both.fit([[1.0], [2.0]], ["normal", "abnormal"], groups=["P/B01", "P/C01"])
    assert head.seen == [(1.0, "normal", "P/B01"), (2.0, "abnormal", "P/C01")]  # B01 is parted
    with pytest.raises(HcsQcError, match="by well"):
        both.fit([[1.0]], ["normal"])


def test_a_fine_tuned_head_refuses_simulated_cells(assay_copy: Path) -> None:
    assay = AssayFolder.open(assay_copy)
    with pytest.raises(HcsQcError, match="finetune cannot be trained on simulated"):
        train(assay, TrainOptions(head="finetune", simulated=("noise",)))
    with pytest.raises(HcsQcError, match="'fog'"):
        train(assay, TrainOptions(simulated=("fog",)))
