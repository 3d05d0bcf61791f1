"""Cytation and Lionheart with Gen5 (BioTek)."""

from __future__ import annotations

from napari_hcs_qc.plates.readers.names.name_format import WELL, Example, NameFormat, compiled

FORMATS = (
    NameFormat(
        name="cytation",
        instrument="Agilent/BioTek Cytation, Lionheart (Gen5)",
        pattern=compiled(
            rf"(?:(?P<plate>.*)_)??{WELL}_-?\d+_\d+_(?P<site>\d+)(?:Z(?P<z>\d+))?"
            r"_(?P<channel>.+)_(?P<time>\d{3,})"
        ),
        examples=(
            Example("A1_01_1_1_DAPI_001.tif", "A01", 1, "DAPI", time=1),
            Example("B12_01_2_4_GFP_002.tif", "B12", 4, "GFP", time=2),
            Example("B3_02_1_1Z2_Bright Field_001.tif", "B03", 1, "Bright Field", 2, 1),
        ),
        metadata="TIFF header: pixel size",
    ),
)
