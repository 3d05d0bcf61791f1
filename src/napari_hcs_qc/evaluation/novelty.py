"""How unlike everything that was annotated a cell is: there the model's word is a guess."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import tensor_bytes
from napari_hcs_qc.heads.threads import one_blas_thread
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from napari_hcs_qc.heads.linear.plate_directions import PlateDirections

MIN_ANNOTATED = 20
"""With fewer annotations nearly every cell would be unlike them."""

USUAL = 0.95
"""Share of the annotated cells that lie nearer to those of other wells than the limit."""

MOST_ANNOTATED = 1000
"""Of more, so many are drawn to compare with: the time grows with them."""

_MIN_WELLS = 3
_NEIGHBOURS = 3
_LIMIT = 8.0  # standardised features stop here
_ROWS_AT_ONCE = 1024
_ARRAYS = ("centre", "scale", "bank", "limit")


class Novelty:
    """Distance of cells to the annotated ones, in units of what is usual among these.

    The mean Euclidean distance, over standardised features, to the three nearest annotated cells;
    1 is the distance that 95 % of the annotated cells keep to those of other wells. It orders
    cells better than it draws a line: see "Unlike anything annotated" in ``benchmarks/README.md``.
    """

    def fit(
        self, annotated: ArrayLike, groups: ArrayLike, plate: PlateDirections | None = None
    ) -> Self:
        """Learn what is usual."""
        rows, wells = np.asarray(annotated, np.float32), np.asarray(groups)
        n_wells = len(np.unique(wells))
        if len(rows) < MIN_ANNOTATED or n_wells < _MIN_WELLS:
            raise HcsQcError(
                "Novelty cannot be computed yet: there are "
                f"{count_of(len(rows), 'annotated cell')} in {count_of(n_wells, 'well')}; at least "
                f"{MIN_ANNOTATED} in {_MIN_WELLS} wells are needed."
            )
        chosen = compared_with(len(rows))
        rows, wells = rows[chosen], wells[chosen]
        if plate is None:
            centre, spread = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
        else:
            centre, spread = plate.centre, plate.scale
        # A constant feature says nothing.
        varies = np.isfinite(spread) & (spread > 1e-6 * np.abs(centre) + 1e-12)
        self._centre = centre.astype(np.float32)
        self._scale = np.where(varies, 1 / np.where(varies, spread, 1), 0).astype(np.float32)
        # Half as large on disk; what is kept is what is measured with from the start.
        self._bank = self._standardised(rows).astype(np.float16).astype(np.float32)
        self.n_annotated_ = len(rows)
        self.limit_ = 1.0
        own = np.empty(len(rows), np.float32)
        with one_blas_thread():
            for part in _parts(len(rows)):
                same = wells[part, np.newaxis] == wells[np.newaxis, :]
                squared = np.where(same, np.inf, self._squared(self._bank[part]))
                own[part] = _mean_of_nearest(squared)
        # A well that holds nearly all the annotations leaves its cells without three others.
        own = own[np.isfinite(own)]
        if 2 * len(own) < MIN_ANNOTATED:
            raise HcsQcError(
                "Novelty cannot be computed yet: too few of the annotated cells are in other "
                "wells than most. Annotate cells in more wells."
            )
        self.limit_ = max(float(np.quantile(own, USUAL)), 1e-6)
        return self

    @property
    def annotated(self) -> NDArray[np.float32]:
        """The cells compared with, standardised: those that `compared_with` chooses."""
        return self._bank

    def ratio(self, cells: NDArray[Any], *, job: Job = NO_JOB) -> NDArray[np.float32]:
        """Say how unlike the annotated cells some cells are."""
        if cells.ndim != 2 or cells.shape[1] != self._bank.shape[1]:
            raise HcsQcError(
                f"The cells have the shape {cells.shape}; the annotated ones have "
                f"{self._bank.shape[1]} features. Embed both with the same encoder and recipe."
            )
        ratios = np.empty(len(cells), np.float32)
        # One processor: at the desk it runs beside a person who clicks on.
        with one_blas_thread():
            for part in _parts(len(cells)):
                job.check()
                job.report(part.start, len(cells), "Comparing cells with the annotated ones")
                rows = np.asarray(cells[part], dtype=np.float32)
                usable = np.isfinite(rows).all(axis=1)
                nearest = _mean_of_nearest(self._squared(self._standardised(rows)))
                ratios[part] = np.where(usable, nearest / self.limit_, np.nan)
        return ratios

    def to_bytes(self) -> bytes:
        """Give it as a safetensors file."""
        return tensor_bytes(
            {
                "centre": self._centre,
                "scale": self._scale,
                "bank": self._bank.astype(np.float16),
                "limit": np.array([self.limit_], dtype=np.float64),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` gave; it measures exactly as the one saved."""
        try:
            arrays = load_tensors(data)
            centre, scale, bank, limit = (arrays[name] for name in _ARRAYS)
        except (SafetensorError, KeyError) as error:
            raise HcsQcError(f"The reference for novelty is damaged ({error!r}).") from error
        n_features = len(centre)
        is_whole = all(np.isfinite(array).all() for array in (centre, scale, bank, limit))
        shapes = (centre.shape, scale.shape, bank.shape[1:], limit.shape)
        if not is_whole or shapes != ((n_features,), (n_features,), (n_features,), (1,)):
            raise HcsQcError(f"The reference for novelty is damaged (shapes {shapes}).")
        made = cls()
        made._centre, made._scale = centre, scale
        made._bank = bank.astype(np.float32)
        made.n_annotated_, made.limit_ = len(bank), float(limit[0])
        return made

    def _standardised(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        with np.errstate(invalid="ignore"):  # an embedding may hold Inf
            scaled: NDArray[np.float32] = (rows - self._centre) * self._scale
        np.clip(scaled, -_LIMIT, _LIMIT, out=scaled)
        return scaled

    def _squared(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        squares: NDArray[np.float32] = rows @ self._bank.T
        squares *= -2
        squares += np.einsum("ij,ij->i", rows, rows)[:, np.newaxis]
        squares += np.einsum("ij,ij->i", self._bank, self._bank)
        np.maximum(squares, 0, out=squares)
        return squares


def compared_with(n_annotated: int) -> NDArray[np.int64]:
    """Choose the annotated cells that others are compared with: all, or a sample of many."""
    if n_annotated <= MOST_ANNOTATED:
        return np.arange(n_annotated)
    drawn = np.random.default_rng(0).choice(n_annotated, MOST_ANNOTATED, replace=False)
    chosen: NDArray[np.int64] = np.sort(drawn)
    return chosen


def _parts(n_rows: int) -> Iterator[slice]:
    for start in range(0, n_rows, _ROWS_AT_ONCE):
        yield slice(start, min(start + _ROWS_AT_ONCE, n_rows))


def _mean_of_nearest(squared: NDArray[np.float32]) -> NDArray[np.float32]:
    n = min(_NEIGHBOURS, squared.shape[1])
    nearest = np.sqrt(np.partition(squared, n - 1, axis=1)[:, :n])
    mean: NDArray[np.float32] = nearest.mean(axis=1)
    return mean
