"""Division of annotated cells into folds that keep each well (group) whole."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MIN_GROUPS = 3
"""With fewer wells than this a fold by well would say more about the well than about the head."""


class Folds(NamedTuple):
    """Which fold each cell is held out in.

    Parameters
    ----------
    fold
        ``(n_cells,)`` int64: the fold in which the cell is held out.
    n_folds
        Number of folds; 0 when the cells cannot be divided at all.
    by
        ``"well"`` when every group lies whole in one fold, ``"cell"`` otherwise.
    """

    fold: NDArray[np.int64]
    n_folds: int
    by: Literal["well", "cell"]


def assign_folds(y: ArrayLike, groups: ArrayLike | None, n_folds: int, seed: int) -> Folds:
    """Assign cells to stratified folds, by well where the annotations allow it.

    Every fold's training part holds every class. The number of folds shrinks to what the
    rarest class allows. Wells are broken up only where there is no other way: no `groups`,
    fewer than `MIN_GROUPS` of them, or a class that occurs in a single well.

    Parameters
    ----------
    y
        ``(n_cells,)`` classes.
    groups
        ``(n_cells,)`` well names, unique over plates (``"plate/A01"``), or None.
    n_folds
        Folds wished for, at least 2.
    seed
        Seed of the shuffle; the same seed gives the same folds.

    Returns
    -------
    Folds
        `n_folds` is 0 (and every `fold` 0) when a class has fewer than 2 cells.
    """
    labels = np.asarray(y)
    codes = np.unique(labels, return_inverse=True)[1].reshape(-1)
    if groups is not None:
        wells = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
        if wells.max(initial=0) + 1 >= MIN_GROUPS:
            wells_of_class = [len(np.unique(wells[codes == code])) for code in np.unique(codes)]
            for n_tried in range(min(n_folds, *wells_of_class), 1, -1):
                splitter = StratifiedGroupKFold(n_tried, shuffle=True, random_state=seed)
                fold = _fold_index(splitter, codes, wells)
                if _every_training_part_has_all(codes, fold, n_tried):
                    return Folds(fold, n_tried, "well")
    n_folds = min(n_folds, int(np.bincount(codes).min()))
    if n_folds < 2:
        return Folds(np.zeros(len(codes), np.int64), 0, "cell")
    splitter = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    return Folds(_fold_index(splitter, codes, None), n_folds, "cell")


def _fold_index(
    splitter: Any, codes: NDArray[np.int64], wells: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    fold = np.zeros(len(codes), np.int64)
    with warnings.catch_warnings():
        # Too few members of a class: the caller counts them itself.
        warnings.simplefilter("ignore", UserWarning)
        for number, (_, held_out) in enumerate(splitter.split(codes, codes, wells)):
            fold[held_out] = number
    return fold


def _every_training_part_has_all(
    codes: NDArray[np.int64], fold: NDArray[np.int64], n_folds: int
) -> bool:
    n_classes = len(np.unique(codes))
    return all(
        (fold == number).any() and len(np.unique(codes[fold != number])) == n_classes
        for number in range(n_folds)
    )
