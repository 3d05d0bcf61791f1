"""A LoadData table as rows of text, whatever its encoding; lines that do not fit are named."""

from __future__ import annotations

import codecs
import csv
import io
from typing import TYPE_CHECKING

import pandas as pd

from napari_hcs_qc.errors import HcsQcError, Problem
from napari_hcs_qc.plates.remote import RemoteError
from napari_hcs_qc.read_table import read_table
from napari_hcs_qc.text import a_few, count_of

if TYPE_CHECKING:
    from pathlib import Path

_CONTROL = frozenset(range(0x20)) - {0x09, 0x0A, 0x0C, 0x0D, 0x1A}


def read_load_data(path: Path) -> tuple[pd.DataFrame, list[Problem]]:
    """Read a LoadData CSV or Parquet file; every value as text.

    Published tables have lines with too many values (commas in compound names without quotes).
    Those lines are left out and named in one problem; the rest stands.
    """
    try:
        content = path.read_bytes()
    except RemoteError as error:
        raise HcsQcError(f"{path} {error}.") from error
    except OSError as error:
        raise HcsQcError(
            f"{path} cannot be read: {error.strerror or error}. Check the disk, and that you may "
            "read it."
        ) from error
    if content.startswith(b"PAR1") or path.suffix.lower() == ".parquet":
        return read_table(path), []
    text = decode(path, content)
    lines = text.splitlines()
    first = next((line for line in lines if line.strip()), "")
    if not first:
        raise HcsQcError(
            f"{path} is empty; a header line with column names was expected. Export it again."
        )
    delimiter = max(",;\t", key=first.count)
    # A stray quote swallows the lines after it; line by line it spoils only its own.
    by_line = [next(csv.reader([line], delimiter=delimiter)) for line in lines if line.strip()]
    whole = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
    header = [name.strip().strip('"') for name in by_line[0]]
    n_fit = [sum(len(row) == len(header) for row in rows) for rows in (by_line, whole)]
    rows = by_line if n_fit[0] > n_fit[1] else whole
    bad = [number for number, row in enumerate(rows[1:], start=2) if len(row) != len(header)]
    good = [row for row in rows[1:] if len(row) == len(header)]
    if not good:
        raise HcsQcError(
            f"{path} has no line of {len(header)} values below its header; one line per site was "
            "expected. Export it again."
        )
    problems = []
    if bad:
        what = f"of {len(rows) - 1} left out, without the header's {len(header)} values, "
        count = f"{path.name}: {count_of(len(bad), 'line')}"
        problems.append(Problem(count, f"{what}such as line {a_few(bad)}."))
    table = pd.DataFrame(good, columns=header, dtype=str)
    return table.loc[:, ~table.columns.duplicated()], problems


def decode(path: Path, content: bytes) -> str:
    """Decode text in UTF-8 or UTF-16, with or without a mark, or else Windows-1252 or Latin-1."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encodings = ["utf-16"]
    elif b"\0" in content[:200]:
        # ASCII in UTF-16 has its zero bytes at odd places when little-endian.
        odd, even = content[1:200:2].count(0), content[0:200:2].count(0)
        encodings = ["utf-16-le" if odd > even else "utf-16-be"]
    else:
        encodings = ["utf-8-sig", "cp1252", "latin-1"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if not any(ord(letter) in _CONTROL for letter in text[:10_000]):
            return text
    raise HcsQcError(
        f"{path} is not text in UTF-8, UTF-16 or Latin-1; a CSV or Parquet file was expected. Save "
        "it as CSV in UTF-8."
    )
