"""Read a table a person or another program wrote: CSV in several encodings, or Parquet."""

from __future__ import annotations

import codecs
import csv
import io
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from napari_hcs_qc.errors import DamagedError, HcsQcError, Problem, ProblemsError
from napari_hcs_qc.files import read_checked

if TYPE_CHECKING:
    from pathlib import Path

_DELIMITERS = (",", ";", "\t")
_SAVE_AS = "Save it as CSV in UTF-8 (in Excel: Save As, 'CSV UTF-8 (Comma delimited)')."


def read_arrow(path: Path, *, sha256: str = "", remedy: str = "") -> pa.Table:
    """Read a Parquet file of ours, after a look at its checksum where that was kept.

    Without pyarrow's datasets, which `pandas.read_parquet` takes longer to import than to use.
    """
    content = read_checked(path, sha256, remedy)
    try:
        return pq.ParquetFile(pa.BufferReader(content)).read()
    except (pa.ArrowException, OSError, ValueError) as error:
        what = f"{path} cannot be read as Parquet: {str(error).rstrip('.')}. {remedy}"
        raise DamagedError(what.rstrip()) from error


def read_parquet(path: Path, *, sha256: str = "", remedy: str = "") -> pd.DataFrame:
    """Read a Parquet file of ours as a data frame, see `read_arrow`."""
    table: pd.DataFrame = read_arrow(path, sha256=sha256, remedy=remedy).to_pandas()
    return table


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV or Parquet file; every value as text, nothing guessed.

    A CSV is UTF-8 (with or without a byte order mark) or UTF-16 with one; its delimiter is the
    comma, semicolon or tab that splits its header into the most columns. Blank lines are left out.
    A file is taken as Parquet by its content, whatever its name.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise HcsQcError(f"{path} does not exist.") from error
    except OSError as error:
        reason = error.strerror or error
        raise HcsQcError(f"{path} cannot be read: {reason}; a CSV file was expected.") from error
    if content[:4] == b"PAR1":
        return _read_parquet(path, content)
    return _parse_csv(path, _decode(path, content))


def _decode(path: Path, content: bytes) -> str:
    if content[:4] == b"PK\x03\x04" or content[:4] == b"\xd0\xcf\x11\xe0":
        raise HcsQcError(f"{path} is a spreadsheet workbook; a CSV file was expected. {_SAVE_AS}")
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if not is_utf16 and b"\x00" in content:
        raise HcsQcError(
            f"{path} holds zero bytes: it is binary, or UTF-16 without a byte order mark. "
            f"{_SAVE_AS}"
        )
    encoding = "utf-16" if is_utf16 else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise HcsQcError(
            f"{path} is not {encoding.upper().removesuffix('-SIG')}: byte 0x{byte:02x} on line "
            f"{line} does not fit. {_SAVE_AS}"
        ) from error


def _split_header(first_line: str) -> str:
    """Delimiter that splits the header into the most columns; the comma when none does."""
    return max(_DELIMITERS, key=lambda mark: len(next(csv.reader([first_line], delimiter=mark))))


def _parse_csv(path: Path, text: str) -> pd.DataFrame:
    first_line = next((line for line in text.splitlines() if line.strip()), None)
    if first_line is None:
        raise HcsQcError(f"{path} is empty; a header line with column names was expected.")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_split_header(first_line))
    header: list[str] | None = None
    rows: list[list[str]] = []
    lines: list[int] = []
    problems: list[Problem] = []
    begins = 1
    try:
        for row in reader:
            line, begins = begins, reader.line_num + 1
            if not any(value.strip() for value in row):
                continue
            if header is None:
                header = _column_names(path, row)
            elif len(row) == len(header):
                rows.append(row)
                lines.append(line)
            else:
                what = f"has {len(row)} values; the header names {len(header)} columns."
                problems.append(Problem(f"{path.name} line {line}", what))
    except csv.Error as error:
        raise HcsQcError(f"{path} line {reader.line_num} is not CSV: {error}.") from error
    if problems:
        raise ProblemsError(f"{path}: {len(problems)} lines do not fit the header", problems)
    index = pd.Index(lines, dtype="int64", name="line")
    return pd.DataFrame(rows, columns=header, index=index, dtype=str)


def _column_names(path: Path, header: list[str]) -> list[str]:
    names = [name.strip() or f"column {number}" for number, name in enumerate(header, start=1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise HcsQcError(
            f"{path} names the column {', '.join(map(repr, twice))} twice; rename or remove one."
        )
    return names


def _read_parquet(path: Path, content: bytes) -> pd.DataFrame:
    try:
        table = pq.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        raise HcsQcError(f"{path} cannot be read as Parquet: {error}") from error
    names = _column_names(path, list(table.column_names))
    columns = [_as_text(column) for column in table.columns]
    index = pd.RangeIndex(1, table.num_rows + 1, name="line")
    return pd.DataFrame(dict(zip(names, columns, strict=True)), index=index, dtype=str)


def _as_text(column: pa.ChunkedArray) -> list[str]:
    try:
        values = column.cast(pa.string()).to_pylist()
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        values = [None if value is None else str(value) for value in column.to_pylist()]
    return ["" if value is None else value for value in values]
