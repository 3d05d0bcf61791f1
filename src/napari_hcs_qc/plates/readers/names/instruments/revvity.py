"""Opera, Operetta and Phenix with Harmony."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hcs_qc.plates.readers.names.name_format import Example, NameFormat, compiled
from napari_hcs_qc.plates.readers.names.place import Place, well_text

if TYPE_CHECKING:
    import re


def _read(_folder: str, match: re.Match[str]) -> Place:
    well = well_text(match["row"], match["column"])
    time = int(match["sk"] or match["t"] or 1)
    return Place(well, int(match["site"]), str(int(match["channel"])), int(match["z"]), time)


FORMATS = (
    NameFormat(
        name="operetta",
        instrument="Revvity/PerkinElmer Opera, Operetta, Phenix (Harmony)",
        pattern=compiled(
            r"r(?P<row>\d+)c(?P<column>\d+)f(?P<site>\d+)p(?P<z>\d+)(?:rc\d+)?-ch(?P<channel>\d+)"
            r"(?:t(?P<t>\d+))?(?:sk(?P<sk>\d+))?(?:fk\d+)?(?:fl\d+)?"
        ),
        read=_read,
        examples=(
            Example("r01c01f01p01-ch1sk1fk1fl1.tiff", "A01", 1, "1", 1, 1),
            Example("Images/r02c12f09p03-ch4sk2fk1fl1.tiff", "B12", 9, "4", 3, 2),
        ),
        channel_prefix="ch",
        metadata="Index.xml: plate, channels, pixel size",
    ),
)
