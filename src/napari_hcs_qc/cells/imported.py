"""Cells that others have found: label masks, tables of positions, OME-Zarr labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.cells.detect import CellsResult, median_diameter, plate_diameter
from napari_hcs_qc.cells.imported_masks import MaskReader, masks_in_folder, masks_in_ome_zarr
from napari_hcs_qc.cells.imported_positions import read_positions
from napari_hcs_qc.cells.table import cells_of_site, is_cut_at, join_cells
from napari_hcs_qc.errors import HcsQcError, Problem, ProblemsError, UnreadableSiteError
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates.ome_zarr.zarr_plate import is_ome_zarr

if TYPE_CHECKING:
    import pandas as pd

    from napari_hcs_qc.plates.plate import Plate, Projection, SiteKey


def import_cells(
    plate: Plate,
    source: Path,
    *,
    channel: int = 0,
    projection: Projection = "max",
    label_name: str | None = None,
    job: Job = NO_JOB,
) -> CellsResult:
    """Take the cells of a plate from somebody else's segmentation."""
    channel = plate.channel_index(channel)
    source = Path(source)
    if not source.exists():
        raise HcsQcError(f"{source} does not exist; masks or positions to import were expected.")
    if source.is_dir():
        if is_ome_zarr(source):
            masks, problems = masks_in_ome_zarr(plate, source, label_name)
        else:
            masks, problems = masks_in_folder(plate, source, channel)
        result = _from_masks(plate, masks, problems, channel, projection, job)
    else:
        job.report(0, 0, f"Reading {source.name}")
        cells, problems = read_positions(plate, source)
        result = _from_positions(plate, cells, problems, channel, projection, job)
    if result.cells.empty and result.problems:
        raise ProblemsError(f"{source} gives no cells of plate {plate.name}", result.problems)
    return result


def _from_masks(
    plate: Plate,
    masks: dict[SiteKey, MaskReader],
    problems: list[Problem],
    channel: int,
    projection: Projection,
    job: Job,
) -> CellsResult:
    tables: list[pd.DataFrame] = []
    unreadable: list[Problem] = []
    for done, site in enumerate(plate.sites):
        job.check()
        job.report(done, len(plate.sites), f"Importing the cells of {site}")
        if site not in masks:
            problems.append(Problem(str(site), "no mask was found for this site."))
            continue
        try:
            mask = masks[site](plate.layout.shape)
        except HcsQcError as error:
            problems.append(Problem(str(site), str(error)))
            continue
        try:
            image = plate.read_site(site, [channel], projection=projection)[0]
        except UnreadableSiteError as error:
            unreadable.append(Problem(str(site), str(error).removeprefix(f"{site}: ")))
            continue
        table = cells_of_site(mask.labels, image, site, source="import")
        if mask.has_ids:
            table["object_number"] = table["label"].astype("Int64")
        tables.append(table)
    cells = join_cells(tables)
    job.report(len(plate.sites), len(plate.sites), f"Imported {len(cells)} cells")
    diameter = median_diameter(cells, float("nan"))
    return CellsResult(cells, diameter, tuple(unreadable), tuple(problems))


def _from_positions(
    plate: Plate,
    cells: pd.DataFrame,
    problems: list[Problem],
    channel: int,
    projection: Projection,
    job: Job,
) -> CellsResult:
    diameter = median_diameter(cells, float("nan"))
    if np.isnan(diameter) and len(cells):
        diameter = plate_diameter(plate, channel=channel, projection=projection, job=job)
    cells["diameter_px"] = cells["diameter_px"].fillna(np.float32(diameter))
    y, x = cells["y_px"].to_numpy(), cells["x_px"].to_numpy()
    cells["is_cut"] = is_cut_at(y, x, diameter, plate.layout.shape)
    return CellsResult(cells, diameter, (), tuple(problems))
