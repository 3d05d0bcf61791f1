"""Embeddings of an assay's plate: those of the found cells, and of the cells people added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np
from filelock import FileLock, Timeout

from napari_hcs_qc.assay.embeddings.positions import (
    embed_positions,
    position_keys,
    stored_positions,
)
from napari_hcs_qc.encoders.embed.embed_cells import embed_cells, store_fingerprint
from napari_hcs_qc.encoders.embed.embedding_store import EmbeddingStore
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import explained_writes
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.store.model_manifest import EncoderRecord
    from napari_hcs_qc.assay.store.plate_cells import PlateCells
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.embed.embed_cells import Fingerprinted
    from napari_hcs_qc.encoders.encoder import Encoder
    from napari_hcs_qc.errors import Problem

_POLL_S = 0.1
_names: WeakKeyDictionary[PlateCells, dict[tuple[str, str, str], str]] = WeakKeyDictionary()
# Stores are named by their content, so what is held is never out of date.
_held: WeakValueDictionary[Path, NDArray[np.floating[Any]]] = WeakValueDictionary()


class StackedRows:
    """Two matrices of equal width, one below the other, without copying either.

    Cells that a click has made are few and change often; found cells are many and do not. Each
    have a store of their own, so that a click never makes the large one be computed again.
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
            rows_found: NDArray[Any] = self._upper[rows if isinstance(rows, slice) else indices]
            return rows_found
        picked = np.empty((len(indices), self.shape[1]), self.dtype)
        picked[is_upper] = self._upper[indices[is_upper]]
        picked[~is_upper] = self._lower[indices[~is_upper] - len(self._upper)]
        return picked


@dataclass(frozen=True, eq=False)
class PlateEmbeddings:
    """Embeddings of all cells of a plate, in the order of `PlateState.cells`."""

    rows: NDArray[np.floating[Any]]  # (n_cells, n_features); NaN where a site could not be read
    unreadable: tuple[Problem, ...]  # those sites


def embed_plate(
    state: PlateState,
    recipe: CropRecipe,
    encoder: Encoder,
    folder: Path,
    *,
    try_again: bool = True,
    job: Job = NO_JOB,
) -> PlateEmbeddings:
    """Embed every cell of a plate, or find the embeddings on disk.

    Several threads and processes may ask for the same plate: one computes, the others wait.
    """
    check_pools(recipe, encoder)
    store = stored_plate(state, recipe, encoder, folder)
    if store is None or (try_again and store.unreadable):
        store = fill_store(state, recipe, encoder, folder, job=job)
    added = state.matched.added
    if not len(added):
        return PlateEmbeddings(_rows_of(store), store.unreadable)
    lower, problems = embed_positions(
        state.plate, state.plate_cells, added, recipe, encoder, folder, job=job
    )
    unreadable = {problem.where: problem for problem in (*store.unreadable, *problems)}
    return PlateEmbeddings(_stacked(store, lower), tuple(unreadable.values()))


def _stacked(store: EmbeddingStore, lower: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
    """Give what has all that scoring and exporting use of an array: shape, dtype, length, rows."""
    return cast("NDArray[np.floating[Any]]", StackedRows(_rows_of(store), lower))


def stored_rows(
    state: PlateState, recipe: CropRecipe, encoder: EncoderRecord, folder: Path
) -> NDArray[np.floating[Any]] | None:
    """Find the embeddings of every cell on disk without loading a network; None if some are not."""
    store = stored_plate(state, recipe, encoder, folder)
    if store is None or not len(state.matched.added):
        return None if store is None else _rows_of(store)
    lower = stored_positions(
        state.plate, state.plate_cells, state.matched.added, recipe, encoder, folder
    )
    return None if lower is None else _stacked(store, lower)


def stored_plate(
    state: PlateState, recipe: CropRecipe, encoder: Fingerprinted, folder: Path
) -> EmbeddingStore | None:
    """Find the store of a plate's found cells; None when it is not complete, or damaged."""
    name = store_name(state, recipe, encoder)
    try:
        store = EmbeddingStore.open(folder / name)
    except HcsQcError:
        return None
    return store if store.complete and store.is_sound else None


def store_name(state: PlateState, recipe: CropRecipe, encoder: Fingerprinted) -> str:
    """Name the store of a plate's found cells; remembered, since all of them go into it."""
    plate_cells = state.plate_cells
    names = _names.setdefault(plate_cells, {})
    key = (state.plate.fingerprint, recipe.fingerprint, encoder.fingerprint)
    if key not in names:
        names[key] = store_fingerprint(
            state.plate,
            plate_cells.cells,
            plate_cells.ranges,
            recipe,
            encoder,
            projection=plate_cells.projection,
        )
    return names[key]


def _rows_of(store: EmbeddingStore) -> NDArray[np.floating[Any]]:
    """Map the rows of a complete store, once for all who hold them: their pages stay at hand."""
    rows = _held.get(store.folder)
    if rows is None:
        rows = _held[store.folder] = store.embeddings
    return rows


def embed_annotated(
    state: PlateState,
    positions: pd.DataFrame,
    recipe: CropRecipe,
    encoder: Encoder,
    folder: Path,
    *,
    job: Job = NO_JOB,
) -> NDArray[np.float32]:
    """Embed annotated positions, each where the person clicked.

    One that is a found cell's centre to 0.01 px has its row in the store of the plate, where that
    is complete; the others are kept by position.
    """
    check_pools(recipe, encoder)
    n_features = recipe.n_views(len(state.plate.channels)) * encoder.n_features
    rows = np.full((len(positions), n_features), np.nan, dtype=np.float32)
    cells = state.plate_cells.cells
    nearest = positions["cell_id"].to_numpy(dtype=np.int64)
    is_found = (nearest >= 0) & (nearest < len(cells))
    centres = cells.iloc[nearest[is_found]]
    is_found[is_found] = position_keys(centres) == position_keys(positions[is_found])
    store = stored_plate(state, recipe, encoder, folder) if is_found.any() else None
    if store is None:
        is_found[:] = False
    else:
        rows[is_found] = _rows_of(store)[nearest[is_found]]
    rows[~is_found], _ = embed_positions(
        state.plate, state.plate_cells, positions[~is_found], recipe, encoder, folder, job=job
    )
    return rows


def check_pools(recipe: CropRecipe, encoder: Encoder) -> None:
    """Refuse an encoder that was not loaded as the recipe asks."""
    requested, has = (recipe.stages, recipe.pooling), (encoder.stages, encoder.pooling)
    if requested != has:
        raise HcsQcError(
            f"The recipe {recipe.name} pools the stages {requested[0]!r} by {requested[1]}, the "
            f"encoder {encoder.name} was loaded with {has[0]!r} by {has[1]}; load it as the recipe "
            "needs it."
        )


def fill_store(
    state: PlateState, recipe: CropRecipe, encoder: Encoder, folder: Path, *, job: Job = NO_JOB
) -> EmbeddingStore:
    """Embed the found cells of a plate; one at a time, who comes second finds the store filled.

    Sites that could not be read are tried again. Parameters and errors are those of `embed_plate`.
    """
    plate_cells = state.plate_cells
    arguments = (state.plate, plate_cells.cells, plate_cells.ranges, recipe, encoder)
    name = store_name(state, recipe, encoder)
    with explained_writes(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f".{name}.lock")
        while True:
            job.check()
            try:
                lock.acquire(timeout=_POLL_S)
                break
            except Timeout:
                job.report(0, 0, f"Waiting for the embeddings of {state.plate.name}")
    try:
        return embed_cells(*arguments, folder, projection=plate_cells.projection, job=job)
    finally:
        lock.release()
