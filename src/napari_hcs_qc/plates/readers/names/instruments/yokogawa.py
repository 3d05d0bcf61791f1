"""CellVoyager and CQ1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.readers.names.name_format import WELL, Example, NameFormat, compiled
from napari_hcs_qc.plates.readers.names.place import NUMBERED, Place
from napari_hcs_qc.plates.wells import PLATE_SHAPES, parse_well, well_name

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable

_TAIL = r"Z(?P<z>\d+)C(?P<channel>\d+)"


def _read(_folder: str, match: re.Match[str]) -> Place:
    return Place(
        _well(match),
        int(match["site"]),
        str(int(match["channel"])),
        int(match["z"]),
        int(match["time"]),
    )


def _well(match: re.Match[str]) -> str:
    groups = match.groupdict()
    if groups.get("number"):
        return f"{NUMBERED}{int(groups['number'])}"
    well = str(groups["well"])
    if not groups["quarter"]:
        return well
    try:  # On a plate of 1536 wells a name is that of 96 wells and a place within it, 4 × 4.
        row, column = parse_well(well)
        down = ord(groups["quarter"].lower()) - ord("a")
        return well_name(4 * row + down, 4 * column + int(groups["sixteenth"]) - 1)
    except HcsQcError:
        return f"{well}.{groups['quarter']}{groups['sixteenth']}"


def _shape(names: Iterable[str]) -> tuple[int, int] | None:
    """Wells within wells are those of a plate of 1536."""
    for name in names:
        match = _CELLVOYAGER.fullmatch(name)
        if match and match["quarter"]:
            return PLATE_SHAPES[1536]
    return None


_CELLVOYAGER = compiled(
    rf"(?:(?P<plate>.*)_)?{WELL}(?:\.(?P<quarter>[a-d])(?P<sixteenth>[1-4]))?"
    rf"_T(?P<time>\d+)F(?P<site>\d+)(?P<acquisition>L\d+A\d+){_TAIL}"
)

FORMATS = (
    NameFormat(
        name="cellvoyager",
        instrument="Yokogawa CellVoyager (CV6000, CV7000, CV8000)",
        pattern=_CELLVOYAGER,
        read=_read,
        shape=_shape,
        acquisition="timelines (L) and actions (A) of the measurement",
        examples=(
            Example("plate_A01_T0001F001L01A01Z01C01.tif", "A01", 1, "1", 1, 1),
            Example("plate_A01.a2_T0001F001L01A01Z01C01.tif", "A02", 1, "1", 1, 1),
            Example("plate_B03.d4_T0001F001L01A01Z01C01.tif", "H12", 1, "1", 1, 1),
        ),
        channel_prefix="C",
        metadata="MeasurementDetail.mrf and .mes: plate, channels, pixel size",
    ),
    NameFormat(
        name="cq1",
        instrument="Yokogawa CQ1",
        pattern=compiled(
            rf"(?:(?P<plate>.*)_)?W(?P<number>\d+)F(?P<site>\d+)T(?P<time>\d+){_TAIL}"
        ),
        read=_read,
        examples=(
            Example("Image/W0014F0002T0001Z001C2.tif", "B02", 2, "2", 1, 1),
            Example("W0001F0001T0003Z002C1.tif", "A01", 1, "1", 2, 3),
        ),
        channel_prefix="C",
        metadata="MeasurementDetail.mrf and .mes: plate, channels, pixel size",
    ),
)
