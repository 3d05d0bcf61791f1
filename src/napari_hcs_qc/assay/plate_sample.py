"""A sample of the cells that nobody annotated: what a head learns of a plate for nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.assay.embedding import embed_said
from napari_hcs_qc.heads.plate_directions import MIN_CELLS, plate_directions
from napari_hcs_qc.jobs import OnProgress, ShouldStop, never_stop, no_progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

    from napari_hcs_qc.assay.plate_state import PlateState
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.encoder import Encoder
    from napari_hcs_qc.heads.plate_directions import PlateDirections

N_CELLS = 1500
"""Cells that are sampled, shared among the plates."""

_SEED = 0  # the sample is part of no experiment: it is the same for every model of these plates
_known: dict[tuple[object, ...], PlateDirections | None] = {}
_MOST_KNOWN = 8


def sampled_directions(
    states: Sequence[PlateState],
    recipe: CropRecipe,
    encoder: Encoder,
    stores: Path,
    *,
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> PlateDirections | None:
    """Find the main directions of plates from a sample of their found cells.

    Sites are drawn, and all of their cells taken, so that few images are read where the plates
    are not embedded yet. Rows that are in a plate's store are taken from there; the answer does
    not depend on whether they are. It is remembered, as no annotation has a part in it.

    Parameters
    ----------
    states
        The plates.
    recipe, encoder, stores, on_progress, should_stop
        As `napari_hcs_qc.assay.embedding.embed_said`.

    Returns
    -------
    PlateDirections or None
        None where the plates have too few cells, see `plate_directions`.

    Raises
    ------
    HcsQcError, WriteError, Cancelled
        As `napari_hcs_qc.assay.embedding.embed_said`.
    """
    if sum(len(state.found.cells) for state in states) < MIN_CELLS:
        return None
    key = (
        str(stores),
        recipe.fingerprint,
        encoder.fingerprint,
        *(
            (one.plate.fingerprint, one.found.ranges.fingerprint, len(one.found.cells))
            for one in states
        ),
    )
    if key not in _known:
        share = -(-N_CELLS // max(1, len(states)))
        rows = [
            embed_said(
                state,
                _sample(state.found.cells, share),
                recipe,
                encoder,
                stores,
                on_progress=on_progress,
                should_stop=should_stop,
            )
            for state in states
        ]
        found = plate_directions(np.concatenate(rows)) if rows else None
        while len(_known) >= _MOST_KNOWN:
            _known.pop(next(iter(_known)))
        _known[key] = found
    return _known[key]


def _sample(cells: pd.DataFrame, n_cells: int) -> pd.DataFrame:
    """Take all cells of sites that are drawn until there are enough."""
    said = cells[["well", "site", "y_px", "x_px"]].assign(cell_id=np.arange(len(cells)))
    number = said.groupby(["well", "site"], sort=True).ngroup().to_numpy()
    if len(said) <= n_cells:
        return said
    order = np.random.default_rng(_SEED).permutation(int(number.max()) + 1)
    counts = np.bincount(number)[order]
    n_sites = int(np.searchsorted(np.cumsum(counts), n_cells)) + 1
    return said[np.isin(number, order[:n_sites])].reset_index(drop=True)
