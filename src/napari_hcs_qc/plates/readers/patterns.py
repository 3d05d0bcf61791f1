"""What the file names of each microscope say: well, site, channel, z and time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.limits import search_in_time
from napari_hcs_qc.plates.pixels import IMAGE_EXTENSIONS
from napari_hcs_qc.plates.wells import PLATE_SHAPES, parse_well, row_letters

if TYPE_CHECKING:
    from collections.abc import Iterable

NO_CHANNEL = ""
"""Channel of a name that states none: the file may hold several."""

NO_Z = -1
"""z of a name that states none."""

_GUID = r"[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12}"
_EXTENSION = r"\.(?:" + "|".join(sorted(e[1:] for e in IMAGE_EXTENSIONS)) + ")"

_IMAGEXPRESS = re.compile(
    # `_s1_w1` and `_w1` after a name without a well are no wells of the rows S and W.
    r"(?P<prefix>.*?_)??(?!(?-i:[swtz])\d[_.])(?P<well>[A-Z]{1,2}\d{1,2})"
    r"(?:_s(?P<site>\d+))?(?:_w(?P<channel>\d{1,2}))?(?P<thumb>_thumb)?"
    rf"(?:{_GUID})?{_EXTENSION}",
    re.ASCII | re.IGNORECASE,
)
_BARE_WELL = re.compile(r"[A-Z]{1,2}\d\d", re.ASCII)
_OPERETTA = re.compile(
    r"r(?P<row>\d+)c(?P<column>\d+)f(?P<site>\d+)p(?P<z>\d+)(?:rc\d+)?-ch(?P<channel>\d+)"
    rf"(?:t(?P<t>\d+))?(?:sk(?P<time>\d+))?(?:fk\d+)?(?:fl\d+)?{_EXTENSION}",
    re.ASCII | re.IGNORECASE,
)
_SCANR = re.compile(
    r"(?:.*--)?(?P<well>[A-Z]{1,2}\d{1,2})--W(?P<number>\d+)--P(?P<site>\d+)--Z(?P<z>\d+)--T(?P<time>\d+)"
    rf"--(?P<channel>.+?){_EXTENSION}",
    re.ASCII | re.IGNORECASE,
)
_CELLVOYAGER = re.compile(
    r"(?:.*_)?(?P<well>[A-Z]{1,2}\d{1,2})_T(?P<time>\d+)F(?P<site>\d+)L\d+A\d+Z(?P<z>\d+)"
    rf"C(?P<channel>\d+){_EXTENSION}",
    re.ASCII | re.IGNORECASE,
)
_TIME_FOLDER = re.compile(r"(?:^|/)TimePoint_(\d+)(?=/|$)", re.IGNORECASE)
_Z_FOLDER = re.compile(r"(?:^|/)ZStep_(\d+)(?=/|$)", re.IGNORECASE)

_NAMES = {
    "operetta": _OPERETTA,
    "scanr": _SCANR,
    "cellvoyager": _CELLVOYAGER,
    "imagexpress": _IMAGEXPRESS,
}
FORMATS = tuple(_NAMES)
"""Formats told by file names, the most particular first."""

EXAMPLES = {
    "imagexpress": "plate_A01_s1_w1.tif (ImageXpress)",
    "operetta": "r01c01f01p01-ch1sk1fk1fl1.tiff (Opera, Operetta, Phenix)",
    "scanr": "A1--W00001--P00001--Z00000--T00000--GFP.tif (ScanR)",
    "cellvoyager": "plate_A01_T0001F001L01A01Z01C01.tif (CellVoyager)",
}


class Place(NamedTuple):
    """What one file name says. `well` is as written; `channel` is a key, not an index."""

    well: str
    site: int
    channel: str = NO_CHANNEL
    z: int = NO_Z
    time: int = 0
    plate: str = ""


def match_name(plate_format: str, folder: str, name: str) -> Place | None:
    """Read a file name in one of `FORMATS`."""
    match = _NAMES[plate_format].fullmatch(name)
    if match is None:
        return None
    if plate_format == "imagexpress":
        return _imagexpress(folder, match)
    groups = match.groupdict()
    well = groups.get("well") or well_text(groups["row"], groups["column"])
    channel = groups["channel"] if plate_format == "scanr" else str(int(groups["channel"]))
    time = int(groups["time"] or groups.get("t") or 1)
    return Place(well, int(groups["site"]), channel, int(groups["z"]), time)


def is_thumbnail(name: str) -> bool:
    """Whether a file is one of the small previews that MetaXpress writes beside the images."""
    match = _IMAGEXPRESS.fullmatch(name)
    return match is not None and match["thumb"] is not None


def _imagexpress(folder: str, match: re.Match[str]) -> Place | None:
    if match["thumb"]:
        return None
    well, site, channel = match["well"], match["site"], match["channel"]
    # Any name ends in letters and digits now and then: be strict with a well alone.
    is_bare = site is None and channel is None
    if is_bare and not (match["prefix"] and _BARE_WELL.fullmatch(well)):
        return None
    z, time = _folder_numbers(folder)
    return Place(well, int(site or 1), str(int(channel)) if channel else NO_CHANNEL, z, time)


def site_in_name(name: str) -> tuple[str, int] | None:
    """Well and site that an ImageXpress file name states; None where it lacks one."""
    match = _IMAGEXPRESS.fullmatch(name)
    return (match["well"], int(match["site"])) if match and match["site"] else None


@lru_cache(maxsize=4096)
def _folder_numbers(folder: str) -> tuple[int, int]:
    z, time = _Z_FOLDER.search(folder), _TIME_FOLDER.search(folder)
    return int(z[1]) if z else NO_Z, int(time[1]) if time else 0


def scanr_shape(names: Iterable[str]) -> tuple[int, int] | None:
    """Plate shape that ScanR names give away: ``B1--W00013`` means 12 columns; None if none does.

    Wells are numbered from 1 along the rows, so every well below row A tells the columns.
    """
    shapes = {columns: (rows, columns) for rows, columns in PLATE_SHAPES.values()}
    grids = set()
    for name in names:
        match = _SCANR.fullmatch(name)
        try:
            row, column = parse_well(match["well"]) if match else (0, 0)
        except HcsQcError:
            continue
        if match and row:
            grids.add(divmod(int(match["number"]) - 1 - column, row))
    if len(grids) != 1:
        return None
    columns, rest = grids.pop()
    return shapes.get(columns) if rest == 0 else None


@lru_cache(maxsize=4096)
def well_text(row: str, column: str) -> str:
    """Well from a row (number from 1, or letters) and a column number.

    A position on no plate is given back as written: `parse_well` refuses it with its reason.
    """
    if not row.isdecimal():
        return f"{row}{column}"
    try:
        number = f"{int(column):02d}" if column.isdecimal() else column
        return f"{row_letters(int(row) - 1)}{number}"
    except HcsQcError:
        return f"row {row} column {column}"


@dataclass(frozen=True)
class UserPattern:
    """A regular expression with named groups, as a user gives it."""

    text: str  # searched in the path relative to the plate's folder, with ``/``

    def __post_init__(self) -> None:
        groups = self._compiled().groupindex
        if "well" not in groups and not {"row", "column"} <= set(groups):
            have = ", ".join(groups) or "none"
            raise HcsQcError(
                f"The pattern {self.text!r} does not capture the well: its named groups are "
                f"{have}; (?P<well>…), or (?P<row>…) and (?P<column>…), were expected."
            )
        known = {"well", "row", "column", "site", "channel", "z", "time", "plate"}
        unknown = sorted(set(groups) - known)
        if unknown:
            raise HcsQcError(
                f"The pattern {self.text!r} has the named groups {', '.join(unknown)}; only "
                f"{', '.join(sorted(known))} are known. Use (?:…) where no name is needed."
            )

    def _compiled(self) -> re.Pattern[str]:
        try:
            return re.compile(self.text)
        except re.error as error:
            raise HcsQcError(
                f"The pattern {self.text!r} is not a valid regular expression: {error}. An "
                r"example: '(?P<well>[A-P]\d\d)_f(?P<site>\d+)_(?P<channel>\w+)\.tif$'."
            ) from error

    def match(self, path: str) -> Place | str | None:
        """Read a relative path: its place, the reason why it has none, or None for no match."""
        match = search_in_time(self.text, path)
        if match is None:
            return None
        groups = match.groupdict()
        well = groups.get("well") or well_text(groups.get("row") or "", groups.get("column") or "")
        numbers = {"site": 1, "z": NO_Z, "time": 0}
        for group in numbers:
            text = groups.get(group)
            if text is not None:
                if not text.isdecimal():
                    return f"the pattern's group '{group}' is not a whole number"
                numbers[group] = int(text)
        channel, plate = groups.get("channel") or NO_CHANNEL, groups.get("plate") or ""
        return Place(well, channel=channel, plate=plate, **numbers)
