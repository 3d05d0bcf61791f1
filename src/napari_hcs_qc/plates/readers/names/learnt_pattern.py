"""A pattern that reads names of no known format, learnt from the names themselves.

Names are split where they have the same marks. What differs between them is the well where it has
the form of one. The rest has a role only on evidence: letters before a number or a unit after it;
or values that come back in most wells, as those of sites and stains do and those of treatments,
dates and running numbers do not. A pattern is only given where it tells all names apart.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.readers.names.place import NO_CHANNEL, Place
from napari_hcs_qc.plates.readers.names.user_pattern import UserPattern
from napari_hcs_qc.plates.wells import parse_well
from napari_hcs_qc.text import listing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_GUID = re.compile(r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}")
_DATE = re.compile(r"(?:\d\d)?\d\d[01]\d[0-3]\d")
_MARK = "\0"  # stands for a GUID
_SEPARATORS = re.compile(r"([^A-Za-z0-9]+)")
_MARKERS = {
    "site": r"f|fld|field|s|site|fov|pos|position|p|point|xy|tile|m|scene|img|image|i",
    "channel": r"c|ch|chan|channel|w|wv|wave|wavelength|d|filter",
    "z": r"z|slice|plane|stack",
    "time": r"t|time|tp|timepoint|frame",
    "row": r"r|row|v",
    "column": r"c|col|column|u",
    "plate": r"plate|run|rep|repl|replicate|scan|batch|exp|experiment|measurement|day|round|cycle",
    "u": "u",
    "v": "v",
    "number": r"well|wellnr|wellno|w",
}
# Letters right after a number. Wells imaged with two objectives are imaged twice, as by two runs.
_UNITS = {"time": r"h|hrs?|hours?|min|mins|minutes?|days?|wk|weeks?", "plate": r"x"}
_ROLES = {
    "well": "well",
    "row": "row",
    "column": "column",
    "row0": "row from 0",
    "column0": "column from 0",
    "number": "number of the well",
    "site": "site",
    "channel": "channel",
    "z": "z plane",
    "time": "time point",
    "plate": "plate",
}
_WELL_ROLES = ("well", "row", "column", "row0", "column0", "number")
_WAVELENGTHS_NM = range(300, 1_100)
_SAMPLE = 2_000
_MOST_CHANNELS = 12
_LEAST_SHARE = 0.5


@dataclass(frozen=True)
class LearntPattern:
    """A pattern, and what it takes for what."""

    text: str
    reading: str  # ``A01 for the well and 24 for the time point``, of the first path


@dataclass(frozen=True)
class _Piece:
    """What stands at one place of all names."""

    values: tuple[str, ...]
    is_separator: bool = False
    role: str = ""

    @property
    def is_fixed(self) -> bool:
        return len(set(self.values)) == 1

    @property
    def is_number(self) -> bool:
        return not self.is_separator and all(value.isdecimal() for value in self.values)

    @property
    def is_open(self) -> bool:
        """Whether it differs and has no role yet."""
        return not (self.role or self.is_separator or self.is_fixed)

    def text(self) -> str:
        if self.role:
            body = r"\d+" if self.is_number else self._letters()
            return f"(?P<{self.role}>{body})"
        if self.is_fixed:
            return re.escape(self.values[0]).replace("\\_", "_").replace("\\ ", " ")
        return r"\d+" if self.is_number else ".*?"

    def _letters(self) -> str:
        if self.role == "site":
            return "[A-Za-z]"
        if self.role == "row":
            return "[A-Za-z]{1,2}"
        if self.role != "well":
            return "[^/]+?"
        most = max(sum(letter.isdecimal() for letter in value) for value in self.values)
        return rf"[A-Za-z]{{1,2}}\d{{1,{max(2, most)}}}"


def learnt_pattern(paths: Sequence[str]) -> LearntPattern | None:
    """Give a pattern that reads most of the paths; None where there is none to be seen."""
    paths = list(paths[:: max(1, len(paths) // _SAMPLE)])
    groups = Counter(_marks(path) for path in paths)
    if not groups:
        return None
    marks, count = groups.most_common(1)[0]
    if count < _LEAST_SHARE * len(paths):
        return None
    alike = [path for path in paths if _marks(path) == marks]
    for with_well in _with_wells(_pieces(alike)):
        pieces = _with_roles(with_well)
        text = _text(pieces)
        if _reads(text, alike):
            return LearntPattern(text, _reading(pieces))
    return None


def _reading(pieces: Sequence[_Piece]) -> str:
    return listing(
        [f"{piece.values[0]} for the {_ROLES[piece.role]}" for piece in pieces if piece.role], 12
    )


def _text(pieces: Sequence[_Piece]) -> str:
    text = "".join(piece.text() for piece in pieces)
    return (
        "^"
        + text.replace(re.escape(_MARK), "[0-9A-Fa-f-]{36}").replace(_MARK, "[0-9A-Fa-f-]{36}")
        + "$"
    )


def _reads(text: str, paths: Sequence[str]) -> bool:
    """Whether a pattern gives each path a place of its own, and most sites all channels."""
    try:
        pattern = UserPattern(text)
        pattern = pattern.with_letters(list(paths))
        places = {place for path in paths if isinstance(place := pattern.match(path), Place)}
        for place in places:
            if not place.well.startswith("#"):
                parse_well(place.well)
    except HcsQcError:
        return False
    sites = {place._replace(channel=NO_CHANNEL) for place in places}
    channels = {place.channel for place in places}
    return len(places) == len(paths) and _is_crossed(len(places), len(sites), len(channels))


def _is_crossed(n_pairs: int, n_first: int, n_second: int) -> bool:
    """Whether most of one kind of values occur with most of another: treatments do not."""
    return min(n_first, n_second) < 2 or 2 * n_pairs > n_first * n_second


def _marks(path: str) -> str:
    return "\n".join(_SEPARATORS.findall(_GUID.sub(_MARK, path)))


def _pieces(paths: Sequence[str]) -> list[_Piece]:
    """Split names at their marks, and further where all have letters and digits alike there."""
    split = [_SEPARATORS.split(_GUID.sub(_MARK, path)) for path in paths]
    pieces = []
    for number, values in enumerate(zip(*split, strict=True)):
        if number % 2:
            pieces.append(_Piece(values, is_separator=True))
            continue
        parts = [re.findall(r"\d+|\D+", value) for value in values]
        kinds = {tuple(part[:1].isdecimal() for part in each) for each in parts}
        if len(kinds) == 1 and len(set(values)) > 1:
            pieces += [_Piece(each) for each in zip(*parts, strict=True)]
        elif values[0] or len(set(values)) > 1:
            pieces.append(_Piece(values))
    return pieces


# Wells ----------------------------------------------------------------------------------------


def _with_wells(pieces: list[_Piece]) -> Iterator[list[_Piece]]:
    """Give the pieces with each possible well, the likeliest first."""
    likely: list[list[_Piece]] = []
    less_likely: list[list[_Piece]] = []
    for at, piece in enumerate(pieces):
        with_well = _well_at(pieces, at)
        if with_well is not None:
            # An f, s or c before a number seldom is a row.
            is_marker = piece.is_fixed and any(
                re.fullmatch(words, piece.values[0], re.IGNORECASE) for words in _MARKERS.values()
            )
            (less_likely if is_marker else likely).append(with_well)
    yield from likely
    rows = _numbers_after(pieces, "row")
    columns = _numbers_after(pieces, "column")
    for row in rows:
        for column in columns:
            if row != column:
                changed = list(pieces)
                # Leica's U and V count from 0 like everything it numbers.
                is_leica = _marker_before(pieces, row, "v") and _marker_before(pieces, column, "u")
                for name, at in (("row", row), ("column", column)):
                    zero = "0" if is_leica or "0" in map(_plain, pieces[at].values) else ""
                    changed[at] = replace(pieces[at], role=f"{name}{zero}")
                yield changed
    for number in _numbers_after(pieces, "number"):
        changed = list(pieces)
        changed[number] = replace(pieces[number], role="number")
        yield changed
    yield from less_likely


def _well_at(pieces: list[_Piece], at: int) -> list[_Piece] | None:
    """Read a well whose row begins at a piece, with its column there or after a mark."""
    piece = pieces[at]
    if piece.is_separator or piece.is_number:
        return None
    if piece.is_fixed and re.fullmatch(r"[A-Za-z]0?\d{1,2}", piece.values[0]):
        return [*pieces[:at], replace(piece, role="well"), *pieces[at + 1 :]]
    # Rows beyond P are those of a plate of 1536 wells, which has others, too.
    form = "[A-Pa-p]" if piece.is_fixed else "[A-Za-z]|[Aa][A-Fa-f]"
    parts = [re.fullmatch(rf"((?:.*[^A-Za-z])?well)?({form})", v, re.I) for v in piece.values]
    if not all(parts):
        return None
    heads = {part[1] or "" for part in parts if part}
    rows = tuple(part[2] for part in parts if part)
    column = at + 1
    if column < len(pieces) and pieces[column].is_separator:
        column += 1
    if len(heads) > 1 or column >= len(pieces) or not pieces[column].is_number:
        return None
    if not all(1 <= int(value) <= 48 and len(value) <= 3 for value in pieces[column].values):
        return None
    head = [_Piece(tuple(heads) * len(piece.values))] if heads != {""} else []
    if column == at + 1:
        wells = tuple(r + c for r, c in zip(rows, pieces[column].values, strict=True))
        return [*pieces[:at], *head, _Piece(wells, role="well"), *pieces[column + 1 :]]
    return [
        *pieces[:at],
        *head,
        _Piece(rows, role="row"),
        pieces[at + 1],
        replace(pieces[column], role="column"),
        *pieces[column + 1 :],
    ]


def _numbers_after(pieces: Sequence[_Piece], name: str) -> list[int]:
    """Places of numbers that follow the letters of a role."""
    return [
        at
        for at, piece in enumerate(pieces)
        if piece.is_number and not piece.role and _marker_before(pieces, at, name)
    ]


def _plain(number: str) -> str:
    return str(int(number))


def _marker_before(pieces: Sequence[_Piece], at: int, name: str) -> bool:
    before = next((each for each in reversed(pieces[:at]) if not each.is_separator), None)
    if before is None or before.role or not before.is_fixed:
        return False
    return (
        re.fullmatch(rf"(?:.*[^A-Za-z])?(?:{_MARKERS[name]})", before.values[0], re.I) is not None
    )


# Other groups ---------------------------------------------------------------------------------


def _with_roles(pieces: list[_Piece]) -> list[_Piece]:
    """Give the pieces with the roles there is evidence for; what is left is not read."""
    roles = {piece.role: at for at, piece in enumerate(pieces) if piece.role}
    marked = list(pieces)

    def give(role: str, at: int) -> None:
        marked[at], roles[role] = replace(marked[at], role=role), at

    alone = []
    for at, piece in enumerate(pieces):
        if not piece.is_open or not piece.is_number:
            continue
        unit = _unit_after(pieces, at)
        role = _role_by_unit(unit) if unit else _role_by_marker(marked, at, set(roles))
        if not (unit or role) and all(_DATE.fullmatch(value) for value in piece.values):
            role = "plate"  # wells imaged on two days are imaged twice
        if role and role not in roles:
            give(role, at)
        elif not unit:
            alone.append(at)
    alone = [at for at in alone if _comes_back_in_wells(marked, at)]
    words = [
        at
        for at, piece in enumerate(marked)
        if piece.is_open and not piece.is_number and _comes_back_in_wells(marked, at)
    ]
    letters = [at for at in words if all(len(value) == 1 for value in marked[at].values)]
    if letters and "site" not in roles:
        give("site", letters[-1])
        words.remove(letters[-1])
    waves = [at for at in alone if all(int(v) in _WAVELENGTHS_NM for v in marked[at].values)]
    stains = [at for at in words + waves if len(set(marked[at].values)) <= _MOST_CHANNELS]
    if stains and "channel" not in roles:
        at = (waves if set(waves) >= set(stains) else [at for at in stains if at in words])[-1]
        give("channel", at)
    alone = [at for at in alone if not marked[at].role and at not in waves]
    # Of several numbers without a word to them none is known to be that of the site.
    if len(alone) == 1 and "site" not in roles:
        give("site", alone[0])
    return marked


def _unit_after(pieces: Sequence[_Piece], at: int) -> str:
    """Letters right after a number that are the same in all names."""
    after = pieces[at + 1] if at + 1 < len(pieces) else None
    is_unit = after is not None and not (after.is_separator or after.is_number or after.role)
    match = re.match("[A-Za-z]+", after.values[0]) if after and is_unit and after.is_fixed else None
    # Letters before a further number are the name of that: s1f2.
    is_last = at + 2 >= len(pieces) or pieces[at + 2].is_separator
    return match[0] if match and is_last else ""


def _role_by_unit(unit: str) -> str:
    return next((r for r, units in _UNITS.items() if re.fullmatch(units, unit, re.I)), "")


def _role_by_marker(pieces: Sequence[_Piece], at: int, taken: set[str]) -> str:
    names = ("z", "time", "channel", "site", "plate")
    return next((n for n in names if n not in taken and _marker_before(pieces, at, n)), "")


def _comes_back_in_wells(pieces: Sequence[_Piece], at: int) -> bool:
    """Whether most wells have most of the values."""
    parts = [piece.values for piece in pieces if piece.role in _WELL_ROLES]
    wells = list(zip(*parts, strict=True))
    values = pieces[at].values
    pairs = set(zip(wells, values, strict=True))
    return _is_crossed(len(pairs), len(set(wells)), len(set(values)))
