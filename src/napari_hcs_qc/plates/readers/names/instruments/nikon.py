"""NIS-Elements JOBS."""

from __future__ import annotations

from napari_hcs_qc.plates.readers.names.name_format import WELL, Example, NameFormat, compiled

FORMATS = (
    NameFormat(
        name="nikon-jobs",
        instrument="Nikon NIS-Elements JOBS",
        pattern=compiled(
            rf"(?:(?P<plate>.*)_)??Well{WELL}_Point[^_]+?_(?P<site>\d+)(?:_T\D*(?P<time>\d+))?"
            r"(?:_Z\D*(?P<z>\d+))?(?:_Channel(?P<channel>.+?))?_Seq\d+(?:_[^_]*)*?"
        ),
        examples=(
            Example("WellA01_PointA01_0000_ChannelDAPI_Seq0001.tif", "A01", 0, "DAPI"),
            Example("run_WellH12_PointH12_0003_ChannelGFP_Seq0095.tif", "H12", 3, "GFP"),
        ),
        metadata="TIFF header: pixel size",
    ),
)
