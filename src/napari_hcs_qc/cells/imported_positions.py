"""Tables of positions: CellProfiler, CytoTable, or plain ``well,site,y_px,x_px``."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from napari_hcs_qc.cells.table import empty_cells, join_cells, typed_cells
from napari_hcs_qc.errors import HcsQcError, Problem
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.plates.wells import parse_well
from napari_hcs_qc.read_table import read_table
from napari_hcs_qc.text import a_few

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.plates.plate import Plate

_META = r"(?:(?:image_)?metadata_|image_)?"
# CellProfiler's own table of an object has bare names, its database prefixed ones, and CytoTable
# calls what describes an object metadata, too. Earlier ones are preferred.
_POSITIONS = (
    r"(?:metadata_)?nuclei_location_center_{axis}",
    r"(?:metadata_)?location_center_{axis}",
    r"(?:metadata_)?nuclei_areashape_center_{axis}",
    r"(?:metadata_)?areashape_center_{axis}",
    r"(?:metadata_)?{axis}_px",
)
_OTHERS = {
    "plate": (_META + "plate(?:_?name|_?id|_?barcode)?",),
    "well": (_META + "well(?:_?name|_?id)?",),
    "site": (_META + "(?:site|field|fov)(?:_?id|_?number|_?index)?",),
    "object_number": (
        r"(?:metadata_)?nuclei_(?:number_)?object_?number",
        r"(?:metadata_)?(?:number_)?object_?number",
    ),
    "area_px": (r"(?:metadata_)?(?:nuclei_)?areashape_area", "area_px"),
}
_NEEDED = (
    "a well (such as Metadata_Well or well), a site (Metadata_Site or site), and a position "
    "(Location_Center_Y and _X, Nuclei_Location_Center_Y and _X, or y_px and x_px)"
)
_SITE = re.compile(r"\s*(?:(?:s|f|site|field)[-_ ]?)?0*(\d+)(?:\.0*)?\s*", re.IGNORECASE)


def read_positions(plate: Plate, path: Path) -> tuple[pd.DataFrame, list[Problem]]:
    """Read the positions of cells from a CSV or Parquet file.

    Positions are in px of the image, the middle of its first pixel is 0, as CellProfiler has it.
    Rows of other plates are left out where the table tells plates apart.
    """
    columns, table = _read(path, has_one_site=_one_site_each(plate) is not None)
    n = len(table)
    reason = np.full(n, "", dtype=object)

    def refuse(rows: NDArray[np.bool_], why: str | NDArray[Any]) -> None:
        rows = rows & (reason == "")
        reason[rows] = why if isinstance(why, str) else why[rows]

    other = _of_other_plates(plate, table, columns)
    refuse(other, f"of another plate than {plate.name}")
    wells = table[columns["well"]]
    names = {text: _well_or_none(text) for text in wells.unique()}
    well = wells.map(names).to_numpy(dtype=object)
    refuse(pd.isna(well), ("well '" + wells + "' is not a well name").to_numpy(dtype=object))
    if "site" in columns:
        texts = table[columns["site"]]
        site = texts.str.extract(f"^{_SITE.pattern}$", flags=re.IGNORECASE)[0]
        refuse(
            site.isna().to_numpy(), ("site '" + texts + "' is not a number").to_numpy(dtype=object)
        )
        number = pd.to_numeric(site).fillna(-1).astype(int).to_numpy()
    else:
        only = _one_site_each(plate) or {}
        number = np.array([only.get(name, -1) for name in well], dtype=int)
    rank = {key: index for index, key in enumerate(plate.sites)}
    keys = [SiteKey(w, int(s)) for w, s in zip(well, number, strict=True)]
    order = np.array([rank.get(key, -1) for key in keys], dtype=int)
    unknown = np.array([f"the plate has no site {key}" for key in keys], dtype=object)
    refuse(order < 0, unknown)
    y, x = (_numbers(table[columns[axis]]) for axis in ("y_px", "x_px"))
    refuse(~(np.isfinite(y) & np.isfinite(x)), "the position is not a number")
    height, width = plate.layout.shape
    inside = (y >= -0.5) & (y <= height - 0.5) & (x >= -0.5) & (x <= width - 0.5)
    refuse(~inside, f"the position is outside the image of {height}×{width} px")
    good = np.flatnonzero(reason == "")
    good = good[np.argsort(order[good], kind="stable")]
    problems = _gathered(path, table.index.to_numpy(), reason)
    if len(good) == 0:
        return empty_cells(), problems
    area = _numbers(table[columns["area_px"]]) if "area_px" in columns else np.full(n, np.nan)
    area[~(area > 0)] = np.nan
    numbers = pd.Series(pd.NA, index=range(n), dtype="Int64")
    if "object_number" in columns:
        numbers = _whole_numbers(table[columns["object_number"]])
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
            "object_number": numbers.to_numpy(dtype=object)[good],
        }
    )
    return join_cells([cells]), problems


def _read(path: Path, *, has_one_site: bool) -> tuple[dict[str, str], pd.DataFrame]:
    """Names of the columns that are needed, by what they mean, and these columns as text."""
    if _is_parquet(path):
        try:
            file = pq.ParquetFile(path)
            columns = _find_columns(path, list(file.schema_arrow.names), has_one_site)
            # Some columns only: tables of features have thousands.
            table = file.read(sorted(set(columns.values())))
        except (pa.ArrowException, OSError) as error:
            raise HcsQcError(f"{path} cannot be read as Parquet: {error}") from error
        texts = {name: table[name].cast(pa.string()).to_pandas() for name in table.column_names}
        lines = pd.RangeIndex(1, table.num_rows + 1)
        return columns, pd.DataFrame(texts, dtype=str).fillna("").set_index(lines)
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as handle:
        names = [name.strip() for name in next(csv.reader(handle), [])]
    # Anything but plain comma-separated UTF-8 is for `read_table`.
    if len(names) < 2 or "\ufffd" in names[0]:
        names = list(read_table(path).columns)
    columns = _find_columns(path, names, has_one_site)
    needed = sorted(set(columns.values()))
    try:
        return columns, _read_csv(path, needed)
    except (ValueError, csv.Error):
        return columns, read_table(path)[needed]  # Copes with it, or says what is wrong and where.


def _find_columns(path: Path, names: list[str], has_one_site: bool) -> dict[str, str]:
    columns: dict[str, str] = {}
    for pattern in _POSITIONS:
        pair = [_first(names, (pattern.format(axis=axis),)) for axis in "yx"]
        if pair[0] is not None and pair[1] is not None:
            columns["y_px"], columns["x_px"] = pair[0], pair[1]
            break
    for meaning, patterns in _OTHERS.items():
        name = _first(names, patterns)
        if name is not None:
            columns[meaning] = name
    missing = {"y_px", "x_px", "well", "site"} - set(columns)
    if has_one_site:
        missing.discard("site")
    if missing:
        raise HcsQcError(
            f"{path} lacks a column for {', '.join(sorted(missing))}; {_NEEDED} were expected. It "
            f"has {a_few(names, 12)}."
        )
    return columns


def _read_csv(path: Path, names: Sequence[str]) -> pd.DataFrame:
    lines, rows = [], []
    with path.open(encoding="utf-8-sig", newline="") as handle:
        reader = csv.reader(handle)
        header = [name.strip() for name in next(reader)]
        picks = [header.index(name) for name in names]
        begins = reader.line_num + 1
        for row in reader:
            line, begins = begins, reader.line_num + 1
            if row and len(row) != len(header):
                raise ValueError(f"line {line} has {len(row)} values")
            if row:
                lines.append(line)
                rows.append([row[pick] for pick in picks])
    return pd.DataFrame(rows, columns=list(names), index=lines, dtype=str)


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as handle:
            return handle.read(4) == b"PAR1"
    except OSError as error:
        raise HcsQcError(f"{path} cannot be read: {error.strerror or error}.") from error


def _first(names: Sequence[str], patterns: Sequence[str]) -> str | None:
    for pattern in patterns:
        for name in names:
            if re.fullmatch(pattern, name.strip(), re.IGNORECASE):
                return name
    return None


def _one_site_each(plate: Plate) -> dict[str, int] | None:
    """Site number by well where every well has one site, so that a table need not name it."""
    if len(plate.sites) != len(plate.wells):
        return None
    return dict(plate.sites)


def _of_other_plates(
    plate: Plate, table: pd.DataFrame, columns: dict[str, str]
) -> NDArray[np.bool_]:
    if "plate" not in columns:
        return np.zeros(len(table), dtype=bool)
    names = table[columns["plate"]].str.strip()
    is_other = (names != plate.name).to_numpy()
    if not is_other.all():
        return is_other
    plate_names = list(names.unique())
    if len(plate_names) > 1:
        raise HcsQcError(
            f"The table holds {len(plate_names)} plates ({', '.join(plate_names[:5])}), none of "
            f"them {plate.name}; give a table of this plate."
        )
    return np.zeros(len(table), dtype=bool)  # One plate, by the name another program gave it.


def _well_or_none(text: str) -> str | None:
    try:
        return str(parse_well(text.strip()))
    except HcsQcError:
        return None


def _numbers(texts: pd.Series[Any]) -> NDArray[np.float64]:
    # A copy: pandas may give a view that cannot be written to.
    return pd.to_numeric(texts.str.strip(), errors="coerce").to_numpy(dtype=np.float64, copy=True)


def _whole_numbers(texts: pd.Series[Any]) -> pd.Series[Any]:
    values = pd.Series(_numbers(texts))
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
