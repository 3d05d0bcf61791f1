"""The table of cells of a plate: its columns, one site's rows, and its Parquet file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from napari_hcs_qc.errors import DamagedError, HcsQcError
from napari_hcs_qc.files import atomic_path
from napari_hcs_qc.read_table import read_arrow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.plates.plate import SiteKey

CellSource: TypeAlias = Literal["nuclei", "import", "annotation"]
"""Where a cell comes from: found by us, imported, or made by a person's click."""

_FIELDS: dict[str, tuple[pa.DataType, str]] = {
    "cell_id": (pa.int64(), "int64"),
    "well": (pa.string(), "str"),
    "site": (pa.int32(), "int32"),
    "label": (pa.int32(), "int32"),
    "y_px": (pa.float32(), "float32"),
    "x_px": (pa.float32(), "float32"),
    "area_px": (pa.float32(), "float32"),
    "diameter_px": (pa.float32(), "float32"),
    "mean_intensity": (pa.float32(), "float32"),
    "is_cut": (pa.bool_(), "bool"),
    "source": (pa.string(), "str"),
    "object_number": (pa.int64(), "Int64"),
}

CELL_COLUMNS: dict[str, Any] = {name: dtype for name, (_, dtype) in _FIELDS.items()}
"""Column name to pandas dtype, in table order.

`cell_id` is 0 to n - 1 in table order; `y_px, x_px` the centroid of the nucleus (0 is the middle
of the first pixel); `diameter_px` that of the circle of the same area; `mean_intensity` in grey
values of the nucleus channel; `is_cut` whether the border of the image
cuts the cell (its mask touches the border, or without a mask its centre is nearer than a radius);
`object_number` the number of the cell in the software it was imported from, else missing. `label`
is 0, and area and intensity NaN, where a cell has a position but no mask.
"""

_METADATA_KEY = b"napari_hcs_qc.cells"
_SCHEMA_VERSION = 2
_OLD_NAMES = {"at_border": "is_cut"}  # of version 1


def empty_cells() -> pd.DataFrame:
    """Give a table without rows, with the columns and dtypes of `CELL_COLUMNS`."""
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in CELL_COLUMNS.items()})


def cells_of_site(
    labels: NDArray[np.integer[Any]],
    image: NDArray[Any] | None,
    site: SiteKey,
    *,
    source: CellSource = "nuclei",
) -> pd.DataFrame:
    """Give one row a label of a mask, by ascending label."""
    mask = labels != 0
    rows, columns = np.nonzero(mask)
    in_site, index = np.unique(labels[mask], return_inverse=True)
    n = len(in_site)
    if n == 0:
        return empty_cells()
    area = np.bincount(index, minlength=n)
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    if image is None:
        mean = np.full(n, np.nan)
    else:
        weights = image[mask].astype(np.float64)
        mean = np.bincount(index, weights=weights, minlength=n) / area
    return typed_cells(
        {
            "cell_id": np.arange(n),
            "well": np.full(n, site.well, dtype=object),
            "site": np.full(n, site.site),
            "label": in_site,
            "y_px": np.bincount(index, weights=rows, minlength=n) / area,
            "x_px": np.bincount(index, weights=columns, minlength=n) / area,
            "area_px": area,
            "diameter_px": np.sqrt(4.0 * area / np.pi),
            "mean_intensity": mean,
            "is_cut": np.isin(in_site, edge),
            "source": np.full(n, source, dtype=object),
            "object_number": np.full(n, pd.NA, dtype=object),
        }
    )


def is_cut_at(
    y_px: NDArray[Any], x_px: NDArray[Any], diameter_px: float, shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Tell which cells of known centres, without a mask, reach beyond the image (height, width)."""
    height, width = shape
    reach = np.minimum.reduce([y_px, x_px, height - 1 - y_px, width - 1 - x_px]) + 0.5
    return np.asarray(reach <= diameter_px / 2)


def typed_cells(columns: Mapping[str, Any]) -> pd.DataFrame:
    """Make a table from columns (each name of `CELL_COLUMNS`) and give each its dtype."""
    return pd.DataFrame(
        {name: pd.Series(columns[name]).astype(dtype) for name, dtype in CELL_COLUMNS.items()}
    )


def join_cells(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Put the tables of several sites under one another, in order, and number the cells anew."""
    tables = [part for part in parts if len(part)]
    cells = pd.concat(tables, ignore_index=True) if tables else empty_cells()
    cells["cell_id"] = np.arange(len(cells), dtype=np.int64)
    return cells


def write_cells(cells: pd.DataFrame, path: Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Write the table of cells as Parquet, atomically."""
    if list(cells.columns) != list(CELL_COLUMNS):
        raise HcsQcError(
            f"A cell table has the columns {', '.join(CELL_COLUMNS)}; "
            f"this one has {', '.join(map(str, cells.columns))}."
        )
    text = json.dumps({**(metadata or {}), "schema_version": _SCHEMA_VERSION}, ensure_ascii=False)
    schema = pa.schema(
        [(name, arrow) for name, (arrow, _) in _FIELDS.items()],
        metadata={_METADATA_KEY: text.encode()},
    )
    table = pa.Table.from_pandas(cells, schema=schema, preserve_index=False)
    # from_pandas adds its own key to the metadata; the fixed schema stands alone.
    table = table.replace_schema_metadata(schema.metadata)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_cells(path: Path, *, sha256: str = "") -> pd.DataFrame:
    """Read a table of cells that `write_cells` wrote."""
    table = read_arrow(path, sha256=sha256, remedy="Find or import the cells again.")
    table = table.rename_columns([_OLD_NAMES.get(name, name) for name in table.column_names])
    missing = [name for name in CELL_COLUMNS if name not in table.column_names]
    if missing:
        raise DamagedError(
            f"{path} is not a table of cells: it lacks {', '.join(missing)}. Find the cells again."
        )
    # Column by column, so that a plate of millions is not there several times meanwhile.
    cells = pd.DataFrame(
        {name: _typed(table.column(name), name) for name in CELL_COLUMNS}, copy=False
    )
    if not np.isfinite(cells[["y_px", "x_px"]].to_numpy()).all():
        raise DamagedError(
            f"{path} is damaged: positions of cells are not finite numbers. Find the cells again."
        )
    return cells


def _typed(column: pa.ChunkedArray, name: str) -> pd.Series[Any]:
    arrow, dtype = _FIELDS[name]
    if dtype == "Int64":
        values = column.cast(arrow).to_pandas(types_mapper={arrow: pd.Int64Dtype()}.get)
    else:
        values = column.to_pandas()
    typed: pd.Series[Any] = values if values.dtype == dtype else values.astype(dtype)
    return typed
