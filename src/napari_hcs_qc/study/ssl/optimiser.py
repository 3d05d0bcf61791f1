"""The optimiser and its learning rate: warm-up, then a cosine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from napari_hcs_qc.study.ssl.pretrain_settings import Pretraining


def make_optimiser(
    parameters: Sequence[nn.Parameter], settings: Pretraining
) -> torch.optim.Optimizer:
    """Make the optimiser of some settings.

    SGD decays all weights, as solo-learn does it; AdamW leaves biases and normalisations out, whose
    size means nothing.
    """
    if settings.optimiser == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
    groups: list[dict[str, Any]] = [
        {"params": [weights for weights in parameters if weights.ndim > 1]},
        {"params": [weights for weights in parameters if weights.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.lr,
        betas=(settings.momentum, 0.999),
        weight_decay=settings.weight_decay,
        # All in one pass over the memory: some 2 % of a step of 64 cells on a CPU.
        fused=True,
    )


def rate_at(step: int, steps_per_epoch: int, settings: Pretraining) -> float:
    """Give the learning rate of a step, which counts from 0 over the whole training.

    A line from `warmup_start_lr` to `lr` over the warm-up epochs, at most half of all, then a
    cosine to `min_lr` (Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983).
    """
    total = settings.epochs * steps_per_epoch
    warm_up = min(settings.warmup_epochs * steps_per_epoch, total / 2)
    if step < warm_up:
        share = step / warm_up
        return settings.warmup_start_lr + share * (settings.lr - settings.warmup_start_lr)
    share = (step - warm_up) / max(1.0, total - warm_up)
    return settings.min_lr + (settings.lr - settings.min_lr) * 0.5 * (
        1 + math.cos(math.pi * min(1.0, share))
    )


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Let the optimiser go at this learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate
