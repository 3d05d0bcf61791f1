"""Whether a plate looks unlike the plates a model was trained on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.linalg import eigh
from sklearn.neighbors import NearestNeighbors

from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

TYPICAL = 0.99
"""Share of the reference's own held-out cells that count as typical."""

UNLIKE_SHARE = 0.05
"""A plate is unlike when more than this share of its cells is not typical (1 % would be usual).

Five times the usual share. The 99th percentile of some hundred held-out cells is itself known
only to about a factor of two, and wells of one plate differ by as much, so a smaller excess says
nothing; a plate that is dimmer or out of focus all over goes far beyond. With fewer reference
cells than `_SURE_REFERENCE` the share that is too much grows as the sampling error does.
"""

MIN_REFERENCE = 100
MIN_NEW = 30

_SURE_REFERENCE = 1000
_DIVISIONS = 2
_MAX_REFERENCE = 3000
_MAX_NEW = 3000
_MAX_COMPONENTS = 32
_NEIGHBOURS = 5


@dataclass(frozen=True, eq=False, kw_only=True)
class Shift:
    """How unlike a plate is."""

    value: float
    threshold: float  # the share above which the plate counts as unlike
    is_novel: bool  # whether it does
    sentence: str  # the same for a person
    n_reference: int = field(default=0)  # cells compared
    n_new: int = field(default=0)  # cells compared


class ShiftDetector:
    """Distances of cells to a reference, in units of what is usual within the reference.

    Half of the reference's wells are kept to measure against; the other half, which the measure
    has not seen, says which distances are usual: it plays the part of a new plate on which
    nothing changed. This is done for several divisions into halves, both ways round.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, reference: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Learn what is usual."""
        rows, chosen = sample_rows(reference, _MAX_REFERENCE, np.random.default_rng(self.seed))
        rng = np.random.default_rng(self.seed)  # the same halves, whoever has drawn the sample
        if len(rows) < MIN_REFERENCE:
            raise HcsQcError(
                f"{len(rows)} reference cells are too few; at least {MIN_REFERENCE} are needed."
            )
        self.n_reference_, self.n_features_in_ = rows.shape
        wells = None if groups is None else np.asarray(groups)[chosen]
        self._members: list[_Yardstick] = []
        for _ in range(_DIVISIONS):
            half = _half(len(rows), wells, rng)
            self._members += [_Yardstick(rows[half], rows[~half])]
            self._members += [_Yardstick(rows[~half], rows[half])]
        return self

    def share_novel(self, cells: ArrayLike) -> float:
        """Share of cells farther away than `TYPICAL` of the reference's own, 0..1."""
        rows = np.asarray(self._checked(cells), np.float64)
        far = [member.share_nearer(rows) >= TYPICAL for member in self._members]
        return float(np.mean(far))

    def score(self, new: ArrayLike) -> Shift:
        """Say whether a plate looks unlike the reference."""
        rows, _ = sample_rows(new, _MAX_NEW, np.random.default_rng(self.seed + 1))
        if len(rows) < MIN_NEW:
            return _too_few(self.n_reference_, len(rows))
        value = self.share_novel(rows)
        threshold = UNLIKE_SHARE * max(1.0, (_SURE_REFERENCE / self.n_reference_) ** 0.5)
        is_novel = value > threshold
        share = f"{value:.1%} of its cells are farther from the training cells than 99 % of those"
        if is_novel:
            sentence = (
                f"This plate looks unlike the training data: {share} are from one another (1 % "
                "would be usual). Check some of its wells and annotate cells on it before you "
                "trust its figures."
            )
        else:
            sentence = (
                f"This plate looks like the training data: {share} are from one another (1 % "
                "would be usual)."
            )
        return Shift(
            value=value,
            threshold=threshold,
            is_novel=is_novel,
            sentence=sentence,
            n_reference=self.n_reference_,
            n_new=len(rows),
        )

    def _checked(self, cells: ArrayLike) -> NDArray[Any]:
        given: NDArray[Any] = np.asarray(cells)
        if given.ndim != 2 or given.shape[1] != self.n_features_in_:
            raise HcsQcError(
                f"The new cells have the shape {given.shape}; the reference has "
                f"{self.n_features_in_} features. Embed both with the same encoder and recipe."
            )
        return given


class _Yardstick:
    """Nearest-neighbour distances to one half of the reference, judged by the other half."""

    def __init__(self, kept: NDArray[np.float64], held_out: NDArray[np.float64]) -> None:
        self.centre = kept.mean(axis=0)
        scale = kept.std(axis=0)
        is_constant = scale <= 1e-6 * np.abs(self.centre) + 1e-12
        self.scale = np.where(is_constant, np.inf, scale)
        standardised = (kept - self.centre) / self.scale
        # Ten cells for each direction, or its spread would be a guess.
        n_components = max(1, min(_MAX_COMPONENTS, len(kept) // 10, kept.shape[1]))
        self.axes, self.spread = _main_directions(standardised, n_components)
        self.outside_scale = 1.0
        outside = self._coordinates(kept)[:, -1]
        self.outside_scale = max(float(outside.std()), 1e-6)
        self.bank = NearestNeighbors(n_neighbors=_NEIGHBOURS).fit(self._coordinates(kept))
        self.usual = np.sort(self._distance(held_out))

    def share_nearer(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Share of the held-out half that lies nearer than each row, ``(n_rows,)``."""
        share: NDArray[np.float64] = np.searchsorted(self.usual, self._distance(rows)) / len(
            self.usual
        )
        return share

    def _coordinates(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Whitened main directions, and as one more how far a cell lies outside of them."""
        standardised = (rows - self.centre) / self.scale
        inside = standardised @ self.axes
        outside = np.linalg.norm(standardised - inside @ self.axes.T, axis=1)
        return np.column_stack([inside / self.spread, outside / self.outside_scale])

    def _distance(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        distances, _ = self.bank.kneighbors(self._coordinates(rows))
        mean: NDArray[np.float64] = distances.mean(axis=1)
        return mean


def measure_shift(
    reference: ArrayLike, new: ArrayLike, seed: int = 0, *, groups: ArrayLike | None = None
) -> Shift:
    """Say whether a plate looks unlike the reference."""
    usual, chosen = sample_rows(reference, _MAX_REFERENCE, np.random.default_rng(seed))
    if len(usual) < MIN_REFERENCE:
        rows, _ = sample_rows(new, _MAX_NEW, np.random.default_rng(seed + 1))
        return _too_few(len(usual), len(rows))
    wells = None if groups is None else np.asarray(groups)[chosen]
    return ShiftDetector(seed).fit(usual, wells).score(new)


def sample_rows(
    cells: ArrayLike, most: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw at most `most` rows without NaN; also their indices, ascending."""
    given: NDArray[Any] = np.asarray(cells)
    chosen = np.arange(len(given))
    if len(given) > most:
        chosen = np.sort(rng.choice(len(given), most, replace=False))
    rows = np.asarray(given[chosen], np.float64)
    usable = np.isfinite(rows).all(axis=1)
    return rows[usable], chosen[usable]


def _half(n_cells: int, wells: NDArray[Any] | None, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Choose half of the wells, or of the cells where there are too few wells."""
    if wells is not None:
        names, well = np.unique(wells, return_inverse=True)
        if len(names) >= 4:
            kept = rng.permutation(len(names)) < len(names) // 2
            half: NDArray[np.bool_] = kept[well.reshape(-1)]
            if 0.25 <= half.mean() <= 0.75:
                return half
    return rng.permutation(n_cells) < n_cells // 2


def _main_directions(
    rows: NDArray[np.float64], n_components: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``(n_features, n_components)`` orthonormal main directions and the spread along each."""
    n_cells, n_features = rows.shape
    if n_features <= n_cells:
        values, axes = eigh(rows.T @ rows / n_cells)
    else:
        values, vectors = eigh(rows @ rows.T / n_cells)
        axes = rows.T @ vectors / np.sqrt(np.maximum(values, 1e-12) * n_cells)
    order = np.argsort(values)[::-1][:n_components]
    order = order[values[order] > 1e-8 * max(float(values.max()), 1e-12)]
    return axes[:, order], np.sqrt(values[order])


def _too_few(n_reference: int, n_new: int) -> Shift:
    sentence = (
        f"Whether this plate looks unlike the training data is unknown: {n_reference} training "
        f"cells and {n_new} new ones, at least {MIN_REFERENCE} and {MIN_NEW} are needed."
    )
    return Shift(
        value=float("nan"),
        threshold=UNLIKE_SHARE,
        is_novel=False,
        sentence=sentence,
        n_reference=n_reference,
        n_new=n_new,
    )
