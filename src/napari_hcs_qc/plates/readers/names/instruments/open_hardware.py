"""Micro-Manager and Squid."""

from __future__ import annotations

from napari_hcs_qc.plates.readers.names.name_format import WELL, Example, NameFormat, compiled

FORMATS = (
    NameFormat(
        name="micro-manager",
        instrument="Micro-Manager, image files of the HCS site generator",
        pattern=compiled(
            rf"(?:.*/)?{WELL}-Site_(?P<site>\d+)/img_(?P<time>\d+)_(?P<channel>[^/]+)_(?P<z>\d{{3,}})"
        ),
        is_path=True,
        examples=(
            Example("A1-Site_0/img_000000000_DAPI_000.tif", "A01", 0, "DAPI", 0, 0),
            Example("run_1/H12-Site_3/img_000000002_Cy5_001.tif", "H12", 3, "Cy5", 1, 2),
        ),
    ),
    NameFormat(
        name="micro-manager-2",
        instrument="Micro-Manager 2, image files of the HCS site generator",
        pattern=compiled(
            rf"(?:.*/)?{WELL}-Site_(?P<site>\d+)/img_channel(?P<channel>\d+)_position\d+"
            r"_time(?P<time>\d+)_z(?P<z>\d+)"
        ),
        is_path=True,
        channel_prefix="C",
        examples=(
            Example(
                "A1-Site_0/img_channel001_position000_time000000000_z000.tif", "A01", 0, "1", 0, 0
            ),
        ),
    ),
    NameFormat(
        name="micro-manager-stack",
        instrument="Micro-Manager, stack files of the HCS site generator",
        pattern=compiled(rf"(?P<before>.*)_MMStack_{WELL}-Site_(?P<site>\d+)(?:_\d+)?"),
        examples=(Example("run_1_MMStack_A1-Site_0.ome.tif", "A01", 0),),
        metadata="OME-XML: channels, pixel size",
    ),
    NameFormat(
        name="squid-sites",
        instrument="Squid, numbered sites",
        pattern=compiled(
            rf"(?:.*/)??{WELL}_s(?P<site>\d+)_x\d+_y\d+(?:_z(?P<z>\d+))?_(?P<channel>[^/]+)"
        ),
        is_path=True,
        examples=(
            Example(
                "run/K09_s4_x0_y1_z0_Fluorescence_488_nm_Ex.tiff",
                "K09",
                4,
                "Fluorescence_488_nm_Ex",
                0,
            ),
            Example("B03_s1_x0_y0_Fluorescence_405_nm_Ex.tif", "B03", 1, "Fluorescence_405_nm_Ex"),
        ),
    ),
    NameFormat(
        name="squid",
        instrument="Squid",
        pattern=compiled(
            rf"(?:.*/)??(?:(?P<time>\d+)/)?{WELL}_(?P<site>\d+)_(?P<z>\d+)_(?P<channel>[^\d/][^/]*)"
        ),
        is_path=True,
        examples=(
            Example(
                "0/C5_0_0_Fluorescence_488_nm_Ex.tiff", "C05", 0, "Fluorescence_488_nm_Ex", 0, 0
            ),
            Example("A1_2_3_BF_LED_matrix_full.bmp", "A01", 2, "BF_LED_matrix_full", 3),
        ),
    ),
)
