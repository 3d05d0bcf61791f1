"""NIS-Elements JOBS."""

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
    """Without points, the images of a well are told apart by their place in the sequence."""
    place = place_of(folder, match)
    if place is None:
        return None
    site = int(match["site"] or match["sequence"])
    return place._replace(site=site, time=int(match["cycle"] or place.time))


FORMATS = (
    NameFormat(
        name="nikon-jobs",
        instrument="Nikon NIS-Elements JOBS",
        pattern=compiled(
            rf"(?:\d{{8}}_\d{{6}}_\d+_+)?(?:(?P<plate>.*)_)??Well{WELL}"
            r"(?:_Point[^_]+?_(?P<site>\d+))?(?:_T\D*(?P<time>\d+))?(?:_Z\D*(?P<z>\d+))?"
            r"(?:_Channel(?P<channel>.+?))?(?:_Cycle(?P<cycle>\d+))?_Seq(?P<sequence>\d+)"
        ),
        read=_read,
        examples=(
            Example("WellA01_PointA01_0000_ChannelDAPI_Seq0001.tif", "A01", 0, "DAPI"),
            Example(
                "20260728_143951_318__WellB2_PointB2_0001_ChannelDAPI_Seq0004.tif", "B02", 1, "DAPI"
            ),
            Example(
                "WellA1_PointA1_0000_ChannelDAPI_Cycle03_Seq0000.ome.tiff", "A01", 0, "DAPI", time=3
            ),
            Example("WellD05_ChannelSD GFP_Seq0002.tif", "D05", 2, "SD GFP"),
            Example("run_WellH12_PointH12_0003_ChannelGFP_Seq0095.tif", "H12", 3, "GFP"),
        ),
        metadata="TIFF header: pixel size",
    ),
)
