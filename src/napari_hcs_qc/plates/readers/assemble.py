"""From a list of files and what they hold to a `Plate`, with every doubt recorded once."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from napari_hcs_qc.errors import HcsQcError, Problem
from napari_hcs_qc.plates.pixels import ImageInfo, UnreadableImageError, inspect_image
from napari_hcs_qc.plates.plate import PLANE_COLUMNS, Channel, Plate, SiteKey
from napari_hcs_qc.plates.readers.patterns import NO_CHANNEL, NO_Z
from napari_hcs_qc.plates.wells import PLATE_SHAPES, WellName, parse_well, plate_shape
from napari_hcs_qc.text import a_few, count_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

_SHOWN = 3
_MAX_DUPLICATES = 20
_HEADERS_TRIED = 5


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
    channel_order: tuple[str, ...] = ()  # channel keys in the order wanted
    # What is known of the channels, by key
    channels: Mapping[str, Channel] = field(default_factory=dict)
    # Put before the key of a channel nothing is known of: ``w`` makes ``w1``
    channel_prefix: str = ""
    pixel_size_um: float | None = None  # where the source states it
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
    return f"{what}: {a_few(plates, 20)}; {unknown}give the name of one."


def assemble_plate(parts: Parts) -> Plate:
    """Make the plate: wells checked, duplicates dropped, channels numbered."""
    problems = parts.problems
    files = sorted(parts.files)
    files = _on_the_plate(files, parts)
    files = _without_duplicates(files, problems)
    files = _with_one_way_of_naming(files, problems)
    if not files:
        raise HcsQcError(
            f"{parts.source} holds no image of a plate. "
            + "; ".join(str(problem) for problem in problems[:_SHOWN])
        )
    info = _first_header(files)
    files, part_channels = _expand(files, info)
    keys = part_channels or _ordered({file.channel for file in files}, parts.channel_order)
    channels = tuple(_unique(parts.channels.get(key, Channel(_label(key, parts))) for key in keys))
    index = {key: number for number, key in enumerate(keys)}
    times = {time: rank for rank, time in enumerate(sorted({file.time for file in files}))}
    names = {text: str(parse_well(text)) for text in {file.well for file in files}}
    rows = sorted(
        (names[well], site, index[channel], max(z, 0), times[time], path, part)
        for path, well, site, channel, z, time, part in files
    )
    planes = pd.DataFrame(rows, columns=list(PLANE_COLUMNS))
    _note_missing_channels(planes, channels, problems)
    wells = [parse_well(name) for name in sorted(set(names.values()))]
    return Plate(
        name=parts.name,
        source=parts.source,
        format=parts.format,
        shape=_standard(parts.shape) or plate_shape(wells),
        channels=channels,
        planes=planes,
        pixel_size_um=parts.pixel_size_um or (info.pixel_size_um if info else None),
        problems=tuple(problems),
    )


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
    return f"It is outside this plate of {shape[0]}×{shape[1]} wells, A01 to {last}."


def _without_duplicates(files: list[PlaneFile], problems: list[Problem]) -> list[PlaneFile]:
    """Keep the first file, in the order of the paths, of every place."""
    seen: dict[tuple[WellName, int, str, int, int], PlaneFile] = {}
    again: list[tuple[PlaneFile, PlaneFile]] = []
    for file in files:
        key = (parse_well(file.well), file.site, file.channel, file.z, file.time)
        first = seen.setdefault(key, file)
        if first is not file and (first.path, first.part) != (file.path, file.part):
            again.append((first, file))
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


def _first_header(files: list[PlaneFile]) -> ImageInfo | None:
    """Header of the first readable file of a few spread over the plate."""
    step = max(1, len(files) // _HEADERS_TRIED)
    for file in files[::step][: _HEADERS_TRIED + 1]:
        try:
            return inspect_image(file.path)
        except UnreadableImageError:
            continue
    return None


def _expand(files: list[PlaneFile], info: ImageInfo | None) -> tuple[list[PlaneFile], list[str]]:
    """One row a plane, where each file holds several; keys of the channels within the files.

    The first readable file speaks for all: opening every header of a plate would take minutes on
    a network share. A file that differs is found out when it is read.
    """
    has_channel = files[0].channel != NO_CHANNEL
    if any(file.part >= 0 for file in files):
        return files, []
    if info is None or info.n_parts == 1:
        if has_channel:
            return files, []
        return [file._replace(channel="1") for file in files], ["1"]
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
            z=z if n_z > 1 else file.z,
            part=channel * n_z + z,
        )
        for file in files
        for channel in range(n_channels)
        for z in range(n_z)
    ]
    return expanded, [] if has_channel else [str(channel + 1) for channel in range(n_channels)]


def _ordered(keys: set[str], first: tuple[str, ...]) -> list[str]:
    known = [key for key in first if key in keys]
    return known + sorted(keys - set(known), key=natural_key)


def _label(key: str, parts: Parts) -> str:
    if any(file.channel == NO_CHANNEL for file in parts.files):
        return f"C{key}"
    return f"{parts.channel_prefix}{key}"


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
    planes: pd.DataFrame, channels: tuple[Channel, ...], problems: list[Problem]
) -> None:
    """Record, once a channel, the sites that lack it."""
    pairs = planes[["well", "site"]].drop_duplicates()
    places = set(pairs.itertuples(index=False, name=None))
    for index, channel in enumerate(channels):
        own = planes.loc[planes["channel"] == index, ["well", "site"]].drop_duplicates()
        if len(own) == len(places):
            continue
        missing = sorted(places - set(own.itertuples(index=False, name=None)))
        shown = a_few(SiteKey(*place) for place in missing)
        what = f"has no file at {len(missing)} of {len(places)} sites: {shown}."
        problems.append(Problem(f"channel {channel.name}", what))
