"""How well a head will do on wells nobody annotated, with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.agreement import Agreement, agreement
from napari_hcs_qc.heads.head_registry import make_head
from napari_hcs_qc.heads.linear.folds import MIN_GROUPS, Folds, assign_folds
from napari_hcs_qc.heads.linear.scoring import ABNORMAL, abnormal_column
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_hcs_qc.heads.head_registry import Head
    from napari_hcs_qc.heads.linear.plate_directions import PlateDirections


@dataclass(frozen=True, eq=False, kw_only=True)
class CrossValidation:
    """Figures from held-out cells only, over several divisions into folds."""

    head_name: str  # the head judged
    seeds: tuple[int, ...]  # one division into folds for each
    figures: Agreement  # of the cells that count, at the threshold of one half
    # ``(n_seeds, n_cells)`` float64 held-out P(abnormal), cells as given; and the fold of each
    p_abnormal: NDArray[np.float64]
    fold: NDArray[np.int64]
    is_abnormal: NDArray[np.bool_]  # ``(n_cells,)`` whether the cell is annotated abnormal
    counts: NDArray[np.bool_]  # ``(n_cells,)`` whether the figures are also of it
    # ``"well"`` when no well was on both sides of a division, else ``"cell"``
    by: Literal["well", "cell"]
    n_splits: int  # folds of each division
    n_cells: int
    n_wells: int  # 0 when none were given
    note: str = ""  # what differs from what was asked for; empty when nothing does. To be shown


def cross_validate(
    X: ArrayLike,
    y: ArrayLike,
    groups: ArrayLike | None,
    head_name: str = "linear",
    *,
    plate: PlateDirections | None = None,
    n_splits: int = 5,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    counts: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    head_factory: Callable[[int], Head] | None = None,
    job: Job = NO_JOB,
) -> CrossValidation:
    """Cross-validate a head with wells kept whole.

    Everything a head chooses (its strength, its calibration) it chooses within the cells it is
    given, so a held-out fold has no say in the figures of its own cells. All cells are trained on;
    the figures are of those that count, by default of all. An `offset`, what is known of each cell
    without annotations, is for heads that take one.
    """
    cells, labels, wells, splits = divided(X, y, groups, n_splits, seeds, "cross-validation")
    make = head_factory or (lambda seed: make_head(head_name, seed, plate))
    total, done = sum(split.n_folds for split in splits), 0
    p_abnormal = np.full((len(seeds), len(labels)), np.nan)
    for row, (seed, split) in enumerate(zip(seeds, splits, strict=True)):
        for fit_on, held_out in split:
            job.check()
            job.report(done, total, f"cross-validating {head_name}")
            head = make(seed)
            fit_wells = None if wells is None else wells[fit_on]
            head.fit(cells[fit_on], labels[fit_on], groups=fit_wells, **of_rows(offset, fit_on))
            p = head.predict_proba(cells[held_out], **of_rows(offset, held_out))
            p_abnormal[row, held_out] = np.clip(p[:, abnormal_column(head)], 0, 1)
            done += 1
    job.report(total, total, f"cross-validating {head_name}")
    worst = worst_of(splits)
    units = units_of(worst, wells)
    is_abnormal, fold = labels == ABNORMAL, np.stack([split.fold for split in splits])
    used = np.ones(len(labels), bool) if counts is None else np.asarray(counts, bool)
    return CrossValidation(
        head_name=head_name,
        seeds=tuple(int(seed) for seed in seeds),
        figures=agreement(
            is_abnormal[used],
            p_abnormal[:, used],
            fold[:, used],
            None if units is None else units[used],
        ),
        p_abnormal=p_abnormal,
        fold=fold,
        is_abnormal=is_abnormal,
        counts=used,
        by=worst.by,
        n_splits=worst.n_folds,
        n_cells=len(labels),
        n_wells=0 if wells is None else len(np.unique(wells)),
        note=worst.note,
    )


def of_rows(offset: ArrayLike | None, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Give the offset of some cells as an argument of a head; none where there is none."""
    return {} if offset is None else {"offset": np.asarray(offset)[rows]}


def grouped_folds(
    groups: ArrayLike | None, y: ArrayLike, n_splits: int = 5, seed: int = 0
) -> Folds:
    """Stratified folds that keep each well whole."""
    labels = np.asarray(y)
    if n_splits < 2:
        raise HcsQcError(f"{n_splits} folds were requested; at least 2 are needed.")
    if groups is not None and len(np.asarray(groups)) != len(labels):
        raise HcsQcError(
            f"{len(np.asarray(groups))} wells were given for {len(labels)} annotated cells; "
            "give the well of each cell."
        )
    classes, counts = np.unique(labels, return_counts=True)
    folds = assign_folds(labels, groups, n_splits, seed)
    if folds.n_folds < 2 or len(classes) < 2:
        counted = ", ".join(f"{count} {name}" for name, count in zip(classes, counts, strict=True))
        raise HcsQcError(
            f"The annotations ({counted or 'none'}) cannot be split for cross-validation: annotate "
            "at least 2 cells of each class."
        )
    return replace(folds, note=_note(groups, folds, n_splits))


def _note(groups: ArrayLike | None, folds: Folds, requested: int) -> str:
    parts = []
    if folds.by == "cell":
        if groups is None:
            why = "no wells were given"
        else:
            wells = np.unique(np.asarray(groups))
            if len(wells) < MIN_GROUPS:
                why = f"only {len(wells)} {'well is' if len(wells) == 1 else 'wells are'} annotated"
            else:
                why = "one class is annotated in a single well"
        parts.append(
            f"Held out by cell, not by well, because {why}: cells of one well resemble each other, "
            "so these figures are too optimistic."
        )
    if folds.n_folds < requested:
        parts.append(
            f"{folds.n_folds} folds instead of {requested}: the rarer class is annotated in too "
            f"few {'wells' if folds.by == 'well' else 'cells'} for more."
        )
    return " ".join(parts)


def divided(
    X: ArrayLike,
    y: ArrayLike,
    groups: ArrayLike | None,
    n_splits: int,
    seeds: Sequence[int],
    purpose: str,
) -> tuple[NDArray[Any], NDArray[np.str_], NDArray[Any] | None, list[Folds]]:
    """Check annotated cells and divide them once a seed: embeddings, classes, wells, divisions."""
    cells, labels = np.asarray(X), np.asarray(y).astype(str)
    if not len(seeds):
        raise HcsQcError(f"No seeds were given for {purpose}; give at least one.")
    if len(cells) != len(labels):
        raise HcsQcError(f"{len(cells)} embeddings were given for {len(labels)} annotated cells.")
    wells = None if groups is None else np.asarray(groups)
    return cells, labels, wells, [grouped_folds(wells, labels, n_splits, seed) for seed in seeds]


def worst_of(splits: Sequence[Folds]) -> Folds:
    """Give the division that is farthest from what was asked for."""
    return max(splits, key=lambda split: (split.by == "cell", -split.n_folds))


def units_of(split: Folds, wells: NDArray[Any] | None) -> NDArray[Any] | None:
    """Give what varies between the cells: wells, or the cells themselves where none are known.

    None where wells had to be parted: what is found there says nothing of other wells.
    """
    if wells is None:
        return np.arange(len(split.fold))
    return wells if split.by == "well" else None
