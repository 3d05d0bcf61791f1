"""Embeddings of an assay's plate: those of the found cells, and of the cells people added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_hcs_qc.encoders.pipeline import embed_cells
from napari_hcs_qc.jobs import OnProgress, ShouldStop, never_stop, no_progress

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.plate_state import PlateState
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.encoder import Encoder
    from napari_hcs_qc.errors import Problem


class StackedRows:
    """Two matrices of equal width, one below the other, without copying either.

    Cells that a click has made are few and change often; found cells are many and do not. Each
    have a store of their own, so that a click never makes the large one be computed again.

    Parameters
    ----------
    upper, lower
        Matrices (n, n_features), which may be memory-mapped.
    """

    ndim = 2

    def __init__(self, upper: NDArray[Any], lower: NDArray[Any]) -> None:
        self._upper, self._lower = upper, lower
        self.shape = (len(upper) + len(lower), upper.shape[1])
        self.dtype = upper.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> NDArray[Any]:
        """Copy rows, given as a slice or as indices, into memory."""
        indices = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows)
        is_upper = indices < len(self._upper)
        if is_upper.all():
            found: NDArray[Any] = self._upper[rows if isinstance(rows, slice) else indices]
            return found
        picked = np.empty((len(indices), self.shape[1]), self.dtype)
        picked[is_upper] = self._upper[indices[is_upper]]
        picked[~is_upper] = self._lower[indices[~is_upper] - len(self._upper)]
        return picked


@dataclass(frozen=True, eq=False)
class PlateEmbeddings:
    """Embeddings of all cells of a plate, in the order of `PlateState.cells`.

    Parameters
    ----------
    rows
        (n_cells, n_features); NaN where a site could not be read.
    unreadable
        Those sites.
    """

    rows: NDArray[np.floating[Any]]
    unreadable: tuple[Problem, ...]


def embed_plate(
    state: PlateState,
    recipe: CropRecipe,
    encoder: Encoder,
    folder: Path,
    *,
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> PlateEmbeddings:
    """Embed every cell of a plate, or find the embeddings on disk.

    Parameters
    ----------
    state
        The plate with its cells.
    recipe
        With its nucleus diameter set.
    encoder
        Loaded with the recipe's stages and pooling.
    folder
        Root of the stores.
    on_progress, should_stop
        See `napari_hcs_qc.jobs`.

    Raises
    ------
    HcsQcError, WriteError, Cancelled
        As `napari_hcs_qc.encoders.pipeline.embed_cells`.
    """
    parts = [state.found.cells]
    if len(state.matched.added):
        parts.append(state.matched.added)
    stores = [
        embed_cells(
            state.plate,
            cells,
            state.found.ranges,
            recipe,
            encoder,
            folder,
            projection=state.found.projection,
            on_progress=on_progress,
            should_stop=should_stop,
        )
        for cells in parts
    ]
    unreadable = tuple(problem for store in stores for problem in store.unreadable)
    if len(stores) == 1:
        return PlateEmbeddings(stores[0].embeddings, unreadable)
    stacked = StackedRows(stores[0].embeddings, stores[1].embeddings)
    # It has what scoring and exporting use of an array: shape, dtype, length and rows.
    return PlateEmbeddings(cast("NDArray[np.floating[Any]]", stacked), unreadable)
