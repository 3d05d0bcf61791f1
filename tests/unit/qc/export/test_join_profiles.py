"""Our columns joined onto CellProfiler and CytoTable tables."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_hcs_qc.errors import HcsQcError, WriteError
from napari_hcs_qc.job import Cancelled, Job
from napari_hcs_qc.qc.export.join_profiles import MATCHED, OntoResult, join_onto, match_points

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DIAMETER_PX = 20.0
SITES = (("20585", "A01", 1), ("20585", "A01", 2), ("20585", "B07", 1))
CELL_OUT, SITE_OUT, WELL_OUT = (
    f"Metadata_cqc_{what}_is_outlier" for what in ("cell", "site", "well")
)


def make_cells(n: int = 12) -> pd.DataFrame:
    """Exported cells: 12 a site, far apart; A01 s2 is out as a site, B07 as a well."""
    rng = np.random.default_rng(3)
    parts = []
    for number, (plate, well, site) in enumerate(SITES):
        grid = np.stack(np.unravel_index(np.arange(n), (3, 4)), axis=1) * 100.0 + 50
        positions = grid + rng.uniform(-20, 20, grid.shape)
        p_abnormal = rng.random(n).astype(np.float32)
        parts.append(
            pd.DataFrame(
                {
                    "Metadata_Plate": plate,
                    "Metadata_Well": well,
                    "Metadata_Site": site,
                    "Metadata_ObjectNumber": pd.array([pd.NA] * n, dtype="Int64"),
                    "cell_id": pd.array(np.arange(n) + number * n, dtype="Int64"),
                    "y_px": positions[:, 0].astype(np.float32),
                    "x_px": positions[:, 1].astype(np.float32),
                    "p_abnormal": p_abnormal,
                    "predicted_class": np.where(p_abnormal > 0.5, "abnormal", "normal"),
                    "annotated_kind": [None] * (n - 1) + ["blur"],
                    CELL_OUT: p_abnormal > 0.5,
                    SITE_OUT: (well, site) == ("A01", 2),
                    WELL_OUT: well == "B07",
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def make_profiles(cells: pd.DataFrame, *, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Profiles of the same nuclei, shuffled and shifted by up to 4 px, two of three sites short of
    one nucleus and every site with one that we have not. With the row of `cells` of each, or -1."""
    rng = np.random.default_rng(seed)
    keep = np.ones(len(cells), bool)
    keep[[4, 20]] = False
    rows = rng.permutation(np.flatnonzero(keep))
    table = cells.iloc[rows].reset_index(drop=True)
    extra = cells.drop_duplicates(["Metadata_Well", "Metadata_Site"]).reset_index(drop=True)
    extra = extra.assign(x_px=3000.0)
    table = pd.concat([table, extra], ignore_index=True)
    order = rng.permutation(len(table))
    truth = np.r_[rows, [-1] * len(extra)][order]
    table = table.iloc[order].reset_index(drop=True)
    shift = rng.uniform(-2.8, 2.8, (len(table), 2))
    profiles = pd.DataFrame(
        {
            "Image_Metadata_Plate": table["Metadata_Plate"],
            "Image_Metadata_Well": table["Metadata_Well"],
            "Image_Metadata_Site": table["Metadata_Site"],
            "ImageNumber": table.groupby(["Metadata_Well", "Metadata_Site"]).ngroup() + 1,
            "Nuclei_Number_Object_Number": np.arange(len(table)) + 1,
            "Nuclei_Location_Center_X": table["x_px"].astype(float) + shift[:, 1],
            "Nuclei_Location_Center_Y": table["y_px"].astype(float) + shift[:, 0],
            "Nuclei_AreaShape_Area": rng.integers(200, 900, len(table)),
            "Cells_Texture_Contrast": rng.normal(size=len(table)),
        }
    )
    return profiles, truth


def check(result: OntoResult, joined: pd.DataFrame, cells: pd.DataFrame, truth: np.ndarray) -> None:
    """The oracle: every profile has its cell's values, and the others have none."""
    is_matched = truth >= 0
    assert (result.n_profiles, result.n_matched) == (len(truth), int(is_matched.sum()))
    assert result.unmatched_profiles == 3
    assert result.unmatched_cells == {("20585", "A01", 1): 1, ("20585", "A01", 2): 1}
    assert joined[MATCHED].tolist() == is_matched.tolist()
    expected = cells.iloc[truth[is_matched]]
    for name in ("cell_id", "y_px", "x_px", "p_abnormal", "predicted_class", CELL_OUT):
        got = joined.loc[is_matched, name].tolist()
        if name in ("y_px", "x_px", "p_abnormal"):
            np.testing.assert_allclose(got, expected[name], rtol=1e-6)
        else:
            assert got == expected[name].tolist()
    others = joined[~is_matched]
    assert others[["cell_id", "p_abnormal", "predicted_class"]].isna().all(axis=None)
    assert not others[CELL_OUT].any()
    well = joined["Image_Metadata_Well"]
    site = joined["Image_Metadata_Site"].astype(int)
    assert joined[SITE_OUT].tolist() == ((well == "A01") & (site == 2)).tolist()
    assert joined[WELL_OUT].tolist() == (well == "B07").tolist()
    assert all(joined[name].dtype == bool for name in (CELL_OUT, SITE_OUT, WELL_OUT, MATCHED))


def write_sqlite(profiles: pd.DataFrame, path: Path, *, tables: tuple[str, str]) -> None:
    """As CellProfiler's ExportToDatabase lays it out."""
    images = profiles.filter(like="Image").drop_duplicates().sort_values("ImageNumber")
    objects = profiles.drop(columns=[name for name in profiles if name.startswith("Image_")])
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    images.to_sql(tables[0], connection, index=False)
    objects.to_sql(tables[1], connection, index=False)
    connection.commit()
    connection.close()


def as_parquet(profiles: pd.DataFrame, folder: Path) -> Path:
    profiles.to_parquet(folder / "profiles é.parquet")
    return folder / "profiles é.parquet"


def as_csv(profiles: pd.DataFrame, folder: Path) -> Path:
    profiles.to_csv(folder / "profiles.csv", index=False)
    return folder / "profiles.csv"


def as_sqlite(profiles: pd.DataFrame, folder: Path) -> Path:
    write_sqlite(
        profiles, folder / "profiles.sqlite", tables=("MyExpt_Per_Image", "MyExpt_Per_Object")
    )
    return folder / "profiles.sqlite"


def as_cytominer_sqlite(profiles: pd.DataFrame, folder: Path) -> Path:
    write_sqlite(profiles, folder / "backend.db", tables=("Image", "Nuclei"))
    return folder / "backend.db"


def read(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)


@pytest.mark.parametrize("write", [as_parquet, as_csv, as_sqlite, as_cytominer_sqlite])
@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_every_kind_of_table(
    tmp_path: Path, write: Callable[[pd.DataFrame, Path], Path], suffix: str
) -> None:
    cells = make_cells()
    profiles, truth = make_profiles(cells)
    path = write(profiles, tmp_path)
    result = join_onto(cells, path, tmp_path / f"joined{suffix}", diameter_px=DIAMETER_PX)
    joined = read(result.out)
    check(result, joined, cells, truth)
    # Same rows, same order, and their own columns as they were.
    names = [name for name in profiles if name in joined]
    assert len(names) == len(profiles.columns)
    own = joined[names].astype({"Image_Metadata_Plate": str})
    pd.testing.assert_frame_equal(own, profiles, check_dtype=False, rtol=1e-12)
    assert list(joined.columns[-1:]) == [MATCHED]


def test_csv_values_stay_as_they_are_written(tmp_path: Path) -> None:
    cells = make_cells()
    profiles, _ = make_profiles(cells)
    text = profiles.astype(str).assign(Metadata_Barcode="00117", Metadata_Note='say "a, b"')
    text.loc[3, "Cells_Texture_Contrast"] = "nan"
    text.to_csv(tmp_path / "in.csv", index=False)
    join_onto(cells, tmp_path / "in.csv", tmp_path / "out.csv", diameter_px=DIAMETER_PX)
    out = pd.read_csv(tmp_path / "out.csv", dtype=str, keep_default_na=False)
    pd.testing.assert_frame_equal(out[list(text)], text)
    join_onto(cells, tmp_path / "in.csv", tmp_path / "out.parquet", diameter_px=DIAMETER_PX)
    typed = pd.read_parquet(tmp_path / "out.parquet")
    assert set(typed["Metadata_Barcode"]) == {"00117"}
    assert typed["Cells_Texture_Contrast"].isna().tolist() == [i == 3 for i in range(len(text))]
    assert typed["Nuclei_AreaShape_Area"].dtype == np.int64


@pytest.mark.parametrize(
    "rename",
    [
        {"Image_Metadata_Well": "Metadata_Well", "Image_Metadata_Site": "Metadata_Site"},
        {"Nuclei_Location_Center_X": "Metadata_Nuclei_Location_Center_X",
         "Nuclei_Location_Center_Y": "Metadata_Nuclei_Location_Center_Y"},
        {"Nuclei_Location_Center_X": "Nuclei_AreaShape_Center_X",
         "Nuclei_Location_Center_Y": "Nuclei_AreaShape_Center_Y"},
        {"Nuclei_Location_Center_X": "Location_Center_X",
         "Nuclei_Location_Center_Y": "Location_Center_Y"},
        {"Image_Metadata_Site": "Image_Metadata_Field", "Image_Metadata_Plate": "Metadata_Barcode"},
    ],
)  # fmt: skip
def test_names_of_columns(tmp_path: Path, rename: dict[str, str]) -> None:
    cells = make_cells()
    profiles, truth = make_profiles(cells)
    path = as_parquet(profiles.rename(columns=rename), tmp_path)
    result = join_onto(cells, path, tmp_path / "o.parquet", diameter_px=DIAMETER_PX)
    joined = pd.read_parquet(result.out).rename(columns={new: old for old, new in rename.items()})
    check(result, joined, cells, truth)


def test_wells_and_sites_as_people_write_them(tmp_path: Path) -> None:
    cells = make_cells()
    profiles, truth = make_profiles(cells)
    well, site = profiles["Image_Metadata_Well"], profiles["Image_Metadata_Site"]
    odd = profiles.assign(
        Image_Metadata_Well=well.str.lower().str.replace("0", "-"),
        Image_Metadata_Site="s0" + site.astype(str),
    )
    path = as_csv(odd, tmp_path)
    result = join_onto(cells, path, tmp_path / "o.parquet", diameter_px=DIAMETER_PX)
    joined = pd.read_parquet(result.out)
    joined = joined.assign(Image_Metadata_Well=well, Image_Metadata_Site=site)
    check(result, joined, cells, truth)


def test_without_positions_says_which_columns_count(tmp_path: Path) -> None:
    profiles, _ = make_profiles(make_cells())
    path = as_parquet(profiles.drop(columns="Nuclei_Location_Center_Y"), tmp_path)
    with pytest.raises(HcsQcError, match=r"lacks a column for x_px, y_px; .*AreaShape_Center"):
        join_onto(make_cells(), path, tmp_path / "o.parquet", diameter_px=DIAMETER_PX)
    path = as_parquet(
        profiles.drop(columns=["Image_Metadata_Well", "Image_Metadata_Site", "ImageNumber"]),
        tmp_path,
    )
    with pytest.raises(HcsQcError, match=r"lacks a column for site, well; .*Metadata_Site"):
        join_onto(make_cells(), path, tmp_path / "o.parquet", diameter_px=DIAMETER_PX)
    assert not (tmp_path / "o.parquet").exists()


def test_a_site_is_not_needed_where_every_well_has_one(tmp_path: Path) -> None:
    cells = make_cells().query("Metadata_Site == 1")
    profiles, truth = make_profiles(make_cells())
    is_one = profiles["Image_Metadata_Site"] == 1
    path = as_parquet(profiles[is_one].drop(columns="Image_Metadata_Site"), tmp_path)
    result = join_onto(cells, path, tmp_path / "o.parquet", diameter_px=DIAMETER_PX)
    assert result.n_matched == int((truth[is_one] >= 0).sum())


def test_a_row_without_position_or_well_is_kept_and_unmatched(tmp_path: Path) -> None:
    cells = make_cells()
    profiles, truth = make_profiles(cells)
    first, second = np.flatnonzero(truth >= 0)[:2]
    profiles.loc[first, "Nuclei_Location_Center_X"] = np.nan
    profiles.loc[second, "Image_Metadata_Well"] = "nowhere"
    result = join_onto(
        cells, as_parquet(profiles, tmp_path), tmp_path / "o.parquet", diameter_px=20
    )
    joined = pd.read_parquet(result.out)
    assert len(joined) == len(profiles)
    assert joined.loc[[first, second], MATCHED].tolist() == [False, False]
    assert result.n_matched == (truth >= 0).sum() - 2


def test_excluded_sites_without_our_cells(tmp_path: Path) -> None:
    cells = make_cells()
    profiles, _ = make_profiles(cells)
    path = as_parquet(profiles, tmp_path)
    kept = cells[cells["Metadata_Well"] == "A01"]
    result = join_onto(
        kept, path, tmp_path / "o.parquet", diameter_px=20.0,
        outlier_sites=[("20585", "B07", 1)], outlier_wells=[("20585", "A01")],
    )  # fmt: skip
    joined = pd.read_parquet(result.out)
    in_b07 = joined["Image_Metadata_Well"] == "B07"
    assert joined.loc[in_b07, SITE_OUT].all()
    assert joined[WELL_OUT].tolist() == (~in_b07).tolist()


def test_plates(tmp_path: Path) -> None:
    cells = make_cells()
    profiles, truth = make_profiles(cells)
    # One plate under two names: its folder's and its barcode.
    path = as_parquet(profiles.assign(Image_Metadata_Plate="BR00117"), tmp_path)
    result = join_onto(cells, path, tmp_path / "o.parquet", diameter_px=20.0)
    check(result, pd.read_parquet(result.out), cells, truth)
    # Two plates with the same wells are kept apart.
    two = pd.concat([cells, cells.assign(Metadata_Plate="20586", cell_id=7)], ignore_index=True)
    result = join_onto(
        two, as_parquet(profiles, tmp_path), tmp_path / "o.parquet", diameter_px=20.0
    )
    assert (pd.read_parquet(result.out)["cell_id"].dropna() != 7).sum() > 30
    assert sum(n for key, n in result.unmatched_cells.items() if key[0] == "20586") == len(cells)
    with pytest.raises(HcsQcError, match="has the plate other; 20585, 20586 were expected"):
        path = as_parquet(profiles.assign(Image_Metadata_Plate="other"), tmp_path)
        join_onto(two, path, tmp_path / "o.parquet", diameter_px=20.0)
    with pytest.raises(HcsQcError, match="names no plate"):
        path = as_parquet(profiles.drop(columns="Image_Metadata_Plate"), tmp_path)
        join_onto(two, path, tmp_path / "o.parquet", diameter_px=20.0)


def test_nothing_matched_is_an_error_that_says_why(tmp_path: Path) -> None:
    cells = make_cells()
    profiles, _ = make_profiles(cells)
    binned = profiles.assign(
        Nuclei_Location_Center_X=profiles["Nuclei_Location_Center_X"] / 2 + 900
    )
    with pytest.raises(HcsQcError, match=r"of 37 positions on a nucleus .*other images"):
        join_onto(cells, as_parquet(binned, tmp_path), tmp_path / "o.parquet", diameter_px=20.0)
    counted = profiles.assign(Image_Metadata_Site=profiles["Image_Metadata_Site"] + 8)
    with pytest.raises(HcsQcError, match=r"counted from 9.*--positions-are sites-from:9"):
        join_onto(cells, as_parquet(counted, tmp_path), tmp_path / "o.parquet", diameter_px=20.0)
    assert not (tmp_path / "o.parquet").exists()


def test_half_a_diameter_is_the_limit(tmp_path: Path) -> None:
    cells = make_cells()
    profiles, truth = make_profiles(cells)
    path = as_parquet(profiles, tmp_path)
    near = join_onto(cells, path, tmp_path / "o.parquet", diameter_px={"20585": 4.0})
    assert near.n_matched < (truth >= 0).sum()
    own = join_onto(cells.assign(diameter_px=8.0), path, tmp_path / "p.parquet")
    assert own.tolerance_px == 4.0
    assert "profiles matched within 4.0 px" in str(own)
    with pytest.raises(HcsQcError, match="diameter of a nucleus on plate 20585 is unknown"):
        join_onto(cells, path, tmp_path / "o.parquet")


def test_joined_before(tmp_path: Path) -> None:
    cells = make_cells()
    profiles, _ = make_profiles(cells)
    path = as_parquet(profiles, tmp_path)
    once = join_onto(cells, path, tmp_path / "o.parquet", diameter_px=20.0)
    with pytest.raises(HcsQcError, match=r"p_abnormal.*joined before"):
        join_onto(cells, once.out, tmp_path / "p.parquet", diameter_px=20.0)
    with pytest.raises(HcsQcError, match="itself"):
        join_onto(cells, path, path, diameter_px=20.0)
    with pytest.raises(HcsQcError, match=r"\.parquet or \.csv was expected"):
        join_onto(cells, path, tmp_path / "o.xlsx", diameter_px=20.0)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    out = tmp_path / "o.parquet"

    def join(path: Path) -> None:
        join_onto(make_cells(), path, out, diameter_px=20.0)

    with pytest.raises(HcsQcError, match="does not exist"):
        join(tmp_path / "none.parquet")
    with pytest.raises(HcsQcError, match="cannot be read"):
        join(tmp_path)
    whole = as_parquet(make_profiles(make_cells())[0], tmp_path)
    (tmp_path / "cut.parquet").write_bytes(whole.read_bytes()[:-400])
    with pytest.raises(HcsQcError, match="cannot be read as Parquet"):
        join(tmp_path / "cut.parquet")
    (tmp_path / "empty.csv").write_bytes(b"")
    with pytest.raises(HcsQcError, match="is empty"):
        join(tmp_path / "empty.csv")
    whole = as_sqlite(make_profiles(make_cells())[0], tmp_path)
    (tmp_path / "cut.db").write_bytes(whole.read_bytes()[:5000])
    with pytest.raises(HcsQcError, match="cannot be read as SQLite"):
        join(tmp_path / "cut.db")
    connection = sqlite3.connect(tmp_path / "other.db")
    connection.execute("CREATE TABLE music (song)")
    connection.close()
    with pytest.raises(HcsQcError, match="has the tables music; Per_Image"):
        join(tmp_path / "other.db")
    assert not out.exists()


def test_sqlite_values_of_mixed_types(tmp_path: Path) -> None:
    cells = make_cells()
    profiles, truth = make_profiles(cells)
    path = as_sqlite(profiles, tmp_path)
    connection = sqlite3.connect(path)
    connection.execute(
        "UPDATE MyExpt_Per_Object SET Cells_Texture_Contrast = 'nan' WHERE rowid = 2"
    )
    connection.execute("UPDATE MyExpt_Per_Object SET Nuclei_AreaShape_Area = NULL WHERE rowid = 3")
    connection.commit()
    connection.close()
    result = join_onto(cells, path, tmp_path / "o.parquet", diameter_px=20.0)
    joined = pd.read_parquet(result.out)
    check(result, joined, cells, truth)
    assert np.flatnonzero(joined["Cells_Texture_Contrast"].isna()).tolist() == [1]
    assert np.flatnonzero(joined["Nuclei_AreaShape_Area"].isna()).tolist() == [2]


def test_written_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_hcs_qc.tables import profiles as module

    monkeypatch.setattr(module, "_VALUES", 40)  # four rows at a time
    cells = make_cells()
    profiles, truth = make_profiles(cells)
    for write in (as_parquet, as_sqlite):
        for suffix in (".parquet", ".csv"):
            seen: list[str] = []
            result = join_onto(
                cells,
                write(profiles, tmp_path),
                tmp_path / f"{write.__name__}{suffix}",
                diameter_px=20.0,
                job=Job(lambda _done, _total, text, seen=seen: seen.append(text)),
            )
            check(result, read(result.out), cells, truth)
            assert len(seen) > 5


def test_cancelled_and_full_disk_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = make_cells()
    path = as_parquet(make_profiles(cells)[0], tmp_path)
    out = tmp_path / "o.csv"
    answers = iter([False] * 4)
    with pytest.raises(Cancelled):
        join_onto(
            cells, path, out, diameter_px=20, job=Job(should_stop=lambda: next(answers, True))
        )

    def full(*_args: Any, **_kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(WriteError, match="disk is full"):
        join_onto(cells, path, out, diameter_px=20)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


points = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=5, unique=True
)


@given(points, points, st.floats(0.5, 6))
@settings(max_examples=150)
def test_pairs_are_one_to_one_and_nearest_first(
    first: list[tuple[int, int]], second: list[tuple[int, int]], tolerance_px: float
) -> None:
    a, b = np.array(first, float), np.array(second, float)
    pairs = match_points(a, b, tolerance_px)
    distances = np.hypot(*(a[pairs[:, 0]] - b[pairs[:, 1]]).T)
    assert (distances <= tolerance_px + 1e-9).all()
    assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)
    assert (np.diff(distances) >= 0).all()
    # Stable: no two points left over or paired farther apart would both rather have each other.
    best_first = dict(zip(pairs[:, 0].tolist(), distances, strict=True))
    best_second = dict(zip(pairs[:, 1].tolist(), distances, strict=True))
    for i, j in np.ndindex(len(a), len(b)):
        distance = np.hypot(*(a[i] - b[j]))
        if distance <= tolerance_px:
            assert min(best_first.get(i, np.inf), best_second.get(j, np.inf)) <= distance + 1e-9


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_touching_nuclei_are_not_given_one_partner(order: tuple[int, ...]) -> None:
    ours = np.array([[0.0, 0.0], [0.0, 12.0], [0.0, 24.0]])
    theirs = np.array([[0.0, 4.0], [0.0, 7.0], [0.0, 25.0]])[list(order)]
    pairs = match_points(theirs, ours, 10.0)
    found = {order[i]: int(j) for i, j in pairs}
    assert found == {0: 0, 1: 1, 2: 2}


def test_source_is_left_alone(tmp_path: Path) -> None:
    cells = make_cells()
    path = as_sqlite(make_profiles(cells)[0], tmp_path)
    before = shutil.copy(path, tmp_path / "copy")
    join_onto(cells, path, tmp_path / "o.csv", diameter_px=20.0)
    with open(path, "rb") as one, open(before, "rb") as other:
        assert one.read() == other.read()
