"""What we export goes through real pycytominer, which drops exactly the rows we mark."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from napari_hcs_qc.qc.export.export_tables import CELL_TABLE
from napari_hcs_qc.qc.export.join_profiles import MATCHED, join_onto

if TYPE_CHECKING:
    from pathlib import Path

pycytominer = pytest.importorskip("pycytominer")

OUTLIERS = tuple(f"Metadata_cqc_{what}_is_outlier" for what in ("cell", "site", "well"))
KEYS = ["Metadata_Plate", "Metadata_Well", "Metadata_Site", "Metadata_ObjectNumber"]
WELLS = ("A01", "A02", "B07", "P24")
PLATEMAP = pd.DataFrame({"well_position": WELLS, "treatment": ["DMSO", "a", "DMSO", "b"]})


def exported_cells() -> pd.DataFrame:
    """Cells with the columns and types of our export; imported ones, so they have object numbers.

    One well (B07) and one site (A02 s2) are out, and every fifth cell.
    """
    rng = np.random.default_rng(5)
    keys = list(product(["20585"], WELLS, (1, 2), range(1, 11)))
    cells = pd.DataFrame(keys, columns=KEYS)
    number = np.arange(len(cells))
    cells["cell_id"] = pd.array([pd.NA] * len(cells), dtype="Int64")
    cells["y_px"] = (number % 10) * 50.0 + 25
    cells["x_px"] = rng.uniform(20, 600, len(cells))
    cells["p_abnormal"] = np.where(number % 5 == 0, 0.9, 0.1)
    cells["novelty"] = 0.5
    cells["is_cut"] = False
    cells["predicted_class"] = np.where(number % 5 == 0, "abnormal", "normal")
    for name in ("predicted_kind", "annotated_class", "annotated_kind"):
        cells[name] = None
    cells[OUTLIERS[0]] = number % 5 == 0
    cells[OUTLIERS[1]] = (cells["Metadata_Well"] == "A02") & (cells["Metadata_Site"] == 2)
    cells[OUTLIERS[2]] = cells["Metadata_Well"] == "B07"
    dtypes = {name: dtype for name, dtype in CELL_TABLE.items() if dtype != "str"}
    return cells[list(CELL_TABLE)].astype(dtypes)


def cellprofiler_profiles(cells: pd.DataFrame) -> pd.DataFrame:
    """Profiles of the same cells in another order, and one that is not ours."""
    rng = np.random.default_rng(6)
    order = rng.permutation(len(cells))
    profiles = cells[KEYS].iloc[order].reset_index(drop=True)
    profiles["Nuclei_Location_Center_X"] = cells["x_px"].to_numpy(float)[order] + 1.5
    profiles["Nuclei_Location_Center_Y"] = cells["y_px"].to_numpy(float)[order] - 1.5
    profiles["Nuclei_AreaShape_Area"] = rng.normal(500, 50, len(profiles))
    profiles["Cells_Texture_Contrast"] = rng.normal(size=len(profiles))
    stranger = profiles.iloc[:1].assign(
        Metadata_Well="A01", Metadata_Site=1, Metadata_ObjectNumber=99, Nuclei_Location_Center_X=9e3
    )
    return pd.concat([profiles, stranger], ignore_index=True)


def left_over(frame: pd.DataFrame) -> set[tuple[str, str, int, int]]:
    return set(frame[KEYS].astype({"Metadata_Plate": str}).itertuples(index=False, name=None))


def expected_rows(cells: pd.DataFrame) -> set[tuple[str, str, int, int]]:
    """The oracle: no outlier, and the profile that is not ours."""
    is_out = np.zeros(len(cells), bool)
    for name in OUTLIERS:
        is_out |= cells[name].to_numpy()
    assert 0 < is_out.sum() < len(cells)
    return left_over(cells[~is_out]) | {("20585", "A01", 1, 99)}


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_exactly_the_flagged_rows_are_gone(tmp_path: Path, kind: str) -> None:
    cells = exported_cells()
    profiles = cellprofiler_profiles(cells)
    table = tmp_path / f"cells.{kind}"
    if kind == "parquet":
        cells.to_parquet(table, index=False)
    else:
        cells.to_csv(table, index=False)
        # pandas reads the number of the plate from a CSV as such, and so on both sides.
        profiles["Metadata_Plate"] = profiles["Metadata_Plate"].astype(int)
    annotated = pycytominer.annotate(
        profiles,
        PLATEMAP,
        join_on=["Metadata_well_position", "Metadata_Well"],
        external_metadata=str(table),
        external_join_on=KEYS,
    )
    assert len(annotated) == len(profiles)
    normalized = pycytominer.normalize(
        annotated, samples="Metadata_treatment == 'DMSO'", drop_cosmicqc_rows=True
    )
    assert left_over(normalized) == expected_rows(cells)
    assert len(normalized) == len(expected_rows(cells))
    assert len(pycytominer.normalize(annotated)) == len(profiles)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_profiles_with_our_columns_joined_by_position(tmp_path: Path, kind: str) -> None:
    cells = exported_cells()
    profiles = cellprofiler_profiles(cells)
    profiles.to_parquet(tmp_path / "in.parquet", index=False)
    # Numbered otherwise than by CellProfiler: nothing but the position joins them.
    ours = cells.assign(Metadata_ObjectNumber=pd.array([pd.NA] * len(cells), dtype="Int64"))
    out = tmp_path / f"joined.{kind}"
    join_onto(ours, tmp_path / "in.parquet", out, diameter_px=20.0)
    annotated = pycytominer.annotate(
        str(out), PLATEMAP, join_on=["Metadata_well_position", "Metadata_Well"]
    )
    assert MATCHED in annotated
    normalized = pycytominer.normalize(annotated, drop_cosmicqc_rows=True)
    assert left_over(normalized) == expected_rows(cells)
    assert normalized[["Nuclei_AreaShape_Area", "Cells_Texture_Contrast"]].notna().all(axis=None)


def test_no_other_column_of_ours_drops_rows() -> None:
    """pycytominer drops by every column with its prefix, so scores must not have it."""
    assert [name for name in CELL_TABLE if name.startswith("Metadata_cqc_")] == list(OUTLIERS)
    assert all(CELL_TABLE[name] == "bool" for name in OUTLIERS)
    assert not MATCHED.startswith("Metadata_cqc_")
