"""Matrix Screener: everything counts from 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hcs_qc.plates.readers.names.name_format import Example, NameFormat, compiled
from napari_hcs_qc.plates.readers.names.place import Place, well_text

if TYPE_CHECKING:
    import re

_SITES_ACROSS = 100  # fields X and Y of a well make one number: 3, and 203 in the third row


def _read(_folder: str, match: re.Match[str]) -> Place:
    site = _SITES_ACROSS * int(match["y"]) + int(match["x"])
    well = well_text(str(int(match["v"]) + 1), str(int(match["u"]) + 1))
    run = f"{match['before']}--{match['job']}" if match["job"] else match["before"]
    time, z, channel = (int(match[group] or 0) for group in ("time", "z", "channel"))
    return Place(well, site, str(channel), z, time, run)


FORMATS = (
    NameFormat(
        name="leica-matrix",
        instrument="Leica Matrix Screener",
        pattern=compiled(
            r"(?P<before>.*?)(?:--L\d+)?(?:--S\d+)?--U(?P<u>\d+)--V(?P<v>\d+)(?:--(?P<job>J\d+))?"
            r"(?:--E\d+)?(?:--O\d+)?--X(?P<x>\d+)--Y(?P<y>\d+)(?:--T(?P<time>\d+))?"
            r"(?:--Z(?P<z>\d+))?(?:--C(?P<channel>\d+))?"
        ),
        read=_read,
        examples=(
            Example(
                "image--L0000--S00--U01--V01--J08--E00--O00--X00--Y00--T0000--Z00--C00.ome.tif",
                "B02",
                0,
                "0",
                0,
                0,
            ),
            Example(
                "image--L0000--S00--U11--V07--J08--E00--O00--X02--Y01--T0000--Z03--C01.ome.tif",
                "H12",
                102,
                "1",
                3,
                0,
            ),
        ),
        channel_prefix="C",
        metadata="OME-XML: channels, pixel size",
    ),
)
