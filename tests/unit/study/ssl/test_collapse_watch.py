"""Warnings in words."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from napari_hcs_qc.study.ssl.collapse_watch import (
    Observation,
    effective_rank,
    gradient_norms,
    must_stop,
    warnings_before,
    warnings_of,
)
from napari_hcs_qc.study.ssl.methods.method import spread
from napari_hcs_qc.study.ssl.pretrain_settings import METHOD_NAMES, preset

GOOD = {
    "feature_std": 0.8,
    "projection_std": 0.9,
    "targets": 1.0,
    "used_prototypes": 0.7,
    "assignment_entropy": 0.4,
}


def seen(**changes: object) -> Observation:
    values = {
        "epoch": 1,
        "step": 400,
        "losses": [3.1, 3.0, 2.9],
        "chance": math.log(500),
        "figures": GOOD,
        "gradients": {"projector": 0.3, "prototypes": 0.01},
        "rank": 40.0,
    }
    return Observation(**{**values, **changes})


def test_all_is_well() -> None:
    assert warnings_of(seen()) == []
    assert not must_stop(seen())


def one_warning(**changes: object) -> str:
    (found,) = warnings_of(seen(**changes))
    return found


def test_a_loss_at_chance_is_told_after_some_patience() -> None:
    text = one_warning(losses=[6.21, 6.22, 6.20])
    assert "6.210" in text and "6.215" in text and "400 steps" in text
    assert warnings_of(seen(losses=[6.21, 6.22, 6.20], step=20)) == []
    assert warnings_of(seen(losses=[6.21], chance=None)) == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_broken_loss_is_told_at_once(value: float) -> None:
    assert str(value) in one_warning(losses=[3.0, value], step=2)
    assert must_stop(seen(losses=[3.0, value]))
    assert must_stop(seen(gradients={"layer1": value}))
    assert f"gradient of the layer1 is {value}" in one_warning(gradients={"layer1": value})


def test_gradients_of_zero() -> None:
    assert "prototypes is 0" in one_warning(gradients={"prototypes": 0.0, "projector": 1.0})
    frozen = seen(gradients={"prototypes": 0.0}, frozen=frozenset({"prototypes"}))
    assert warnings_of(frozen) == []


def test_collapse() -> None:
    assert "0.020" in one_warning(figures={**GOOD, "feature_std": 0.02})
    assert "projections" in one_warning(figures={**GOOD, "projection_std": 0.02})
    assert "1.2 directions" in one_warning(rank=1.2)
    assert "2.0%" in one_warning(figures={**GOOD, "used_prototypes": 0.02})
    assert "0.9999" in one_warning(figures={**GOOD, "assignment_entropy": 0.9999})


def test_an_epoch_without_targets() -> None:
    text = one_warning(figures={**GOOD, "targets": 0.0}, epoch=0)
    assert text.startswith("No cell has") and "epoch 1 trains" in text
    assert one_warning(figures={**GOOD, "targets": 0.25}).startswith("Only 25% of the cells")


def test_effective_rank() -> None:
    generator = torch.Generator().manual_seed(0)
    assert effective_rank(torch.ones(20, 5) * 0.1) == 0
    line = torch.randn(50, 1, generator=generator) @ torch.randn(1, 8, generator=generator)
    assert effective_rank(line + 3) == pytest.approx(1, abs=1e-3)
    # Singular values 2 and 2, 1 and 1 (each axis both ways): the entropy of 1/3, 1/3, 1/6, 1/6.
    axes = torch.diag(torch.tensor([2.0, 2.0, 1.0, 1.0]))
    shares = [1 / 3, 1 / 3, 1 / 6, 1 / 6]
    expected = math.exp(-sum(one * math.log(one) for one in shares))
    assert effective_rank(torch.cat([axes, -axes])) == pytest.approx(expected, rel=1e-6)
    assert math.isnan(effective_rank(torch.full((4, 3), math.nan)))


def test_spread() -> None:
    drawn = torch.randn(4000, 16, generator=torch.Generator().manual_seed(0))
    assert float(spread(drawn)) == pytest.approx(1, abs=0.02)
    assert float(spread(drawn + 100)) < 0.02
    assert float(spread(torch.ones(5, 3))) == pytest.approx(0, abs=1e-6)


def test_gradient_norms_by_part() -> None:
    network = nn.ModuleDict({"a": nn.Linear(2, 1), "b": nn.Linear(1, 1), "c": nn.Linear(1, 1)})
    network["a"].weight.grad = torch.tensor([[3.0, 0.0]])
    network["a"].bias.grad = torch.tensor([4.0])
    network["b"].weight.grad = torch.zeros(1, 1)
    assert gradient_norms(network, "encoder.") == {"encoder.a": 5.0, "encoder.b": 0.0}
    assert gradient_norms(nn.Linear(1, 1)) == {}


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_our_presets_raise_no_warning_on_a_small_plate(method: str) -> None:
    assert warnings_before(preset(method), 10_000) == []


def test_settings_that_will_go_wrong() -> None:
    def told(method: str, name: str, n_cells: int = 20_000, **changes: object) -> str:
        return " ".join(warnings_before(preset(method, name, **changes), n_cells))

    assert "queue starts with epoch 16, but the training has 5" in told("swav", "paper")
    assert "while the prototypes are frozen for 1" in told("swav", "default", queue_start=0)
    assert "128 alone is spread over 500" in told("swav", "paper", queue=0)
    assert "first epoch has no clusters" in told("deepclusterv2", "paper")
    assert "42 times smaller" in told("barlow-twins", "paper")
    assert "VICReg without warm-up" in told("vicreg", "paper", warmup_epochs=0)
    assert "The warm-up takes 1 of 1 epochs" in told("simclr", "paper", epochs=1)
    assert "make 15 steps in all" in told("simclr", "paper", n_cells=400)
    # Fewer cells than a batch make one step of all of them.
    assert "batches of 100 make 5 steps" in told("simclr", "paper", n_cells=100)
    assert "300 prototypes for 300 cells" in told("swav", "paper", n_cells=300, queue_start=1)
