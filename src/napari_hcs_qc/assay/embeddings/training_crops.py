"""The crops of annotated cells, for heads that are trained on images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_hcs_qc.assay.annotations.matching import cells_at
from napari_hcs_qc.encoders.embed.crop_reader import CropReader, CropSource
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.text_columns import none_if_missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.cells.recipe import CropRecipe

_BATCH = 64


@dataclass(frozen=True, eq=False, kw_only=True)
class AnnotatedCrops:
    """Crops of annotated cells that can be read."""

    crops: torch.Tensor  # ``(n_cells, n_views, 1 or 3, input_px, input_px)`` float32 in [0, 1]
    sides: tuple[float, ...]  # ``(n_views,)`` side of each view in pixels of the image
    classes: NDArray[np.str_]  # ``normal`` or ``abnormal``
    groups: NDArray[np.str_]  # well of each cell, as ``plate/A01``
    chosen: NDArray[np.object_]  # how each came to be annotated, see `Annotation.chosen`
    rows: NDArray[np.int64]  # which of the annotated cells they are, as `training_cells` lists them


def annotated_crops(
    positions: Sequence[tuple[PlateState, pd.DataFrame]], recipe: CropRecipe, *, job: Job = NO_JOB
) -> AnnotatedCrops:
    """Cut the crops of annotated positions, each where the person clicked."""
    total = sum(len(table) for _, table in positions)
    views = {recipe.n_views(len(state.plate.channels)) for state, _ in positions}
    if len(views) > 1:
        raise HcsQcError(
            "The annotated plates have different numbers of channels; one model cannot use both. "
            "Choose a colour recipe, or put them into two assays."
        )
    parts, rows, done = [], [], 0
    for state, table in positions:
        crops, unread = cut_positions(state, table, recipe, job)
        usable = np.setdiff1d(np.arange(len(table)), unread)
        parts.append(crops[torch.from_numpy(usable)])
        rows.append(done + usable)
        done += len(table)
        job.report(done, total, f"Cutting annotated cells of {state.plate.name}")
    chosen = np.concatenate(rows) if rows else np.empty(0, np.int64)
    if not len(chosen):
        raise HcsQcError(f"None of the {total} annotated cells can be read; see 'hcs-qc status'.")
    classes = np.concatenate([table["class"].to_numpy(dtype=str) for _, table in positions])
    ways = np.concatenate([none_if_missing(table["chosen"]) for _, table in positions])
    groups = np.concatenate([state.groups(table["well"]) for state, table in positions])
    n_groups = parts[0].shape[1] // len(recipe.scales)
    sides = tuple(float(side) for side in recipe.sides_px for _ in range(n_groups))
    return AnnotatedCrops(
        crops=torch.cat(parts),
        sides=sides,
        classes=classes[chosen],
        groups=groups[chosen],
        chosen=ways[chosen],
        rows=chosen,
    )


def cut_positions(
    state: PlateState, positions: pd.DataFrame, recipe: CropRecipe, job: Job = NO_JOB
) -> tuple[torch.Tensor, NDArray[np.int64]]:
    """Cut the crops of positions of one plate, each site read once."""
    plate, matched = state.plate, state.plate_cells
    n_views = recipe.n_views(len(plate.channels))
    n_planes = 3 if recipe.channels == "rgb" else 1
    side = recipe.input_px
    crops = torch.full((len(positions), n_views, n_planes, side, side), torch.nan)
    if not len(positions):
        return crops, np.empty(0, np.int64)
    order = np.lexsort((positions["site"].to_numpy(), positions["well"].to_numpy(dtype=str)))
    cells = cells_at(positions.iloc[order].reset_index(drop=True), 0, matched.diameter_px)
    source = CropSource(plate, cells, matched.ranges, recipe, matched.projection, _BATCH)
    read = np.zeros(len(positions), dtype=bool)
    with CropReader(source, [(0, range(len(cells)))]) as reader:
        while (batch := reader.next_batch(job)) is not None:
            if len(batch.rows):
                crops[torch.from_numpy(order[batch.rows])] = batch.crops
                read[order[batch.rows]] = True
    return crops, np.flatnonzero(~read)
