"""Well names and the standard plate formats."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from collections.abc import Iterable

PLATE_SHAPES: dict[int, tuple[int, int]] = {
    6: (2, 3),
    12: (3, 4),
    24: (4, 6),
    48: (6, 8),
    96: (8, 12),
    384: (16, 24),
    1536: (32, 48),
}
"""Rows and columns of each standard plate format, by its number of wells (ANSI/SLAS 4-2004)."""

_MAX_ROWS, _MAX_COLUMNS = PLATE_SHAPES[1536]
_WELL = re.compile(r"([A-Z]{1,2})[-_ ]?0*([1-9][0-9]?)", re.ASCII | re.IGNORECASE)


class WellName(NamedTuple):
    """Position of a well: zero-based row and column. As text it is ``A01``, ``AF48``."""

    row: int
    column: int

    def __str__(self) -> str:
        return well_name(self.row, self.column)


def row_letters(row: int) -> str:
    """Letters of a zero-based row: ``A`` to ``Z``, then ``AA`` to ``AF``."""
    if not 0 <= row < _MAX_ROWS:
        raise HcsQcError(
            f"Row {row + 1} is outside every plate; rows 1 to {_MAX_ROWS} were expected."
        )
    first, second = divmod(row, 26)
    return (chr(ord("A") + first - 1) if first else "") + chr(ord("A") + second)


def well_name(row: int, column: int) -> str:
    """Name of the well at a zero-based row and column, the column with two digits.

    Examples
    --------
    >>> well_name(0, 0), well_name(31, 47)
    ('A01', 'AF48')
    """
    if not 0 <= column < _MAX_COLUMNS:
        raise HcsQcError(
            f"Column {column + 1} is outside every plate; columns 1 to {_MAX_COLUMNS} were "
            "expected."
        )
    return f"{row_letters(row)}{column + 1:02d}"


@lru_cache(maxsize=8192)
def parse_well(text: str) -> WellName:
    """Read a well name as people and machines write it."""
    match = _WELL.fullmatch(text.strip(" \t\r\n_-"))
    if match is None:
        raise HcsQcError(
            f"'{text}' is not a well name; row letters and a column number such as A01, b7 or "
            "AF48 were expected."
        )
    row = 0
    for letter in match[1].upper():
        row = row * 26 + ord(letter) - ord("A") + 1
    column = int(match[2])
    if row > _MAX_ROWS or column > _MAX_COLUMNS:
        raise HcsQcError(
            f"Well '{text}' is outside every plate; the largest has rows A to AF and columns 1 "
            f"to {_MAX_COLUMNS}."
        )
    return WellName(row - 1, column - 1)


def plate_shape(wells: Iterable[WellName]) -> tuple[int, int]:
    """Rows and columns of the smallest standard plate that holds all `wells`."""
    rows = columns = 0
    for row, column in wells:
        rows, columns = max(rows, row + 1), max(columns, column + 1)
    if not rows:
        raise HcsQcError("No wells were found, so the plate has no shape; one well is needed.")
    for shape in PLATE_SHAPES.values():
        if rows <= shape[0] and columns <= shape[1]:
            return shape
    raise HcsQcError(
        f"Wells up to row {rows} and column {columns} fit no standard plate; the largest has "
        f"{_MAX_ROWS} rows and {_MAX_COLUMNS} columns."
    )


def parse_shape(shape: str | int) -> tuple[int, int]:
    """Read the shape of a standard plate: ``384``, ``"384"`` or ``"16x24"``."""
    text = str(shape).strip().lower().replace("×", "x").replace(" ", "")
    for n_wells, (rows, columns) in PLATE_SHAPES.items():
        if text in (str(n_wells), f"{rows}x{columns}"):
            return rows, columns
    listed = ", ".join(f"{n} ({rows}x{columns})" for n, (rows, columns) in PLATE_SHAPES.items())
    raise HcsQcError(
        f"The plate shape {shape!r} is none of a standard plate; {listed} were expected."
    )
