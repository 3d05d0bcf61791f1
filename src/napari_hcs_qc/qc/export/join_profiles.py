"""Our columns joined onto profiles of other software, cell by cell, by position.

Nuclei found by CellProfiler and by us are the same nuclei with other numbers. Within each site
they are paired one to one, nearest first, when their centres lie within half a nucleus diameter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy.spatial import cKDTree

from napari_hcs_qc.cells.imported.options import ImportOptions
from napari_hcs_qc.cells.imported.plausibility import Nuclei, check_positions
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import atomic_path
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.tables.columns import find_columns
from napari_hcs_qc.tables.places import read_placed, with_unit
from napari_hcs_qc.tables.plate_sites import PlateSites
from napari_hcs_qc.tables.profiles import open_profiles
from napari_hcs_qc.tables.rules import rule_columns
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.tables.profiles import Profiles

MATCHED = "Metadata_hcs_qc_is_matched"
"""Added column: whether the row is one of our cells."""

_KEYS = ("Metadata_Plate", "Metadata_Well", "Metadata_Site", "Metadata_ObjectNumber")
_OUTLIER = "Metadata_cqc_"


@dataclass(frozen=True, eq=False, kw_only=True)
class OntoResult:
    """What a join has found."""

    n_profiles: int  # rows of the profiles, and how many of them are one of our cells
    n_matched: int  # rows of the profiles, and how many of them are one of our cells
    by_site: pd.DataFrame
    tolerance_px: float  # largest distance of a pair
    out: Path  # the file written
    check: str = ""  # how many positions lie on one of our cells, against chance
    n_overruled: int = 0  # annotated normal, so that the rules of the table are set to false
    of: Literal["cells", "wells"] = "cells"  # what its rows are

    @property
    def unmatched_profiles(self) -> int:
        """Number of profiles that are none of our cells."""
        return self.n_profiles - self.n_matched

    @property
    def unmatched_cells(self) -> dict[tuple[str, str, int], int]:
        """Number of our cells without a profile, by (plate, well, site), where there are any."""
        table = self.by_site.assign(n=self.by_site["n_cells"] - self.by_site["n_matched"])
        rows = table.loc[table["n"] > 0, [*_KEYS[:3], "n"]].itertuples(index=False)
        return {(str(plate), str(well), int(site)): int(n) for plate, well, site, n in rows}

    def __str__(self) -> str:
        if self.of == "wells":
            return f"{self.n_matched} of {self.n_profiles} wells matched by name"
        n_cells = sum(self.unmatched_cells.values())
        return (
            f"{self.n_matched} of {self.n_profiles} profiles matched within "
            f"{self.tolerance_px:.1f} px; {count_of(self.unmatched_profiles, 'profile')} and "
            f"{count_of(n_cells, 'cell')} without a match"
            + (f"\nPositions: {self.check}" if self.check else "")
            + (
                f"\n{count_of(self.n_overruled, 'cell')} annotated normal: no outlier by the rules "
                "in the table either"
                if self.n_overruled
                else ""
            )
        )


def join_onto(
    cells: pd.DataFrame,
    profiles: Path,
    out: Path,
    *,
    diameter_px: float | Mapping[str, float] | None = None,
    outlier_sites: Iterable[tuple[str, str, int]] = (),
    outlier_wells: Iterable[tuple[str, str]] = (),
    plates: Mapping[str, PlateSites] | None = None,
    importing: ImportOptions | None = None,
    job: Job = NO_JOB,
) -> OntoResult:
    """Append the columns of our cells to a table of profiles: same rows, same order.

    A profile that is none of our cells gets missing values, but for the outlier columns
    ``Metadata_cqc_*``: there it gets the outlier state of its site and well, and False for that
    of the cell, since nobody judged it. These columns are plain booleans without missing values,
    so pycytominer keeps such a profile unless its site or well is out; the column
    ``Metadata_hcs_qc_is_matched`` tells them apart.
    """
    if out.suffix not in (".parquet", ".csv"):
        raise HcsQcError(f"{out.name} ends in '{out.suffix}'; .parquet or .csv was expected.")
    if out.exists() and profiles.exists() and out.samefile(profiles):
        raise HcsQcError(f"{out} is the table of profiles itself; choose another name.")
    cells = cells.reset_index(drop=True)
    missing = [name for name in (*_KEYS[:3], "y_px", "x_px") if name not in cells.columns]
    if missing:
        raise HcsQcError(f"The table of cells lacks the columns {', '.join(missing)}.")
    importing = importing or ImportOptions()
    source = open_profiles(
        profiles, as_text=out.suffix == ".csv", image_table=importing.image_table
    )
    own = find_columns(source.columns, ["position"]).names.values()  # may be called as ours are
    added = [name for name in cells.columns if name not in {*_KEYS, *own}]
    twice = [name for name in (*added, MATCHED) if name in source.columns]
    if twice:
        raise HcsQcError(
            f"{profiles} has the columns {', '.join(twice)} already, as if it had been joined "
            "before; give the table without them."
        )
    job.check()
    job.report(0, 0, "reading positions of the profiles")
    tolerances = _tolerances(cells, diameter_px)
    plates = _plates_of(cells) if plates is None else plates
    keys, check = _read_keys(profiles, source, cells, plates, tolerances, importing)
    partner, by_site = _match(keys, cells, tolerances, job)
    n_matched = int((partner >= 0).sum())
    if not n_matched:
        raise HcsQcError(_no_match(profiles, keys, cells, max(tolerances.values(), default=0.0)))
    ours = _added_columns(keys, cells, added, partner, set(outlier_sites), set(outlier_wells))
    overruled = _overruled(cells, partner)
    write_joined(source, ours, out, job, overruled)
    return OntoResult(
        n_profiles=len(keys),
        n_matched=n_matched,
        by_site=by_site,
        tolerance_px=max(tolerances.values()),
        out=out,
        check=check,
        n_overruled=int(overruled.sum()) if rule_columns(source.columns) else 0,
    )


# Positions ------------------------------------------------------------------------------------


def _plates_of(cells: pd.DataFrame) -> dict[str, PlateSites]:
    """Tell of the plates what a table of cells says of them."""
    shape = tuple(int(cells[axis].max()) + 1 for axis in ("y_px", "x_px")) if len(cells) else (1, 1)
    plates = {}
    for name, group in cells.groupby("Metadata_Plate"):
        pairs = group[["Metadata_Well", "Metadata_Site"]].drop_duplicates()
        rows = pairs.itertuples(index=False, name=None)
        sites = tuple(SiteKey(str(well), int(site)) for well, site in rows)
        plates[str(name)] = PlateSites(name=str(name), sites=sites, shape=(shape[0], shape[1]))
    return plates


def _read_keys(
    path: Path,
    source: Profiles,
    cells: pd.DataFrame,
    plates: Mapping[str, PlateSites],
    tolerances: Mapping[str, float],
    importing: ImportOptions,
) -> tuple[pd.DataFrame, str]:
    """Read where every profile lies, and make sure that they lie on our cells."""
    placed = read_placed(path, plates, source=source)
    are = with_unit(placed.columns, importing.positions_are, placed.places)
    sentences = []
    for name, plate in plates.items():
        on_plate = placed.places[placed.places["plate"] == name]
        ours = cells[cells["Metadata_Plate"] == name]
        if on_plate.dropna().empty or ours.empty or plate.shape is None:
            continue
        columns = {"Metadata_Well": "well", "Metadata_Site": "site"}
        nuclei = Nuclei.of(
            {name: ours.rename(columns=columns)},
            [(name, *site) for site in plate.sites],
            tolerances[name],
            plate.shape,
        )
        check = check_positions(on_plate, nuclei, are, {name: plate})
        check = check.checked(
            path, accept=importing.accept_positions, other_plate=placed.other_plate
        )
        sentences.append(check.sentence)
    sentences += [placed.note] if placed.note else []
    moved = are.moved(placed.places, plates).rename(columns={"y_px": "y", "x_px": "x"})
    return moved, "; ".join(sentences)


# Matching -------------------------------------------------------------------------------------


def _tolerances(
    cells: pd.DataFrame, diameter_px: float | Mapping[str, float] | None
) -> dict[str, float]:
    """Half a nucleus diameter for each plate."""
    tolerances = {}
    for plate, group in cells.groupby("Metadata_Plate"):
        if diameter_px is None:
            has = "diameter_px" in group and group["diameter_px"].notna().any()
            diameter = float(group["diameter_px"].median()) if has else 0.0
        elif isinstance(diameter_px, (int, float)):
            diameter = float(diameter_px)
        else:
            diameter = float(diameter_px.get(str(plate), 0.0))
        if not diameter > 0:
            raise HcsQcError(
                f"The diameter of a nucleus on plate {plate} is unknown, which limits how far "
                "apart two centres of one nucleus may be; find its cells first."
            )
        tolerances[str(plate)] = diameter / 2
    return tolerances


def _match(
    keys: pd.DataFrame, cells: pd.DataFrame, tolerances: Mapping[str, float], job: Job
) -> tuple[NDArray[np.intp], pd.DataFrame]:
    """Row of `cells` for each profile, -1 for none, and the counts by site."""
    is_placed = keys.notna().all(axis="columns")
    placed = np.flatnonzero(is_placed)
    profile_rows: dict[Any, Any] = keys[is_placed].groupby(["plate", "well", "site"]).indices
    cell_rows: dict[Any, Any] = cells.groupby(list(_KEYS[:3])).indices
    partner = np.full(len(keys), -1, np.intp)
    counts = []
    for key in sorted({*profile_rows, *cell_rows}):
        job.check()
        theirs = placed[profile_rows[key]] if key in profile_rows else np.empty(0, np.intp)
        ours = cell_rows.get(key, np.empty(0, np.intp))
        n_matched = 0
        if len(theirs) and len(ours):
            pairs = match_points(
                keys.iloc[theirs][["y", "x"]].to_numpy(float),
                cells.iloc[ours][["y_px", "x_px"]].to_numpy(float),
                tolerances[str(key[0])],
            )
            partner[theirs[pairs[:, 0]]] = ours[pairs[:, 1]]
            n_matched = len(pairs)
        counts.append((*key[:2], int(key[2]), len(theirs), len(ours), n_matched))
    columns = [*_KEYS[:3], "n_profiles", "n_cells", "n_matched"]
    return partner, pd.DataFrame(counts, columns=columns)


def match_points(
    first: NDArray[np.floating[Any]], second: NDArray[np.floating[Any]], tolerance_px: float
) -> NDArray[np.intp]:
    """Pair two sets of points one to one, nearest first."""
    near = cKDTree(first).sparse_distance_matrix(
        cKDTree(second), tolerance_px, output_type="ndarray"
    )
    near = near[np.lexsort((near["j"], near["i"], near["v"]))]
    taken_first, taken_second = set[int](), set[int]()
    pairs = []
    for i, j in zip(near["i"].tolist(), near["j"].tolist(), strict=True):
        if i not in taken_first and j not in taken_second:
            taken_first.add(i)
            taken_second.add(j)
            pairs.append((i, j))
    return np.array(pairs, np.intp).reshape(-1, 2)


def _no_match(path: Path, keys: pd.DataFrame, cells: pd.DataFrame, tolerance_px: float) -> str:
    placed = keys[["well", "site"]].dropna()
    theirs = set(zip(placed["well"], placed["site"].astype(int), strict=True))
    ours = set(zip(cells["Metadata_Well"], cells["Metadata_Site"], strict=True))
    if theirs & ours:
        why = (
            f"the sites are the same, but no two centres are within {tolerance_px:.1f} px: check "
            "that the positions are px of the same images, not binned or rescaled"
        )
    else:
        mine = min(ours, default=None)
        other = min((key for key in theirs if None not in key), default=None)
        why = (
            f"no site is in both, for example {other} in the profiles and {mine} in the assay: "
            "check that it is the same plate, and whether sites are counted from the same number"
        )
    return f"None of the {len(keys)} profiles of {path} is one of the {len(cells)} cells; {why}."


# Writing --------------------------------------------------------------------------------------


def _added_columns(
    keys: pd.DataFrame,
    cells: pd.DataFrame,
    added: Sequence[str],
    partner: NDArray[np.intp],
    outlier_sites: set[tuple[str, str, int]],
    outlier_wells: set[tuple[str, str]],
) -> pa.Table:
    """Our columns, one row for each profile."""
    is_matched = partner >= 0
    take = pa.array(partner, mask=~is_matched)
    table = pa.Table.from_pandas(cells[list(added)], preserve_index=False).take(take)
    places = list(zip(keys["plate"], keys["well"], keys["site"], strict=True))
    for index, name in enumerate(table.column_names):
        if not name.startswith(_OUTLIER):
            continue
        state = cells[name].fillna(False).astype(bool)
        filled = np.zeros(len(keys), bool)
        filled[is_matched] = state.to_numpy()[partner[is_matched]]
        if "_site_" in name or "_well_" in name:
            n_keys = 3 if "_site_" in name else 2
            rows = cells.loc[state, list(_KEYS[:n_keys])].itertuples(index=False, name=None)
            out: set[Any] = {*rows, *(outlier_sites if n_keys == 3 else outlier_wells)}
            filled |= np.fromiter((place[:n_keys] in out for place in places), bool, len(places))
        table = table.set_column(index, name, pa.array(filled))
    return table.append_column(MATCHED, pa.array(is_matched))


def _overruled(cells: pd.DataFrame, partner: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Tell which profiles a person has annotated as normal, whatever a rule says of them."""
    if "annotated_class" not in cells:
        return np.zeros(len(partner), bool)
    is_normal = (cells["annotated_class"] == "normal").to_numpy(bool, na_value=False)
    return (partner >= 0) & is_normal[partner]


def write_joined(
    source: Profiles,
    ours: pa.Table,
    out: Path,
    job: Job,
    overruled: NDArray[np.bool_] | None = None,
) -> None:
    """Write the profiles with our columns behind theirs; rules are false of what is `overruled`."""
    schema = pa.schema([*source.schema, *ours.schema], metadata=source.schema.metadata)
    with atomic_path(out) as temporary:
        if out.suffix == ".parquet":
            with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
                for table in _joined(source, ours, job, overruled):
                    writer.write_table(table.cast(schema))
        else:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                pd.DataFrame(columns=schema.names).to_csv(file, index=False, lineterminator="\n")
                for table in _joined(source, ours, job, overruled):
                    frame = table.to_pandas(ignore_metadata=True, integer_object_nulls=True)
                    frame.to_csv(file, index=False, header=False, lineterminator="\n")
    job.report(ours.num_rows, ours.num_rows, "joined")


def _joined(
    source: Profiles, ours: pa.Table, job: Job, overruled: NDArray[np.bool_] | None
) -> Iterator[pa.Table]:
    """Give the profiles in parts, our columns behind theirs."""
    rules = list(rule_columns(source.columns))
    if overruled is None:
        overruled = np.zeros(ours.num_rows, bool)
    done = 0
    for batch in source.batches():
        job.check()
        job.report(done, ours.num_rows, "writing profiles")
        part = ours.slice(done, batch.num_rows)
        for name in rules:
            batch = _with_false(batch, name, pa.array(overruled[done : done + batch.num_rows]))
        done += batch.num_rows
        for name, column in zip(part.column_names, part.columns, strict=True):
            batch = batch.append_column(name, column)
        yield batch


def _with_false(batch: pa.Table, name: str, rows: pa.Array) -> pa.Table:
    """Set some rows of a column of a rule to false, in the words of the column."""
    index = batch.column_names.index(name)
    column = batch.column(index)
    false: str | int = "False" if pa.types.is_string(column.type) else False
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        false = 0
    changed = pc.if_else(rows, pa.scalar(false, column.type), column)
    return batch.set_column(index, batch.schema.field(index), changed)
