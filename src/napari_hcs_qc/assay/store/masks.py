"""Label masks of a site for display, whose ids are the labels of the table of cells.

Masks are not kept by an assay: they are many times larger than the table, and can be had again,
by finding the nuclei of one site in the same way, or by reading the file they came from.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from napari_hcs_qc.assay.store.plate_cells import NUCLEI
from napari_hcs_qc.cells.detect import plate_diameter
from napari_hcs_qc.cells.detectors.detector import nuclei_finder
from napari_hcs_qc.cells.imported.masks import MaskReader, masks_in_folder, masks_in_ome_zarr
from napari_hcs_qc.cells.table import cells_of_site
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates.ome_zarr.zarr_plate import is_ome_zarr
from napari_hcs_qc.plates.plate import SiteKey

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.store.plate_cells import PlateCells
    from napari_hcs_qc.plates.plate import Plate, Projection

_Masks: TypeAlias = "Callable[[Plate, SiteKey], NDArray[np.int32]]"

_SAME_PX = 0.01  # positions are kept as float32

# What all sites of a plate share, the size of its nuclei or the list of mask files, is found once
# and forgotten with the cells it belongs to; so it holds no plate, which holds its cells.
_MASKS_OF: WeakKeyDictionary[PlateCells, _Masks] = WeakKeyDictionary()


def site_masks(
    plate: Plate, plate_cells: PlateCells, site: SiteKey, *, job: Job = NO_JOB
) -> NDArray[np.int32] | None:
    """Give the masks of the cells of a site, for display.

    The first call takes seconds where nuclei were found: it looks at nine sites to learn the size
    of the nuclei, as was done then, and loads the detector.
    """
    site = SiteKey(*site)
    if plate_cells.source != NUCLEI and not (plate_cells.cells["label"] > 0).any():
        return None
    cells = plate_cells.cells
    cells = cells[(cells["well"] == site.well) & (cells["site"] == site.site)]
    if not len(cells):
        return np.zeros(plate.layout.shape, dtype=np.int32)
    masks = _MASKS_OF.get(plate_cells)
    if masks is None:
        masks = _MASKS_OF[plate_cells] = _masks(plate, plate_cells, job)
    job.check()
    labels = masks(plate, site)
    if not _is_same(cells_of_site(labels, None, site), cells):
        raise HcsQcError(
            f"{site}: its masks are not those that the cells of plate {plate.name} come from "
            f"({plate_cells.origin}); {len(cells)} cells at the positions in the table were "
            "expected. Find or import the cells of this plate again."
        )
    return labels


def _masks(plate: Plate, plate_cells: PlateCells, job: Job) -> _Masks:
    channel = plate.channel_index(plate_cells.channel)
    if plate_cells.source == NUCLEI:
        diameter_px = plate_diameter(
            plate, channel=channel, projection=plate_cells.projection, job=job
        )
        find = nuclei_finder(plate_cells.detector, plate, diameter_px).find
        return partial(_found_again, channel, plate_cells.projection, find)
    source = Path(plate_cells.source)
    if not source.exists():
        raise HcsQcError(
            f"{source} no longer exists; the masks that the cells of plate {plate.name} were "
            "imported from were expected there. Restore it to see them."
        )
    if is_ome_zarr(source):
        readers, _ = masks_in_ome_zarr(plate, source, None)
    else:
        readers, _ = masks_in_folder(plate, source, channel)
    return partial(_read_again, readers, source)


def _found_again(
    channel: int,
    projection: Projection,
    find: Callable[[NDArray[Any]], NDArray[np.int32]],
    plate: Plate,
    site: SiteKey,
) -> NDArray[np.int32]:
    return find(plate.read_site(site, [channel], projection=projection)[0])


def _read_again(
    readers: dict[SiteKey, MaskReader], source: Path, plate: Plate, site: SiteKey
) -> NDArray[np.int32]:
    if site not in readers:
        raise HcsQcError(
            f"{site}: its mask is no longer in {source}, from which its cells were imported. "
            "Restore it to see the mask."
        )
    return readers[site](plate.layout.shape).labels


def _is_same(masks: pd.DataFrame, cells: pd.DataFrame) -> bool:
    """Tell whether masks and cells have the same labels at the same positions."""
    known = cells.sort_values("label")
    if not np.array_equal(masks["label"], known["label"]):
        return False
    columns = ["y_px", "x_px"]
    apart = masks[columns].to_numpy(np.float64) - known[columns].to_numpy(np.float64)
    return bool((np.abs(apart) <= _SAME_PX).all())
