"""Scores of the cells of one plate before any annotation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from napari_hcs_qc.heads.linear.plate_directions import trait_directions
from napari_hcs_qc.heads.prior.plate_statistics import PlateStatistics, plate_statistics
from napari_hcs_qc.heads.prior.residual import Residual
from napari_hcs_qc.heads.threads import one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from napari_hcs_qc.heads.prior.linear_prior import LinearPrior

    Floats = NDArray[np.float64]

MIN_CELLS = 200
"""With fewer cells of a plate its usual cell is not known."""

LINE = 2.25
"""Robust standard deviations above the plate's median where the score is 0."""

_STRICTER = 1.125  # log-odds, three quarters of a deviation

RESIDUAL_ALONE = "distance from the plate's usual cells"
"""Name of the prior of an encoder or recipe that no linear prior was made for."""

_RESIDUAL_WEIGHT = 0.75  # beside the linear prior
_SMALL = 3.0  # robust deviations by which a log area is below the usual one: less than half of it
_SMALL_WEIGHT = 0.3  # of each deviation beyond these,
_MOST_SMALL = 2.0  # and of no more: mitoses are small, too, and debris is known by its looks
_PER_DEVIATION = 1.5  # of the score: as an offset of log-odds it then helps few annotations most
_ROWS_AT_ONCE = 4096
_FEWEST_WELLS = 10  # to know how wells differ
_FEWEST_CELLS = 5  # of a well
# Standard deviations of the wells' medians that are no reason. Of 384 wells that are alike nine lie
# above 2, and their healthy cells were lifted.
_USUAL_WELL = 3.0
_LIFT = 4.0  # of a cell, for each deviation by which its well goes beyond these


def stricter(linear: LinearPrior | None) -> float:
    """Give what is taken off the score, in log-odds, before any annotation.

    Of a clean plate some 2 % of the cells are called then. Beside a few annotations, which people
    pick among the odd cells, the score helps most without it; and the distance alone would find
    too little.
    """
    return 0.0 if linear is None else _STRICTER


class _Usual(NamedTuple):
    """Median and robust standard deviation of a score over the plate."""

    centre: float
    scale: float

    @classmethod
    def of(cls, values: Floats) -> Self:
        centre, scale = plate_statistics(values[:, np.newaxis])
        return cls(float(centre[0]), float(scale[0]))

    def standardised(self, values: Floats) -> Floats:
        return (values - self.centre) / self.scale


class _Smallness(NamedTuple):
    """What the features foretell of a cell's area, and how far below the usual one counts."""

    direction: Floats  # ``(n_features,)``, of standardised features
    usual: _Usual

    @classmethod
    def of(cls, z: Floats, areas: ArrayLike) -> Self | None:
        """Learn it of a sample; None where too few areas are known, or all are one."""
        with one_blas_thread():
            found = trait_directions(z, np.asarray(areas, dtype=np.float64)[:, np.newaxis])
        return cls(found[0], _Usual.of(z @ found[0])) if len(found) else None

    def counted(self, z: Floats) -> Floats:
        below = -self.usual.standardised(z @ self.direction) - _SMALL
        part: Floats = _SMALL_WEIGHT * np.clip(below, 0, _MOST_SMALL)
        return part


@dataclass(frozen=True, eq=False, kw_only=True)
class PlatePrior:
    """Scores cells against the usual cells of their plate; made by `fit`.

    The score ``s`` adds up how much a cell looks like the artefacts that the linear prior learned
    and how far it lies from the principal components of its plate, each in robust standard
    deviations; where areas of cells are known, also whether its features are those of a cell far
    smaller than usual. It is 0 at `LINE` of these. It serves as the offset of a head's log-odds,
    but is not calibrated: no probability follows from it.

    A cell of a well that looks like artefacts as a whole counts for more, see `with_wells`.
    """

    name: str
    statistics: PlateStatistics
    linear: LinearPrior | None
    columns: NDArray[np.int64]  # features that the linear prior is of
    residual: Residual
    usual_linear: _Usual
    usual_residual: _Usual
    usual_sum: _Usual
    smallness: _Smallness | None = None
    lifts: Mapping[str, float] = field(default_factory=dict)  # by well, in robust deviations

    @classmethod
    def fit(
        cls,
        cells: ArrayLike,
        linear: LinearPrior | None = None,
        seed: int = 0,
        columns: NDArray[np.int64] | None = None,
        areas: ArrayLike | None = None,
    ) -> Self | None:
        """Learn what is usual on a plate.

        Parameters
        ----------
        cells : array_like, shape (n_cells, n_features)
            Embeddings of a sample of the plate's cells, some thousand, those that the image border
            cuts left out. Rows that are not finite are ignored.
        linear : LinearPrior, optional
            The prior of the encoder and recipe; without one the distance from the principal
            components is the whole score.
        seed : int
            Which halves of the sample the components are found in.
        columns : ndarray, optional
            Which features the linear prior is of, where there are more channels than that of the
            nuclei; all by default.
        areas : array_like, shape (n_cells,), optional
            Logarithm of each cell's area, NaN where it is not known. Only beside a linear prior.

        Returns
        -------
        PlatePrior or None
            None when there are fewer than `MIN_CELLS` cells.
        """
        rows = np.asarray(cells, dtype=np.float64)
        is_finite = np.isfinite(rows).all(axis=1)
        rows = rows[is_finite]
        if len(rows) < MIN_CELLS:
            return None
        used = np.arange(rows.shape[1]) if columns is None else columns
        if linear is not None and len(linear.coef) != 2 * len(used):
            raise ValueError(
                f"The prior {linear.name} is for {len(linear.coef) // 2} features, the cells have "
                f"{len(used)}; use the prior of their encoder and recipe."
            )
        statistics = plate_statistics(rows)
        z = statistics.standardised(rows)
        residual = Residual.fit(z, seed)
        distances = residual.score(z)
        looks = distances if linear is None else linear.score(z[:, used])
        smallness = None
        if linear is not None and areas is not None:
            smallness = _Smallness.of(z, np.asarray(areas, dtype=np.float64)[is_finite])
        prior = cls(
            name=RESIDUAL_ALONE if linear is None else linear.name,
            statistics=statistics,
            linear=linear,
            columns=used,
            residual=residual,
            usual_linear=_Usual.of(looks),
            usual_residual=_Usual.of(distances),
            usual_sum=_Usual(0.0, 1.0),  # until the sum of these is known
            smallness=smallness,
        )
        return replace(prior, usual_sum=_Usual.of(prior._sum(z)))

    def with_wells(
        self, cells: NDArray[Any], wells: NDArray[Any], rows: NDArray[np.int64] | None = None
    ) -> Self:
        """Learn which wells look like artefacts as a whole, such as those of dead cells.

        A cell that is hardly odd in itself is likely abnormal where most others are odd in that
        way. Only the linear prior counts for this: a well of an unusual phenotype is far from
        the plate's other cells, but need not look like artefacts.

        Parameters
        ----------
        cells : ndarray, shape (n_cells, n_features)
            Embeddings of some cells of each well, cut ones left out.
        wells : ndarray, shape (n_cells,)
            Their wells.
        rows : ndarray, optional
            Which of these cells; all by default. Embeddings on disk are read block by block.

        Returns
        -------
        PlatePrior
            The same with `lifts`, which are empty with few wells, or without a linear prior.
        """
        if self.linear is None:
            return self
        used = np.arange(len(cells)) if rows is None else rows
        blocks = (used[at : at + _ROWS_AT_ONCE] for at in range(0, len(used), _ROWS_AT_ONCE))
        looks = np.concatenate([np.empty(0), *(self._looks(cells[block]) for block in blocks)])
        names, number = np.unique(np.asarray(wells, dtype=str)[used], return_inverse=True)
        order = np.argsort(number, kind="stable")
        order = order[np.isfinite(looks[order])]
        ends = np.searchsorted(number[order], np.arange(1, len(names)))
        of_wells = np.split(looks[order], ends)
        known = [index for index, own in enumerate(of_wells) if len(own) >= _FEWEST_CELLS]
        if len(known) < _FEWEST_WELLS:
            return self
        medians = np.array([np.median(of_wells[index]) for index in known])
        n_cells = np.array([len(of_wells[index]) for index in known])
        among = _Usual.of(medians)
        within = np.concatenate([of_wells[i] - m for i, m in zip(known, medians, strict=True)])
        by_chance = np.sqrt(np.pi / 2 / n_cells) * _Usual.of(within).scale
        beyond = medians - among.centre - _USUAL_WELL * np.maximum(among.scale, by_chance)
        lifts = {
            str(names[index]): _LIFT * float(value)
            for index, value in zip(known, beyond, strict=True)
            if value > 0
        }
        return replace(self, lifts=lifts)

    def _looks(self, cells: NDArray[Any]) -> Floats:
        """How much cells look like artefacts; NaN for one whose embedding is not finite."""
        assert self.linear is not None
        looks = self._linear_part(self.linear, self.statistics.standardised(cells))
        looks[~np.isfinite(cells).all(axis=1)] = np.nan
        return looks

    def _sum(self, z: Floats) -> Floats:
        """Add up the parts of the score of standardised cells."""
        total: Floats = _RESIDUAL_WEIGHT * self.usual_residual.standardised(self.residual.score(z))
        if self.linear is not None:
            total += self._linear_part(self.linear, z)
        if self.smallness is not None:
            total += self.smallness.counted(z)
        return total

    def _linear_part(self, linear: LinearPrior, z: Floats) -> Floats:
        return self.usual_linear.standardised(linear.score(z[:, self.columns]))

    def score(self, features: NDArray[Any], wells: ArrayLike | None = None) -> Floats:
        """Score cells of the plate.

        Parameters
        ----------
        features : ndarray, shape (n_cells, n_features)
            Their embeddings, of any floating type.
        wells : array_like, shape (n_cells,), optional
            Their wells; without them no cell is lifted.

        Returns
        -------
        ndarray, shape (n_cells,)
            ``s`` of each; NaN for a cell whose embedding is not finite.
        """
        scores = np.empty(len(features))
        for start in range(0, len(features), _ROWS_AT_ONCE):
            part = features[start : start + _ROWS_AT_ONCE]
            z = self.statistics.standardised(part)
            total = self._sum(z)
            # Cut off, an Inf would look like any large number.
            total[~np.isfinite(part).all(axis=1)] = np.nan
            above = self.usual_sum.standardised(total) - LINE
            scores[start : start + len(part)] = _PER_DEVIATION * above
        if wells is not None:
            names = np.asarray(wells, dtype=str)
            if names.shape != scores.shape:
                raise ValueError(f"{names.size} wells were given for {len(scores)} cells.")
            for well, lift in self.lifts.items():
                scores[names == well] += _PER_DEVIATION * lift
        return scores

    def kinds(self, features: NDArray[Any]) -> NDArray[np.object_]:
        """Kinds of cells that are called abnormal, by their embeddings; None where not known."""
        kinds = np.full(len(features), None, dtype=object)
        if self.linear is not None:
            usable = np.isfinite(features).all(axis=1)
            z = self.statistics.standardised(features[usable])[:, self.columns]
            kinds[usable] = self.linear.kinds(z)
        return kinds
