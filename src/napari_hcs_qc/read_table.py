"""Read a table a person or another program wrote: CSV in several encodings, Parquet, Excel."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from itertools import chain, islice
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from napari_hcs_qc.errors import DamagedError, HcsQcError, Problem, ProblemsError
from napari_hcs_qc.files import read_checked

if TYPE_CHECKING:
    from pathlib import Path

Wanted: TypeAlias = Callable[[list[str]], Collection[str]]
"""Chooses of the names of columns those to be kept."""

_DELIMITERS = (",", ";", "\t")
_SAVE_AS = "Save it as CSV in UTF-8 (in Excel: Save As, 'CSV UTF-8 (Comma delimited)')."
_NAMES = {
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
    "cp1252": "Windows-1252 (Latin-1), since it is not UTF-8",
    "latin-1": "Latin-1, since it is not UTF-8",
}
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_UNDEFINED = frozenset(b"\x81\x8d\x8f\x90\x9d")  # in Windows-1252
_AGAIN = "Copy it again, or save it again from the program that it is from."
_START = 65_536
_HEAD = 40  # lines among which a header is looked for
_DATA = "[Data]"
_MOST_PART_BYTES = 512 * 2**20  # of one part of a workbook, which is compressed
_MOST_ROWS = 2**20  # of a sheet in Excel


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


def read_table(path: Path, wanted: Wanted | None = None) -> pd.DataFrame:
    """Read a CSV, Parquet or Excel (.xlsx) file; every value as text, nothing guessed.

    A CSV is UTF-8, UTF-16 or what Windows has for Western Europe (`encoding_of`), also gzipped; its
    delimiter is the comma, semicolon or tab that splits its header into the most columns. Blank
    lines are left out. What a file is, is told by its content, whatever its name. `wanted` chooses
    the columns to be kept: tables of features have thousands.
    """
    start = file_start(path)
    if start[:4] == b"PAR1":
        return _read_parquet(path, wanted)
    if start[:4] == b"PK\x03\x04":
        return _of_rows(path, _workbook_rows(path), wanted)
    encoding = _encoding(path, start)
    try:
        decoder = codecs.getincrementaldecoder(encoding)()
        text = decoder.decode(start, final=len(start) != _START)
        if not text.strip():
            raise HcsQcError(
                f"{path} is empty; a header line with column names was expected. {_AGAIN}"
            )
        with io.TextIOWrapper(_open(path), encoding, newline="") as file:
            return _of_rows(path, _csv_rows(path, file, _delimiter(text)), wanted)
    except UnicodeError as error:  # UTF-16 that breaks off or is damaged
        raise HcsQcError(f"{path} is not {encoding.upper()}: {error}. {_SAVE_AS}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise HcsQcError(f"{path} cannot be read: {error}. {_AGAIN}") from error


def file_start(path: Path) -> bytes:
    """Read the first bytes of a file, unpacked where it is gzipped."""
    try:
        with _open(path) as file:
            return file.read(_START)
    except FileNotFoundError as error:
        raise HcsQcError(f"{path} does not exist. Check its path.") from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise HcsQcError(f"{path} cannot be read: {reason}. Give a table that can be.") from error


def _open(path: Path) -> gzip.GzipFile | io.BufferedReader:
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    return gzip.GzipFile(path) if is_gzip else path.open("rb")


def _csv_rows(path: Path, file: IO[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Rows of a CSV, each with the line on which it begins."""
    reader = csv.reader(file, delimiter=delimiter)
    begins = 1
    try:
        for row in reader:
            yield begins, row
            begins = reader.line_num + 1
    except csv.Error as error:
        raise HcsQcError(f"{path} line {reader.line_num} is not CSV: {error}. {_AGAIN}") from error


def encoding_note(path: Path) -> str:
    """Say in which encoding a CSV is read where it is not UTF-8."""
    start = file_start(path)
    if start[:4] in (b"PAR1", b"PK\x03\x04") or start.startswith(b"SQLite format 3"):
        return ""
    name = _NAMES.get(_encoding(path, start), "")
    return f"read as {name}" if name else ""


def _encoding(path: Path, start: bytes) -> str:
    """Tell the encoding of a CSV by its content."""
    if start[:4] == b"\xd0\xcf\x11\xe0":
        raise HcsQcError(
            f"{path} is a spreadsheet workbook of the old kind (.xls); a CSV or .xlsx file was "
            f"expected. {_SAVE_AS}"
        )
    if start[:15] == b"SQLite format 3":
        raise HcsQcError(
            f"{path} is an SQLite database; a CSV, Parquet or .xlsx was expected. "
            "Export its table as CSV."
        )
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\x00" in start:
        # Of letters of Western languages every second byte is zero.
        even, odd = (start[first::2].count(0) / max(1, len(start) // 2) for first in (0, 1))
        for encoding, zeros, others in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
            if zeros > 0.5 and others < 0.1:
                return encoding
        raise HcsQcError(f"{path} is binary; a CSV, Parquet or .xlsx file was expected. {_SAVE_AS}")
    wrong = _not_utf8(path)
    if wrong is None:
        return "utf-8-sig"
    if _CONTROL.search(start):
        raise HcsQcError(f"{path} is binary; a CSV, Parquet or .xlsx file was expected. {_SAVE_AS}")
    with _open(path) as file:
        content = file.read()
    if not content.decode("utf-8", errors="ignore").isascii():  # other letters are UTF-8
        line = content.count(b"\n", 0, wrong) + 1
        raise HcsQcError(
            f"{path} is not UTF-8: byte 0x{content[wrong]:02x} on line {line} does not fit. "
            f"Correct this line. {_SAVE_AS}"
        )
    return "cp1252" if _UNDEFINED.isdisjoint(content) else "latin-1"


def _not_utf8(path: Path) -> int | None:
    """Where a file is not UTF-8; None where it is."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    done = 0
    try:
        with _open(path) as file:
            while part := file.read(2**20):
                pending = len(decoder.getstate()[0])
                try:
                    decoder.decode(part)
                except UnicodeDecodeError as error:
                    return done - pending + error.start
                done += len(part)
    except (OSError, EOFError, zlib.error) as error:
        raise HcsQcError(f"{path} cannot be read: {error}. {_AGAIN}") from error
    pending = len(decoder.getstate()[0])
    return done - pending if pending else None


def _delimiter(text: str) -> str:
    """Delimiter that splits the header into the most columns; the comma when none does."""
    lines = [line for line in text.splitlines() if line.strip()][:_HEAD]
    begin = next((n + 1 for n, line in enumerate(lines) if line.strip() == _DATA), 0)
    header = lines[begin] if begin < len(lines) else ""
    return max(_DELIMITERS, key=lambda mark: len(next(csv.reader([header], delimiter=mark))))


def _of_rows(
    path: Path, numbered: Iterator[tuple[int, list[str]]], wanted: Wanted | None
) -> pd.DataFrame:
    """Make a table of rows, the first of which is the header."""
    filled = ((line, row) for line, row in numbered if any(map(str.strip, row)))
    head = list(islice(filled, _HEAD))
    # Instruments put what they measured before the header, and mark where the table begins.
    begin = next((n + 1 for n, (_, row) in enumerate(head) if "".join(row).strip() == _DATA), 0)
    if begin == len(head):
        raise HcsQcError(f"{path} is empty; a header line with column names was expected. {_AGAIN}")
    first = head[begin][1]
    if len(head) > begin + 1 and _names_objects(first, head[begin + 1][1]):
        begin += 1
        columns = zip(first, head[begin][1], strict=True)
        first = [name if of.strip() == "Image" else f"{of.strip()}_{name}" for of, name in columns]
    header = _column_names(path, first)
    chosen = set(header if wanted is None else wanted(header))
    picks = [index for index, name in enumerate(header) if name in chosen]
    rows: list[list[str]] = []
    lines: list[int] = []
    problems: list[Problem] = []
    for line, row in chain(head[begin + 1 :], filled):
        if len(row) == len(header):
            rows.append([row[pick] for pick in picks])
            lines.append(line)
        else:
            what = f"has {len(row)} values; the header names {len(header)} columns."
            problems.append(Problem(f"{path.name} line {line}", what))
    if problems:
        raise ProblemsError(
            f"{path}: {len(problems)} lines do not fit the header; correct them", problems
        )
    index = pd.Index(lines, dtype="int64", name="line")
    return pd.DataFrame(rows, columns=[header[pick] for pick in picks], index=index, dtype=str)


def _names_objects(first: list[str], second: list[str]) -> bool:
    """Tell whether a header has two lines, as CellProfiler writes several objects into one file."""
    return (
        len(first) == len(second)
        and first[0].strip() == "Image"
        and second[0].strip() == "ImageNumber"
    )


def _column_names(path: Path, header: list[str]) -> list[str]:
    names = [name.strip() or f"column {number}" for number, name in enumerate(header, start=1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise HcsQcError(
            f"{path} names the column {', '.join(map(repr, twice))} twice; rename or remove one."
        )
    return names


def _read_parquet(path: Path, wanted: Wanted | None) -> pd.DataFrame:
    try:
        file = pq.ParquetFile(path)
        names = _column_names(path, list(file.schema_arrow.names))
        chosen = set(names if wanted is None else wanted(names))
        pairs = zip(names, file.schema_arrow.names, strict=True)
        picks = {name: own for name, own in pairs if name in chosen}
        table = file.read(list(picks.values()))
    except (pa.ArrowException, OSError) as error:
        what = f"{path} cannot be read as Parquet: {str(error).rstrip('.')}. {_AGAIN}"
        raise HcsQcError(what) from error
    columns = {name: _as_text(table[own]) for name, own in picks.items()}
    index = pd.RangeIndex(1, table.num_rows + 1, name="line")
    return pd.DataFrame(columns, index=index, dtype=str)


def _as_text(column: pa.ChunkedArray) -> list[str]:
    try:
        values = column.cast(pa.string()).to_pylist()
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        values = [None if value is None else str(value) for value in column.to_pylist()]
    return ["" if value is None else value for value in values]


# ---- Excel -------------------------------------------------------------------------------


def _workbook_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows of the first sheet of a workbook, as long as the longest; formulas give their values."""
    from openpyxl import load_workbook

    rows: list[tuple[Any, ...]] = []
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and extensions, which are not read
            _check_workbook(path, file)
            book = load_workbook(file, read_only=True, data_only=True, keep_links=False)
            sheet = book.worksheets[0]
            sheet.reset_dimensions()  # several programs state them wrong
            for row in sheet.iter_rows(values_only=True):
                rows.append(row)
                if len(rows) > _MOST_ROWS:
                    raise ValueError(f"its first sheet has more than {_MOST_ROWS} rows")
    except HcsQcError:
        raise
    except Exception as error:  # Whatever a damaged workbook makes openpyxl raise.
        reason = str(error.__cause__ or error).rstrip(".")
        what = f"{path} cannot be read as an Excel workbook: {reason}. {_SAVE_AS}"
        raise HcsQcError(what) from error
    width = max(map(len, rows), default=0)
    for number, row in enumerate(rows, start=1):
        yield number, [_shown(value) for value in row] + [""] * (width - len(row))


def _check_workbook(path: Path, file: IO[bytes]) -> None:
    """Look at the kind and the size of what is in a ZIP archive, before it is unpacked."""
    with zipfile.ZipFile(file) as archive:
        parts = archive.infolist()
    if not any(part.filename.startswith("xl/worksheets/") for part in parts):
        raise HcsQcError(
            f"{path} is a ZIP archive but no Excel workbook (.xlsx); a CSV, Parquet or .xlsx file "
            "was expected. Give the table itself, unpacked."
        )
    for part in parts:
        if part.file_size > _MOST_PART_BYTES:
            what = f"The part {part.filename} of {path} is too large to be read. {_SAVE_AS}"
            raise HcsQcError(what)


def _shown(value: Any) -> str:
    """Text of a value as a table shows it: 3 for 3.0, and a day without the time of midnight."""
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return "" if value is None else str(value).removesuffix(" 00:00:00")
