"""Tables of single cells as CellProfiler and CytoTable write them: Parquet, CSV, SQLite.

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
from napari_hcs_qc.read_table import file_start, read_table
from napari_hcs_qc.tables.columns import find_columns
from napari_hcs_qc.text import listing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_VALUES = 8_000_000  # values in memory at a time (64 MB as floats)
MISSING = ("", "nan", "NaN", "NA", "N/A", "None", "null", "NULL")
_IMAGE_TABLE = re.compile(r"(?:.*[-_. ])?(?:per_)?image", re.IGNORECASE)
_NO_OBJECTS = re.compile(r"(?:.*[-_. ])?(?:per_)?(?:image|experiment|relationships?|well)", re.I)
_TABLE_SUFFIXES = (".csv", ".csv.gz", ".txt", ".tsv", ".parquet")


class Profiles(Protocol):
    """A table of profiles, one row an object."""

    columns: list[str]  # names, in order

    @property
    def schema(self) -> pa.Schema:
        """Names and types in Arrow."""

    def read(self, columns: Sequence[str]) -> pd.DataFrame:
        """Read some columns of all rows, in the order of the file."""

    def batches(self) -> Iterator[pa.Table]:
        """Give all columns of all rows, in the same order, in parts."""


def open_profiles(
    path: Path, *, as_text: bool = False, image_table: Path | None = None
) -> Profiles:
    """Open a table of objects; its kind is told by its content.

    Where it names images by number only, the table of images is joined: `image_table`, or
    ``Image.csv`` beside it.
    """
    return with_images(_open_table(path, as_text=as_text), path, image_table)


def with_images(source: Profiles, path: Path, image_table: Path | None = None) -> Profiles:
    """Join the table of images where the objects name theirs by number only."""
    columns = find_columns(source.columns, ("well", "site", "image_number", "table_number"))
    if "image_number" not in columns or isinstance(source, _WithImages):
        return source
    if "well" in columns and "site" in columns and image_table is None:
        return source
    images = image_table or _image_table_beside(path)
    return source if images is None else _joined_by_number(source, images)


def _open_table(path: Path, *, as_text: bool) -> Profiles:
    start = file_start(path)
    if start.startswith(b"PAR1"):
        return _Parquet(path)
    if start.startswith(b"SQLite format 3"):
        return _open_sqlite(path)
    return _Csv(path, as_text=as_text)


def tables_in(folder: Path) -> list[Path]:
    """List the tables in a folder and the folders below it."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.name.lower().endswith(_TABLE_SUFFIXES) and not path.name.startswith(".")
    ]


def object_table(folder: Path) -> Path | None:
    """Find the table of objects in a folder of CellProfiler, that of the nuclei first."""
    tables = [path for path in tables_in(folder) if path.parent == folder]
    if not any(_IMAGE_TABLE.fullmatch(_stem(path)) for path in tables):
        return None
    objects = {_stem(path): path for path in tables if not _NO_OBJECTS.fullmatch(_stem(path))}
    return objects.get(_chosen_objects(folder, list(objects)) or "")


def _chosen_objects(where: Path, names: Sequence[str]) -> str | None:
    """Of names of tables of objects choose the nuclei, or the only one."""
    for pattern in (r"(.*[-_. ])?(per_)?nuclei", r"(.*_)?per_object|object", r".*nuc.*"):
        fitting = [name for name in names if re.fullmatch(pattern, name, re.IGNORECASE)]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            names = fitting
            break
    if len(names) > 1:
        raise HcsQcError(
            f"{where} has several tables of objects: {listing(names)}; one with the nuclei was "
            "expected. Give the file itself, or remove the others."
        )
    return names[0] if names else None


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").rpartition(".")[0]


def _image_table_beside(path: Path) -> Path | None:
    beside = [
        other
        for other in sorted(path.parent.iterdir())
        if other.name.lower().endswith(_TABLE_SUFFIXES)
        and _IMAGE_TABLE.fullmatch(_stem(other))
        and other != path
    ]
    # Of several runs in one folder: that whose name begins alike (`MyExpt_Nuclei`, `MyExpt_Image`).
    alike = [other for other in beside if _run(_stem(other)) == _run(_stem(path))]
    return next(iter(alike or (beside if len(beside) == 1 else [])), None)


def _run(stem: str) -> str:
    return stem.rpartition("_")[0].casefold()


def _joined_by_number(source: Profiles, path: Path) -> Profiles:
    if not path.exists():
        raise HcsQcError(
            f"{path} does not exist; a table of images (Image.csv) was expected. Check its "
            "path (--image-table)."
        )
    images = _open_table(path, as_text=True)
    own, theirs = (
        find_columns(table.columns, ("table_number", "image_number")).names
        for table in (source, images)
    )
    if "image_number" not in theirs:
        raise HcsQcError(
            f"{path} has no column ImageNumber, by which its images are joined to the objects. "
            "Give the table of images of the same run (--image-table)."
        )
    both = [meaning for meaning in own if meaning in theirs]
    added = [
        name
        for name in images.columns
        if re.match(r"(Image_)?(Metadata_|FileName_)", name) and name not in source.columns
    ]
    frame = images.read([*(theirs[meaning] for meaning in both), *added])
    frame = frame.rename(columns={theirs[meaning]: own[meaning] for meaning in both})
    return _WithImages(source, frame, [own[meaning] for meaning in both], str(path))


class _WithImages:
    """Objects with what a table of images says of theirs."""

    def __init__(self, objects: Profiles, images: pd.DataFrame, by: list[str], what: str) -> None:
        if images.duplicated(by).any():
            raise HcsQcError(
                f"{what} has two rows of one ImageNumber; one was expected. Give the tables of a "
                "single run."
            )
        self._objects, self._by = objects, by
        images = images.reset_index(drop=True)
        added = images.drop(columns=by)
        self._images = added.assign(**{name: _key(images[name]) for name in by})
        metadata = pa.Schema.from_pandas(added, preserve_index=False)
        self.schema = pa.schema([*objects.schema, *metadata])
        self.columns = [*objects.columns, *added.columns]

    def _merged(self, part: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
        keys = pd.DataFrame({name: _key(part[name]) for name in self._by})
        images = keys.merge(self._images, on=self._by, how="left", validate="m:1")
        return images[list(names)].set_index(part.index)

    def read(self, columns: Sequence[str]) -> pd.DataFrame:
        own = [name for name in columns if name in self._objects.columns]
        part = self._objects.read(list(dict.fromkeys([*own, *self._by])))
        added = self._merged(part, [name for name in columns if name not in own])
        return pd.concat([part, added], axis=1)[list(columns)]

    def batches(self) -> Iterator[pa.Table]:
        fields = [field for field in self.schema if field.name not in self._objects.columns]
        for batch in self._objects.batches():
            part = batch.select(self._by).to_pandas(ignore_metadata=True)
            added = self._merged(part, [field.name for field in fields])
            table = pa.Table.from_pandas(added, pa.schema(fields), preserve_index=False)
            for name, column in zip(table.column_names, table.columns, strict=True):
                batch = batch.append_column(name, column)
            yield batch


def _key(numbers: pd.Series[Any]) -> pd.Series[Any]:
    return pd.to_numeric(numbers, errors="coerce").astype("float64").reset_index(drop=True)


class _Parquet:
    def __init__(self, path: Path) -> None:
        try:
            self._file = pq.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            what = f"{path} cannot be read as Parquet: {str(error).rstrip('.')}. Write it again."
            raise HcsQcError(what) from error
        self.schema = self._file.schema_arrow
        self.columns = list(self.schema.names)

    def read(self, columns: Sequence[str]) -> pd.DataFrame:
        frame: pd.DataFrame = self._file.read(list(columns)).to_pandas(ignore_metadata=True)
        return frame

    def batches(self) -> Iterator[pa.Table]:
        for batch in self._file.iter_batches(max(1, _VALUES // max(1, len(self.columns)))):
            yield pa.Table.from_batches([batch], self.schema)


class TextTable:
    """A table in memory, of texts."""

    def __init__(self, texts: pd.DataFrame) -> None:
        self._texts = texts
        self.columns = list(texts.columns)
        self.schema = pa.Schema.from_pandas(texts, preserve_index=False)

    def read(self, columns: Sequence[str]) -> pd.DataFrame:
        """Read some columns of all rows, in their order."""
        return self._texts[list(columns)]

    def batches(self) -> Iterator[pa.Table]:
        """Give all rows."""
        yield pa.Table.from_pandas(self._texts, self.schema, preserve_index=False)


class _Csv:
    """A CSV, which is text; types show only at its end."""

    def __init__(self, path: Path, *, as_text: bool) -> None:
        self._path, self._as_text = path, as_text
        self._tables: list[pa.Table] = []
        names: list[str] = []

        def take_names(header: list[str]) -> list[str]:
            names.extend(header)
            return header[:1]

        read_table(path, take_names)
        self.columns = names

    @property
    def schema(self) -> pa.Schema:
        return self._table().schema

    def _table(self) -> pa.Table:
        if not self._tables:
            text = read_table(self._path)
            typed = text if self._as_text else text.apply(_typed)
            self._tables.append(pa.Table.from_pandas(typed, preserve_index=False))
        return self._tables[0]

    def read(self, columns: Sequence[str]) -> pd.DataFrame:
        table = read_table(self._path, lambda _: columns)
        return table[list(columns)]

    def batches(self) -> Iterator[pa.Table]:
        yield self._table()


def _typed(text: pd.Series[Any]) -> pd.Series[Any]:
    """Numbers where all values are numbers; barcodes such as ``00117`` stay text."""
    values = text.str.strip()
    is_missing = values.isin(MISSING)
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


def _open_sqlite(path: Path) -> Profiles:
    """Open the objects of a CellProfiler database, with the metadata of their images."""
    try:
        with _connected(path) as connection:
            rows = connection.execute(
                "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
            )
            tables = [name for (name,) in rows]
            images = next((name for name in tables if _IMAGE_TABLE.fullmatch(name)), None)
            is_whole = [name for name in tables if re.fullmatch(r"(.*_)?Per_.+|[A-Z]\w*", name)]
            objects = _chosen_objects(
                path, [name for name in is_whole if not _NO_OBJECTS.fullmatch(name)]
            )
            if objects is None or images is None:
                raise HcsQcError(
                    f"{path} has the tables {', '.join(tables) or 'none'}; Per_Image and "
                    "Per_Object or Per_Nuclei were expected, as CellProfiler writes them. Export "
                    "them again (ExportToDatabase), or as CSV (ExportToSpreadsheet)."
                )
            types = _column_types(connection, objects)
            image_types = _column_types(connection, images)
            by: list[str] = [
                name
                for name in ("TableNumber", "ImageNumber")
                if name in types and name in image_types
            ]
            if "ImageNumber" not in by:
                raise HcsQcError(
                    f"{path}: {objects} and {images} were expected to have the column "
                    "ImageNumber, which joins them. Export them again (ExportToDatabase)."
                )
            added = [
                name
                for name in image_types
                if ("Metadata_" in name or "FileName_" in name) and name not in types
            ]
            frame = pd.read_sql_query(
                f"SELECT {_quoted([*by, *added])} FROM {_quoted([images])}", connection
            )
    except sqlite3.Error as error:
        raise HcsQcError(f"{path} cannot be read as SQLite: {error}. Copy it again.") from error
    return _WithImages(_Sqlite(path, objects, types), frame, by, f"{path}: {images}")


def _connected(path: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True))


class _Sqlite:
    """A table of objects in a CellProfiler database."""

    def __init__(self, path: Path, table: str, types: dict[str, str]) -> None:
        self._path, self._objects = path, table
        self.columns = list(types)
        self.schema = pa.schema([(name, _arrow_type(kind)) for name, kind in types.items()])

    def _parts(self, columns: Sequence[str], n_rows: int | None) -> Iterator[pd.DataFrame]:
        query = f"SELECT {_quoted(columns)} FROM {_quoted([self._objects])} ORDER BY rowid"
        try:
            with _connected(self._path) as connection:
                yield from pd.read_sql_query(query, connection, chunksize=n_rows or 1_000_000)
        except sqlite3.Error as error:
            what = f"{self._path} cannot be read as SQLite: {error}. Copy it again."
            raise HcsQcError(what) from error

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
