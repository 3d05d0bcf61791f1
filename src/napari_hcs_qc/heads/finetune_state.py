"""How far a training is, in memory and in its checkpoint."""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from napari_hcs_qc.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

_VERSION = 1


@dataclass
class TrainingState:
    """How far a training is."""

    key: str  # of what is trained on
    epoch: int = 0  # epochs that are over
    losses: list[float] = field(default_factory=list)  # of each
    held_out_losses: list[float] = field(default_factory=list)  # of each
    best_epoch: int = -1  # index of the epoch whose held-out loss is least
    best: dict[str, Tensor] | None = None  # what had been learnt then; None without held-out cells

    @property
    def is_best(self) -> bool:
        """Whether the epoch that has just ended is the best so far."""
        return self.best_epoch == self.epoch - 1

    @property
    def n_since_best(self) -> int:
        """Count the epochs since the best one."""
        return self.epoch - 1 - self.best_epoch if self.best_epoch >= 0 else 0

    def add(self, loss: float, held_out: float) -> None:
        """Note that an epoch is over."""
        self.losses.append(loss)
        self.held_out_losses.append(held_out)
        least = self.held_out_losses[self.best_epoch] if self.best_epoch >= 0 else math.inf
        if held_out < least:
            self.best_epoch = self.epoch
        self.epoch += 1


def write_state(path: Path, state: TrainingState, rest: dict[str, Any]) -> None:
    """Write a checkpoint, atomically."""
    with atomic_path(path) as temporary:
        torch.save({"version": _VERSION, **vars(state), "rest": rest}, temporary)


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
