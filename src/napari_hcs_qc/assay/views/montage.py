"""Pictures of one well: its sites, and its most abnormal and most normal cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.assay.views.pictures import PictureStyle, cell_pictures, site_thumbnail
from napari_hcs_qc.errors import UnreadableSiteError
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates.plate import OME_ZARR
from napari_hcs_qc.plates.site_cache import SitePixels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate
    from napari_hcs_qc.cells.intensity import IntensityRanges
    from napari_hcs_qc.plates.plate import SiteKey
    from napari_hcs_qc.plates.site_cache import SiteCache

CROP_DIAMETERS = 2.5
"""Side of a shown crop in nucleus diameters: a cell with a little of what is around it."""


@dataclass(frozen=True, eq=False)
class ShownCell:
    """A cell with its picture."""

    row: int  # in the cells of the judged plate
    p_abnormal: float  # the model's word
    picture: NDArray[np.uint8] | None  # (side, side, 3) uint8; None where its site cannot be read


@dataclass(frozen=True, eq=False)
class Montage:
    """The cells of a well that say most about it: surest first, each class by itself."""

    well: str
    abnormal: tuple[ShownCell, ...]
    normal: tuple[ShownCell, ...]


def well_montage(
    scored: ScoredPlate,
    well: str,
    cache: SiteCache,
    style: PictureStyle,
    *,
    n: int = 8,
    shown_px: int = 64,
    job: Job = NO_JOB,
) -> Montage:
    """Cut the most abnormal and the most normal cells of a well."""
    job.report(0, 0, f"Cutting cells of {well}")
    cells = scored.state.cells
    p_abnormal = scored.counted_p
    rows = np.flatnonzero((cells["well"] == well).to_numpy() & np.isfinite(p_abnormal))
    order = rows[np.argsort(-p_abnormal[rows], kind="stable")]
    is_abnormal = p_abnormal[order] >= scored.threshold
    abnormal, normal = order[is_abnormal][:n], order[~is_abnormal][::-1][:n]
    chosen = np.concatenate([abnormal, normal])
    plate_cells = scored.state.plate_cells
    pictures: dict[int, NDArray[np.uint8] | None] = {}
    for index, picture in cell_pictures(
        cache,
        cells.iloc[chosen],
        plate_cells.ranges,
        style,
        side_px=max(16, round(CROP_DIAMETERS * plate_cells.diameter_px)),
        shown_px=shown_px,
        job=job,
    ):
        pictures[int(chosen[index])] = picture

    def shown(part: NDArray[np.int64]) -> tuple[ShownCell, ...]:
        return tuple(
            ShownCell(int(row), float(p_abnormal[row]), pictures.get(int(row))) for row in part
        )

    return Montage(well, shown(abnormal), shown(normal))


def site_pictures(
    sites: Sequence[SiteKey],
    cache: SiteCache,
    ranges: IntensityRanges,
    style: PictureStyle,
    *,
    longer_px: int = 120,
    job: Job = NO_JOB,
) -> dict[SiteKey, NDArray[np.uint8] | None]:
    """Make the thumbnails of some sites; None where one cannot be read."""
    pictures: dict[SiteKey, NDArray[np.uint8] | None] = {}
    for done, site in enumerate(sites):
        job.check()
        job.report(done, len(sites), f"Reading {site}")
        try:
            pixels = cache.peek(site) or _coarse(cache, site, longer_px) or cache.get(site)
            pictures[site] = site_thumbnail(pixels, ranges, style, longer_px)
        except UnreadableSiteError:
            pictures[site] = None
    return pictures


def _coarse(cache: SiteCache, site: SiteKey, longer_px: int) -> SitePixels | None:
    """Read a site from the pyramid of an OME-Zarr, of which a thumbnail takes little."""
    if cache.plate.format != OME_ZARR:
        return None
    from napari_hcs_qc.plates.ome_zarr.pyramid import read_coarse_site  # zarr is slow to load

    pixels = read_coarse_site(cache.plate, site, longer_px, cache.projection)
    if pixels is None:
        return None
    return SitePixels(site, cache.plate.available_channels(site), pixels)
