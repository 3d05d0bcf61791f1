"""Positions are compared with nuclei, over all and well by well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_hcs_qc.cells.imported.plausibility import Nuclei, PositionCheck, check_positions
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.tables.plate_sites import PlateSites
from napari_hcs_qc.tables.positions_are import PositionsAre

SHAPE = (260, 340)
WELLS = [f"{row}{column:02d}" for row in "ABC" for column in range(1, 7)]
PLATE = PlateSites(
    name="p1", sites=tuple(SiteKey(well, 1) for well in WELLS), shape=SHAPE, pixel_size_um=0.65
)


@pytest.fixture
def cells() -> pd.DataFrame:
    """Forty nuclei in each well, none nearer than 14 px to another."""
    random = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(np.arange(20, 250, 26), np.arange(20, 330, 32)), -1).reshape(-1, 2)
    rows = [
        (well, 1, *(place + random.uniform(-6, 6, 2)))
        for well in WELLS
        for place in random.permutation(grid)[:40]
    ]
    return pd.DataFrame(rows, columns=["well", "site", "y_px", "x_px"])


def check(
    cells: pd.DataFrame, places: pd.DataFrame, are: PositionsAre | None = None
) -> PositionCheck:
    nuclei = Nuclei.of({"p1": cells}, [("p1", well, 1) for well in WELLS], 7.0, SHAPE)
    return check_positions(
        places.assign(plate="p1").astype({"site": "Int64"}),
        nuclei,
        are or PositionsAre(),
        {"p1": PLATE},
    )


def clicked(cells: pd.DataFrame, each: int) -> pd.DataFrame:
    """Some cells of every well, clicked nearly at their centres."""
    places = cells.groupby("well").head(each).reset_index(drop=True)
    places[["y_px", "x_px"]] += np.random.default_rng(1).uniform(-2, 2, (len(places), 2))
    return places


def with_others(places: pd.DataFrame, wells: list[str], are: str) -> pd.DataFrame:
    changed = places.copy()
    rows = places["well"].isin(wells)
    if are == "swapped":
        changed.loc[rows, ["y_px", "x_px"]] = places.loc[rows, ["x_px", "y_px"]].to_numpy(copy=True)
    elif are == "binned:2":
        changed.loc[rows, ["y_px", "x_px"]] /= 2
    else:
        changed.loc[rows, ["y_px", "x_px"]] *= 0.65
    return changed


@pytest.mark.parametrize("are", ["swapped", "binned:2", "um"])
@pytest.mark.parametrize("wells", [WELLS[:1], WELLS[4:8], WELLS[:12]])
def test_wells_whose_positions_are_others_are_named(
    cells: pd.DataFrame, wells: list[str], are: str
) -> None:
    places = with_others(clicked(cells, 6), wells, are)
    found = check(cells, places)
    assert (str(found.better), found.wells) == (are, tuple(wells))
    assert found.n_wells == 6 * len(wells)
    with pytest.raises(HcsQcError, match=rf"In \d+ wells? \({wells[0]}.*Correct the rows of these"):
        found.checked(Path("labels.csv"), accept=False)
    assert found.checked(Path("labels.csv"), accept=True) is found
    assert not check(cells, clicked(cells, 6)).is_refused


def test_where_all_are_others_the_option_is_named_not_the_wells(cells: pd.DataFrame) -> None:
    found = check(cells, with_others(clicked(cells, 6), WELLS, "swapped"))
    assert (str(found.better), found.wells) == ("swapped", ())
    assert not check(
        cells, with_others(clicked(cells, 6), WELLS, "swapped"), PositionsAre(is_swapped=True)
    ).is_refused


def test_wells_without_a_better_reading_are_left(cells: pd.DataFrame) -> None:
    """Of a well out of focus the nuclei are not found where people see them."""
    places = clicked(cells, 6)
    rows = places["well"].isin(WELLS[:3])
    places.loc[rows, ["y_px", "x_px"]] = np.random.default_rng(0).uniform(10, 240, (rows.sum(), 2))
    assert not check(cells, places).is_refused


def test_few_positions_of_a_plate_that_is_called_otherwise(cells: pd.DataFrame) -> None:
    few = clicked(cells, 1).head(8)
    on_nuclei = check(cells, few)
    assert on_nuclei.checked(Path("l.csv"), accept=False, other_plate="BR9") is on_nuclei
    astray = check(cells, few.assign(y_px=few["y_px"] + 13, x_px=few["x_px"] - 16))
    assert not astray.is_refused  # so few are only warned of
    with pytest.raises(HcsQcError, match=r"its plate is called BR9.*--accept-positions"):
        astray.checked(Path("l.csv"), accept=False, other_plate="BR9")
