"""A fine-tuned model in the loop: trained, judged with, moved, stopped and taken up again."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch

from napari_hcs_qc import Assay
from napari_hcs_qc.assay.embeddings.training_crops import annotated_crops
from napari_hcs_qc.assay.models import finetuning
from napari_hcs_qc.assay.models.model_in_use import chosen_model
from napari_hcs_qc.assay.models.train_options import TrainOptions
from napari_hcs_qc.assay.scoring.prediction import predict
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.assay.store.saved_model import load_model
from napari_hcs_qc.cells.recipe import get_recipe
from napari_hcs_qc.cli.outcome_text import figures
from napari_hcs_qc.encoders.architecture import build_architecture
from napari_hcs_qc.encoders.registry import cached_encoder
from napari_hcs_qc.errors import HcsQcError, WriteError
from napari_hcs_qc.heads.finetune import PRESETS
from napari_hcs_qc.job import Cancelled, Job
from napari_hcs_qc.workflow import export
from napari_hcs_qc.workflow.measuring import add_figures
from napari_hcs_qc.workflow.training import train


def retrain(assay, states, options, **rest):
    """Train as the desk does: all open plates are scored, figures follow."""
    return train(assay, options, states=states, figures=False, scores=True, **rest)


@pytest.fixture
def options(tmp_path, monkeypatch) -> TrainOptions:
    """A small network with random weights, trained for two epochs."""
    torch.manual_seed(0)
    weights = tmp_path / "tiny.safetensors"
    safetensors.torch.save_file(
        build_architecture("timm", "test_resnet").module.state_dict(), weights
    )
    quick = replace(PRESETS["finetune"], epochs=2, min_steps=0, encoder_rate=1e-3, n_frozen=1)
    monkeypatch.setitem(PRESETS, "finetune", quick)
    return TrainOptions(encoder="timm:test_resnet", weights=weights, head="finetune", device="cpu")


@pytest.fixture
def assay(assay_copy) -> AssayFolder:
    return AssayFolder.open(assay_copy)


def of(options: TrainOptions):
    recipe = get_recipe("nucleus")
    return cached_encoder(
        options.encoder,
        stages=recipe.stages,
        pooling=recipe.pooling,
        weights=options.weights,
        device="cpu",
    )


def test_a_model_carries_its_encoder_wherever_the_assay_goes(assay, options, tmp_path) -> None:
    model = train(assay, options).model
    manifest = model.manifest
    assert (manifest.head, manifest.recipe.name) == ("finetune", "nucleus")
    assert manifest.encoder.weights_sha256 != of(options).weights_sha256
    assert manifest.fine_tuning.started_from_weights == str(options.weights)
    assert manifest.fine_tuning.epochs == 2
    assert not manifest.uses_plate_directions
    told = figures(model, 0.5)[0]
    assert f"{len(load_plate(assay, 'SIM').training)} annotated cells" in told
    assert "a model that was trained without its well (5 folds, 1 seed)" in told
    assert not (assay.path / finetuning.CHECKPOINT).exists()
    [before] = predict(assay, ["SIM"], model)
    # The weights that it started from are not needed any more, nor is the place.
    options.weights.unlink()
    moved = AssayFolder.open(shutil.copytree(assay.path, tmp_path / "moved"))
    shutil.rmtree(assay.path)
    again = chosen_model(moved)
    assert again.id == model.id
    [after] = predict(moved, ["SIM"], again)
    pd.testing.assert_frame_equal(before.table, after.table)
    export.export(moved, tmp_path / "tables")
    export.report(moved, tmp_path / "report.html")


def test_the_same_again_is_not_trained_again(assay, options, monkeypatch) -> None:
    model = train(assay, options).model

    def never(*_arguments, **_more):
        raise AssertionError("it was trained again")

    monkeypatch.setattr("napari_hcs_qc.workflow.training.fine_tuned", never)
    assert train(assay, options, reuse=True).model.id == model.id
    with pytest.raises(AssertionError):
        train(assay, replace(options, seed=1), reuse=True)


def test_damage_of_a_fine_tuned_encoder_is_named(assay, options) -> None:
    model = train(assay, options, figures=False).model
    opened = Assay.open(assay.path)
    assert opened.check().damaged == ()
    for name in ("encoder.safetensors", "encoder.json", "head/head.json"):
        path = assay.path / "models" / model.id / name
        whole = path.read_bytes()
        path.write_bytes(whole.replace(b"e", b"f", 1))
        [damaged] = opened.check().damaged
        assert damaged.name == f"model {model.id}"
        assert "hcs-qc train" in damaged.damage
        path.write_bytes(whole)


def test_the_desk_retrains_and_the_figures_are_asked_for(assay, options) -> None:
    states = {"SIM": load_plate(assay, "SIM")}
    told: list[tuple[int, int, str]] = []
    made = retrain(assay, states, options, encoder=of(options), job=Job(lambda *a: told.append(a)))
    assert any(text.startswith("Fine-tuning: epoch 2 of 2, loss") for _, _, text in told)
    assert made.seconds["fine-tune"] > 0
    loaded = load_model(assay.models_folder / made.model.id)
    assert loaded.manifest == made.model.manifest
    [prediction] = predict(assay, ["SIM"], loaded)
    ours = made.scored["SIM"].prediction.table["p_abnormal"]
    np.testing.assert_allclose(ours, prediction.table["p_abnormal"], atol=1e-5)
    model = add_figures(assay, made.model.id, states, options)
    found = model.manifest.cross_validation
    assert found.n_cells == sum(model.manifest.n_annotated.values())
    assert found.learning_curve is None
    assert found.reliability.n
    # A later linear model on the encoder of before goes on as ever.
    linear = retrain(assay, states, TrainOptions(n_seeds=1), encoder=cached_encoder(
        stages="inner", pooling="centre"))  # fmt: skip
    assert linear.model.encoder.name == "efficientnet-lite0"


def test_cancelled_it_leaves_the_old_model_and_goes_on_later(assay, options, monkeypatch) -> None:
    states, before = {"SIM": load_plate(assay, "SIM")}, chosen_model(assay).id
    monkeypatch.setattr("napari_hcs_qc.heads.finetune.CHECKPOINT_EVERY_S", 0.0)
    checkpoint = assay.path / finetuning.CHECKPOINT
    with pytest.raises(Cancelled):
        retrain(assay, states, options, encoder=of(options), job=Job(should_stop=checkpoint.exists))
    assert chosen_model(assay).id == before
    told: list[int] = []

    def note(done: int, total: int, text: str) -> None:
        if text.startswith("Fine-tuning"):
            told.append(done)

    def full_disk(*_: object) -> None:
        raise WriteError("the disk is full")

    with monkeypatch.context() as patched, pytest.raises(WriteError):
        patched.setattr("napari_hcs_qc.workflow.training._Training._scored", full_disk)
        retrain(assay, states, options, encoder=of(options), job=Job(note))
    assert not told or min(told) > 0
    assert chosen_model(assay).id == before
    # What was trained is not trained again.
    told.clear()
    retrain(assay, states, options, encoder=of(options), job=Job(note))
    assert not told
    assert not checkpoint.exists()


def test_unreadable_sites_are_left_out_and_none_at_all_is_told(assay, monkeypatch) -> None:
    state = load_plate(assay, "SIM")
    recipe = get_recipe("nucleus").with_diameter(state.plate_cells.diameter_px)
    whole = annotated_crops([(state, state.training)], recipe)
    n_views = recipe.n_views(len(state.plate.channels))
    n_whole = len(state.training)
    assert n_whole in (79, 80)  # of 80 annotated ones one may be cut by the border
    assert whole.crops.shape == (n_whole, n_views, 1, 128, 128)
    assert whole.sides == tuple(float(side) for side in recipe.sides_px)
    assert torch.isfinite(whole.crops).all()
    table = state.training
    gone = table["well"].iloc[0]
    n_gone = int((table["well"] == gone).sum())
    read = type(state.plate).read_site

    def fails(self, key, *rest, **more):
        if key.well == gone:
            raise OSError("the disk is away")
        return read(self, key, *rest, **more)

    monkeypatch.setattr(type(state.plate), "read_site", fails)
    part = annotated_crops([(state, table)], recipe)
    assert len(part.classes) == n_whole - n_gone
    kept = np.flatnonzero((table["well"] != gone).to_numpy())
    assert part.rows.tolist() == kept.tolist()
    assert torch.equal(part.crops, whole.crops[torch.from_numpy(kept)])
    monkeypatch.setattr(
        type(state.plate), "read_site", lambda *_a, **_k: (_ for _ in ()).throw(OSError("away"))
    )
    with pytest.raises(HcsQcError, match=f"None of the {n_whole} annotated cells can be read"):
        annotated_crops([(state, table)], recipe)
