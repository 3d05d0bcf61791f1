"""BD Pathway: one folder a well."""

from __future__ import annotations

from napari_hcs_qc.plates.readers.names.name_format import Example, NameFormat, compiled

FORMATS = (
    NameFormat(
        name="bd-pathway",
        instrument="BD Pathway",
        pattern=compiled(
            r"(?:(?P<plate>.*)/)?Well (?P<well>[A-Z]{1,2}\d{1,3})/"
            r"(?P<channel>[^/]+?) - n(?P<site>\d+)"
        ),
        is_path=True,
        examples=(
            Example("Well A01/DAPI - n000000.tif", "A01", 0, "DAPI"),
            Example("2009-09-21_000/Well A001/Alexa 488 - n000000.tif", "A01", 0, "Alexa 488"),
            Example("run/Well H12/Transmitted Light - n000003.tif", "H12", 3, "Transmitted Light"),
        ),
        metadata="TIFF header: pixel size",
    ),
)
