"""Opera, Operetta and Phenix with Harmony."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hcs_qc.plates.readers.names.name_format import Example, NameFormat, compiled
from napari_hcs_qc.plates.readers.names.place import Place, well_text

if TYPE_CHECKING:
    import re
    from collections.abc import Collection


_FAST = 1_000_000  # more than there are time points of slow kinetics


def _read(_folder: str, match: re.Match[str]) -> Place:
    well = well_text(match["row"], match["column"])
    time = int(match["sk"] or match["t"] or 1) + _FAST * (int(match["fk"] or 1) - 1)
    return Place(well, int(match["site"]), str(int(match["channel"])), int(match["z"]), time)


def _kinetics(times: Collection[int]) -> dict[int, int]:
    """Count the time points of slow kinetics (sk), of fast ones (fk), or of fast within slow."""
    n_fast = 1 + max(time // _FAST for time in times)
    return {time: (time % _FAST - 1) * n_fast + time // _FAST + 1 for time in times}


FORMATS = (
    NameFormat(
        name="operetta",
        instrument="Revvity/PerkinElmer Opera, Operetta, Phenix (Harmony)",
        pattern=compiled(
            r"r(?P<row>\d+)c(?P<column>\d+)f(?P<site>\d+)p(?P<z>\d+)(?:rc\d+)?-ch(?P<channel>\d+)"
            r"(?:t(?P<t>\d+))?(?:sk(?P<sk>\d+))?(?:fk(?P<fk>\d+))?"
            r"(?P<acquisition>fl\d+)?"
        ),
        read=_read,
        number_times=_kinetics,
        acquisition="fluorescence lifetimes (fl)",
        examples=(
            Example("r01c01f01p01-ch1sk1fk1fl1.tiff", "A01", 1, "1", 1, 1),
            Example("r01c01f01p01-ch1sk1fk3fl1.tiff", "A01", 1, "1", 1, 3),
            Example("Images/r02c12f09p03-ch4sk2fk1fl1.tiff", "B12", 9, "4", 3, 2),
        ),
        channel_prefix="ch",
        metadata="Index.xml: plate, channels, pixel size",
    ),
)
