"""Tables of single-cell profiles as CellProfiler and CytoTable write them: Parquet, CSV, SQLite.

Profiles have thousands of columns, so of Parquet and SQLite only the columns asked for are held,
and the rest goes by in batches.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.read_table import read_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_VALUES = 8_000_000  # values in memory at a time (64 MB as floats)
_MISSING = ("", "nan", "NaN", "NA", "N/A", "None", "null", "NULL")


class Profiles(Protocol):
    """A table of profiles, one row an object."""

    columns: list[str]  # names, in order
    schema: pa.Schema  # names and types in Arrow

    def read(self, columns: Sequence[str]) -> pd.DataFrame:
        """Read some columns of all rows, in the order of the file."""

    def batches(self) -> Iterator[pa.Table]:
        """Give all columns of all rows, in the same order, in parts."""


def open_profiles(path: Path, *, as_text: bool = False) -> Profiles:
    """Open a table of profiles; its kind is told by its content."""
    try:
        with path.open("rb") as handle:
            start = handle.read(16)
    except FileNotFoundError as error:
        raise HcsQcError(f"{path} does not exist; a table of profiles was expected.") from error
    except OSError as error:
        raise HcsQcError(
            f"{path} cannot be read ({error.strerror or error}); a Parquet, CSV or SQLite file "
            "was expected."
        ) from error
    if start.startswith(b"PAR1"):
        return _Parquet(path)
    if start.startswith(b"SQLite format 3"):
        return _Sqlite(path)
    return _Frame(read_table(path), as_text=as_text)


class _Parquet:
    def __init__(self, path: Path) -> None:
        try:
            self._file = pq.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            raise HcsQcError(f"{path} cannot be read as Parquet: {error}") from error
        self.schema = self._file.schema_arrow
        self.columns = list(self.schema.names)

    def read(self, columns: Sequence[str]) -> pd.DataFrame:
        frame: pd.DataFrame = self._file.read(list(columns)).to_pandas(ignore_metadata=True)
        return frame

    def batches(self) -> Iterator[pa.Table]:
        for batch in self._file.iter_batches(max(1, _VALUES // max(1, len(self.columns)))):
            yield pa.Table.from_batches([batch], self.schema)


class _Frame:
    """A CSV, which is text: read whole, because types show only at its end."""

    def __init__(self, frame: pd.DataFrame, *, as_text: bool) -> None:
        self._text = frame
        self.columns = list(frame.columns)
        typed = frame if as_text else frame.apply(_typed)
        self._table = pa.Table.from_pandas(typed, preserve_index=False)
        self.schema = self._table.schema

    def read(self, columns: Sequence[str]) -> pd.DataFrame:
        return self._text[list(columns)].replace(list(_MISSING), None)

    def batches(self) -> Iterator[pa.Table]:
        yield self._table


def _typed(text: pd.Series[Any]) -> pd.Series[Any]:
    """Numbers where all values are numbers; barcodes such as ``00117`` stay text."""
    values = text.str.strip()
    is_missing = values.isin(_MISSING)
    present = values[~is_missing]
    if present.isin(("True", "False")).all() and len(present):
        truth = (values == "True").astype("boolean")
        return truth.mask(is_missing) if is_missing.any() else truth.astype(bool)
    if present.str.match(r"0\d").any():
        return text
    try:
        numbers = pd.to_numeric(present)
    except (ValueError, TypeError):
        return text.where(~is_missing, None)
    return numbers.reindex(values.index) if is_missing.any() else numbers


class _Sqlite:
    """Objects of a CellProfiler database, with the metadata of their images."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with self._connect() as connection:
                rows = connection.execute(
                    "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
                )
                tables = [name for (name,) in rows]
                self._objects = _find_table(
                    tables, r"(.*_)?Per_Nuclei", "Nuclei", r"(.*_)?Per_Object"
                )
                images = _find_table(tables, r"(.*_)?Per_Image", "Image")
                if self._objects is None or images is None:
                    raise HcsQcError(
                        f"{path} has the tables {', '.join(tables) or 'none'}; Per_Image and "
                        "Per_Object or Per_Nuclei were expected, as CellProfiler writes them."
                    )
                types = _column_types(connection, self._objects)
                image_types = _column_types(connection, images)
                self._by = [
                    name
                    for name in ("TableNumber", "ImageNumber")
                    if name in types and name in image_types
                ]
                if "ImageNumber" not in self._by:
                    raise HcsQcError(
                        f"{path}: {self._objects} and {images} were expected to have the column "
                        "ImageNumber, which joins them."
                    )
                added = [name for name in image_types if "Metadata_" in name and name not in types]
                self._images = pd.read_sql_query(
                    f"SELECT {_quoted([*self._by, *added])} FROM {_quoted([images])}", connection
                )
        except sqlite3.Error as error:
            raise HcsQcError(f"{path} cannot be read as SQLite: {error}") from error
        if self._images.duplicated(self._by).any():
            raise HcsQcError(f"{path}: {images} has two rows of one ImageNumber; one was expected.")
        self._own = list(types)
        self.columns = [*types, *added]
        fields = [(name, _arrow_type(kind)) for name, kind in types.items()]
        metadata = pa.Schema.from_pandas(self._images[added], preserve_index=False)
        self.schema = pa.schema([*(pa.field(*field) for field in fields), *metadata])

    def _connect(self) -> closing[sqlite3.Connection]:
        return closing(sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True))

    def _parts(self, columns: Sequence[str], n_rows: int | None) -> Iterator[pd.DataFrame]:
        own = [name for name in self._own if name in columns or name in self._by]
        query = f"SELECT {_quoted(own)} FROM {_quoted([str(self._objects)])} ORDER BY rowid"
        try:
            with self._connect() as connection:
                for part in pd.read_sql_query(query, connection, chunksize=n_rows or 1_000_000):
                    merged = part.merge(self._images, on=self._by, how="left", validate="m:1")
                    yield merged[list(columns)]
        except sqlite3.Error as error:
            raise HcsQcError(f"{self._path} cannot be read as SQLite: {error}") from error

    def read(self, columns: Sequence[str]) -> pd.DataFrame:
        parts = list(self._parts(columns, None))
        empty = pd.DataFrame(columns=list(columns))
        return pd.concat(parts, ignore_index=True) if parts else empty

    def batches(self) -> Iterator[pa.Table]:
        for part in self._parts(self.columns, max(1, _VALUES // len(self.columns))):
            for field in self.schema:
                if pa.types.is_floating(field.type):  # A whole batch may be missing, or text nan.
                    part[field.name] = pd.to_numeric(part[field.name], errors="coerce")
            yield pa.Table.from_pandas(part, self.schema, preserve_index=False)


def _find_table(tables: Sequence[str], *patterns: str) -> str | None:
    for pattern in patterns:
        for table in tables:
            if re.fullmatch(pattern, table, re.IGNORECASE):
                return table
    return None


def _column_types(connection: sqlite3.Connection, table: str) -> dict[str, str]:
    rows = connection.execute(f"PRAGMA table_info({_quoted([table])})")
    return {str(row[1]): str(row[2]).upper() for row in rows}


def _arrow_type(declared: str) -> pa.DataType:
    """Type of a column as SQLite understands its declaration (https://sqlite.org/datatype3.html)."""
    if "INT" in declared:
        return pa.int64()
    if any(word in declared for word in ("CHAR", "CLOB", "TEXT")):
        return pa.string()
    return pa.binary() if "BLOB" in declared else pa.float64()


def _quoted(names: Sequence[str]) -> str:
    return ", ".join('"' + name.replace('"', '""') + '"' for name in names)
