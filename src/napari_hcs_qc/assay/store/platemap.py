"""Read a plate map: what was put into each well, and which wells are controls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_hcs_qc.errors import HcsQcError, Problem, ProblemsError
from napari_hcs_qc.plates.wells import parse_well
from napari_hcs_qc.read_table import read_table
from napari_hcs_qc.tables.columns import check_twice, find_columns
from napari_hcs_qc.tables.values import is_vehicle, role_of, site_number, well_at
from napari_hcs_qc.text import a_few, count_of

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from napari_hcs_qc.plates.plate import Plate
    from napari_hcs_qc.tables.columns import Columns

ROLES = ("control", "empty", "sample")
_MEANINGS = ("plate", "well", "row", "column", "role", "treatment")
_VEHICLE = "DMSO"
"""What a negative control is treated with where the map (JUMP's) leaves it blank."""


def with_platemap(plate: Plate, path: Path, plates: Collection[str] = ()) -> Plate:
    """Check a plate map, and give the plate with a shape that has its wells where it is a guess."""
    table = read_platemap(path, plate=plate.plate_name, plates=plates)
    grown = plate.grown(table["well"], f"the plate map {path.name}")
    read_platemap(path, shape=grown.shape, plate=plate.plate_name, plates=plates)
    return grown


def plates_of_platemap(path: Path) -> tuple[str, ...]:
    """Names of the plates in a plate map; none where it names none."""
    columns: list[str] = []

    def wanted(names: list[str]) -> list[str]:
        columns.extend(find_columns(names, ["plate"]).names.values())
        return columns

    table = read_table(path, wanted)
    return tuple(dict.fromkeys(_plate_names(table[columns[0]]))) if columns else ()


def read_platemap(
    path: Path,
    *,
    shape: tuple[int, int] | None = None,
    plate: str | None = None,
    plates: Collection[str] = (),
) -> pd.DataFrame:
    """Read a table with a row for each well, or a grid with the wells' treatments in their places.

    Columns are told by their names (`napari_hcs_qc.tables.columns`): well (or row and column),
    treatment and role. A role is control (also negcon, DMSO, mock, ...), empty or sample (also trt,
    poscon, ...); where it is blank or the column is missing, sample. In a grid, which cannot name
    roles, DMSO and other vehicles are controls. Rows of other plates than `plate` and wells that
    were not imaged may be in the map. A map of one plate that is called otherwise is of `plate`,
    unless that is another one of `plates`.
    """
    table = read_table(path)
    columns = find_columns(list(table.columns), _MEANINGS)
    if not columns.has_well and _is_grid(table):
        table, columns = _of_grid(table)
    _check_columns(path, table, columns)
    table = _of_plate(table, columns, plate, plates)
    _check_from_1(path, table, columns)
    rows: dict[str, tuple[tuple[int, int], str, str]] = {}
    first: dict[str, Any] = {}
    problems: list[Problem] = []
    unknown: dict[str, list[Any]] = {}
    records = zip(table.index, table.to_dict("records"), strict=True)
    for line, row in records:
        where = f"{path.name} line {line}"
        text = {meaning: row[name].strip() for meaning, name in columns.names.items()}
        role = role_of(text.get("role", "") or "sample")
        if role is None:
            unknown.setdefault(text["role"], []).append(line)
            role = "sample"
        treatment = text.get("treatment", "")
        if not treatment and role == "control" and "role" in columns:
            treatment = _VEHICLE
        try:
            position = parse_well(_well_text(text))
        except HcsQcError as error:
            problems.append(Problem(where, str(error)))
            continue
        well = str(position)
        if shape is not None and (position.row >= shape[0] or position.column >= shape[1]):
            what = (
                f"the well {well} is outside the plate of {shape[0]} × {shape[1]} wells; give its "
                "shape if it is another (--plate-shape)."
            )
            problems.append(Problem(where, what))
        entry = ((position.row, position.column), treatment, role)
        if rows.setdefault(well, entry) != entry or (
            well in first and not _names_images(columns, table)
        ):
            what = f"the well {well} is already in line {first[well]}; remove one of the two."
            problems.append(Problem(where, what))
        first.setdefault(well, line)
    for word, lines in unknown.items():
        what = f"the role {word!r} is not one of {', '.join(ROLES)} (nor negcon, poscon, trt, ...)."
        problems.append(Problem(f"{path.name} line {a_few(lines)}", what))
    if problems:
        problems.sort(key=lambda problem: problem.where)
        raise ProblemsError(
            f"{path}: {count_of(len(problems), 'problem')} in the plate map; correct these lines",
            problems,
        )
    ordered = sorted((place, well, *rest) for well, (place, *rest) in rows.items())
    return pd.DataFrame([row[1:] for row in ordered], columns=["well", "treatment", "role"])


def _check_columns(path: Path, table: pd.DataFrame, columns: Columns) -> None:
    missing = [] if columns.has_well else ["well"]
    missing += [] if "treatment" in columns else ["treatment"]
    if missing:
        raise HcsQcError(
            f"{path} has no column {', '.join(missing)}; a plate map has the columns well, "
            f"treatment and role, or is a grid, and this file has {a_few(table.columns, 12)}. "
            "Rename the columns that mean these, or add them."
        )
    check_twice(path, columns, list(table.columns))
    if table.empty:
        raise HcsQcError(
            f"{path} has a header but no rows; one row per well was expected. Add them."
        )


def _of_plate(
    table: pd.DataFrame, columns: Columns, plate: str | None, plates: Collection[str]
) -> pd.DataFrame:
    """Keep the rows of one plate; all where the map names none, or one that may be it."""
    if plate is None or "plate" not in columns:
        return table
    names = _plate_names(table[columns["plate"]])
    theirs = set(names)
    if plate in theirs:
        return table[names == plate]
    return table[:0] if len(theirs) > 1 or theirs & {*plates} else table


def _plate_names(values: pd.Series[Any]) -> pd.Series[Any]:
    return values.str.strip().str.removesuffix(".0")


def _check_from_1(path: Path, table: pd.DataFrame, columns: Columns) -> None:
    """Refuse rows and columns that are counted from 0."""
    zero = {"row": r"0+(\.0)?", "column": r"0+(\.0)?", "well": r"[A-Za-z]{1,2}[-_ ]?0+"}
    for meaning, pattern in zero.items():
        if meaning not in columns:
            continue
        texts = table[columns[meaning]].str.strip()
        is_zero = texts.str.fullmatch(pattern)
        if is_zero.any():
            what = "rows" if meaning == "row" else "columns"
            raise HcsQcError(
                f"{path} counts {what} from 0 (column {columns[meaning]}, such as "
                f"{texts[is_zero].iloc[0]!r}); the first well is A01, row 1 and column 1. Add 1 to "
                f"the {what}."
            )


def _names_images(columns: Columns, table: pd.DataFrame) -> bool:
    """Tell whether a row is an image, as in BBBC022's map: then wells repeat."""
    return len(find_columns(list(table.columns), ["site", "file"]).names) > 0


def _well_text(text: dict[str, str]) -> str:
    if "row" not in text or "column" not in text:
        return text["well"]
    named = text.get("well", "")
    return named if named and not named.isdigit() else well_at(text["row"], text["column"]) or named


def _is_grid(table: pd.DataFrame) -> bool:
    """Tell whether a table is the plate itself: columns in its header, row letters at the left."""
    numbers = [site_number(name) for name in table.columns[1:] if name.isdigit()]
    letters = table.iloc[:, 0].str.strip() if len(table.columns) else pd.Series(dtype=str)
    return (
        len(numbers) > 0
        and numbers == list(range(1, len(numbers) + 1))
        and bool(letters.str.fullmatch("[A-Za-z]{1,2}").any())
    )


def _of_grid(table: pd.DataFrame) -> tuple[pd.DataFrame, Columns]:
    """Give a row for each well of a grid that is not blank."""
    rows, lines = [], []
    letters = table.iloc[:, 0].str.strip()
    for name in [name for name in table.columns[1:] if name.isdigit()]:
        for line, letter, value in zip(table.index, letters, table[name], strict=True):
            if letter and value.strip():
                role = "control" if is_vehicle(value) else "sample"
                rows.append((f"{letter}{int(name):02d}", value, role))
                lines.append(line)
    wells = pd.DataFrame(rows, columns=["well", "treatment", "role"], index=lines, dtype=str)
    return wells, find_columns(list(wells.columns), _MEANINGS)
