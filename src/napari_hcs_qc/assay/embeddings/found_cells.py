"""The found cells that annotated positions lie on: what a model will judge at these places."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.assay.embeddings.positions import POSITIONS, PositionStore, position_keys
from napari_hcs_qc.assay.store.masks import site_masks
from napari_hcs_qc.errors import HcsQcError, UnreadableSiteError
from napari_hcs_qc.files import fingerprint
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates.plate import SiteKey

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.store.plate_state import PlateState

_MIDDLE = 0.4  # of the diameter of a cell: so near to its centre, its crop shows the same


def found_cells_at(
    state: PlateState, positions: pd.DataFrame, stores: Path, job: Job = NO_JOB
) -> pd.DataFrame:
    """Give the found cells on whose masks annotated positions lie, each once, at its centre.

    A person points at an object, a model judges the crop around the centre of a found cell, which
    may be another: of touching dead cells that are found as one, say. Left out are cells in whose
    middle a position lies, which shows the same, those on which people meant different classes, and
    those that the image border cuts.
    """
    cells = state.plate_cells.cells
    middle = _in_the_middle(state, positions)
    beside = positions[middle < 0]
    centre_of = _centres(state, beside, stores, job)
    centre_yx = np.array([centre_of[key] for key in _keys(beside)]).reshape(-1, 2)
    moved = beside.assign(y_px=centre_yx[:, 0], x_px=centre_yx[:, 1])
    moved = moved[np.isfinite(centre_yx).all(axis=1)]
    row_of = {key: row for row, key in enumerate(_keys(cells))} if len(moved) else {}
    moved = moved.assign(cell_id=[row_of.get(key, -1) for key in _keys(moved)])
    n_classes = moved.groupby("cell_id")["class"].transform("nunique")
    left_out = [-1, *middle, *np.flatnonzero(state.is_cut)]
    is_used = (n_classes == 1) & ~moved["cell_id"].isin(left_out)
    chosen: pd.DataFrame = moved[is_used].drop_duplicates("cell_id").reset_index(drop=True)
    return chosen


def _in_the_middle(state: PlateState, positions: pd.DataFrame) -> NDArray[np.int64]:
    """Row of the found cell in whose middle each position lies, -1 where there is none."""
    cells = state.plate_cells.cells
    cell_yx = cells[["y_px", "x_px"]].to_numpy(np.float64)
    diameter_px = cells["diameter_px"].to_numpy(np.float64)
    middle = np.full(len(positions), -1, dtype=np.int64)
    columns = zip(*(positions[name] for name in ("well", "site", "y_px", "x_px")), strict=True)
    for number, (well, site, *yx) in enumerate(columns):
        here = state.by_site.rows(SiteKey(str(well), int(site)))
        far = np.hypot(*(cell_yx[here] - yx).T) / diameter_px[here]
        if len(far) and far.min() <= _MIDDLE:
            middle[number] = here[far.argmin()]
    return middle


def _centres(
    state: PlateState, positions: pd.DataFrame, stores: Path, job: Job
) -> dict[bytes, NDArray[np.float32]]:
    """Centre of the cell on whose mask each position lies, by its key; NaN where there is none.

    To have masks again takes a while, so what was looked up is kept.
    """
    if not len(positions):
        return {}
    cells = position_keys(state.plate_cells.cells).tobytes().hex()
    name = fingerprint({"plate": state.plate.fingerprint, "positions": cells})
    store = PositionStore(stores / POSITIONS / f"{name}.bin", 2)
    centre_of = store.read()
    new = positions[[key not in centre_of for key in _keys(positions)]]
    by_site = new.groupby(["well", "site"])
    for number, (_, here) in enumerate(by_site):
        job.report(number, len(by_site), f"Looking up annotated cells of {state.plate.name}")
        job.check()
        yx = np.full((len(here), 2), np.nan, dtype=np.float32)
        site = SiteKey(str(here["well"].iloc[0]), int(here["site"].iloc[0]))
        try:
            masks = site_masks(state.plate, state.plate_cells, site)
        except UnreadableSiteError:  # which is told where its crops are cut
            centre_of |= dict(zip(_keys(here), yx, strict=True))
            continue
        except HcsQcError:
            # Masks that were imported are gone, or another version finds other nuclei: for these
            # cells what people clicked is all there is.
            masks = None
        if masks is not None:
            yx = _centres_of_site(state, masks, site, here)
        store.append(position_keys(here), yx)
        centre_of |= dict(zip(_keys(here), yx, strict=True))
    return centre_of


def _centres_of_site(
    state: PlateState, masks: NDArray[np.int32], site: SiteKey, positions: pd.DataFrame
) -> NDArray[np.float32]:
    cells = state.plate_cells.cells
    here = cells[(cells["well"] == site.well) & (cells["site"] == site.site)].set_index("label")
    y, x = np.rint(positions[["y_px", "x_px"]].to_numpy(np.float64)).astype(np.intp).T
    labels = masks[np.clip(y, 0, masks.shape[0] - 1), np.clip(x, 0, masks.shape[1] - 1)]
    centres = here[["y_px", "x_px"]].reindex(np.where(labels > 0, labels, -1))
    yx: NDArray[np.float32] = centres.to_numpy(np.float32)
    return yx


def _keys(positions: pd.DataFrame) -> list[bytes]:
    return [key.tobytes() for key in position_keys(positions)]
