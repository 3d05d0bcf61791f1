"""Incucyte exports."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING

from napari_hcs_qc.plates.readers.names.name_format import WELL, Example, NameFormat, compiled
from napari_hcs_qc.plates.readers.names.place import NO_CHANNEL, Place

if TYPE_CHECKING:
    from collections.abc import Collection

_TIME = re.compile(r"(?:(\d{4})y(\d\d)m)?(\d+)d_?(\d\d)h(\d\d)m", re.IGNORECASE)
_CHANNEL = re.compile(r"(?:phase|green|red|orange|blue|nir|near)\w*", re.IGNORECASE)


def _read(folder: str, match: re.Match[str]) -> Place | None:
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
    parts = [part for part in re.split(r"[_\- ]+", match["before"] or "") if part]
    channel = next((part for part in parts if _CHANNEL.fullmatch(part)), NO_CHANNEL)
    run = "_".join(part for part in parts if part != channel)
    if not channel:
        last = folder.rpartition("/")[2]
        channel = last if _CHANNEL.fullmatch(last) else NO_CHANNEL
    return Place(match["well"], int(match["site"]), channel, time=minutes, plate=run)


def _by_rank(dates: Collection[int]) -> dict[int, int]:
    return {date: number for number, date in enumerate(sorted(dates), start=1)}


FORMATS = (
    NameFormat(
        name="incucyte",
        instrument="Sartorius Incucyte",
        pattern=compiled(
            rf"(?:(?P<before>.+)_)?{WELL}_(?P<site>\d+)_"
            r"(?P<time>(?:\d{4}y\d\dm)?\d+d_?\d\dh\d\dm)"
        ),
        read=_read,
        number_times=_by_rank,
        examples=(
            Example("Phase_B2_1_00d06h00m.tif", "B02", 1, "Phase", time=1),
            Example("Green_H12_4_2019y05m03d_12h30m.tif", "H12", 4, "Green", time=1),
            Example("VID9955_Phase_B3_1_00d00h00m.tif", "B03", 1, "Phase", time=1),
            Example("MiaPaCa2-PhaseOriginal_A2_1_03d06h40m.tif", "A02", 1, "PhaseOriginal", time=1),
            Example("phase/VID1630_A1_1_00d00h00m.tif", "A01", 1, "phase", time=1),
            Example("VID558_A1_1_00d00h00m.tif", "A01", 1, time=1),
        ),
        metadata="TIFF header: pixel size",
    ),
)
