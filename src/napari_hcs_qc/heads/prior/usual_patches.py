"""How unlike the plate's usual patches each place of a site is: where an artefact lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from scipy import ndimage as ndi
from sklearn.neighbors import NearestNeighbors

from napari_hcs_qc.heads.threads import one_blas_thread

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

MIN_SITES = 3
"""Two whose patches are compared with, and one that tells how far usual patches lie from them."""

_N_PATCHES = 1000  # of each half
_N_COMPONENTS = 30
_NEIGHBOUR = 3  # the nearest ones may be of the same rare thing
_LIMIT = 8.0  # standardised features stop here
_EXTREME = 99.0  # percent of the usual patches that have values below 1
_LEAST_VARIANCE = 1e-3  # of a standardised feature: less is rounding
_TINY = 1e-6


class _Usual(NamedTuple):
    """Median and 99th percentile of a usual site's patches, brought to 0 and 1."""

    centre: float
    scale: float

    @classmethod
    def of(cls, sites: Sequence[Floats]) -> Self:
        # The median over sites: one with an artefact, however large, changes nothing.
        percentiles = [np.percentile(values, [50.0, _EXTREME]) for values in sites]
        centre, extreme = np.median(percentiles, axis=0)
        return cls(float(centre), max(float(extreme - centre), _TINY))

    def standardised(self, values: Floats) -> Floats:
        return (values - self.centre) / self.scale


@dataclass(frozen=True, eq=False, kw_only=True)
class _Stage:
    """The usual patches of one map."""

    mean: Floats
    sd: Floats
    axes: Floats  # ``(n_features, n_components)``
    halves: tuple[NearestNeighbors, ...]

    @classmethod
    def fit(cls, halves: Sequence[Floats]) -> Self:
        rows = np.concatenate(halves)
        mean, sd = rows.mean(axis=0), rows.std(axis=0) + _TINY
        with one_blas_thread():
            axes = _axes(np.clip((rows - mean) / sd, -_LIMIT, _LIMIT))
            made = cls(mean=mean, sd=sd, axes=axes, halves=())
            nearest = (
                NearestNeighbors(n_neighbors=min(_NEIGHBOUR, len(half)), algorithm="brute").fit(
                    made._along(half)
                )
                for half in halves
            )
            return cls(mean=mean, sd=sd, axes=axes, halves=tuple(nearest))

    def distance(self, patches: Floats) -> Floats:
        """Log distance ``(rows, columns)`` of the patches of a map from the usual ones.

        The larger one of both halves counts: an artefact that is in the sample is like itself.
        """
        rows = _as_rows(patches)
        with one_blas_thread():
            along = self._along(rows)
            far = np.max([half.kneighbors(along)[0][:, -1] for half in self.halves], axis=0)
        value: Floats = np.log(np.maximum(far, _TINY)).astype(np.float32)
        return value.reshape(patches.shape[1:])

    def _along(self, rows: Floats) -> Floats:
        z = np.clip((rows - self.mean) / self.sd, -_LIMIT, _LIMIT)
        along: Floats = z @ self.axes
        return along


def _axes(z: Floats) -> Floats:
    """Give the first principal components; where all are kept, each counts alike."""
    variances, axes = np.linalg.eigh(np.atleast_2d(np.cov(z.T)))
    if len(axes) <= _N_COMPONENTS:
        axes = axes / np.sqrt(variances + _LEAST_VARIANCE)
    first: Floats = axes[:, ::-1][:, :_N_COMPONENTS].astype(np.float32)
    return first


@dataclass(frozen=True, eq=False, kw_only=True)
class UsualPatches:
    """Scores the places of a site against the usual patches of their plate; made by `fit`.

    Of each map (those of the stages of an encoder, and one of grey values) the distance of a patch
    to its third nearest neighbour among the plate's patches is taken, and these are added up. 0 is
    the median of a usual site, and 1 percent of it lies above 1.
    """

    stages: tuple[_Stage, ...]
    weights: tuple[float, ...]
    usual_stages: tuple[_Usual, ...]
    usual_sum: _Usual

    @classmethod
    def fit(
        cls, sites: Iterable[Sequence[Floats]], first_weight: float = 1.0, seed: int = 0
    ) -> Self | None:
        """Learn what is usual from the maps ``(n_features, rows, columns)`` of some sites.

        The first map counts `first_weight` times. None for fewer sites than `MIN_SITES`.
        """
        rng = np.random.default_rng(seed)
        sampled: tuple[list[list[Floats]], list[list[Floats]]] = ([], [])
        rest: list[Sequence[Floats]] = []
        for number, maps in enumerate(sites):
            if number % MIN_SITES == MIN_SITES - 1:
                rest.append(maps)
            else:
                sampled[number % MIN_SITES].append([_sample(patches, rng) for patches in maps])
        if not rest:
            return None
        stages = []
        for index in range(len(rest[0])):
            halves = []
            for half in sampled:
                rows = np.concatenate([site[index] for site in half])
                halves.append(rows[rng.permutation(len(rows))[:_N_PATCHES]])
            stages.append(_Stage.fit(halves))
        distances = [[s.distance(m) for s, m in zip(stages, maps, strict=True)] for maps in rest]
        usual_stages = tuple(
            _Usual.of([site[index] for site in distances]) for index in range(len(stages))
        )
        weights = (first_weight, *[1.0] * (len(stages) - 1))
        sums = [_added(site, usual_stages, weights) for site in distances]
        return cls(
            stages=tuple(stages),
            weights=weights,
            usual_stages=usual_stages,
            usual_sum=_Usual.of(sums),
        )

    def score(self, maps: Sequence[Floats]) -> Floats:
        """Score a site, ``(rows, columns)`` of its finest map."""
        distances = [stage.distance(m) for stage, m in zip(self.stages, maps, strict=True)]
        return self.usual_sum.standardised(_added(distances, self.usual_stages, self.weights))


def _added(
    distances: Sequence[Floats], usual: Sequence[_Usual], weights: Sequence[float]
) -> Floats:
    shape = max((values.shape for values in distances), key=np.prod)
    parts = [
        weight * resized(part.standardised(values), shape)
        for values, part, weight in zip(distances, usual, weights, strict=True)
    ]
    total: Floats = np.sum(parts, axis=0)
    return total


def resized(values: Floats, shape: tuple[int, ...]) -> Floats:
    """Bring a map to another number of rows and columns, by straight lines between its middles."""
    if values.shape == shape:
        return values
    places = (
        (np.arange(n) + 0.5) * have / n - 0.5 for n, have in zip(shape, values.shape, strict=True)
    )
    grid = np.meshgrid(*places, indexing="ij", sparse=False)
    value: Floats = ndi.map_coordinates(values, grid, order=1, mode="nearest", output=np.float32)
    return value


def _as_rows(patches: Floats) -> Floats:
    return patches.reshape(len(patches), -1).T


def _sample(patches: Floats, rng: np.random.Generator) -> Floats:
    rows = _as_rows(patches)
    return rows[rng.permutation(len(rows))[:_N_PATCHES]]
