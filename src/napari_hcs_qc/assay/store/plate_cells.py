"""What the cells step found on one plate, as it lies on disk."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from napari_hcs_qc.cells.intensity import IntensityRanges
from napari_hcs_qc.cells.table import read_cells
from napari_hcs_qc.documents import Document
from napari_hcs_qc.errors import DamagedError, HcsQcError, Problem
from napari_hcs_qc.plates.plate import Projection, SiteKey
from napari_hcs_qc.plugins import BUILT_IN_DETECTOR
from napari_hcs_qc.qc.quality_measures import QUALITY_COLUMNS
from napari_hcs_qc.read_table import read_parquet

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from napari_hcs_qc.plates.plate import Plate

CELLS, CONTENT, QUALITY = "cells.json", "content.json", "quality.parquet"
PIXELS = "pixels_crc32"
"""Column of the file `quality.parquet`, beside the measures."""
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
    # CRC-32 of the pixels of each site and channel as they were read; none in earlier versions
    pixels: Mapping[tuple[SiteKey, str], int] = field(default_factory=dict)
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
    files: str = ""
    """Address of the plate's files with all their dates; empty in assays of an earlier version."""
    cells_sha256: str = ""
    """Of the file with their table; empty in assays of an earlier version, as the next one."""
    quality_sha256: str = ""


class ContentDocument(Document):
    """The file `content.json`: the content of a plate whose files have other dates than before."""

    remedy: ClassVar[str] = "Delete it; it is made again."

    format: Literal["napari-hcs-qc content"] = "napari-hcs-qc content"
    format_version: Literal[1] = 1
    files: str = ""
    """Address of the files with all their dates."""
    content: str
    changed: tuple[str, ...] = ()
    """Sites whose pixels were seen to be others, with the CRC-32 of what they are now."""


def cells_document(folder: Path) -> CellsDocument | None:
    """Read what is known of the cells of a plate; None before they were found."""
    path = folder / CELLS
    return CellsDocument.load(path) if path.is_file() else None


def has_cells(folder: Path, plate: Plate) -> bool:
    """Tell whether the cells step of this very plate (its files unchanged) is complete."""
    document = cells_document(folder)
    return document is not None and document.plate_fingerprint == plate.fingerprint


def has_object_numbers(folder: Path) -> bool:
    """Tell whether cells of a plate have a number of another program, without reading the rest.

    False where the table cannot be read: `load_cells` says why.
    """
    try:
        with pq.ParquetFile(folder / "cells.parquet") as file:
            columns = file.read(["object_number"]).columns
    except (pa.ArrowException, OSError):
        return False
    return any(column.null_count < len(column) for column in columns)


def load_cells(folder: Path) -> PlateCells:
    """Read what `detect` wrote."""
    document = cells_document(folder)
    if document is None:
        raise HcsQcError(
            f"The cells of plate {folder.name} have not been found yet; run 'hcs-qc cells' first."
        )
    try:
        quality = read_parquet(folder / QUALITY, sha256=document.quality_sha256)
        return PlateCells(
            cells=read_cells(folder / "cells.parquet", sha256=document.cells_sha256),
            ranges=document.ranges,
            quality=_quality(quality),
            pixels=pixels_of(quality),
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


def checksums_of(pixels: NDArray[Any]) -> list[int]:
    """CRC-32 of each plane."""
    return [zlib.crc32(np.ascontiguousarray(plane).data) for plane in pixels]


def pixels_of(table: pd.DataFrame) -> dict[tuple[SiteKey, str], int]:
    """Checksums in the file of the image quality; none in assays of an earlier version."""
    if PIXELS not in table:
        return {}
    columns = [table[name].tolist() for name in ("well", "site", "channel", PIXELS)]
    return {
        (SiteKey(well, site), channel): checksum
        for well, site, channel, checksum in zip(*columns, strict=True)
    }


def _quality(table: pd.DataFrame) -> pd.DataFrame:
    """Give the image quality, also as 0.1.0 wrote it."""
    table = table.rename(columns={"power_slope": "octave_power_slope"})
    if "power_log_log_slope" not in table:
        table["power_log_log_slope"] = np.nan
    if missing := [name for name in QUALITY_COLUMNS if name not in table]:
        raise ValueError(f"the image quality lacks {', '.join(missing)}")
    return table[list(QUALITY_COLUMNS)]


def _site_key(text: str) -> SiteKey:
    """Read what ``str(site)`` gave."""
    well, _, number = text.rpartition(" s")
    return SiteKey(well, int(number))
