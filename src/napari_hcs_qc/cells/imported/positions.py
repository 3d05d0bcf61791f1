"""Tables of positions, by whatever names their columns have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_hcs_qc.cells.table import empty_cells, join_cells, typed_cells
from napari_hcs_qc.errors import Problem
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.tables.values import numbers
from napari_hcs_qc.text import a_few

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.plates.plate import Plate
    from napari_hcs_qc.tables.places import PlacedTable

POSITION_MEANINGS = ("object_number", "area_px")


def cells_of_rows(
    plate: Plate, path: Path, placed: PlacedTable, moved: pd.DataFrame
) -> tuple[pd.DataFrame, list[Problem]]:
    """Make cells of the rows of a table that lie on the plate.

    Positions are in px of the image, the middle of its first pixel is 0, as CellProfiler has it.
    """
    table, columns = placed.table, placed.columns
    n = len(table)
    reason = np.full(n, "", dtype=object)

    def refuse(rows: NDArray[np.bool_], why: str | NDArray[Any]) -> None:
        rows = rows & (reason == "")
        reason[rows] = why if isinstance(why, str) else why[rows]

    refuse((moved["plate"] != plate.name).to_numpy(), f"of another plate than {plate.name}")
    well = moved["well"].to_numpy(dtype=object)
    for meaning, values, what in (("well", moved["well"], "a well name"),
                                  ("site", moved["site"], "a number")):  # fmt: skip
        is_missing = values.isna().to_numpy()
        texts = table[columns[meaning]] if meaning in columns else pd.Series("", table.index)
        why = (f"{meaning} '" + texts.astype(str) + f"' is not {what}").to_numpy(dtype=object)
        refuse(is_missing, why if meaning in columns else f"its image names no {meaning}")
    number = moved["site"].fillna(-1).to_numpy(int)
    rank = {key: index for index, key in enumerate(plate.sites)}
    keys = [SiteKey(w, int(s)) for w, s in zip(well, number, strict=True)]
    order = np.array([rank.get(key, -1) for key in keys], dtype=int)
    unknown = np.array([f"the plate has no site {key}" for key in keys], dtype=object)
    refuse(order < 0, unknown)
    y, x = moved["y_px"].to_numpy(np.float64), moved["x_px"].to_numpy(np.float64)
    refuse(~(np.isfinite(y) & np.isfinite(x)), "the position is not a number")
    height, width = plate.layout.shape
    inside = (y >= -0.5) & (y <= height - 0.5) & (x >= -0.5) & (x <= width - 0.5)
    refuse(~inside, f"the position is outside the image of {height}×{width} px")
    good = np.flatnonzero(reason == "")
    good = good[np.argsort(order[good], kind="stable")]
    problems = _gathered(path, table.index.to_numpy(), reason)
    if len(good) == 0:
        return empty_cells(), problems
    area = np.full(n, np.nan)
    if "area_px" in columns and columns.unit != "um":
        area = numbers(table[columns["area_px"]])
    area[~(area > 0)] = np.nan
    object_number = pd.Series(pd.NA, index=range(n), dtype="Int64")
    if "object_number" in columns:
        object_number = _whole_numbers(table[columns["object_number"]])
    cells = typed_cells(
        {
            "cell_id": np.arange(len(good)),
            "well": well[good],
            "site": number[good],
            "label": np.zeros(len(good)),
            "y_px": y[good],
            "x_px": x[good],
            "area_px": area[good],
            "diameter_px": np.sqrt(4 / np.pi * area[good]),
            "mean_intensity": np.full(len(good), np.nan),
            "is_cut": np.zeros(len(good), dtype=bool),
            "source": np.full(len(good), "import", dtype=object),
            "object_number": object_number.to_numpy(dtype=object)[good],
        }
    )
    return join_cells([cells]), problems


def _whole_numbers(texts: pd.Series[Any]) -> pd.Series[Any]:
    values = pd.Series(numbers(texts))
    is_whole = np.isfinite(values) & (values == np.floor(values))
    return values.where(is_whole).astype("Int64")


def _gathered(path: Path, lines: NDArray[Any], reason: NDArray[Any]) -> list[Problem]:
    """One problem for all rows with the same reason, in the order of the file."""
    problems = []
    for why in dict.fromkeys(reason.tolist()):
        if not why:
            continue
        at = lines[reason == why]
        rows = "row" if len(at) == 1 else "rows"
        problems.append(Problem(f"{path.name} {rows} {a_few(at, 5)}", f"{why}; left out."))
    return problems
