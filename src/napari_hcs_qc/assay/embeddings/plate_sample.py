"""A sample of the cells that nobody annotated: what a head learns of a plate for nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.assay.embeddings.embed_plate import stored_plate
from napari_hcs_qc.encoders.embed.embed_cells import embed_cells
from napari_hcs_qc.heads.linear.plate_directions import MIN_CELLS, plate_directions
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.encoder import Encoder
    from napari_hcs_qc.heads.linear.plate_directions import PlateDirections

N_CELLS = 4000
"""Cells that are sampled, shared among the plates."""

_SEED = 0  # the sample is part of no experiment: it is the same for every model of these plates
_LEAST_TRAIT = 0.05  # of the typical cell: what is no brighter than the background has no logarithm
_MOST_KNOWN = 8
_known: dict[tuple[object, ...], PlateDirections | None] = {}


def are_embedded(
    states: Sequence[PlateState], recipe: CropRecipe, encoder: Encoder, stores: Path
) -> bool:
    """Tell whether all found cells of plates have their embeddings on disk."""
    return all(stored_plate(state, recipe, encoder, stores) is not None for state in states)


def sampled_directions(
    states: Sequence[PlateState], recipe: CropRecipe, encoder: Encoder, stores: Path
) -> PlateDirections | None:
    """Find the main directions of plates from a sample of their found cells.

    From all over the plate: the cells of a few sites gave half the gain. The answer is
    remembered, as no annotation has a part in it.
    """
    stored = [stored_plate(state, recipe, encoder, stores) for state in states]
    complete = [store for store in stored if store is not None]
    n_cells = sum(len(state.plate_cells.cells) for state in states)
    if len(complete) < len(states) or n_cells < MIN_CELLS:
        return None
    key = tuple(store.folder for store in complete)
    if key not in _known:
        sample, traits = [], []
        for state, store in zip(states, complete, strict=True):
            rows = store.embeddings
            chosen = _sampled(len(rows), len(complete))
            sample.append(np.asarray(rows[chosen], dtype=np.float32))
            traits.append(cell_traits(state)[chosen])
        while len(_known) >= _MOST_KNOWN:
            _known.pop(next(iter(_known)))
        _known[key] = plate_directions(np.concatenate(sample), traits=np.concatenate(traits))
    return _known[key]


def cell_traits(state: PlateState) -> NDArray[np.float64]:
    """``(n_cells, 2)`` logarithms of brightness and area, compared to the plate's typical cell.

    Of all found cells; NaN where one was not measured.
    """
    found = state.plate_cells
    channel = found.ranges.channels[state.plate.channel_index(found.channel)]
    light = found.cells["mean_intensity"].to_numpy(np.float64) - channel.background
    both = np.stack([light, found.cells["area_px"].to_numpy(np.float64)], axis=1)
    if not np.isfinite(both).all(axis=1).any():
        return np.full(both.shape, np.nan)
    typical = np.nanmedian(both, axis=0)
    of_typical = both / np.where(typical > 0, typical, np.nan)
    logarithms: NDArray[np.float64] = np.log(np.maximum(of_typical, _LEAST_TRAIT))
    return logarithms


def sampled_embeddings(
    states: Sequence[PlateState],
    recipe: CropRecipe,
    encoder: Encoder,
    folder: Path,
    *,
    stores: Path,
    job: Job = NO_JOB,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Give the sample of `sampled_directions` and its traits, embedding it where it is not."""
    parts, traits = [], []
    for state in states:
        plate_cells = state.plate_cells
        chosen = _sampled(len(plate_cells.cells), len(states))
        traits.append(cell_traits(state)[chosen])
        whole = stored_plate(state, recipe, encoder, stores)
        if whole is not None:
            parts.append(np.asarray(whole.embeddings[chosen], dtype=np.float32))
            continue
        cells = plate_cells.cells.iloc[chosen].reset_index(drop=True)

        def on_progress(done: int, total: int, message: str, name: str = state.plate.name) -> None:
            job.report(done, total, f"sample of the cells of {name}, {encoder.name}")

        store = embed_cells(
            state.plate,
            cells,
            plate_cells.ranges,
            recipe,
            encoder,
            folder,
            projection=plate_cells.projection,
            job=job.with_progress(on_progress),
        )
        parts.append(np.asarray(store.embeddings, dtype=np.float32))
    return np.concatenate(parts), np.concatenate(traits)


def _sampled(n_cells: int, n_plates: int) -> NDArray[np.int64]:
    """Choose a plate's share of the sample, in the order of its cells."""
    rng = np.random.default_rng(_SEED)
    chosen = rng.choice(n_cells, min(-(-N_CELLS // n_plates), n_cells), replace=False)
    return np.sort(chosen)
