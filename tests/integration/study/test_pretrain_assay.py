"""An encoder trained on an assay's own cells: used by every head, moved, imported, compared."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from napari_hcs_qc.assay.models import custom_encoders
from napari_hcs_qc.assay.models.custom_encoders import (
    assay_encoder,
    compare_encoder,
    import_encoder,
    list_assay_encoders,
)
from napari_hcs_qc.assay.models.model_in_use import chosen_model
from napari_hcs_qc.assay.models.train_options import TrainOptions
from napari_hcs_qc.assay.scoring.prediction import predict
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.figures import Figures
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.cli import main
from napari_hcs_qc.encoders.architecture import build_architecture
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.heads.finetune import PRESETS
from napari_hcs_qc.job import Cancelled, Job
from napari_hcs_qc.study.ssl import pretrain_assay
from napari_hcs_qc.study.ssl.pretrain_assay import CHECKPOINT, pretrain_encoder
from napari_hcs_qc.study.ssl.pretrain_settings import PretrainOptions
from napari_hcs_qc.workflow import steps
from napari_hcs_qc.workflow.training import train

SMALL = {"epochs": 1, "batch_size": 32, "hidden": 16, "projected": 8, "prototypes": 4, "queue": 32}


@pytest.fixture(scope="module")
def annotated(made, tmp_path_factory):
    """An assay on which nothing was trained: the whole loop would take long."""
    assay, _ = steps.new(
        tmp_path_factory.mktemp("plain") / "assay", [steps.PlateSource(made.plate_dir)]
    )
    steps.annotate(assay, made.labels, "tester")
    steps.cells(assay)
    return assay.path


@pytest.fixture
def assay(annotated, tmp_path) -> AssayFolder:
    return AssayFolder.open(shutil.copytree(annotated, tmp_path / "assay"))


@pytest.fixture
def tiny(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "tiny.safetensors"
    safetensors.torch.save_file(build_architecture("timm", "test_resnet").module.state_dict(), path)
    return path


@pytest.fixture
def options(tiny) -> PretrainOptions:
    return PretrainOptions(
        changes=SMALL,
        n_cells=80,
        input_px=32,
        start_from="timm:test_resnet",
        start_weights=tiny,
        device="cpu",
    )


def test_an_encoder_of_the_assay_serves_heads_and_goes_where_the_assay_goes(
    assay, options, tiny, tmp_path, monkeypatch
) -> None:
    own = pretrain_encoder(assay, options)
    told = own.manifest
    assert (own.name, own.folder) == ("deepclusterv2", assay.encoders_folder / "deepclusterv2")
    assert (told["method"], told["input_px"], told["seed"]) == ("deepclusterv2", 32, 0)
    assert told["data"]["n_cells"] == 80
    assert told["data"]["n_sites_without_cells"] == 1  # the empty well
    assert told["data"]["plates"][0]["name"] == "SIM"
    assert told["started_from"]["what"] == "timm:test_resnet"
    assert len(told["history"]["epochs"]) == 1
    assert not (own.folder / CHECKPOINT).exists()
    assert list_assay_encoders(assay)[-1].name == "deepclusterv2"
    # The same call again trains nothing.
    assert pretrain_encoder(assay, options).manifest == told
    with pytest.raises(HcsQcError, match="already, trained on other cells or with other settings"):
        pretrain_encoder(assay, replace(options, seed=1))

    options = TrainOptions(encoder="deepclusterv2", head="knn", n_seeds=1, device="cpu")
    model = train(assay, options).model
    assert model.encoder.name == "deepclusterv2"
    assert model.encoder.weights_sha256 == own.weights_sha256
    on_disk = json.loads((assay.models_folder / model.id / "model.json").read_text())
    assert on_disk["encoder"]["weights"] == "encoders/deepclusterv2/encoder.safetensors"
    [before] = predict(assay, ["SIM"], model)
    quick = replace(PRESETS["finetune"], epochs=1, min_steps=0, n_frozen=1)
    monkeypatch.setitem(PRESETS, "finetune", quick)
    monkeypatch.setattr(
        "napari_hcs_qc.workflow.training.validate_fine_tuned", lambda *_: Figures(sentence="")
    )
    tuned = train(assay, TrainOptions(encoder="deepclusterv2", head="finetune", device="cpu")).model
    [scored] = predict(assay, ["SIM"], tuned)
    tiny.unlink()
    moved = AssayFolder.open(shutil.copytree(assay.path, tmp_path / "moved"))
    shutil.rmtree(assay.path)
    for one, table in ((model, before.table), (tuned, scored.table)):
        again = chosen_model(moved, one.id)
        shutil.rmtree(moved.embeddings_folder, ignore_errors=True)
        [after] = predict(moved, ["SIM"], again)
        difference = (after.table["p_abnormal"] - table["p_abnormal"]).abs().max()
        assert float(difference) < 1e-5


def test_stopped_it_goes_on_and_another_process_is_told_to_wait(assay, options) -> None:
    two = replace(options, changes={**SMALL, "epochs": 2}, name="two")
    checkpoint = assay.encoders_folder / "two" / CHECKPOINT
    with pytest.raises(Cancelled):
        pretrain_encoder(assay, two, job=Job(should_stop=checkpoint.exists))
    assert not (checkpoint.parent / "encoder.json").exists()
    assert [one.name for one in list_assay_encoders(assay)][-1] == "convnext-tiny"
    done: list[int] = []
    lock = pretrain_assay._locked(checkpoint.parent)
    try:
        with pytest.raises(HcsQcError, match="another process"):
            pretrain_encoder(assay, two)
    finally:
        lock.release()
    own = pretrain_encoder(assay, two, job=Job(lambda *told: done.append(told[0])))
    assert own.manifest["history"]["n_steps"] == 4
    assert 0 not in [one for one in done if one] and not checkpoint.exists()


def test_it_goes_into_another_assay_and_is_marked_when_it_is_not_better(
    assay, options, tmp_path, monkeypatch
) -> None:
    own = pretrain_encoder(assay, options)
    monkeypatch.setattr(custom_encoders, "UNTRAINED_SEEDS", (0, 1))
    marked = compare_encoder(assay, "deepclusterv2", device="cpu")
    found = marked.manifest["comparison"]
    assert set(found["heads"]) == {"knn", "linear"} and found["recipe"] == "nucleus"
    for one in found["heads"].values():
        assert 0 < one["trained"] <= 1 and one["interval"][0] <= one["untrained"]
    is_marked = any("Not better than an untrained network" in one for one in marked.warnings)
    assert is_marked == (not found["is_better"])
    assert list_assay_encoders(assay)[-1].note == " ".join(marked.warnings)
    # The very weights that it is held against cannot be better than themselves.
    assert not custom_encoders.hold_against(
        {"knn": 0.9, "linear": 0.9}, [{"knn": x, "linear": x} for x in (0.89, 0.91)], 10,
        custom_encoders.requested_recipe(TrainOptions()))["is_better"]  # fmt: skip

    other = AssayFolder.create(tmp_path / "other")
    copy = import_encoder(other, own.folder, "brought")
    assert copy.manifest["comparison"] is None
    assert assay_encoder(other, "brought").weights_sha256 == own.weights_sha256
    with pytest.raises(HcsQcError, match="has no encoder 'deepclusterv2'; its encoders: brought"):
        assay_encoder(other, "deepclusterv2")
    with pytest.raises(HcsQcError, match="name of another encoder"):
        import_encoder(other, own.folder, "resnet18")


def test_the_command_trains_lists_and_imports(assay, tiny, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(custom_encoders, "UNTRAINED_SEEDS", (0, 1))
    settings = [part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")]

    def run(*arguments: str) -> dict:
        assert main([*arguments, "--quiet", "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    made = run(
        "pretrain", str(assay.path), "--method", "vicreg", "--cells", "70", "--input-px", "32",
        "--start-from", "timm:test_resnet", "--weights", str(tiny), "--device", "cpu", *settings,
    )  # fmt: skip
    assert made["encoder"] == "vicreg"
    assert made["manifest"]["settings"]["hidden"] == 16
    n_whole = len(load_plate(assay, assay.plates[0].name).training)
    assert made["manifest"]["comparison"]["n_cells"] == n_whole
    listed = run("encoders", "--assay", str(assay.path))["encoders"]
    assert listed[-1]["name"] == "vicreg" and listed[-1]["ready"]
    other = AssayFolder.create(tmp_path / "other")
    brought = run("pretrain", str(other.path), "--import", made["folder"], "--name", "theirs")
    assert brought["manifest"]["weights_sha256"] == made["manifest"]["weights_sha256"]
    assert main(["pretrain", str(assay.path), "--method", "byol", "--quiet"]) == 2
    assert "'byol' is not a self-supervised method" in capsys.readouterr().err
    assert main(["pretrain", str(assay.path), "--set", "lr", "--quiet"]) == 2
    assert "NAME=VALUE" in capsys.readouterr().err
    assert main(["pretrain", str(assay.path), "--start-from", "no.safetensors", "--quiet"]) == 2
    assert "does not exist" in capsys.readouterr().err
