"""The figures of a model: cross-validated on its own annotated cells, and the learning curve."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.assay.models.extra_cells import Simulated, WithSimulated
from napari_hcs_qc.assay.models.finetuning import cross_validate_fine_tuned
from napari_hcs_qc.assay.store.figures import Figure, Figures, HeldOut, LabelIssueRecord
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

    from napari_hcs_qc.assay.embeddings.training_set import AnnotatedCells
    from napari_hcs_qc.assay.models.train_options import TrainOptions
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.evaluation.crossval import CrossValidation
    from napari_hcs_qc.evaluation.curves import LearningCurve

_DECIMALS = 5  # of the probabilities in the manifest

_IMPOSSIBLE = Figures(sentence="not possible with a single annotated cell of a class")

FIGURES = {
    "f1_weighted": "weighted F1",
    "auc": "AUC",
    "accuracy": "accuracy",
    "f1_abnormal": "F1 of the abnormal class",
    "precision_abnormal": "precision of the abnormal class",
    "recall_abnormal": "recall of the abnormal class",
}
"""Cross-validated figures and their names for people."""

CALIBRATION = "expected calibration error"
"""Another figure, of `Reliability`; the lower the better."""


def validate(
    annotated: AnnotatedCells,
    options: TrainOptions,
    job: Job = NO_JOB,
    simulated: Simulated | None = None,
) -> Figures:
    """Cross-validate a head on the annotated cells, grouped by well.

    Simulated cells, where there are any, are trained on in the folds that their wells are trained
    on in, and never scored.
    """
    if _is_impossible(annotated.classes):
        return _IMPOSSIBLE
    make: Callable[[int], Any] | None = None
    if simulated is not None:
        cells, plate = simulated, annotated.plate

        def make(seed: int) -> Any:
            return WithSimulated(make_head(options.head, seed, plate), cells)

    validation = cross_validate(
        annotated.embeddings,
        annotated.classes,
        annotated.groups,
        options.head,
        plate=annotated.plate,
        head_factory=make,
        seeds=tuple(range(options.seed, options.seed + options.n_seeds)),
        job=job,
    )
    return _figures(validation, annotated.rows, annotated.classes, annotated.groups)


def validate_fine_tuned(
    positions: Sequence[tuple[PlateState, pd.DataFrame]],
    recipe: CropRecipe,
    options: TrainOptions,
    job: Job = NO_JOB,
) -> Figures:
    """Cross-validate a fine-tuned model, see `cross_validate_fine_tuned`; takes minutes."""
    if _is_impossible(
        np.concatenate([table["class"].to_numpy(dtype=str) for _, table in positions])
    ):
        return _IMPOSSIBLE
    validation, cells = cross_validate_fine_tuned(positions, recipe, options, job=job)
    return _figures(validation, cells.rows, cells.classes, cells.groups)


def _is_impossible(classes: NDArray[np.str_]) -> bool:
    return min(Counter(classes.tolist()).values()) < 2


def _figures(
    validation: CrossValidation,
    rows: NDArray[np.int64],
    classes: NDArray[np.str_],
    wells: NDArray[np.str_],
) -> Figures:
    is_abnormal = classes == ABNORMAL
    p_abnormal = validation.p_abnormal.mean(axis=0)
    units = wells if validation.by == "well" else np.arange(len(wells))
    bins = reliability(p_abnormal, is_abnormal, units=units)
    shown = [
        Figure(
            name=title,
            mean=validation.mean[name],
            sd=validation.sd[name],
            ci95=validation.ci95[name],
        )
        for name, title in FIGURES.items()
    ]
    calibration = Figure(
        name=CALIBRATION,
        mean=bins.ece,
        sd=None,  # of each cell's mean over the seeds, so that there is one
        ci95=(bins.ece_low, bins.ece_high),
        perfect=bins.ece_perfect,
    )
    return Figures(
        sentence=_sentence(validation),
        figures=(*shown, calibration),
        head=validation.head_name,
        seeds=tuple(validation.seeds),
        by=validation.by,
        n_splits=validation.n_splits,
        n_cells=validation.n_cells,
        n_wells=validation.n_wells,
        note=validation.note,
        mean=dict(validation.mean),
        sd=dict(validation.sd),
        ci95=dict(validation.ci95),
        per_seed=tuple(metrics.to_dict() for metrics in validation.per_seed),
        label_issues=tuple(
            LabelIssueRecord(cell=int(rows[row]), p_abnormal=round(float(p_abnormal[row]), 4))
            for row in label_issues(validation.p_abnormal, is_abnormal)
        ),
        confusion=tuple(tuple(row) for row in validation.confusion().tolist()),
        reliability=bins,
        held_out=HeldOut(
            p_abnormal=tuple(
                tuple(np.round(row, _DECIMALS).tolist()) for row in validation.p_abnormal
            ),
            is_abnormal=tuple(is_abnormal.tolist()),
        ),
    )


def _sentence(validation: CrossValidation) -> str:
    by = "grouped by well" if validation.by == "well" else "by cell, not by well"
    sentence = (
        f"{validation.n_splits} folds {by}, {count_of(len(validation.seeds), 'seed')}, "
        f"{validation.n_cells} cells in {validation.n_wells} wells"
    )
    return f"{sentence}. {validation.note}" if validation.note else sentence


def curve(annotated: AnnotatedCells, options: TrainOptions, job: Job = NO_JOB) -> LearningCurve:
    """Measure how the figures grow with the number of annotations, see `learning_curve`."""
    return learning_curve(
        annotated.embeddings,
        annotated.classes,
        annotated.groups,
        options.head,
        plate=annotated.plate,
        job=job,
    )
