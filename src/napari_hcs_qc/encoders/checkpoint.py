"""Checkpoints of trainings: tensors and plain data, by which a training goes on."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import torch

from napari_hcs_qc.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint, atomically."""
    # In memory first: PyTorch's own writer makes of a full disk a RuntimeError without a reason.
    whole = io.BytesIO()
    torch.save(dict(content), whole)
    with atomic_path(path) as temporary:
        temporary.write_bytes(whole.getbuffer())
