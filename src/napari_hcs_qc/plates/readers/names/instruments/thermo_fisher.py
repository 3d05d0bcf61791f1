"""ArrayScan, CellInsight and EVOS."""

from __future__ import annotations

from napari_hcs_qc.plates.readers.names.name_format import WELL, Example, NameFormat, compiled

FORMATS = (
    NameFormat(
        name="cellomics",
        instrument="Thermo Fisher CellInsight, ArrayScan (Cellomics), EVOS",
        pattern=compiled(
            r"(?:(?P<before>.*?)(?:_z(?P<z>\d+))?(?:_t(?P<time>\d+))?(?:_\d)?_)??"
            rf"{WELL}f(?P<site>\d+)d(?P<channel>\d+)"
        ),
        examples=(
            Example("MFGTMPcx7_170526120001_A01f00d0.TIF", "A01", 0, "0"),
            Example("MFGTMPcx7_170526120001_H12f03d1.TIF", "H12", 3, "1"),
            Example("AS_1_O05f01d2.TIF", "O05", 1, "2"),
            Example("scan_Plate_R_p00_0_A01f00d4.TIF", "A01", 0, "4"),
            Example("scan_Plate_R_p00_z02_t01_0_A01f00d4.TIF", "A01", 0, "4", 2, 1),
        ),
        channel_prefix="d",
        metadata="TIFF header: pixel size",
    ),
)
