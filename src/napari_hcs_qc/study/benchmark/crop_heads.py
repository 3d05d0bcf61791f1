"""Heads of the benchmark that are fitted on crops: fine-tuning, ours and the paper's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from napari_hcs_qc.cells.recipe import get_recipe
from napari_hcs_qc.encoders.registry import load_architecture
from napari_hcs_qc.encoders.trainable import TrainableEncoder
from napari_hcs_qc.heads.finetune import PRESETS, fine_tune
from napari_hcs_qc.heads.linear.scoring import abnormal_column
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.run_in_thread import run_in_thread

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from napari_hcs_qc.study.benchmark.benchmark_spec import EncoderSpec


@dataclass(frozen=True, eq=False, kw_only=True)
class CropDraw:
    """What a head is fitted on."""

    crops: torch.Tensor  # ``(n, n_views, channels, side, side)`` in 0..1, of the cells trained on
    classes: NDArray[np.str_]  # ``(n,)`` of the cells trained on
    groups: NDArray[np.str_] | None  # ``(n,)`` of the cells trained on
    encoder: EncoderSpec  # where the encoder begins
    recipe: str  # by name
    seed: int  # of everything random
    checkpoint: Path | None = None  # file in which a training that is stopped is kept
    key: str = ""  # content address of all this
    job: Job = NO_JOB


CropScorer: TypeAlias = Callable[["torch.Tensor"], "NDArray[np.float64]"]
"""Gives P(abnormal), ``(n,)``, of crops ``(n, n_views, channels, side, side)``."""

CropHead: TypeAlias = Callable[[CropDraw], CropScorer]
"""Fits on crops."""


def fine_tuned_heads() -> dict[str, CropHead]:
    """Give the fine-tuned heads by name."""
    return {name: partial(_fitted, name) for name in PRESETS}


def _fitted(preset: str, draw: CropDraw) -> CropScorer:
    recipe = get_recipe(draw.recipe)
    architecture, _ = load_architecture(
        draw.encoder.name, weights=draw.encoder.weights, job=draw.job.silent()
    )
    per_scale = draw.crops.shape[1] // len(recipe.scales)
    work = partial(
        fine_tune,
        TrainableEncoder(draw.encoder.name, architecture, recipe),
        draw.crops,
        draw.classes,
        draw.groups,
        PRESETS[preset],
        sides=tuple(scale for scale in recipe.scales for _ in range(per_scale)),
        seed=draw.seed,
        checkpoint=draw.checkpoint,
        key=draw.key,
    )
    # A pass through a large network and back takes seconds, and cannot be stopped half way.
    tuned = run_in_thread(lambda job: work(job=job), draw.job)

    def score(crops: torch.Tensor) -> NDArray[np.float64]:
        features = tuned.encoder.encode(crops.flatten(0, 1), job=draw.job)
        rows = features.view(len(crops), -1).numpy()
        p: NDArray[np.float64] = tuned.head.predict_proba(rows)[:, abnormal_column(tuned.head)]
        return p

    return score
