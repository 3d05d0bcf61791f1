"""Where an image file belongs, as its name says it."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.wells import PLATE_SHAPES, row_letters, well_name

NO_CHANNEL = ""
"""Channel of a name that states none: the file may hold several."""

NO_Z = -1
"""z of a name that states none."""

NUMBERED = "#"
"""Begins the well of a name that numbers the wells: ``#14`` is B02 on a plate of 12 columns."""

_LEAST_WELLS = 96


class Place(NamedTuple):
    """What one file name says. `well` is as written; `channel` is a key, not an index."""

    well: str
    site: int
    channel: str = NO_CHANNEL
    z: int = NO_Z
    time: int = 0
    plate: str = ""


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


def numbered_shape(numbers: list[int]) -> tuple[int, int]:
    """Shape of the plate whose wells are numbered along the rows: at least one of 96 wells."""
    most = max(numbers)
    for n_wells, shape in PLATE_SHAPES.items():
        if n_wells >= max(_LEAST_WELLS, most):
            return shape
    raise HcsQcError(
        f"Well number {most} is on no plate; numbers from 1 to {max(PLATE_SHAPES)} were expected. "
        "Give a pattern with (?P<site>…) if it numbers sites."
    )


def numbered_well(number: int, shape: tuple[int, int]) -> str:
    """Name of a well that is numbered from 1 along the rows."""
    if not 1 <= number <= shape[0] * shape[1]:
        return f"number {number}"
    return well_name(*divmod(number - 1, shape[1]))
