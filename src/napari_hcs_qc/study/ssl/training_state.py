"""How a training goes: what a checkpoint keeps and what a report shows."""

from __future__ import annotations

import pickle
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel
from torch.nn import functional

from napari_hcs_qc.encoders.checkpoint import save_checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor


class Progress(BaseModel):
    """How far a training is."""

    format_version: Literal[1] = 1
    key: str  # of everything that it depends on
    step: int = 0  # steps that are over
    losses: list[float] = []  # of each of them
    epochs: list[dict[str, float | None]] = []  # figures of each
    warnings: list[tuple[int, str]] = []  # what went wrong, as step and sentence, the newest last
    left_out: list[int] = []  # sites the epoch's plan was made without
    # Sites that could not be read so far, as number, where, what
    unreadable: list[tuple[int, str, str]] = []
    seconds: float = 0.0  # time trained, pauses and what a kill threw away not counted


def write_checkpoint(path: Path, progress: Progress, state: dict[str, Any]) -> None:
    """Write a checkpoint, atomically."""
    save_checkpoint(path, {"progress": progress.model_dump(), "state": state})


def read_checkpoint(path: Path, key: str) -> tuple[Progress, dict[str, Any]] | None:
    """Read a checkpoint; None where there is none of this key, or it is damaged."""
    if not path.is_file():
        return None
    try:
        # Tensors and plain data only: nothing in the file can run.
        saved = torch.load(path, map_location="cpu", weights_only=True)
        progress = Progress.model_validate(saved["progress"])
        return (progress, saved["state"]) if progress.key == key else None
    except (OSError, RuntimeError, pickle.UnpicklingError, KeyError, TypeError, ValueError):
        return None  # cut off by a full disk or a kill: nothing is lost but time


_MOST_POINTS = 1000


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Some cells, and those that the encoder finds most similar."""

    crops: NDArray[np.float32]
    similarity: NDArray[np.float32]  # ``(n_cells, 1 + n_neighbours)`` cosine to the cell of the row


@dataclass(frozen=True, eq=False, kw_only=True)
class Report:
    """How a training goes."""

    epoch: int  # epochs that are over
    n_epochs: int
    step: int  # steps that are over
    n_steps: int
    curve: NDArray[np.float64]  # ``(n, 2)`` step and loss
    crops_per_s: float  # views that are trained on in a second; 0 while it is unknown
    seconds_left: float  # until the end, at this speed; NaN while it is unknown
    warnings: tuple[str, ...]  # what goes wrong
    neighbours: Neighbours | None = None  # after each epoch


def loss_curve(losses: Sequence[float], most: int = _MOST_POINTS) -> NDArray[np.float64]:
    """Give ``(n, 2)`` step and loss, at most so many points, each the mean of its stretch."""
    values = np.asarray(losses, dtype=np.float64)
    stride = max(1, -(-len(values) // most))
    starts = np.arange(0, len(values), stride)
    if not len(starts):
        return np.empty((0, 2))
    counts = np.diff([*starts, len(values)])
    return np.stack([starts + counts / 2 + 0.5, np.add.reduceat(values, starts) / counts], axis=1)


def find_neighbours(
    crops: Tensor, features: Tensor, n_queries: int, n_neighbours: int
) -> Neighbours:
    """Find the most similar of some cells."""
    directions = functional.normalize(features.float().cpu(), dim=1)
    n_queries = min(n_queries, len(crops))
    cosine = directions[:n_queries] @ directions.T
    # A cell is most like itself, also where rounding or a twin says otherwise.
    cosine[torch.arange(n_queries), torch.arange(n_queries)] = 2.0
    similarity, nearest = cosine.topk(min(1 + n_neighbours, len(crops)), dim=1)
    similarity[:, 0] = 1.0
    return Neighbours(crops[nearest].numpy(), similarity.numpy())


class Meter:
    """Measures how quick a training is, without its pauses."""

    def __init__(self, crops_per_step: int) -> None:
        self._crops = crops_per_step
        self._began = time.perf_counter()
        self._steps: list[float] = []
        self._n_steps = 0
        self._paused = 0.0

    def paused(self, seconds: float) -> None:
        """Leave out so many seconds."""
        self._paused += seconds

    def step_done(self) -> None:
        """Count a step."""
        self._n_steps += 1
        self._steps.append(self.seconds)
        # The first steps warm caches up; the last ones say how it goes now.
        del self._steps[:-50]

    @property
    def seconds(self) -> float:
        """Time since the start, without pauses."""
        return time.perf_counter() - self._began - self._paused

    @property
    def seconds_per_step(self) -> float:
        """Mean of the latest steps; NaN before the second."""
        if len(self._steps) < 2:
            return float("nan")
        return (self._steps[-1] - self._steps[0]) / (len(self._steps) - 1)

    @property
    def crops_per_s(self) -> float:
        """Views a second; 0 before the second step."""
        each = self.seconds_per_step
        return self._crops / each if each > 0 else 0.0
