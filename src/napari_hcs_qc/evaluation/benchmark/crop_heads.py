"""Heads of the benchmark that are fitted on crops: fine-tuning, ours and the paper's."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari_hcs_qc.cells.recipe import get_recipe
from napari_hcs_qc.encoders.registry import load_architecture
from napari_hcs_qc.encoders.trainable import TrainableEncoder
from napari_hcs_qc.heads.finetune import PRESETS, fine_tune
from napari_hcs_qc.heads.scoring import abnormal_column

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from napari_hcs_qc.evaluation.benchmark.engine import CropHead
    from napari_hcs_qc.evaluation.benchmark.spec import EncoderSpec
    from napari_hcs_qc.jobs import ShouldStop


def fine_tuned_heads() -> dict[str, CropHead]:
    """Give the fine-tuned heads by name."""
    return {name: partial(_fitted, name) for name in PRESETS}


def _fitted(
    preset: str,
    train_crops: torch.Tensor,
    classes: NDArray[np.str_],
    groups: NDArray[np.str_] | None,
    test_crops: torch.Tensor,
    encoder: EncoderSpec,
    recipe_name: str,
    seed: int,
    should_stop: ShouldStop,
) -> NDArray[np.float64]:
    recipe = get_recipe(recipe_name)
    architecture, _ = load_architecture(
        encoder.name, weights=encoder.weights, should_stop=should_stop
    )
    per_scale = train_crops.shape[1] // len(recipe.scales)
    tuned = fine_tune(
        TrainableEncoder(encoder.name, architecture, recipe),
        train_crops,
        classes,
        groups,
        PRESETS[preset],
        sides=tuple(scale for scale in recipe.scales for _ in range(per_scale)),
        seed=seed,
        should_stop=should_stop,
    )
    features = tuned.encoder.encode(test_crops.flatten(0, 1), should_stop=should_stop)
    rows = features.view(len(test_crops), -1).numpy()
    p: NDArray[np.float64] = tuned.head.predict_proba(rows)[:, abnormal_column(tuned.head)]
    return p
