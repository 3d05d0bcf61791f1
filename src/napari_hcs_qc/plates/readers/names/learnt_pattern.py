"""A pattern that reads names of no known format, learnt from the names themselves.

Names are split where they have the same marks. What differs between them is the well where it
looks like one, and site, channel, z or time by the letters before it; a word that differs is the
channel. A pattern is only given where it reads the names and tells all of them apart.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.readers.names.place import Place
from napari_hcs_qc.plates.readers.names.user_pattern import UserPattern
from napari_hcs_qc.plates.wells import parse_well

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_GUID = re.compile(r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}")
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
_SAMPLE = 2_000
_MOST_CHANNELS = 12
_LEAST_SHARE = 0.5


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
        return r"[A-Za-z]{1,2}\d{1,2}" if self.role == "well" else "[^/]+?"


def learnt_pattern(paths: Sequence[str]) -> str | None:
    """Give a pattern that reads most of the paths; None where there is none to be seen."""
    paths = list(paths[:: max(1, len(paths) // _SAMPLE)])
    groups = Counter(_marks(path) for path in paths)
    if not groups:
        return None
    marks, count = groups.most_common(1)[0]
    if count < _LEAST_SHARE * len(paths):
        return None
    alike = [path for path in paths if _marks(path) == marks]
    pieces = _pieces(alike)
    for with_well in _with_wells(pieces):
        for candidate in _with_roles(with_well):
            text = _text(candidate)
            if _reads(text, alike):
                return text
    return None


def _text(pieces: Sequence[_Piece]) -> str:
    text = "".join(piece.text() for piece in pieces)
    return (
        "^"
        + text.replace(re.escape(_MARK), "[0-9A-Fa-f-]{36}").replace(_MARK, "[0-9A-Fa-f-]{36}")
        + "$"
    )


def _reads(text: str, paths: Sequence[str]) -> bool:
    try:
        pattern = UserPattern(text)
        pattern = pattern.with_letters(list(paths))
        places = [pattern.match(path) for path in paths]
        for place in places:
            if not isinstance(place, Place):
                return False
            if not place.well.startswith("#"):
                parse_well(place.well)
    except HcsQcError:
        return False
    return len(set(places)) == len(paths)


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
    if piece.is_fixed and re.fullmatch(r"[A-Za-z]\d{1,2}", piece.values[0]):
        return [*pieces[:at], replace(piece, role="well"), *pieces[at + 1 :]]
    heads = {value[:-1] for value in piece.values}
    rows = tuple(value[-1:] for value in piece.values)
    if len(heads) > 1 or not all(re.fullmatch("[A-Pa-p]", row) for row in rows):
        return None
    if heads != {""} and not re.fullmatch(r"(?:.*[^A-Za-z])?well", next(iter(heads)), re.I):
        return None
    column = at + 1
    if column < len(pieces) and pieces[column].is_separator:
        column += 1
    if column >= len(pieces) or not pieces[column].is_number:
        return None
    if not all(1 <= int(value) <= 48 for value in pieces[column].values):
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


def _with_roles(pieces: list[_Piece]) -> Iterator[list[_Piece]]:
    """Give the pieces with what else differs, by marker; then with what is left as sites."""
    marked = list(pieces)
    taken = {piece.role for piece in pieces}
    for at, piece in enumerate(marked):
        if piece.role or not piece.is_number or piece.is_fixed:
            continue
        for name in ("z", "time", "channel", "site", "plate"):
            if name not in taken and _marker_before(marked, at, name):
                marked[at] = replace(piece, role=name)
                taken.add(name)
                break
    words = [
        at
        for at, piece in enumerate(marked)
        if not (piece.role or piece.is_separator or piece.is_number or piece.is_fixed)
        and len(set(piece.values)) <= _MOST_CHANNELS
    ]
    letters = [at for at in words if all(len(value) == 1 for value in marked[at].values)]
    if letters and "site" not in taken:
        marked[letters[-1]] = replace(marked[letters[-1]], role="site")
        taken.add("site")
        words = [at for at in words if at != letters[-1]]
    if words and "channel" not in taken:
        marked[words[-1]] = replace(marked[words[-1]], role="channel")
        taken.add("channel")
    yield marked
    numbers = [
        at
        for at, piece in enumerate(marked)
        if piece.is_number and not piece.role and not piece.is_fixed
    ]
    for role in ("site", "channel"):
        if role in taken:
            continue
        for at in numbers:
            with_number = list(marked)
            with_number[at] = replace(marked[at], role=role)
            yield with_number
    if "site" not in taken and "channel" not in taken:
        for site in numbers:
            for channel in numbers:
                if site != channel:
                    both = list(marked)
                    both[site] = replace(marked[site], role="site")
                    both[channel] = replace(marked[channel], role="channel")
                    yield both
