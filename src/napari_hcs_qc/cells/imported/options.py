"""How positions from outside are read, and whether they are believed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_hcs_qc.tables.positions_are import PositionsAre

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """How cells of others are imported."""

    positions_are: PositionsAre = field(default_factory=PositionsAre)
    accept_positions: bool = False
    labels: str | None = None  # which label image of an OME-Zarr, where it has several
    image_table: Path | None = None  # what the images are that a table names by number
