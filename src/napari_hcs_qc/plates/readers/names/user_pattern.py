"""A regular expression with named groups, as a user gives it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.pattern_groups import GROUPS
from napari_hcs_qc.plates.limits import search_in_time
from napari_hcs_qc.plates.readers.names.place import (
    NO_CHANNEL,
    NO_Z,
    NUMBERED,
    Place,
    well_text,
)

_EXAMPLE = r"'(?P<well>[A-P]\d\d)_f(?P<site>\d+)_(?P<channel>\w+)\.tif$'"
_LETTER = re.compile(r"[a-zA-Z]")


@dataclass(frozen=True)
class UserPattern:
    """A pattern and how it reads paths."""

    text: str  # searched in the path relative to the plate's folder, with ``/``
    letters_are_sites: bool = False  # whether ``a`` is site 1

    def __post_init__(self) -> None:
        groups = set(self.groups)
        is_known_well = groups & {"well", "number"} or (
            groups & {"row", "row0"} and groups & {"column", "column0"}
        )
        if not is_known_well:
            have = ", ".join(self.groups) or "none"
            raise HcsQcError(
                f"The pattern {self.text!r} does not capture the well: its named groups are "
                f"{have}; (?P<well>…), or (?P<row>…) and (?P<column>…) that count from 1, or "
                "(?P<row0>…) and (?P<column0>…) that count from 0, or (?P<number>…) of the well "
                "along the rows, were expected."
            )
        unknown = sorted(groups - set(GROUPS))
        if unknown:
            raise HcsQcError(
                f"The pattern {self.text!r} has the named groups {', '.join(unknown)}; only "
                f"{', '.join(sorted(GROUPS))} are known. Use (?:…) where no name is needed."
            )

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups."""
        return tuple(self._compiled.groupindex)

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        try:
            return re.compile(self.text)
        except re.error as error:
            raise HcsQcError(
                f"The pattern {self.text!r} is not a valid regular expression: {error}. An "
                f"example: {_EXAMPLE}."
            ) from error

    def match(self, path: str) -> Place | str | None:
        """Read a relative path: its place, the reason why it has none, or None for no match."""
        match = search_in_time(self.text, path)
        if match is None:
            return None
        groups = match.groupdict()
        well = _well(groups, path)
        numbers = {"site": 1, "z": NO_Z, "time": 0}
        for group in numbers:
            text = groups.get(group)
            if text is None:
                continue
            if group == "site" and self.letters_are_sites and _LETTER.fullmatch(text):
                text = str(ord(text.lower()) - ord("a") + 1)
            if not text.isdecimal():
                return f"{text!r} of the pattern's group '{group}' is not a whole number"
            numbers[group] = int(text)
        channel, plate = groups.get("channel") or NO_CHANNEL, groups.get("plate") or ""
        return Place(well, channel=channel, plate=plate, **numbers)

    def with_letters(self, paths: list[str]) -> UserPattern:
        """Take letters for sites where all paths that match have one."""
        matches = [match for path in paths if (match := search_in_time(self.text, path))]
        if "site" not in self.groups or not matches:
            return self
        if all(match["site"] and _LETTER.fullmatch(match["site"]) for match in matches):
            return UserPattern(self.text, letters_are_sites=True)
        return self


def _well(groups: dict[str, str | None], path: str) -> str:
    if groups.get("well"):
        return str(groups["well"])
    if groups.get("number"):
        return f"{NUMBERED}{groups['number']}"
    row, column = (
        _from_one(groups, "row", path),
        _from_one(groups, "column", path),
    )
    return well_text(row, column)


def _from_one(groups: dict[str, str | None], name: str, path: str) -> str:
    """Row or column, counted from 1."""
    text, from_zero = groups.get(name), groups.get(f"{name}0")
    if text is None and from_zero is not None and from_zero.isdecimal():
        return str(int(from_zero) + 1)
    if text is not None and text.isdecimal() and int(text) == 0:
        raise HcsQcError(
            f"The pattern's group '{name}' counts from 1 and is {text} in {path}; where {name}s "
            f"count from 0, call it (?P<{name}0>…)."
        )
    return text or from_zero or ""
