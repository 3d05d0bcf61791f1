"""How far a training is, in memory and in its checkpoint."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from napari_hcs_qc.encoders.checkpoint import save_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_VERSION = 2  # 1 could hold cells out


@dataclass
class TrainingState:
    """How far a training is."""

    key: str  # of what is trained on
    losses: list[float] = field(default_factory=list)  # of each epoch that is over

    @property
    def epoch(self) -> int:
        """Number of epochs that are over."""
        return len(self.losses)


def write_state(path: Path, state: TrainingState, rest: dict[str, Any]) -> None:
    """Write a checkpoint, atomically."""
    save_checkpoint(path, {"version": _VERSION, **vars(state), "rest": rest})


def read_state(
    path: Path, key: str, restore: Callable[[dict[str, Any]], None]
) -> TrainingState | None:
    """Take up a checkpoint; None where there is none of this key, or it is damaged."""
    if not path.is_file():
        return None
    try:
        # Tensors and plain data only: nothing in the file can run.
        kept = torch.load(path, map_location="cpu", weights_only=True)
        if kept.pop("version") != _VERSION or kept["key"] != key:
            return None
        rest = kept.pop("rest")
        state = TrainingState(**kept)
        restore(rest)
    except (OSError, RuntimeError, pickle.UnpicklingError, KeyError, TypeError, ValueError):
        return None  # cut off by a full disk or a kill: nothing is lost but time
    return state
