"""Division of annotated cells into folds that keep each well (group) whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from sklearn.model_selection import StratifiedKFold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

MIN_GROUPS = 3
"""With fewer wells than this a fold by well would say more about the well than about the head."""


@dataclass(frozen=True, eq=False)
class Folds:
    """Which fold each cell is held out in."""

    fold: NDArray[np.int64]  # ``(n_cells,)``: the fold in which the cell is held out
    n_folds: int  # number of folds; 0 when the cells cannot be divided at all
    # ``"well"`` when every group lies whole in one fold, ``"cell"`` otherwise
    by: Literal["well", "cell"]
    note: str = ""  # what differs from what was asked for, in words; empty when nothing does

    def __iter__(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Give the indices of the cells to fit on and of those held out, fold by fold."""
        for number in range(self.n_folds):
            yield np.flatnonzero(self.fold != number), np.flatnonzero(self.fold == number)


def assign_folds(y: ArrayLike, groups: ArrayLike | None, n_folds: int, seed: int) -> Folds:
    """Assign cells to stratified folds, by well where the annotations allow it.

    Every fold's training part holds every class. The number of folds shrinks to what the
    rarest class allows. Wells are broken up only where there is no other way: no `groups`,
    fewer than `MIN_GROUPS` of them, or a class that occurs in a single well.
    """
    labels = np.asarray(y)
    codes = np.unique(labels, return_inverse=True)[1].reshape(-1)
    if groups is not None:
        wells = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
        if wells.max(initial=0) + 1 >= MIN_GROUPS:
            wells_of_class = [len(np.unique(wells[codes == code])) for code in np.unique(codes)]
            for n_tried in range(min(n_folds, *wells_of_class), 1, -1):
                fold = _whole_wells(codes, wells, n_tried, seed)
                if _every_training_part_has_all(codes, fold, n_tried):
                    return Folds(fold, n_tried, "well")
    n_folds = min(n_folds, int(np.bincount(codes).min()))
    if n_folds < 2:
        return Folds(np.zeros(len(codes), np.int64), 0, "cell")
    splitter = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    fold = np.zeros(len(codes), np.int64)
    for number, (_, held_out) in enumerate(splitter.split(codes, codes)):
        fold[held_out] = number
    return Folds(fold, n_folds, "cell")


def _whole_wells(
    codes: NDArray[np.int64], wells: NDArray[np.int64], n_folds: int, seed: int
) -> NDArray[np.int64]:
    """Deal wells out to folds, each to the one after which every class is spread most evenly.

    The same folds as scikit-learn's `StratifiedGroupKFold`, some ten times as fast: a person waits
    for it at every retraining.
    """
    counts = np.zeros((wells.max() + 1, codes.max() + 1))
    np.add.at(counts, (wells, codes), 1)
    n_of_class = counts.sum(axis=0)
    shuffled = np.arange(len(counts))
    np.random.RandomState(seed).shuffle(shuffled)
    # Wells of mostly one class first: the mixed ones can still even out what they leave.
    order = shuffled[np.argsort(-counts[shuffled].std(axis=1), kind="stable")]
    in_fold, n_in_fold = np.zeros((n_folds, counts.shape[1])), [0.0] * n_folds
    fold_of_well = np.zeros(len(counts), np.int64)
    diagonal = np.arange(n_folds)
    for well in order:
        # Entry i: all folds, were the well to go to fold i.
        trials = np.repeat(in_fold[np.newaxis], n_folds, axis=0)
        trials[diagonal, diagonal] += counts[well]
        unevenness = (trials / n_of_class).std(axis=1).mean(axis=1).tolist()
        best = 0
        for fold in range(1, n_folds):
            least = unevenness[best]
            is_alike = abs(unevenness[fold] - least) <= 1e-8 + 1e-5 * least
            is_smaller = n_in_fold[fold] < n_in_fold[best]
            if unevenness[fold] < least or (is_alike and is_smaller):
                best = fold
        in_fold[best] += counts[well]
        n_in_fold[best] = float(in_fold[best].sum())
        fold_of_well[well] = best
    return fold_of_well[wells]


def _every_training_part_has_all(
    codes: NDArray[np.int64], fold: NDArray[np.int64], n_folds: int
) -> bool:
    n_classes = len(np.unique(codes))
    return all(
        (fold == number).any() and len(np.unique(codes[fold != number])) == n_classes
        for number in range(n_folds)
    )
