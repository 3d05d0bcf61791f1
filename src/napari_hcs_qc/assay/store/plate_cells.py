"""What the cells step found on one plate, as it lies on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from napari_hcs_qc.cells.intensity import IntensityRanges
from napari_hcs_qc.cells.table import read_cells
from napari_hcs_qc.documents import Document
from napari_hcs_qc.errors import DamagedError, HcsQcError, Problem
from napari_hcs_qc.plates.plate import Projection, SiteKey
from napari_hcs_qc.plugins import BUILT_IN_DETECTOR
from napari_hcs_qc.qc.image_quality import QUALITY_COLUMNS
from napari_hcs_qc.read_table import read_parquet

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from napari_hcs_qc.plates.plate import Plate

CELLS = "cells.json"
NUCLEI = "nuclei"
"""Source of cells that were found, not imported."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PlateCells:
    """What the cells step found on one plate."""

    cells: pd.DataFrame  # table of cells (`napari_hcs_qc.cells.table.CELL_COLUMNS`)
    ranges: IntensityRanges  # intensity range and saturation level of each channel
    quality: pd.DataFrame  # image quality, one row a site and channel
    diameter_px: float  # median nucleus diameter
    channel: str  # name of the channel that shows the nuclei
    projection: Projection  # how z stacks were read
    unreadable: dict[SiteKey, str]  # sites that could not be read, with the reason
    source: str  # `NUCLEI`, or the path that positions were imported from
    detector: str = BUILT_IN_DETECTOR  # what found them, where they were not imported
    detector_package: str = ""  # of another detector than ours, with its version
    # Of an import: rows and masks left out, and why; of a detector: what had to be guessed
    problems: tuple[Problem, ...] = ()
    check: str = ""  # of an import: how many positions lie on a nucleus
    understood: str = ""  # of a table: which of its columns are what

    @property
    def origin(self) -> str:
        """Where they come from, to be shown."""
        if self.source != NUCLEI or self.detector == BUILT_IN_DETECTOR:
            return self.source
        return f"{NUCLEI} found by {self.detector} ({self.detector_package})"


class CellsDocument(Document):
    """The file `cells.json` of a plate: the cells step is complete once it is there."""

    remedy: ClassVar[str] = "Run 'hcs-qc cells' again."

    format: Literal["napari-hcs-qc cells"] = "napari-hcs-qc cells"
    format_version: Literal[2] = 2
    plate_fingerprint: str
    ranges: IntensityRanges
    diameter_px: float
    channel: str
    projection: Projection
    source: str
    detector: str = BUILT_IN_DETECTOR
    detector_package: str = ""
    unreadable: tuple[tuple[str, str], ...]
    problems: tuple[tuple[str, str, str], ...]
    check: str = ""
    understood: str = ""
    content: str = ""
    """Of the plate's files, without their dates; empty in assays of an earlier version."""
    cells_sha256: str = ""
    """Of the file with their table; empty in assays of an earlier version, as the next one."""
    quality_sha256: str = ""


class ContentDocument(Document):
    """The file `content.json`: the content of a plate whose files have other dates than before."""

    format: Literal["napari-hcs-qc content"] = "napari-hcs-qc content"
    format_version: Literal[1] = 1
    plate_fingerprint: str
    content: str


def cells_document(folder: Path) -> CellsDocument | None:
    """Read what is known of the cells of a plate; None before they were found."""
    path = folder / CELLS
    return CellsDocument.load(path) if path.is_file() else None


def has_cells(folder: Path, plate: Plate) -> bool:
    """Tell whether the cells step of this very plate (its files unchanged) is complete."""
    document = cells_document(folder)
    return document is not None and document.plate_fingerprint == plate.fingerprint


def load_cells(folder: Path) -> PlateCells:
    """Read what `detect` wrote."""
    document = cells_document(folder)
    if document is None:
        raise HcsQcError(
            f"The cells of plate {folder.name} have not been found yet; run 'hcs-qc cells' first."
        )
    try:
        return PlateCells(
            cells=read_cells(folder / "cells.parquet", sha256=document.cells_sha256),
            ranges=document.ranges,
            quality=_quality(folder / "quality.parquet", document.quality_sha256),
            diameter_px=document.diameter_px,
            channel=document.channel,
            projection=document.projection,
            unreadable={_site_key(where): what for where, what in document.unreadable},
            source=document.source,
            detector=document.detector,
            detector_package=document.detector_package,
            problems=tuple(Problem(*problem) for problem in document.problems),
            check=document.check,
            understood=document.understood,
        )
    except (HcsQcError, ValueError, OSError) as error:
        raise DamagedError(
            f"The cells of plate {folder.name} are damaged ({error}); run 'hcs-qc cells' again."
        ) from error


def _quality(path: Path, sha256: str) -> pd.DataFrame:
    """Read the image quality, also as 0.1.0 wrote it."""
    table = read_parquet(path, sha256=sha256).rename(columns={"power_slope": "octave_power_slope"})
    if "power_log_log_slope" not in table:
        table["power_log_log_slope"] = np.nan
    if missing := [name for name in QUALITY_COLUMNS if name not in table]:
        raise ValueError(f"the image quality lacks {', '.join(missing)}")
    return table[list(QUALITY_COLUMNS)]


def _site_key(text: str) -> SiteKey:
    """Read what ``str(site)`` gave."""
    well, _, number = text.rpartition(" s")
    return SiteKey(well, int(number))
