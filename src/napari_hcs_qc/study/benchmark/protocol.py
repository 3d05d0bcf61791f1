"""Which cells train and which test, for each protocol."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAPER_TRAIN, PAPER_TEST = 350, 130
TEST_SHARE = 0.3
_TRIES = 1000


@dataclass(frozen=True, eq=False)
class Draw:
    """Rows of the training cells in the order they are taken, and of the test cells."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]


def paper_sizes(classes: NDArray[np.str_]) -> tuple[int, int]:
    """Give the numbers of training and test cells: 350/130, or the largest in that ratio."""
    fewest = min(int((classes == word).sum()) for word in ("normal", "abnormal"))
    if 2 * fewest >= PAPER_TRAIN + PAPER_TEST:
        return PAPER_TRAIN, PAPER_TEST
    half = fewest * PAPER_TRAIN // (PAPER_TRAIN + PAPER_TEST)
    return 2 * half, 2 * (fewest - half)


def paper_draw(classes: NDArray[np.str_], seed: int) -> Draw:
    """Draw by cell, half normal and half abnormal, as the paper does (wells are on both sides)."""
    n_train, n_test = paper_sizes(classes)
    rng = np.random.default_rng(seed)
    mixed = {w: rng.permutation(np.flatnonzero(classes == w)) for w in ("normal", "abnormal")}
    half = n_train // 2
    train = _alternating(mixed["normal"][:half], mixed["abnormal"][:half])
    test = [mixed[word][half : half + n_test // 2] for word in ("normal", "abnormal")]
    return Draw(train, np.concatenate(test))


def grouped_draw(classes: NDArray[np.str_], groups: NDArray[np.str_], seed: int) -> Draw:
    """Draw whole wells or plates: some 30 % of them test, and both classes are on both sides."""
    rng = np.random.default_rng(seed)
    names = np.unique(groups)
    n_test = max(1, round(TEST_SHARE * len(names)))
    for _ in range(_TRIES if len(names) > 1 else 0):
        is_test = np.isin(groups, rng.permutation(names)[:n_test])
        if all(len(set(classes[side].tolist())) == 2 for side in (is_test, ~is_test)):
            train = {
                word: rng.permutation(np.flatnonzero(~is_test & (classes == word)))
                for word in ("normal", "abnormal")
            }
            order = _alternating(train["normal"], train["abnormal"])
            return Draw(order, np.flatnonzero(is_test))
    raise HcsQcError(
        f"The {len(names)} wells or plates cannot be split so that both sides have both classes; "
        "annotate cells in more wells."
    )


def transfer_train(classes: NDArray[np.str_], seed: int, *, paper: bool) -> NDArray[np.int64]:
    """Order the cells of a source that is trained on and never tested."""
    if paper:
        return paper_draw(classes, seed).train
    rng = np.random.default_rng(seed)
    mixed = [rng.permutation(np.flatnonzero(classes == w)) for w in ("normal", "abnormal")]
    return _alternating(mixed[0], mixed[1])


def interval(
    values: NDArray[np.float64], test_per_train: float = 0.0
) -> tuple[float, float] | None:
    """95 % interval of a mean over splits; None for fewer than two.

    Splits of one set overlap, so the variance is corrected by the ratio of test to training cells
    (Nadeau and Bengio 2003, Machine Learning 52); 0 where they do not.
    """
    from scipy.stats import t

    if len(values) < 2 or not np.isfinite(values).all():
        return None
    mean, variance = float(values.mean()), float(values.var(ddof=1))
    reach = float(t.ppf(0.975, len(values) - 1))
    reach *= math.sqrt(variance * (1 / len(values) + test_per_train))
    return max(0.0, mean - reach), min(1.0, mean + reach)


def _alternating(normal: NDArray[np.int64], abnormal: NDArray[np.int64]) -> NDArray[np.int64]:
    """Take turns, normal first (an odd number has one more of it), until one class runs out."""
    n = min(len(normal), len(abnormal))
    paired = np.stack([normal[:n], abnormal[:n]], axis=1).ravel()
    return np.concatenate([paired, normal[n:], abnormal[n:]])
