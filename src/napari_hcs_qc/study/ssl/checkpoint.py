"""How far a self-supervised training is, in memory and on disk."""

from __future__ import annotations

import pickle
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from napari_hcs_qc.files import atomic_path

if TYPE_CHECKING:
    from pathlib import Path

_VERSION = 1


@dataclass
class Progress:
    """How far a training is."""

    key: str  # of everything that it depends on
    step: int = 0  # steps that are over
    losses: list[float] = field(default_factory=list)  # of each of them
    epochs: list[dict[str, float | None]] = field(default_factory=list)  # figures of each
    # What went wrong, as step and sentence, the newest last
    warnings: list[tuple[int, str]] = field(default_factory=list)
    left_out: list[int] = field(default_factory=list)  # sites the epoch's plan was made without
    # Sites that could not be read so far, as number, where, what
    unreadable: list[tuple[int, str, str]] = field(default_factory=list)
    seconds: float = 0.0  # time trained, pauses and what a kill threw away not counted


def write_checkpoint(path: Path, progress: Progress, state: dict[str, Any]) -> None:
    """Write a checkpoint, atomically."""
    with atomic_path(path) as temporary:
        torch.save({"version": _VERSION, "progress": asdict(progress), "state": state}, temporary)


def read_checkpoint(path: Path, key: str) -> tuple[Progress, dict[str, Any]] | None:
    """Read a checkpoint; None where there is none of this key, or it is damaged."""
    if not path.is_file():
        return None
    try:
        # Tensors and plain data only: nothing in the file can run.
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if saved["version"] != _VERSION or saved["progress"]["key"] != key:
            return None
        return Progress(**saved["progress"]), saved["state"]
    except (OSError, RuntimeError, pickle.UnpicklingError, KeyError, TypeError, ValueError):
        return None  # cut off by a full disk or a kill: nothing is lost but time
