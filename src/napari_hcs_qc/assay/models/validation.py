"""The figures of a model: cross-validated on its own annotated cells, and the learning curve."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.assay.embeddings.training_set import counted
from napari_hcs_qc.assay.models.extra_cells import WithMoreCells
from napari_hcs_qc.assay.models.finetuning import cross_validate_fine_tuned
from napari_hcs_qc.assay.store.assay_folder import DEFAULT_THRESHOLD
from napari_hcs_qc.assay.store.figures import (
    CALIBRATION,
    Figure,
    Figures,
    HeldOut,
    LabelIssueRecord,
)
from napari_hcs_qc.evaluation.agreement import agreement
from napari_hcs_qc.evaluation.crossval import cross_validate
from napari_hcs_qc.evaluation.label_issues import label_issues
from napari_hcs_qc.evaluation.learning_curve import learning_curve
from napari_hcs_qc.evaluation.reliability import reliability
from napari_hcs_qc.heads.head_registry import make_head
from napari_hcs_qc.heads.linear.solver import probabilities
from napari_hcs_qc.heads.prior.plate_prior import stricter
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.embeddings.training_crops import AnnotatedCrops
    from napari_hcs_qc.assay.embeddings.training_set import AnnotatedCells, MoreCells
    from napari_hcs_qc.assay.models.train_options import TrainOptions
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.evaluation.crossval import CrossValidation
    from napari_hcs_qc.evaluation.curves import LearningCurve

_DECIMALS = 5  # of the probabilities in the manifest

_CHOSEN = {
    "hand": "{} picked by hand",
    "first": "{} suggested at the start",
    "random": "{} suggested at random",
    "suggested": "{} suggested because a model was unsure of them",
    None: "{} picked in a way that is not recorded",
}

_IMPOSSIBLE = Figures(sentence="not possible with a single annotated cell of a class")


def validate(
    annotated: AnnotatedCells,
    options: TrainOptions,
    job: Job = NO_JOB,
    simulated: MoreCells | None = None,
) -> Figures:
    """Cross-validate a head on the annotated cells, grouped by well.

    Found and simulated cells, where there are any, are trained on in the folds that their wells
    are trained on in, and never scored.
    """
    if _is_impossible(annotated.classes):
        return _IMPOSSIBLE
    more = annotated.found + simulated

    def make(seed: int) -> Any:
        head = make_head(options.head, seed, annotated.plate)
        return WithMoreCells(head, more, annotated.groups)

    validation = cross_validate(
        annotated.embeddings,
        annotated.classes,
        annotated.groups,
        options.head,
        plate=annotated.plate,
        head_factory=make,
        seeds=tuple(range(options.seed, options.seed + options.n_seeds)),
        counts=counted(annotated.chosen, annotated.classes),
        offset=annotated.offset,
        job=job,
    )
    figures = _figures(validation, annotated)
    if annotated.offset is None:
        return figures
    linear = None if annotated.priors is None else annotated.priors.linear
    alone = _prior_alone(annotated.offset + stricter(linear), validation)
    return figures.model_copy(update={"sentence": f"{figures.sentence} {alone}"})


def _prior_alone(offset: NDArray[np.float64], validation: CrossValidation) -> str:
    """Say what the prior is worth on the same cells, without any annotation."""
    used = validation.counts
    p_abnormal = probabilities(offset[used, np.newaxis])[np.newaxis, :, 0]
    one_fold = np.zeros_like(p_abnormal, dtype=np.int64)
    alone = agreement(validation.is_abnormal[used], p_abnormal, one_fold, None)
    return (
        f"Before any annotation their weighted F1 would be {alone.mean['f1_weighted']:.3f} and "
        f"their AUC {alone.mean['auc']:.3f}, by the prior alone."
    )


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
    return _figures(validation, cells)


def _is_impossible(classes: NDArray[np.str_]) -> bool:
    return min(Counter(classes.tolist()).values()) < 2


def _figures(validation: CrossValidation, cells: AnnotatedCells | AnnotatedCrops) -> Figures:
    used, is_abnormal = validation.counts, validation.is_abnormal
    is_of_uncertain = bool((cells.chosen[used] == "suggested").any())
    p_abnormal = validation.p_abnormal.mean(axis=0)
    units = cells.groups[used] if validation.by == "well" else None
    bins = reliability(p_abnormal[used], is_abnormal[used], units=units)
    has_intervals = validation.by == "well" and not is_of_uncertain
    well = np.unique(cells.groups, return_inverse=True)[1].reshape(-1)
    calibration = Figure(
        name=CALIBRATION,
        mean=bins.ece,
        sd=None,  # of each cell's mean over the seeds, so that there is one
        ci95=(bins.ece_low, bins.ece_high),
        perfect=bins.ece_perfect,
    )
    figures = Figures(
        sentence=_sentence(validation, cells),
        is_of_uncertain=is_of_uncertain,
        figures=(calibration,),
        head=validation.head_name,
        seeds=tuple(validation.seeds),
        by=validation.by,
        n_splits=validation.n_splits,
        n_cells=validation.n_cells,
        n_wells=validation.n_wells,
        note=validation.note,
        label_issues=tuple(
            LabelIssueRecord(cell=int(cells.rows[row]), p_abnormal=round(float(p_abnormal[row]), 4))
            for row in label_issues(validation.p_abnormal, is_abnormal)
        ),
        reliability=bins,
        held_out=HeldOut(
            p_abnormal=tuple(
                tuple(np.round(row, _DECIMALS).tolist()) for row in validation.p_abnormal
            ),
            is_abnormal=tuple(is_abnormal.tolist()),
            counts=tuple(used.tolist()),
            fold=tuple(tuple(row) for row in validation.fold.tolist()),
            well=tuple(well.tolist()) if has_intervals else (),
            random=tuple((cells.chosen == "random").tolist()),
        ),
    )
    return figures.at(DEFAULT_THRESHOLD)


def _sentence(validation: CrossValidation, cells: AnnotatedCells | AnnotatedCrops) -> str:
    used = validation.counts
    ways = Counter(cells.chosen[used].tolist())
    n_of_way = [(text, ways[way]) for way, text in _CHOSEN.items() if ways[way]]
    how = ", ".join(text.format(f"{n}" if len(n_of_way) > 1 else "all") for text, n in n_of_way)
    by = "its well" if validation.by == "well" else "it"
    sentences = [
        f"{count_of(int(used.sum()), 'annotated cell')} in "
        f"{count_of(len(np.unique(cells.groups[used])), 'well')} ({how}), each classified by a "
        f"model that was trained without {by} ({validation.n_splits} folds, "
        f"{count_of(len(validation.seeds), 'seed')})."
    ]
    n_left = int((~used).sum())
    if n_left:
        sentences.append(
            f"{count_of(n_left, 'cell')} suggested because a model was unsure of them "
            f"{'is' if n_left == 1 else 'are'} not counted."
        )
    elif ways["suggested"]:
        sentences.append(
            "Cells that a model was unsure of are the hard ones, and too few others are annotated "
            "to leave them out: these figures are too low."
        )
    if validation.note:
        sentences.append(validation.note)
    return " ".join(sentences)


def curve(annotated: AnnotatedCells, options: TrainOptions, job: Job = NO_JOB) -> LearningCurve:
    """Measure how the figures grow with the number of annotations, see `learning_curve`."""
    return learning_curve(
        annotated.embeddings,
        annotated.classes,
        annotated.groups,
        options.head,
        plate=annotated.plate,
        offset=annotated.offset,
        job=job,
    )
