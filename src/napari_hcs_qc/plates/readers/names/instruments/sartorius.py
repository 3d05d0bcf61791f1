"""Incucyte exports."""

from __future__ import annotations

import datetime as dt
import re

from napari_hcs_qc.plates.readers.names.name_format import WELL, Example, NameFormat, compiled
from napari_hcs_qc.plates.readers.names.place import Place

_TIME = re.compile(r"(?:(\d{4})y(\d\d)m)?(\d+)d_?(\d\d)h(\d\d)m", re.IGNORECASE)


def _read(_folder: str, match: re.Match[str]) -> Place | None:
    """Take the minutes since the start, or since year 1: they only tell the order."""
    time = _TIME.fullmatch(match["time"])
    assert time is not None
    year, month, day, hour, minute = (int(number or 0) for number in time.groups())
    if year:
        try:
            day = dt.date(year, month, day).toordinal()
        except ValueError:
            return None
    minutes = (day * 24 + hour) * 60 + minute
    return Place(match["well"], int(match["site"]), match["channel"], time=minutes)


FORMATS = (
    NameFormat(
        name="incucyte",
        instrument="Sartorius Incucyte",
        pattern=compiled(
            rf"(?P<channel>.+)_{WELL}_(?P<site>\d+)_(?P<time>(?:\d{{4}}y\d\dm)?\d+d_?\d\dh\d\dm)"
        ),
        read=_read,
        times_are_dates=True,
        examples=(
            Example("Phase_B2_1_00d06h00m.tif", "B02", 1, "Phase", time=1),
            Example("Green_H12_4_2019y05m03d_12h30m.tif", "H12", 4, "Green", time=1),
        ),
        metadata="TIFF header: pixel size",
    ),
)
