"""Presets, and settings that cannot be."""

from __future__ import annotations

import json

import pytest

from napari_hcs_qc.errors import HcsQcError, ProblemsError
from napari_hcs_qc.study.benchmark.benchmark_spec import SSL_METHODS
from napari_hcs_qc.study.ssl.pretrain_settings import (
    BETTER_THAN_UNTRAINED,
    DEFAULT_METHOD,
    METHOD_NAMES,
    PRESET_NAMES,
    PRESETS,
    Pretraining,
    PretrainOptions,
    measured_text,
    preset,
)


def test_every_method_has_every_preset() -> None:
    assert METHOD_NAMES == SSL_METHODS
    assert set(PRESETS) == {(method, name) for method in METHOD_NAMES for name in PRESET_NAMES}
    for (method, name), settings in PRESETS.items():
        assert (settings.method, settings.preset) == (method, name)


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_the_papers_preset(method: str) -> None:
    """Masud, Cohen et al., section 3.2; where it is silent, solo-learn's defaults."""
    paper = preset(method, "paper")
    stated = {
        "epochs": 5,
        "batch_size": 128,
        "optimiser": "sgd",
        "lr": 0.001,
        "momentum": 0.9,
        "warmup_epochs": 1.0,
        "temperature": 0.07,
        "hidden": 2048,
        "prototypes": 500,
        "kmeans_iterations": 10,
        "queue": 2560,
    }
    silent = {
        "weight_decay": 1e-4,
        "redundancy": 0.0051,
        "loss_scale": 0.024,
        "invariance": 25.0,
        "variance": 25.0,
        "covariance": 1.0,
        "sinkhorn_epsilon": 0.05,
        "sinkhorn_iterations": 3,
        "freeze_prototypes": 1,
        "queue_start": 15,
    }
    values = paper.model_dump()
    assert {key: values[key] for key in stated} == stated
    assert {key: values[key] for key in silent} == silent
    assert all(values[key] > 0 for key in ("rotate90", "flip", "transpose", "shift", "scale"))
    wide = method in ("barlow-twins", "vicreg")
    assert (paper.layers, paper.projected) == ((3, 2048) if wide else (2, 128))


def test_our_preset_corrects_the_traps() -> None:
    assert preset("deepclusterv2").fill_bank
    assert not preset("deepclusterv2", "paper").fill_bank
    for epochs in (4, 5, 20, 100):
        swav = preset("swav", epochs=epochs)
        assert swav.freeze_prototypes < swav.first_queue_epoch < epochs
    assert preset("swav", "paper").first_queue_epoch == 15
    vicreg = preset("vicreg")
    assert vicreg.warmup_epochs >= 1 and vicreg.clip_norm > 0
    # The step of AdamW does not depend on the scale of the loss.
    assert preset("barlow-twins").optimiser == "adamw"


def test_prototypes_follow_the_number_of_cells() -> None:
    assert preset("swav").prototypes_for(1_000_000) == 500
    assert preset("swav").prototypes_for(1000) == 100
    assert preset("swav").prototypes_for(3) == 2
    assert preset("swav", "paper").prototypes_for(4000) == 500
    assert preset("swav", "paper").prototypes_for(300) == 300


@pytest.mark.parametrize("settings", PRESETS.values(), ids=lambda one: f"{one.method}-{one.preset}")
def test_settings_survive_json(settings: Pretraining) -> None:
    assert Pretraining.read(json.loads(json.dumps(settings.model_dump()))) == settings


def test_problems_are_told_all_at_once() -> None:
    with pytest.raises(ProblemsError) as error:
        preset("swav", lr=0, batch_size=1, shift=2.0, queue="many", optimiser="adam")
    text = str(error.value)
    for part in (
        "5 problems",
        "lr: is 0; greater than 0 was expected.",
        "batch_size: is 1; greater than or equal to 2 was expected.",
        "shift: is 2.0; less than or equal to 1 was expected.",
        "queue: is 'many'; a valid integer was expected.",
        "optimiser: is 'adam'; 'sgd' or 'adamw' was expected.",
    ):
        assert part in text
    with pytest.raises(ProblemsError, match="epochs: is True"):
        preset("swav", epochs=True)
    with pytest.raises(ProblemsError, match="lr: is nan"):
        preset("swav", lr=float("nan"))


def test_the_method_taken_by_default_is_one_that_was_better_than_none() -> None:
    assert (DEFAULT_METHOD, "default") in BETTER_THAN_UNTRAINED <= set(PRESETS)
    assert measured_text(DEFAULT_METHOD, "default").startswith("Better")
    assert DEFAULT_METHOD in measured_text("simclr", "default")
    assert PretrainOptions().method == DEFAULT_METHOD


def test_unknown_names() -> None:
    with pytest.raises(HcsQcError, match="'byol' is not a self-supervised method"):
        preset("byol")
    with pytest.raises(HcsQcError, match="'fast' is not a preset"):
        preset("swav", "fast")
    with pytest.raises(HcsQcError, match='epoch: unknown setting; did you mean "epochs"'):
        preset("swav", epoch=3)
    with pytest.raises(HcsQcError, match="method: is missing"):
        Pretraining.read({"epochs": 3})
