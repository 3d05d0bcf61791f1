"""Errors a user can act on, and problems collected while reading."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SHOWN = 5
"""Kinds of problems, and problems of one kind, that are shown at a time."""
_VALUE = re.compile(r"'[^']*'|\w*\d[\w.,]*")


class HcsQcError(Exception):
    """Bad input or state that the user can put right.

    The message says what was wrong (with the value), what was expected and what to do. The
    command line prints it as one line and exits with code 2; a widget shows it as it is.
    """


class WriteError(HcsQcError):
    """A file could not be written: read-only folder, full disk, missing permission."""


class DamagedError(HcsQcError):
    """A file of ours is not as it was written; the message says which command mends it."""


class UnreadableSiteError(HcsQcError):
    """The pixels of one site cannot be had. Recorded and shown; never fatal for the plate."""


@dataclass(frozen=True)
class Problem:
    """One thing that was not understood or not readable.

    Parameters
    ----------
    where
        The file, row, well or site it concerns, as a user would look it up.
    what
        What was wrong, with the value found and what was expected.
    fix
        What to do about it; empty when `what` says it already.
    """

    where: str
    what: str
    fix: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}"
        return f"{text} {self.fix}" if self.fix else text


class ProblemsError(HcsQcError):
    """Several problems of one input, collected and reported once.

    Parameters
    ----------
    summary
        One line that names the input and the count.
    problems
        All of them, in the order of the input.
    """

    def __init__(self, summary: str, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        kinds = kinds_of(self.problems)
        shown = "; ".join(
            str(alike[0]) + (f" (and {len(alike) - 1} more like it)" if len(alike) > 1 else "")
            for alike in kinds[:SHOWN]
        )
        more = sum(map(len, kinds[SHOWN:]))
        tail = f"; and {more} more" if more else ""
        super().__init__(f"{summary}: {shown}{tail}" if shown else summary)


def kinds_of(problems: Iterable[Problem]) -> list[list[Problem]]:
    """Put problems together that differ in their values only."""
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(_VALUE.sub("…", str(problem)), []).append(problem)
    return list(kinds.values())


def some_lines(problems: Iterable[Problem]) -> list[str]:
    """Write the first problems of each kind, a line each, and how many more there are."""
    kinds = kinds_of(problems)
    lines = []
    for alike in kinds[:SHOWN]:
        lines += [str(problem) for problem in alike[:SHOWN]]
        if len(alike) > SHOWN:
            lines.append(f"and {len(alike) - SHOWN} more like it (--json lists all)")
    more = sum(map(len, kinds[SHOWN:]))
    return [*lines, f"and {more} more (--json lists all)"] if more else lines
