"""One way in which an instrument names its images, with examples that are tests."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from napari_hcs_qc.plates.pixels import IMAGE_EXTENSIONS
from napari_hcs_qc.plates.readers.names.place import NO_CHANNEL, NO_Z, Place, well_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

EXTENSION = r"(?:\.ome)?\.(?:" + "|".join(sorted(e[1:] for e in IMAGE_EXTENSIONS)) + ")"
WELL = r"(?P<well>[A-Z]{1,2}(?!0+(?!\d))\d{1,2})"
GUID = r"[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12}"

_TIME_FOLDER = re.compile(r"(?:^|/)TimePoint_(\d+)(?=/|$)", re.IGNORECASE)
_Z_FOLDER = re.compile(r"(?:^|/)ZStep_(\d+)(?=/|$)", re.IGNORECASE)


def compiled(pattern: str) -> re.Pattern[str]:
    """Compile a pattern of whole names, in upper or lower case, with any image extension."""
    return re.compile(pattern + EXTENSION, re.ASCII | re.IGNORECASE)


class Example(NamedTuple):
    """A path and what it says."""

    path: str
    well: str  # as it is on a plate of the shape that the names give away
    site: int
    channel: str = NO_CHANNEL
    z: int = NO_Z
    time: int = 0


class NamedPlace(NamedTuple):
    """What a name says of the place, and of the run and the acquisition that it is from."""

    place: Place
    prefix: str  # what precedes the place: often the name of the plate or the run
    acquisition: str = ""  # tells images of one place apart where an instrument makes several


def place_of(folder: str, match: re.Match[str]) -> Place | None:
    """Read the named groups of a match; numbers count as in the name."""
    groups = match.groupdict()
    well = groups.get("well") or well_text(groups["row"], groups["column"])
    channel = groups.get("channel") or NO_CHANNEL
    z, time = folder_numbers(folder)
    return Place(
        well,
        int(groups.get("site") or 1),
        str(int(channel)) if channel.isdecimal() else channel,
        int(groups.get("z") or z),
        int(groups.get("time") or time),
    )


@lru_cache(maxsize=4096)
def folder_numbers(folder: str) -> tuple[int, int]:
    """Give z and time of the folders that MetaXpress makes: ``TimePoint_1/ZStep_2``."""
    z, time = _Z_FOLDER.search(folder), _TIME_FOLDER.search(folder)
    return int(z[1]) if z else NO_Z, int(time[1]) if time else 0


@dataclass(frozen=True, kw_only=True)
class NameFormat:
    """How an instrument names images."""

    name: str  # of the format, as `Plate.format` has it
    instrument: str  # as people call it
    pattern: re.Pattern[str]  # of the whole name, or of the whole relative path
    examples: tuple[Example, ...]  # the first is shown where no name fits
    read: Callable[[str, re.Match[str]], Place | None] = place_of  # folder and match to place
    is_path: bool = False  # whether the pattern is one of the path from the plate's folder
    is_loose: bool = False  # whether it fits much: only asked where others do not fit
    # Number of each time point, from the times of all names, where a name alone does not tell it
    number_times: Callable[[Collection[int]], Mapping[int, int]] | None = None
    acquisition: str = ""  # what the pattern's group of that name is
    channel_prefix: str = ""  # put before the key of a channel nothing is known of
    # What the names of a folder tell of the plate's shape, where they do
    shape: Callable[[Iterable[str]], tuple[int, int] | None] = lambda _names: None
    metadata: str = ""  # what is read beside the names, for the table of instruments

    def match(self, folder: str, name: str) -> NamedPlace | None:
        """Read a name; None where it is none of this format."""
        text = f"{folder}/{name}" if self.is_path and folder else name
        match = self.pattern.fullmatch(text)
        if match is None:
            return None
        place = self.read(folder, match)
        if place is None:
            return None
        acquisition = match.groupdict().get("acquisition") or ""
        return NamedPlace(place, place.plate or _prefix(match), acquisition)


def _prefix(match: re.Match[str]) -> str:
    groups = match.groupdict()
    return os.path.basename(groups.get("plate") or groups.get("before") or "").strip(" _-.")
