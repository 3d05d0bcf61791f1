"""ArrayScan, CellInsight and EVOS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hcs_qc.plates.readers.names.name_format import (
    WELL,
    Example,
    NameFormat,
    compiled,
    place_of,
)

if TYPE_CHECKING:
    import re

    from napari_hcs_qc.plates.readers.names.place import Place


def _read(folder: str, match: re.Match[str]) -> Place | None:
    """Take the time point of a kinetic plate, which has no mark before its well."""
    place = place_of(folder, match)
    if place is None or not match["point"]:
        return place
    return place._replace(time=int(match["point"]), plate=match["kinetic"])


FORMATS = (
    NameFormat(
        name="cellomics",
        instrument="Thermo Fisher CellInsight, ArrayScan (Cellomics), EVOS",
        pattern=compiled(
            r"(?:(?:(?P<before>.*?_[RDM])_p(?P<time>\d+)(?:_z(?P<z>\d+))?(?:_\d+)?"
            r"|(?P<plate>.*?))_|(?P<kinetic>.*)i3t(?P<point>\d{3}))??"
            rf"{WELL}f(?P<site>\d+)d(?P<channel>\d+)"
        ),
        read=_read,
        examples=(
            Example("MFGTMPcx7_170526120001_A01f00d0.TIF", "A01", 0, "0"),
            Example("MFGTMPcx7_170526120001_H12f03d1.TIF", "H12", 3, "1"),
            Example("AS_1_O05f01d2.TIF", "O05", 1, "2"),
            Example("scan_Plate_R_p00_0_A01f00d4.TIF", "A01", 0, "4"),
            Example("scan_R_p2_z1_0_B03f01d0.tif", "B03", 1, "0", 1, 2),
            Example("A01f01d2.TIF", "A01", 1, "2"),
            Example("020506plateruni3t001A01f01d2.TIF", "A01", 1, "2", time=1),
        ),
        channel_prefix="d",
        metadata="TIFF header: pixel size",
    ),
)
