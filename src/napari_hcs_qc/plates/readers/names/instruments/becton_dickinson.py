"""BD Pathway: one folder a well."""

from __future__ import annotations

from napari_hcs_qc.plates.readers.names.name_format import WELL, Example, NameFormat, compiled

FORMATS = (
    NameFormat(
        name="bd-pathway",
        instrument="BD Pathway",
        pattern=compiled(rf"(?:.*/)?Well {WELL}/(?P<channel>[^/]+?) - n(?P<site>\d+)"),
        is_path=True,
        examples=(
            Example("Well A01/DAPI - n000000.tif", "A01", 0, "DAPI"),
            Example("run/Well H12/Transmitted Light - n000003.tif", "H12", 3, "Transmitted Light"),
        ),
        metadata="TIFF header: pixel size",
    ),
)
