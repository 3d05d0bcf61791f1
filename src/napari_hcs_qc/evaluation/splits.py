"""Folds for cross-validation that never let cells of one well help to judge that well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.heads.linear.folds import MIN_GROUPS, assign_folds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from napari_hcs_qc.heads.linear.folds import Folds


@dataclass(frozen=True, eq=False)
class Split:
    """A division of annotated cells into folds."""

    fold: NDArray[np.int64]  # ``(n_cells,)`` int64: the fold in which the cell is held out
    n_folds: int  # number of folds
    by: Literal["well", "cell"]  # ``"well"``, or ``"cell"`` where the wells could not be kept whole
    note: str = ""  # what differs from the wish, in words; empty when nothing does

    def __iter__(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Give the indices of the cells to fit on and of those held out, fold by fold."""
        for number in range(self.n_folds):
            yield np.flatnonzero(self.fold != number), np.flatnonzero(self.fold == number)


def grouped_folds(
    groups: ArrayLike | None, y: ArrayLike, n_splits: int = 5, seed: int = 0
) -> Split:
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
    return Split(folds.fold, folds.n_folds, folds.by, _note(groups, folds, n_splits))


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
