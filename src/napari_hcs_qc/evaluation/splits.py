"""Folds for cross-validation that never let cells of one well help to judge that well."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.heads.linear.folds import MIN_GROUPS, assign_folds

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from napari_hcs_qc.heads.linear.folds import Folds


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
        found = ", ".join(f"{count} {name}" for name, count in zip(classes, counts, strict=True))
        raise HcsQcError(
            f"The annotations ({found or 'none'}) cannot be split for cross-validation: annotate "
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
