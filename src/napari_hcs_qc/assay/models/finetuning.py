"""Fine-tune the encoder of an assay on its annotated cells, and say how good that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from napari_hcs_qc.assay.embeddings.training_crops import AnnotatedCrops, annotated_crops
from napari_hcs_qc.assay.embeddings.training_set import counted
from napari_hcs_qc.encoders.registry import load_architecture
from napari_hcs_qc.encoders.trainable import TrainableEncoder
from napari_hcs_qc.evaluation.crossval import cross_validate
from napari_hcs_qc.files import fingerprint
from napari_hcs_qc.heads.finetune import PRESETS, FineTuned, fine_tune
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.run_in_thread import run_in_thread

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from napari_hcs_qc.assay.models.train_options import TrainOptions
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.evaluation.crossval import CrossValidation

CHECKPOINT = "fine-tuning.ckpt"
"""Name of the file in the assay's folder from which a training that was stopped goes on."""


def fine_tuned(
    positions: Sequence[tuple[PlateState, pd.DataFrame]],
    recipe: CropRecipe,
    options: TrainOptions,
    *,
    folder: Path | None = None,
    job: Job = NO_JOB,
) -> FineTuned:
    """Fine-tune the encoder of some options on annotated cells."""
    cells = annotated_crops(positions, recipe, job=job)
    job.report(0, 0, "Preparing to fine-tune")
    checkpoint = None if folder is None else folder / CHECKPOINT
    return _tuned(cells, recipe, options, options.seed, checkpoint=checkpoint, job=job)


def forget_training(folder: Path) -> None:
    """Delete the state of a training whose model is kept; see `fine_tuned`."""
    (folder / CHECKPOINT).unlink(missing_ok=True)


def cross_validate_fine_tuned(
    positions: Sequence[tuple[PlateState, pd.DataFrame]],
    recipe: CropRecipe,
    options: TrainOptions,
    *,
    job: Job = NO_JOB,
) -> tuple[CrossValidation, AnnotatedCrops]:
    """Cross-validate fine-tuning with wells kept whole: each fold trains an encoder of its own.

    One division into folds, whatever the options say: it takes as long as five trainings.
    """
    cells = annotated_crops(positions, recipe, job=job)
    rows = np.arange(len(cells.classes), dtype=np.float64)[:, np.newaxis]

    def make(seed: int) -> Any:
        return _OnRows(cells, recipe, options, seed, job)

    validation = cross_validate(
        rows,
        cells.classes,
        cells.groups,
        options.head,
        seeds=(options.seed,),
        counts=counted(cells.chosen, cells.classes),
        head_factory=make,
        job=job,
    )
    return validation, cells


def score_crops(tuned: FineTuned, crops: torch.Tensor, job: Job) -> NDArray[Any]:
    """Give ``(n_cells, n_classes)`` probabilities of crops, columns as ``tuned.head.classes_``."""
    features = tuned.encoder.encode(crops.flatten(0, 1), job=job)
    p: NDArray[Any] = tuned.head.predict_proba(features.view(len(crops), -1).numpy())
    return p


def _tuned(
    cells: AnnotatedCrops,
    recipe: CropRecipe,
    options: TrainOptions,
    seed: int,
    *,
    chosen: NDArray[np.int64] | None = None,
    checkpoint: Path | None = None,
    job: Job,
) -> FineTuned:
    rows = np.arange(len(cells.classes)) if chosen is None else chosen
    name = options.encoder_name
    settings = PRESETS[options.head]

    def work(job: Job) -> FineTuned:
        architecture, digest = load_architecture(name, weights=options.weights, job=job)
        network = TrainableEncoder(name, architecture, recipe, options.device)
        crops = cells.crops[torch.from_numpy(rows)]
        key = fingerprint(
            {
                "settings": repr(settings),
                "seed": seed,
                "weights": digest,
                "recipe": recipe.fingerprint,
                "cells": [
                    f"{group} {cls} {float(crop.double().sum()):.6f}"
                    for group, cls, crop in zip(
                        cells.groups[rows], cells.classes[rows], crops, strict=True
                    )
                ],
                "torch": str(torch.__version__),
                "device": str(network.device),
            }
        )
        return fine_tune(
            network,
            crops,
            cells.classes[rows],
            cells.groups[rows],
            settings,
            sides=cells.sides,
            seed=seed,
            checkpoint=checkpoint,
            key=key,
            job=job,
        )

    # A pass through the network and back cannot be stopped half way. What is left behind may
    # still write its checkpoint, whole and under a key that says what it belongs to.
    return run_in_thread(work, job)


class _OnRows:
    """A fine-tuned model as a head whose features are the cells' row numbers."""

    def __init__(
        self, cells: AnnotatedCrops, recipe: CropRecipe, options: TrainOptions, seed: int, job: Job
    ) -> None:
        self.cells, self.recipe, self.options, self.seed = cells, recipe, options, seed
        self.job = job

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Train on the cells of some rows."""
        self._tuned = _tuned(
            self.cells, self.recipe, self.options, self.seed, chosen=_rows(X), job=self.job
        )
        self.classes_ = self._tuned.head.classes_
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Score the cells of some rows."""
        self.job.check()
        crops = self.cells.crops[torch.from_numpy(_rows(X))]
        return score_crops(self._tuned, crops, self.job)


def _rows(X: ArrayLike) -> NDArray[np.int64]:
    return np.asarray(X)[:, 0].astype(np.int64)
