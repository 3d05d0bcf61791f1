"""What the cells step found on one plate, as it lies on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_hcs_qc.cells.intensity import IntensityRanges
from napari_hcs_qc.cells.table import read_cells
from napari_hcs_qc.errors import HcsQcError, Problem
from napari_hcs_qc.files import read_json
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.read_table import read_parquet

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from napari_hcs_qc.plates.plate import Plate, Projection


@dataclass(frozen=True, eq=False)
class PlateCells:
    """What the cells step found on one plate."""

    cells: pd.DataFrame  # table of cells (`napari_hcs_qc.cells.table.CELL_COLUMNS`)
    ranges: IntensityRanges  # intensity range and saturation level of each channel
    quality: pd.DataFrame  # image quality, one row a site and channel
    diameter_px: float  # median nucleus diameter
    channel: str  # name of the channel that shows the nuclei
    projection: Projection  # how z stacks were read
    unreadable: dict[SiteKey, str]  # sites that could not be read, with the reason
    source: str  # ``"nuclei"``, or the path that positions were imported from
    problems: tuple[Problem, ...] = ()  # of an import: rows and masks left out, and why


def has_cells(folder: Path, plate: Plate) -> bool:
    """Tell whether the cells step of this very plate (its files unchanged) is complete."""
    path = folder / "cells.json"
    return path.is_file() and read_json(path).get("plate_fingerprint") == plate.fingerprint


def load_cells(folder: Path) -> PlateCells:
    """Read what `detect` wrote."""
    path = folder / "cells.json"
    if not path.is_file():
        raise HcsQcError(
            f"The cells of plate {folder.name} have not been found yet; run 'hcs-qc cells' first."
        )
    state = read_json(path)
    try:
        return PlateCells(
            read_cells(folder / "cells.parquet"),
            IntensityRanges.from_dict(state["ranges"]),
            read_parquet(folder / "quality.parquet"),
            float(state["diameter_px"]),
            str(state["channel"]),
            state["projection"],
            {_site_key(where): what for where, what in state["unreadable"]},
            str(state["source"]),
            tuple(Problem(*problem) for problem in state["problems"]),
        )
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise HcsQcError(
            f"The cells of plate {folder.name} are damaged ({error}); run 'hcs-qc cells' again."
        ) from error


def _site_key(text: str) -> SiteKey:
    """Read what ``str(site)`` gave."""
    well, _, number = text.rpartition(" s")
    return SiteKey(well, int(number))
