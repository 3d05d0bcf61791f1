"""From a list of files and what they hold to a `Plate`, with every doubt recorded once."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from shlex import quote
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from napari_hcs_qc.errors import HcsQcError, Problem
from napari_hcs_qc.plates.pixels import ImageInfo, UnreadableImageError, inspect_image
from napari_hcs_qc.plates.plate import (
    GIVEN_SHAPE,
    PLANE_COLUMNS,
    Channel,
    Plate,
    Reasons,
    SiteKey,
)
from napari_hcs_qc.plates.readers.names.place import NO_CHANNEL, NO_Z
from napari_hcs_qc.plates.summary import time_points_problem
from napari_hcs_qc.plates.wells import PLATE_SHAPES, WellName, parse_well, plate_shape
from napari_hcs_qc.text import a_few, count_of, listing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

_SHOWN = 3
_MAX_DUPLICATES = 20
_HEADERS_TRIED = 5
_NAMED_CHANNELS = 12  # of whose names one header each is read


class PlaneFile(NamedTuple):
    """One image file of a plate and where it belongs."""

    path: str
    well: str
    site: int
    channel: str = NO_CHANNEL
    z: int = NO_Z
    time: int = 0
    part: int = -1


@dataclass
class Parts:
    """What a format module knows of a plate; `assemble_plate` makes the `Plate`."""

    name: str  # as in `Plate`
    source: Path  # as in `Plate`
    format: str  # as in `Plate`
    files: Sequence[PlaneFile]  # the image files
    shape: tuple[int, int] | None = None  # rows and columns where the source states them
    shape_reason: str = ""  # what states them
    least_shape: tuple[int, int] | None = None  # the guess is no smaller
    time: int | None = None  # the only time point wanted
    channel_order: tuple[str, ...] = ()  # channel keys in the order wanted
    # What is known of the channels, by key
    channels: Mapping[str, Channel] = field(default_factory=dict)
    channels_reason: str = ""  # what states them
    # Put before the key of a channel nothing is known of: ``w`` makes ``w1``
    channel_prefix: str = ""
    pixel_size_um: float | None = None  # where the source states it
    pixel_size_reason: str = ""  # what states it
    problems: list[Problem] = field(default_factory=list)  # found so far


@lru_cache(maxsize=1024)
def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which ``w2`` comes before ``w10``."""
    return tuple(
        (0, int(piece), "") if piece.isdecimal() else (1, 0, piece)
        for piece in re.split(r"(\d+)", text)
        if piece
    )


def which_plate(what: str, plates: Sequence[str], name: str | None) -> str:
    """Write that one of several plates has to be named; `name` is what was given, if anything."""
    unknown = f"none is called {name}; " if name else ""
    example = f"--plate-name {quote(plates[0])}"
    return f"{what}: {a_few(plates, 20)}; {unknown}give the name of one, such as {example}."


def assemble_plate(parts: Parts) -> Plate:
    """Make the plate: wells checked, duplicates dropped, channels numbered."""
    problems = parts.problems
    files = _at_time(list(parts.files), parts)
    files = _on_the_plate(files, parts)
    files = _with_one_spelling(files, parts)
    files = _without_duplicates(files, problems)
    files = _with_one_way_of_naming(files, problems)
    if not files:
        raise HcsQcError(
            f"{parts.source} holds no image of a plate. "
            + " ".join(str(problem) for problem in problems[:_SHOWN])
            + " Say by a pattern (--pattern) what in the names is what, or correct the table."
        )
    headers = _Headers(files)
    info = headers.first
    files, part_channels = _expand(files, info, problems)
    keys = part_channels or _ordered({file.channel for file in files}, parts.channel_order)
    plain = [parts.channels.get(key, Channel(_label(key, parts))) for key in keys]
    names, names_reason = headers.channel_names(
        keys, parts.channels, is_in_files=bool(part_channels)
    )
    channels = _unique(
        Channel(names[key]) if key in names else channel
        for key, channel in zip(keys, plain, strict=True)
    )
    index = {key: number for number, key in enumerate(keys)}
    times = {time: rank for rank, time in enumerate(sorted({file.time for file in files}))}
    wells_of = {text: str(parse_well(text)) for text in {file.well for file in files}}
    rows = sorted(
        (wells_of[well], site, index[channel], max(z, 0), times[time], path, part)
        for path, well, site, channel, z, time, part in files
    )
    _note_missing_channels(rows, channels, problems)
    wells = [parse_well(name) for name in sorted(set(wells_of.values()))]
    stated = _standard(parts.shape)
    if stated is None and parts.least_shape is not None:
        wells.append(WellName(parts.least_shape[0] - 1, parts.least_shape[1] - 1))
    size = parts.pixel_size_um or (info.pixel_size_um if info else None)
    size_reason = parts.pixel_size_reason if parts.pixel_size_um else (info.reason if info else "")
    return Plate(
        name=parts.name,
        source=parts.source,
        format=parts.format,
        shape=stated or plate_shape(wells),
        channels=tuple(channels),
        planes=pd.DataFrame(rows, columns=list(PLANE_COLUMNS)),
        pixel_size_um=size,
        problems=(*time_points_problem(tuple(times)), *problems),
        plain_channels=tuple(_unique(plain)),
        time_points=tuple(times),
        reasons=Reasons(
            shape=(parts.shape_reason or "as the source states") if stated else "",
            channels=names_reason or parts.channels_reason or "the names of the files",
            pixel_size=size_reason if size else "",
        ),
    )


def _at_time(files: list[PlaneFile], parts: Parts) -> list[PlaneFile]:
    """Keep the files of the time point that is wanted."""
    if parts.time is None:
        return files
    times = sorted({file.time for file in files})
    if parts.time not in times:
        raise HcsQcError(
            f"{parts.source} has no time point {parts.time}; it has {a_few(times, 20)}. Give one "
            "of them (--time), or none for the first."
        )
    return [file for file in files if file.time == parts.time]


def _standard(shape: tuple[int, int] | None) -> tuple[int, int] | None:
    return shape if shape in PLATE_SHAPES.values() else None


def _on_the_plate(files: list[PlaneFile], parts: Parts) -> list[PlaneFile]:
    """Drop the files of wells that no plate, or this plate, has."""
    reasons: dict[str, str] = {}
    for text in {file.well for file in files}:
        try:
            well = parse_well(text)
        except HcsQcError as error:
            reasons[text] = str(error)
            continue
        reason = _outside(well, _standard(parts.shape))
        if reason:
            reasons[text] = reason
    if not reasons:
        return files
    if parts.shape_reason == GIVEN_SHAPE:
        raise HcsQcError(
            f"{parts.source}: {reasons[max(reasons)]} Give a larger plate shape, or none."
        )
    dropped: defaultdict[str, list[str]] = defaultdict(list)
    for file in files:
        if file.well in reasons:
            dropped[file.well].append(os.path.basename(file.path))
    for label, names in sorted(dropped.items()):
        what = f"{reasons[label]} Left out: {a_few(names)}."
        parts.problems.append(Problem(f"well {label}", what))
    return [file for file in files if file.well not in reasons]


def _outside(well: WellName, shape: tuple[int, int] | None) -> str:
    if shape is None or (well.row < shape[0] and well.column < shape[1]):
        return ""
    last = WellName(shape[0] - 1, shape[1] - 1)
    return f"{well} is outside this plate of {shape[0]}×{shape[1]} wells, A01 to {last}."


def _with_one_spelling(files: list[PlaneFile], parts: Parts) -> list[PlaneFile]:
    """Join channels that differ in upper and lower case alone, where no place has both."""
    spellings: defaultdict[str, set[str]] = defaultdict(set)
    for file in files:
        spellings[file.channel.casefold()].add(file.channel)
    joined: dict[str, str] = {}
    for several in (each for each in spellings.values() if len(each) > 1):
        counts = Counter(file.channel for file in files if file.channel in several)
        names = listing(sorted(several))
        seen: dict[tuple[WellName, int, int, int], PlaneFile] = {}
        for file in files:
            if file.channel not in several:
                continue
            place = (parse_well(file.well), file.site, file.z, file.time)
            other = seen.setdefault(place, file)
            if other.channel != file.channel:
                site = SiteKey(str(place[0]), file.site)
                raise HcsQcError(
                    f"The channels {names} of {parts.source} differ only in upper and lower case, "
                    f"and {site} has both: {other.path} and {file.path}. Rename the files of one "
                    "of them, or move them out of the folder; in a table, rename the column."
                )
        common = counts.most_common(1)[0][0]
        joined |= dict.fromkeys(several, common)
        what = f"differ in upper and lower case, and are read as one: {common}."
        parts.problems.append(Problem(f"channels {names}", what))
    if not joined:
        return files
    return [file._replace(channel=joined.get(file.channel, file.channel)) for file in files]


def _without_duplicates(files: list[PlaneFile], problems: list[Problem]) -> list[PlaneFile]:
    """Keep the first file, in the order of the paths, of every place."""
    seen: dict[tuple[WellName, int, str, int, int], PlaneFile] = {}
    again: list[tuple[PlaneFile, PlaneFile]] = []
    for file in files:
        key = (parse_well(file.well), file.site, file.channel, file.z, file.time)
        first = seen.setdefault(key, file)
        if first is not file and (first.path, first.part) != (file.path, file.part):
            again.append((first, file))
    if len(again) > 1 and 2 * len(again) >= len(seen):
        first, second = again[0]
        raise HcsQcError(
            f"Most planes have several files, such as {first.path} and {second.path} for "
            f"{SiteKey(str(parse_well(first.well)), first.site)}: two plates or runs, or planes "
            "that the names or the table do not tell apart. Put each plate into a folder or table "
            "of its own, or tell them apart: names by a --pattern, rows by a column such as "
            "Metadata_Plate, Metadata_Site or Metadata_PlaneID."
        )
    for first, second in again[:_MAX_DUPLICATES]:
        site = SiteKey(str(parse_well(first.well)), first.site)
        what = f"{second.path} is a second file for the same plane as {first.path}."
        problems.append(Problem(str(site), what, "The first is used; remove one of them."))
    if len(again) > _MAX_DUPLICATES:
        rest = [second.path for _, second in again[_MAX_DUPLICATES:]]
        what = f"{count_of(len(rest), 'more file')} duplicating another one and not used: "
        problems.append(Problem("duplicates", f"{what}{a_few(rest)}."))
    return list(seen.values())


def _with_one_way_of_naming(files: list[PlaneFile], problems: list[Problem]) -> list[PlaneFile]:
    """Drop files without a channel in their name where others have one, or the reverse."""
    with_channel = [file for file in files if file.channel != NO_CHANNEL]
    without = [file for file in files if file.channel == NO_CHANNEL]
    if not with_channel or not without:
        return files
    keep, drop = with_channel, without
    what = f"their names state no channel, as those of {len(with_channel)} others do"
    if len(without) > len(with_channel):
        keep, drop = without, with_channel
        what = f"their names state a channel, unlike those of {len(without)} others"
    names = a_few(os.path.basename(file.path) for file in drop)
    problems.append(Problem(count_of(len(drop), "file"), f"left out, {what}: {names}."))
    return keep


class _Headers:
    """Headers of a few files: opening those of all would take minutes on a network share."""

    def __init__(self, files: list[PlaneFile]) -> None:
        self._files = files
        self._known: dict[str, ImageInfo | None] = {}
        # The first readable one of a few spread over the plate.
        step = max(1, len(files) // _HEADERS_TRIED)
        self.first = self._any(files[::step][: _HEADERS_TRIED + 1])

    def _any(self, files: Iterable[PlaneFile]) -> ImageInfo | None:
        return next((info for file in files if (info := self._read(file.path))), None)

    def _read(self, path: str) -> ImageInfo | None:
        if path not in self._known:
            try:
                self._known[path] = inspect_image(path)
            except UnreadableImageError:
                self._known[path] = None
        return self._known[path]

    def channel_names(
        self, keys: Sequence[str], known: Mapping[str, Channel], *, is_in_files: bool
    ) -> tuple[dict[str, str], str]:
        """Names of channels that headers state, by key, and where they stand."""
        if is_in_files:
            names = self.first.channel_names if self.first else ()
            is_whole = self.first is not None and len(names) == len(keys)
            named = dict(zip(keys, names, strict=True)) if is_whole else {}
            return named, self.first.reason if self.first and named else ""
        named, reason = {}, ""
        for key in keys:
            # A key in words is a name already.
            if key in known or not key.isdecimal() or len(keys) > _NAMED_CHANNELS:
                continue
            own = (file for file in self._files if file.channel == key)
            info = self._any(list(islice(own, _SHOWN)))
            if info is not None and len(info.channel_names) == 1:
                named[key], reason = info.channel_names[0], info.reason
        return named, reason


def _expand(
    files: list[PlaneFile], info: ImageInfo | None, problems: list[Problem]
) -> tuple[list[PlaneFile], list[str]]:
    """One row a plane, where each file holds several; keys of the channels within the files.

    The first readable file speaks for all: opening every header of a plate would take minutes on
    a network share. A file that differs is found out when it is read.
    """
    has_channel = files[0].channel != NO_CHANNEL
    if any(file.part >= 0 for file in files):
        return files, []
    if info is None or (info.n_parts == 1 and info.n_scenes == 1):
        if has_channel:
            return files, []
        return [file._replace(channel="1") for file in files], ["1"]
    n_scenes = _scenes(files, info, problems)
    n_channels, n_z = info.n_channels, info.n_z
    if has_channel:
        if n_channels > 1 and (info.is_declared or n_z > 1):
            return files, []  # refused when read: the file has channels, and so has its name
        n_channels, n_z = 1, n_channels * n_z  # unnamed pages of one channel are a stack in z
    if n_z > 1 and len({file.z for file in files}) > 1:
        return files, []  # refused when read: z is in the names and in the files
    expanded = [
        file._replace(
            channel=file.channel if has_channel else str(channel + 1),
            site=scene + 1 if n_scenes > 1 else file.site,
            z=z if n_z > 1 else file.z,
            part=scene * info.n_parts + channel * n_z + z,
        )
        for file in files
        for scene in range(n_scenes)
        for channel in range(n_channels)
        for z in range(n_z)
    ]
    return expanded, [] if has_channel else [str(channel + 1) for channel in range(n_channels)]


def _scenes(files: list[PlaneFile], info: ImageInfo, problems: list[Problem]) -> int:
    """Count the images in each file that are sites: all, unless the names number the sites."""
    if info.n_scenes == 1 or len({file.site for file in files}) == 1:
        return info.n_scenes
    problems.append(
        Problem(
            "files",
            f"hold {info.n_scenes} images each, and their names number the sites; the first of "
            f"each is read, {info.n_scenes - 1} of {info.n_scenes} are not.",
            "Export one file per image.",
        )
    )
    return 1


def _ordered(keys: set[str], first: tuple[str, ...]) -> list[str]:
    known = [key for key in first if key in keys]
    return known + sorted(keys - set(known), key=natural_key)


def _label(key: str, parts: Parts) -> str:
    if any(file.channel == NO_CHANNEL for file in parts.files):
        return f"C{key}"
    name = key.partition("\0")[0]
    return f"{parts.channel_prefix}{name}" if name.isdecimal() else name


def _unique(channels: Iterable[Channel]) -> list[Channel]:
    """Tell channels of the same name apart by a number: ``FITC``, ``FITC 2``."""
    taken: set[str] = set()
    result = []
    for channel in channels:
        name, number = channel.name, 2
        while name.casefold() in taken:
            name, number = f"{channel.name} {number}", number + 1
        taken.add(name.casefold())
        result.append(Channel(name, channel.wavelength_nm))
    return result


def _note_missing_channels(
    rows: Iterable[tuple[str, int, int, int, int, str, int]],
    channels: Iterable[Channel],
    problems: list[Problem],
) -> None:
    """Record, once a channel, the sites that lack it."""
    sites_of: dict[int, set[tuple[str, int]]] = defaultdict(set)
    for well, site, index, *_ in rows:
        sites_of[index].add((well, site))
    places = set().union(*sites_of.values())
    for index, channel in enumerate(channels):
        missing = sorted(places - sites_of[index])
        if not missing:
            continue
        shown = a_few(SiteKey(*place) for place in missing)
        what = f"has no file at {len(missing)} of {len(places)} sites: {shown}."
        problems.append(Problem(f"channel {channel.name}", what))
