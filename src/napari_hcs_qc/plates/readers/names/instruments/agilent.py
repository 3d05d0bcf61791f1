"""Cytation and Lionheart with Gen5 (BioTek)."""

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

_SITES_OF_REGION = 100  # tile 1 of the second region of a well is site 101


def _read(folder: str, match: re.Match[str]) -> Place | None:
    place = place_of(folder, match)
    if place is None or not match["roi"]:
        return place
    return place._replace(site=_SITES_OF_REGION * (int(match["roi"]) - 1) + place.site)


FORMATS = (
    NameFormat(
        name="cytation",
        instrument="Agilent/BioTek Cytation, Lionheart (Gen5)",
        pattern=compiled(
            rf"(?:(?P<plate>.*)_)??{WELL}(?:ROI(?P<roi>\d+))?_-?\d+_\d+_(?P<site>\d+)(?:Z(?P<z>\d+))?"
            r"_(?P<channel>.+)_(?P<time>\d{3,})"
        ),
        read=_read,
        examples=(
            Example("A1_01_1_1_DAPI_001.tif", "A01", 1, "DAPI", time=1),
            Example("B12_01_2_4_GFP_002.tif", "B12", 4, "GFP", time=2),
            Example(
                "A1ROI2_02_1_1_Bright Field_High Contrast_003.tif",
                "A01",
                101,
                "Bright Field_High Contrast",
                time=3,
            ),
            Example("B3_02_1_1Z2_Bright Field_001.tif", "B03", 1, "Bright Field", 2, 1),
        ),
        metadata="TIFF header: pixel size",
    ),
)
