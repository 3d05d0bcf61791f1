"""Plates and runs that lie in one folder are told apart, never mixed."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import lru_cache
from shlex import quote
from typing import TYPE_CHECKING, NamedTuple

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.readers.names.place import NO_CHANNEL, NO_Z, Place
from napari_hcs_qc.plates.wells import parse_well
from napari_hcs_qc.text import a_few, count_of, listing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from napari_hcs_qc.plates.readers.names.name_format import NamedPlace

PARTS_OF_PLATE = re.compile(r"(?:^|/)(?:timepoint_\d+|zstep_\d+|images?|tiffs?|data)(?=/|$)", re.I)
"""Folders that are but a part of a plate."""

Image = tuple[str, str]
"""Folder relative to that of the plate, and name."""

_TIME_FOLDER = re.compile(r"(?:^|/)timepoint_\d+(?=/|$)", re.IGNORECASE)
_NO_TIME = "without TimePoint"

_AT_LEAST = 2  # places or wells of a run; fewer are strays
_SHOWN = 6


class _Spot(NamedTuple):
    """What two runs have in common where each has imaged it; z and time tell no runs apart."""

    well: str
    site: int
    channel: str


def one_run(
    root: Path, matches: Sequence[tuple[Image, NamedPlace]], name: str | None, *, is_pattern: bool
) -> tuple[list[tuple[Image, Place]], str | None]:
    """Choose the images of one plate or run.

    Files belong to one run when their folders and the beginnings of their names are alike. Runs
    that have imaged the same places are different; so are those with other wells, unless a user's
    pattern says what the names mean (`is_pattern`).

    Returns
    -------
    The images of the run that `name` chooses, or of the only one; and its name where it has one.
    """
    runs = _runs(matches)
    if len(runs) < 2:
        return _places(matches), name
    labels = _labels(runs, root.name)
    spots = {run: {_spot(place.place) for _, place in each} for run, each in runs.items()}
    pair = _different(spots, is_pattern)
    if pair is None:
        # Of files for one place the first is used: a stray must not go before the plate's.
        largest = sorted(runs.values(), key=len, reverse=True)
        return _places(match for run in largest for match in run), name
    if name is not None:
        chosen = [run for run, label in labels.items() if name in (label, label.split("/")[-1])]
        if len(chosen) == 1:
            return _places(runs[chosen[0]]), name
    first, second = (quote(labels[run]) for run in pair)
    unknown = f"None is called {name}. " if name else ""
    own = root / labels[pair[0]]
    folder = f", or by its own folder ({quote(str(own))})" if own.is_dir() and own != root else ""
    same = len(spots[pair[0]] & spots[pair[1]])
    why = (
        f"{first} and {second} both show {count_of(same, 'place')}, such as "
        f"{_some_spot(spots[pair[0]] & spots[pair[1]])}"
        if same
        else f"{first} has the wells {_some_wells(spots[pair[0]])}, and {second} "
        f"{_some_wells(spots[pair[1]])}"
    )
    raise HcsQcError(
        f"{root} holds several plates, or several runs of one: "
        f"{listing(sorted(map(quote, labels.values())), _SHOWN)}; {why}. {unknown}Open one by its "
        f"name (--plate-name {first}){folder}; if they are one plate, say by a pattern (--pattern) "
        "what in their names is what."
    )


def one_acquisition(
    root: Path, matches: Sequence[tuple[Image, NamedPlace]], name: str | None, what: str
) -> list[tuple[Image, NamedPlace]]:
    """Choose among the acquisitions of the same places that an instrument made; `what` they are."""
    acquisitions: defaultdict[tuple[str, str, Place], set[str]] = defaultdict(set)
    for (folder, _), named in matches:
        acquisitions[folder, named.prefix, named.place].add(named.acquisition)
    several = {key: each for key, each in acquisitions.items() if len(each) > 1}
    labels = sorted({label for each in several.values() for label in each})
    if not several:
        return list(matches)
    if name not in labels:
        (_, _, place), same = min(several.items())
        unknown = f"None is called {name}. " if name else ""
        raise HcsQcError(
            f"{root} holds several images of the same places in the {what}: "
            f"{listing(sorted(same), _SHOWN)} of {_described(place)}, for example. {unknown}Choose "
            f"one by its name (--plate-name {quote(min(same))}); it has {listing(labels, _SHOWN)}."
        )
    return [
        match
        for match in matches
        if match[1].acquisition == name
        or (match[0][0], match[1].prefix, match[1].place) not in several
    ]


def refuse_collisions(
    root: Path, matches: Sequence[tuple[Image, Place]], groups: Iterable[str]
) -> None:
    """Refuse a pattern that gives several files of different names the same place."""
    first: dict[Place, Image] = {}
    count: dict[Place, int] = defaultdict(int)
    for image, place in matches:
        key = place._replace(well=_well(place.well), plate="")
        count[key] += 1
        other = first.setdefault(key, image)
        if other[1] != image[1]:
            most = max(count.values())
            lacking = [
                group
                for group in ("site", "channel", "z", "time", "plate")
                if group not in set(groups)
            ]
            raise HcsQcError(
                f"The pattern gives {other[1]} and {image[1]} in {root} the same place: "
                f"{_described(key)} ({most} files or more a place). A group such as "
                f"{' or '.join(f'(?P<{group}>…)' for group in lacking[:2]) or 'plate'} is missing: "
                f"the pattern has {', '.join(groups)}."
            )


def _described(place: Place) -> str:
    channel = f", channel {place.channel}" if place.channel != NO_CHANNEL else ""
    z = f", z {place.z}" if place.z != NO_Z else ""
    return f"well {place.well}, site {place.site}{channel}{z}"


def _places(matches: Iterable[tuple[Image, NamedPlace]]) -> list[tuple[Image, Place]]:
    return [(image, named.place) for image, named in matches]


@lru_cache(maxsize=8192)
def _well(text: str) -> str:
    try:
        return str(parse_well(text))
    except HcsQcError:
        return text


def _spot(place: Place) -> _Spot:
    return _Spot(_well(place.well), place.site, place.channel)


def _some_spot(spots: Iterable[_Spot]) -> str:
    spot = min(spots)
    return _described(Place(spot.well, spot.site, spot.channel))


def _some_wells(spots: Iterable[_Spot]) -> str:
    return a_few(sorted({spot.well for spot in spots}))


# What a run is --------------------------------------------------------------------------------

_Run = tuple[tuple[str, ...], str]
_Matches = list[tuple[Image, "NamedPlace"]]


def _runs(matches: Sequence[tuple[Image, NamedPlace]]) -> dict[_Run, _Matches]:
    """Images by folder, without what folders say of the place, and beginning of the name."""
    by_folder: defaultdict[str, _Matches] = defaultdict(list)
    for match in matches:
        by_folder[match[0][0]].append(match)
    runs: defaultdict[_Run, _Matches] = defaultdict(list)
    with_times = {
        PARTS_OF_PLATE.sub("", folder) for folder in by_folder if _TIME_FOLDER.search(folder)
    }
    for folder, of_folder in by_folder.items():
        places = [named.place for _, named in of_folder]
        # Beside a time series, what lies in no folder of a time point is another run. (What lies
        # beside the planes of a stack is its projection.)
        rest = PARTS_OF_PLATE.sub("", folder)
        if rest in with_times and not _TIME_FOLDER.search(folder):
            rest = f"{rest}/{_NO_TIME}"
        parts = [part for part in rest.split("/") if part]
        key = tuple(part for part in parts if not _is_of_place(part, places))
        for match in of_folder:
            runs[key, match[1].prefix].append(match)
    return dict(runs)


def _is_of_place(folder: str, places: Sequence[Place]) -> bool:
    """Whether a folder says where its images belong, and they all agree: a well, a channel."""
    return any(
        len(values := {of(place) for place in places}) == 1
        and _names(folder, markers, str(next(iter(values))))
        for markers, of in _FOLDERS
    )


def _row(place: Place) -> str:
    return re.sub(r"\d+$", "", _well(place.well))


def _column(place: Place) -> str:
    return re.sub(r"^\D+0*", "", _well(place.well))


_FOLDERS: tuple[tuple[str, Callable[[Place], object]], ...] = (
    (r"(?:well|w|pos|position)?", lambda place: _well(place.well)),
    (r"(?:well|w)?", lambda place: f"{_row(place)}{_column(place)}"),
    (r"(?:row|r)?", _row),
    (r"(?:column|col|c)", _column),
    (r"(?:channel|ch|c|wavelength|wv|w)?", lambda place: place.channel),
    (r"(?:site|s|field|fld|f|fov|position|pos|xy)", lambda place: place.site),
    (r"(?:z|slice|plane|zstep)", lambda place: place.z),
    (r"(?:timepoint|time|tp|t|frame)?", lambda place: place.time),
)


def _names(folder: str, markers: str, value: str) -> bool:
    if not value or value == "-1":
        return False
    text = re.escape(value)
    if value.isdecimal():
        # A number alone may be that of a run: it is the whole name, or follows a word.
        if markers.endswith("?") and re.fullmatch(f"0*{text}", folder):
            return True
        markers, text = markers.removesuffix("?"), f"0*{text}"
    pattern = rf"(?:.*[_\- ])?{markers}[_\- ]?{text}(?:[_\- ].*)?"
    return re.fullmatch(pattern, folder, re.IGNORECASE) is not None


def _labels(runs: Iterable[_Run], name: str) -> dict[_Run, str]:
    """Name each run by its folder, the beginning of its names, or both; `name` has neither."""
    runs = list(runs)
    many_folders = len({folders for folders, _ in runs}) > 1
    many_prefixes = len({prefix for _, prefix in runs}) > 1 and (
        not many_folders or len(runs) > len({folders for folders, _ in runs})
    )
    labels = {}
    for folders, prefix in runs:
        parts = list(folders) if many_folders else []
        if many_prefixes and prefix:
            parts.append(prefix)
        labels[folders, prefix] = "/".join(parts) or name
    return labels


def _different(spots: dict[_Run, set[_Spot]], is_pattern: bool) -> tuple[_Run, _Run] | None:
    """Find two runs that are not parts of one plate."""
    wells = {run: {spot.well for spot in each} for run, each in spots.items()}
    seen: dict[_Spot, _Run] = {}
    for run in sorted(spots):
        both: defaultdict[_Run, int] = defaultdict(int)
        for spot in spots[run]:
            first = seen.setdefault(spot, run)
            if first != run:
                both[first] += 1
        if not both:
            continue
        other = max(both, key=lambda each: both[each])
        count, fewer = sum(both.values()), min(len(spots[run]), len(spots[other]))
        is_same = spots[run] == spots[other]
        if is_same or (count >= _AT_LEAST and 2 * count >= fewer):
            return other, run
    if is_pattern:
        return None
    large = sorted(run for run in spots if len(wells[run]) >= _AT_LEAST)
    return (large[0], large[1]) if len(large) > 1 else None
