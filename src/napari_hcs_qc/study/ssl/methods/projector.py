"""The network between the encoder's output and the loss; thrown away after the training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from napari_hcs_qc.study.ssl.pretrain_settings import Pretraining


def make_projector(n_features: int, settings: Pretraining) -> nn.Sequential:
    """Linear layers with ReLU between them, as each paper has them."""
    parts: list[nn.Module] = []
    width = n_features
    for _ in range(settings.layers - 1):
        # A bias before a batch normalisation is taken off again; the papers' code has it, too.
        parts.append(nn.Linear(width, settings.hidden))
        if settings.batch_norm:
            parts.append(nn.BatchNorm1d(settings.hidden))
        parts.append(nn.ReLU(inplace=True))
        width = settings.hidden
    parts.append(nn.Linear(width, settings.projected))
    return nn.Sequential(*parts)
