"""How cells are found: what is asked for, and what the assay is set to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_hcs_qc.assay.store.plate_cells import NUCLEI
from napari_hcs_qc.cells.imported.options import ImportOptions

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.assay.store.assay_document import AssaySettings
    from napari_hcs_qc.assay.store.plate_cells import PlateCells
    from napari_hcs_qc.plates.plate import Plate, Projection

_NUCLEAR_STAINS = ("dna", "dapi", "hoechst", "draq", "nucle", "sytox", "h2b")


@dataclass(frozen=True, kw_only=True)
class CellOptions:
    """How cells are found."""

    source: Path | None = None
    channel: str | int | None = None
    projection: Projection | None = None
    detector: str | None = None
    importing: ImportOptions = field(default_factory=ImportOptions)

    def differ_from(self, plate: Plate, plate_cells: PlateCells) -> bool:
        """Tell whether something is asked for that is not how the cells were found."""
        channel = plate_cells.channel
        if self.channel is not None:
            channel = plate.channels[plate.channel_index(self.channel)].name
        return (
            (self.source is not None and str(self.source.resolve()) != plate_cells.source)
            or channel != plate_cells.channel
            or (self.projection is not None and self.projection != plate_cells.projection)
            or (self.detector is not None and self.detector != _detector_of(plate_cells))
        )


def settings_differ(settings: AssaySettings, plate_cells: PlateCells) -> bool:
    """Tell whether found cells are not as the assay is set to; imported ones always are."""
    if plate_cells.source != NUCLEI:
        return False
    return any(
        is_set not in (None, used)
        for is_set, used in (
            (settings.detector, plate_cells.detector),
            (settings.nuclear_channel, plate_cells.channel),
            (settings.projection, plate_cells.projection),
        )
    )


def nuclear_channel(plate: Plate, settings: AssaySettings) -> int:
    """Choose the channel of the nuclei: the assay's, or that of a nuclear stain, or the first."""
    known = known_nuclear_channel(plate, settings)
    return 0 if known is None else known


def known_nuclear_channel(plate: Plate, settings: AssaySettings) -> int | None:
    """Give the assay's channel of the nuclei, or that of a nuclear stain; None: somebody says."""
    if settings.nuclear_channel is not None:
        return plate.channel_index(settings.nuclear_channel)
    return stained_channel(plate)


def stained_channel(plate: Plate) -> int | None:
    """Find the first channel that is named like a nuclear stain."""
    for index, channel in enumerate(plate.channels):
        if any(stain in channel.name.casefold() for stain in _NUCLEAR_STAINS):
            return index
    return None


def _detector_of(plate_cells: PlateCells) -> str | None:
    """Name of what found cells; None where they were imported."""
    return plate_cells.detector if plate_cells.source == NUCLEI else None
