"""The figures of a model: cross-validated on its own annotated cells, and the learning curve."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.assay.models.extra_cells import Simulated, WithSimulated
from napari_hcs_qc.assay.models.finetuning import cross_validate_fine_tuned
from napari_hcs_qc.evaluation.crossval import cross_validate
from napari_hcs_qc.evaluation.label_issues import label_issues
from napari_hcs_qc.evaluation.learning_curve import learning_curve
from napari_hcs_qc.evaluation.reliability import reliability
from napari_hcs_qc.heads.head_registry import make_head
from napari_hcs_qc.heads.linear.scoring import ABNORMAL
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.embeddings.training_set import Annotated
    from napari_hcs_qc.assay.models.train_options import TrainOptions
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.evaluation.crossval import CrossValidation

_IMPOSSIBLE: dict[str, Any] = {
    "sentence": "not possible with a single annotated cell of a class",
    "figures": [],
}

FIGURES = {
    "f1_weighted": "weighted F1",
    "auc": "AUC",
    "accuracy": "accuracy",
    "f1_abnormal": "F1 of the abnormal class",
    "precision_abnormal": "precision of the abnormal class",
    "recall_abnormal": "recall of the abnormal class",
}
"""Cross-validated figures and what they are called to a person."""

CALIBRATION = "expected calibration error"
"""Another figure, of `Reliability`; the lower the better."""


def validate(
    annotated: Annotated,
    options: TrainOptions,
    job: Job = NO_JOB,
    simulated: Simulated | None = None,
) -> dict[str, Any]:
    """Cross-validate a head on the annotated cells, grouped by well.

    Simulated cells, where there are any, are trained on in the folds that their wells are trained
    on in, and never judged.
    """
    if _is_impossible(annotated.classes):
        return dict(_IMPOSSIBLE)
    make: Callable[[int], Any] | None = None
    if simulated is not None:
        cells, plate = simulated, annotated.plate

        def make(seed: int) -> Any:
            return WithSimulated(make_head(options.head, seed, plate), cells)

    found = cross_validate(
        annotated.embeddings,
        annotated.classes,
        annotated.groups,
        options.head,
        plate=annotated.plate,
        head_factory=make,
        seeds=tuple(range(options.seed, options.seed + options.n_seeds)),
        job=job,
    )
    return _summary(found, annotated.rows, annotated.classes, annotated.groups)


def validate_fine_tuned(
    annotated: Sequence[tuple[PlateState, pd.DataFrame]],
    recipe: CropRecipe,
    options: TrainOptions,
    job: Job = NO_JOB,
) -> dict[str, Any]:
    """Cross-validate a fine-tuned model, see `cross_validate_fine_tuned`; takes minutes."""
    if _is_impossible(
        np.concatenate([table["class"].to_numpy(dtype=str) for _, table in annotated])
    ):
        return dict(_IMPOSSIBLE)
    found, cells = cross_validate_fine_tuned(annotated, recipe, options, job=job)
    return _summary(found, cells.rows, cells.classes, cells.groups)


def _is_impossible(classes: NDArray[np.str_]) -> bool:
    return min(Counter(classes.tolist()).values()) < 2


def _summary(
    validation: CrossValidation,
    rows: NDArray[np.int64],
    classes: NDArray[np.str_],
    wells: NDArray[np.str_],
) -> dict[str, Any]:
    data = validation.to_dict()
    n_seeds = len(validation.seeds)
    seeds = f"{count_of(n_seeds, 'seed')}"
    by = "grouped by well" if validation.by == "well" else "by cell, not by well"
    sentence = (
        f"{validation.n_splits} folds {by}, {seeds}, {validation.n_cells} cells in "
        f"{validation.n_wells} wells"
    )
    is_abnormal = classes == ABNORMAL
    p_abnormal = validation.p_abnormal.mean(axis=0)
    units = wells if validation.by == "well" else np.arange(len(wells))
    bins = reliability(p_abnormal, is_abnormal, units=units)
    return {
        **data,
        "label_issues": [
            {"cell": int(rows[row]), "p_abnormal": round(float(p_abnormal[row]), 4)}
            for row in label_issues(validation.p_abnormal, is_abnormal)
        ],
        "confusion": validation.confusion().tolist(),
        "reliability": bins.to_dict(),
        "sentence": f"{sentence}. {validation.note}" if validation.note else sentence,
        "figures": [
            {
                "name": shown,
                "mean": data["mean"][name],
                "sd": data["sd"][name],
                "ci95": data["ci95"][name],
            }
            for name, shown in FIGURES.items()
        ]
        + [
            {
                "name": CALIBRATION,
                "mean": bins.ece,
                "sd": None,  # of each cell's mean over the seeds, so that there is one
                "ci95": [bins.ece_low, bins.ece_high],
                "perfect": bins.ece_perfect,
            }
        ],
    }


def curve(
    annotated: Annotated,
    options: TrainOptions,
    job: Job = NO_JOB,
) -> dict[str, Any]:
    """Measure how the figures grow with the number of annotations, see `learning_curve`."""
    found = learning_curve(
        annotated.embeddings,
        annotated.classes,
        annotated.groups,
        options.head,
        plate=annotated.plate,
        job=job,
    )
    return {**found.to_dict(), "verdict": found.verdict()}
