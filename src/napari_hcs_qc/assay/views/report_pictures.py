"""Pictures of a report: flagged wells, and annotated cells that a model got wrong.

Grey values are scaled by the plate's intensity range, never by the picture's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.assay.views.montage import CROP_DIAMETERS
from napari_hcs_qc.cells.crops import cut_squares
from napari_hcs_qc.errors import UnreadableSiteError
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.qc.reports.plate_report import Picture, WellPictures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate
    from napari_hcs_qc.assay.store.model_manifest import TrainingCell
    from napari_hcs_qc.assay.store.plate_state import PlateState

_SHOWN_CELLS = 8  # of each class in a well's montage
_THUMBNAIL_PX = 360  # longer side of a site's picture


def well_pictures(scored: ScoredPlate, worst: SiteKey) -> WellPictures:
    """Cut the pictures of a flagged well: its worst site, and cells from all of its sites."""
    state = scored.state
    cells, p_abnormal = state.cells, scored.counted_p
    rows = np.flatnonzero((cells["well"] == worst.well).to_numpy() & np.isfinite(p_abnormal))
    order = rows[np.argsort(-p_abnormal[rows], kind="stable")]
    abnormal = [row for row in order[:_SHOWN_CELLS] if p_abnormal[row] >= scored.threshold]
    normal = [row for row in order[::-1][:_SHOWN_CELLS] if p_abnormal[row] < scored.threshold]
    crops: dict[int, Picture] = {}
    thumbnail = None
    for site in [key for key in state.plate.sites if key.well == worst.well]:
        mine = [
            int(row) for row in (*abnormal, *normal) if int(cells["site"].iloc[row]) == site.site
        ]
        if not mine and site != worst:
            continue
        try:
            grey = _grey(state, site)
        except UnreadableSiteError:
            if site == worst:
                raise
            continue
        if site == worst:
            thumbnail = Picture(_shrunk(_as_uint8(grey[0]), _THUMBNAIL_PX), str(site))
        y_px, x_px = cells["y_px"].to_numpy()[mine], cells["x_px"].to_numpy()[mine]
        for row, crop in zip(mine, _crops(state, grey, y_px, x_px), strict=True):
            crops[row] = Picture(crop, f"{p_abnormal[row]:.2f}")
    return WellPictures(
        thumbnail,
        [crops[row] for row in abnormal if row in crops],
        [crops[row] for row in normal if row in crops],
    )


def annotated_picture(
    states: Mapping[str, PlateState], cell: TrainingCell, caption: str
) -> Picture | None:
    """Cut an annotated cell; None where its site cannot be read any more."""
    state = states.get(cell.plate)
    if state is None:
        return None
    try:
        grey = _grey(state, SiteKey(cell.well, cell.site))
    except UnreadableSiteError:
        return None
    [crop] = _crops(state, grey, [cell.y_px], [cell.x_px])
    return Picture(crop, caption)


def _grey(state: PlateState, site: SiteKey) -> NDArray[np.float32]:
    plate, cells = state.plate, state.plate_cells
    channel = plate.channel_index(cells.channel)
    raw = plate.read_site(site, [channel], projection=cells.projection)
    grey: NDArray[np.float32] = cells.ranges.scale(raw, [channel])
    return grey


def _crops(
    state: PlateState, grey: NDArray[np.float32], y_px: ArrayLike, x_px: ArrayLike
) -> NDArray[np.uint8]:
    side_px = max(16, round(CROP_DIAMETERS * state.plate_cells.diameter_px))
    return _as_uint8(cut_squares(grey, y_px, x_px, side_px)[:, 0])


def _as_uint8(grey: NDArray[np.float32]) -> NDArray[np.uint8]:
    # A square root lets dim debris be seen beside bright nuclei.
    shown: NDArray[np.uint8] = np.rint(255 * np.sqrt(grey)).astype(np.uint8)
    return shown


def _shrunk(image: NDArray[np.uint8], longer_px: int) -> NDArray[np.uint8]:
    step = max(1, -(-max(image.shape) // longer_px))
    height, width = (side // step * step for side in image.shape)
    blocks = image[:height, :width].reshape(height // step, step, width // step, step)
    shrunk: NDArray[np.uint8] = np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)
    return shrunk
