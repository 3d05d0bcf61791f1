"""Cells that others have found: label masks, outlines, tables of positions, OME-Zarr labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from napari_hcs_qc.cells.detect import CellsResult, median_diameter, plate_diameter
from napari_hcs_qc.cells.imported.masks import (
    MaskReader,
    is_mask_file,
    masks_in_folder,
    masks_in_ome_zarr,
)
from napari_hcs_qc.cells.imported.options import ImportOptions
from napari_hcs_qc.cells.imported.plausibility import (
    PositionCheck,
    check_positions,
    sample_nuclei,
)
from napari_hcs_qc.cells.imported.positions import POSITION_MEANINGS, cells_of_rows
from napari_hcs_qc.cells.table import cells_of_site, is_cut_at, join_cells
from napari_hcs_qc.errors import HcsQcError, Problem, ProblemsError, UnreadableSiteError
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates.ome_zarr.zarr_plate import is_ome_zarr
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.tables.places import read_placed, with_unit
from napari_hcs_qc.tables.plate_sites import PlateSites
from napari_hcs_qc.tables.positions_are import PositionsAre
from napari_hcs_qc.tables.profiles import object_table, tables_in

if TYPE_CHECKING:
    from napari_hcs_qc.plates.plate import Plate, Projection


def import_cells(
    plate: Plate,
    source: Path,
    *,
    channel: int = 0,
    projection: Projection = "max",
    options: ImportOptions | None = None,
    job: Job = NO_JOB,
) -> CellsResult:
    """Take the cells of a plate from somebody else's segmentation."""
    options = options or ImportOptions()
    source = Path(source)
    if not source.exists():
        raise HcsQcError(
            f"{source} does not exist; masks or positions to import were expected. Check its path."
        )
    importing = _Import(
        plate=plate,
        channel=plate.channel_index(channel),
        projection=projection,
        options=options,
        job=job,
    )
    tables = _tables(source)
    if source.is_dir() and is_ome_zarr(source):
        result = importing.of_masks(source, *masks_in_ome_zarr(plate, source, options.labels))
    elif tables:
        job.report(0, 0, f"Reading {source.name}")
        result = importing.of_tables(source, tables)
    else:
        result = importing.of_masks(source, *masks_in_folder(plate, source, importing.channel))
    if result.cells.empty and result.problems:
        raise ProblemsError(
            f"{source} gives no cells of plate {plate.name}; correct this", result.problems
        )
    return result


def _tables(source: Path) -> list[Path]:
    """Tables to be read: the file, CellProfiler's objects in a folder, or a table an image."""
    if not source.is_dir():
        return [] if is_mask_file(source) else [source]
    objects = object_table(source)
    if objects is not None:
        return [objects]
    return [] if any(map(is_mask_file, source.rglob("*"))) else tables_in(source)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Import:
    plate: Plate
    channel: int
    projection: Projection
    options: ImportOptions
    job: Job

    def of_tables(self, source: Path, paths: list[Path]) -> CellsResult:
        """Take the cells of one table, or of one for each image."""
        plates = {self.plate.name: PlateSites.of(self.plate)}
        parts: list[pd.DataFrame] = []
        places: list[pd.DataFrame] = []
        problems: list[Problem] = []
        are = self.options.positions_are
        understood = other_plate = ""
        for path in paths:
            self.job.check()
            placed = read_placed(
                path, plates, POSITION_MEANINGS, image_table=self.options.image_table
            )
            understood = understood or placed.understood
            other_plate = other_plate or placed.other_plate
            are = with_unit(placed.columns, self.options.positions_are, placed.places)
            moved = are.moved(placed.places, plates)
            cells, reasons = cells_of_rows(self.plate, path, placed, moved)
            parts.append(cells)
            places.append(placed.places)
            problems += reasons
        check = self._check(
            source, pd.concat(places, ignore_index=True), are, other_plate=other_plate
        )
        result = self._sized(join_cells(_by_site(self.plate, parts)), problems)
        return replace(result, check=check.sentence, understood=understood)

    def _check(
        self,
        source: Path,
        places: pd.DataFrame,
        are: PositionsAre,
        of: Literal["positions", "masks"] = "positions",
        other_plate: str = "",
    ) -> PositionCheck:
        plates = {self.plate.name: PlateSites.of(self.plate)}
        on_plate = places[places["plate"] == self.plate.name]
        if on_plate.dropna().empty:
            return PositionCheck(note="no position is on a site of the plate")
        nuclei = sample_nuclei(
            self.plate, on_plate, channel=self.channel, projection=self.projection, job=self.job
        )
        check = check_positions(on_plate, nuclei, are, plates)
        return check.checked(
            source, accept=self.options.accept_positions, of=of, other_plate=other_plate
        )

    def _sized(self, cells: pd.DataFrame, problems: list[Problem]) -> CellsResult:
        diameter = median_diameter(cells, float("nan"))
        if np.isnan(diameter) and len(cells):
            diameter = plate_diameter(
                self.plate, channel=self.channel, projection=self.projection, job=self.job
            )
        cells["diameter_px"] = cells["diameter_px"].fillna(np.float32(diameter))
        y, x = cells["y_px"].to_numpy(), cells["x_px"].to_numpy()
        cells["is_cut"] = is_cut_at(y, x, diameter, self.plate.layout.shape)
        return CellsResult(cells=cells, diameter_px=diameter, problems=tuple(problems))

    def of_masks(
        self, source: Path, masks: dict[SiteKey, MaskReader], problems: list[Problem]
    ) -> CellsResult:
        """Take the cells of one mask for each site."""
        plate, job = self.plate, self.job
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
                image = plate.read_site(site, [self.channel], projection=self.projection)[0]
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
        places = cells[["well", "site", "y_px", "x_px"]].assign(plate=plate.name)
        check = self._check(source, places.astype({"site": "Int64"}), PositionsAre(), "masks")
        return CellsResult(
            cells=cells,
            diameter_px=diameter,
            unreadable=tuple(unreadable),
            problems=tuple(problems),
            check=check.sentence,
        )


def _by_site(plate: Plate, parts: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """Put the tables of several images into the order of the plate's sites."""
    if len(parts) == 1:
        return parts
    rank = {key: index for index, key in enumerate(plate.sites)}
    filled = [part for part in parts if len(part)]
    return sorted(filled, key=lambda part: rank[SiteKey(*part[["well", "site"]].iloc[0])])
