"""IN Cell Analyzer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hcs_qc.plates.readers.names.name_format import Example, NameFormat, compiled, place_of

if TYPE_CHECKING:
    import re

    from napari_hcs_qc.plates.readers.names.place import Place


def _read_72(folder: str, match: re.Match[str]) -> Place | None:
    """Name a channel by its emission; where filters are used twice its number tells them apart."""
    place = place_of(folder, match)
    number, emission = match["number"], match["emission"]
    return None if place is None else place._replace(channel=f"{emission}\0{int(number)}")


FORMATS = (
    NameFormat(
        name="incell",
        instrument="Cytiva/GE IN Cell Analyzer",
        pattern=compiled(
            r"(?:(?P<before>.*)[ _])??(?P<row>[A-Z]{1,2})(?: ?- ?)?(?P<column>\d{1,2}) ?"
            r"\((?:fld|field) ?(?P<site>\d+)(?: wv (?P<channel>.+?))?(?: wix \d+)?"
            r"(?: z (?P<z>\d+))?(?: time (?P<time>\d+)(?: - \d+(?:\.\d+)? ?ms)?)?\)"
        ),
        examples=(
            Example("A - 01(fld 1 wv UV - DAPI).tif", "A01", 1, "UV - DAPI"),
            Example("H - 12(fld 2 wv UV - DAPI).tif", "H12", 2, "UV - DAPI"),
            Example(
                "B - 02(fld 1 wv UV - DAPI z 3 time 2 - 2636ms).tif", "B02", 1, "UV - DAPI", 3, 2
            ),
            Example("A - 13(fld 2).tif", "A13", 2),
            Example("A - 1(fld 1 wv Cy5 - Cy5).tif", "A01", 1, "Cy5 - Cy5"),
            Example("CORR_B - 2(fld 1 wv Cy3 - Cy3 wix 1).tif", "B02", 1, "Cy3 - Cy3"),
            Example(
                "C - 6(fld 1 wv TL - Bright field - open z 01).tif",
                "C06",
                1,
                "TL - Bright field - open",
                1,
            ),
            Example("Plate1_A01(fld 1 wv 390 - Blue).tif", "A01", 1, "390 - Blue"),
        ),
        metadata="TIFF header: pixel size",
    ),
    NameFormat(
        name="incell-7",
        instrument="Cytiva IN Cell Analyzer, software 7",
        pattern=compiled(
            r"(?:.*_)??(?P<row>[A-Z]{1,2})_(?P<column>\d{1,2})_f(?P<site>\d+)_c(?P<number>\d+)"
            r"_x[^_]+_m(?P<emission>[^_]+)(?:_z(?P<z>\d+))?(?:_t(?P<time>\d+))?"
        ),
        read=_read_72,
        examples=(Example("A_01_f2_c1_xUV_mDAPI_z3_t2.tif", "A01", 2, "DAPI", 3, 2),),
        metadata="TIFF header: pixel size",
    ),
)
