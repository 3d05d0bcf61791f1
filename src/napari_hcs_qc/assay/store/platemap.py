"""Read a plate map: what was put into each well, and which wells are controls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from napari_hcs_qc.errors import HcsQcError, Problem, ProblemsError
from napari_hcs_qc.plates.wells import parse_well
from napari_hcs_qc.read_table import read_table
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.plates.plate import Plate

ROLES = ("control", "empty", "sample")


def with_platemap(plate: Plate, path: Path) -> Plate:
    """Check a plate map, and give the plate with a shape that has its wells where it is a guess."""
    table = read_platemap(path)
    grown = plate.grown(table["well"], f"the plate map {path.name}")
    read_platemap(path, shape=grown.shape)
    return grown


def read_platemap(path: Path, *, shape: tuple[int, int] | None = None) -> pd.DataFrame:
    """Read a CSV or Parquet file with the columns ``well, treatment, role``.

    `role` is control, empty or sample, in upper or lower case; where it is blank or the column is
    missing, sample. Further columns are ignored. Wells that were not imaged may be in the map.
    """
    table = read_table(path).rename(columns=str.casefold)
    missing = [name for name in ("well", "treatment") if name not in table.columns]
    if missing:
        raise HcsQcError(
            f"{path} has no column {', '.join(missing)}; a plate map has the columns well, "
            f"treatment and role, and this file has {', '.join(table.columns)}."
        )
    names = [name for name in ("well", "treatment", "role") if name in table.columns]
    table = table[names]
    if not table.columns.is_unique:
        twice = sorted(set(table.columns[table.columns.duplicated()]))
        raise HcsQcError(
            f"{path} has the column {', '.join(twice)} twice, in upper and lower case."
        )
    if table.empty:
        raise HcsQcError(f"{path} has a header but no rows; one row per well was expected.")
    rows: list[tuple[tuple[int, int], str, str, str]] = []
    first: dict[str, int] = {}
    problems: list[Problem] = []
    for line, values in zip(table.index, table.itertuples(index=False, name=None), strict=True):
        row = dict(zip(names, (value.strip() for value in values), strict=True))
        where = f"{path.name} line {line}"
        role = row.get("role", "").casefold() or "sample"
        if role not in ROLES:
            what = f"the role {row['role']!r} is not one of {', '.join(ROLES)}."
            problems.append(Problem(where, what))
        try:
            position = parse_well(row["well"])
        except HcsQcError as error:
            problems.append(Problem(where, str(error)))
            continue
        well = str(position)
        if shape is not None and (position.row >= shape[0] or position.column >= shape[1]):
            what = f"the well {well} is outside the plate of {shape[0]} × {shape[1]} wells."
            problems.append(Problem(where, what))
        if first.setdefault(well, line) != line:
            what = f"the well {well} is already in line {first[well]}; remove one of the two."
            problems.append(Problem(where, what))
        rows.append(((position.row, position.column), well, row["treatment"], role))
    if problems:
        raise ProblemsError(
            f"{path}: {count_of(len(problems), 'problem')} in the plate map", problems
        )
    return pd.DataFrame([row[1:] for row in sorted(rows)], columns=["well", "treatment", "role"])
