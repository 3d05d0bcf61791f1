"""Write the tables of an assay, plate by plate: Parquet and CSV, AnnData, provenance."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import as_json, atomic_paths, explained_writes
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.qc.export.dictionary import (
    COLUMNS,
    QUALITY_TABLE,
    TABLES,
    TABLES_VERSION,
    TIME_COLUMNS,
    described,
)
from napari_hcs_qc.qc.export.export_tables import (
    CELL_TABLE,
    ExportOptions,
    ExportPlate,
    cell_table,
    site_table,
    well_table,
)
from napari_hcs_qc.qc.export.write_anndata import read_column, write_anndata
from napari_hcs_qc.text import count_of
from napari_hcs_qc.text_columns import none_if_missing, with_texts, without_formulas

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_ROWS = 65_536  # rows in memory at a time
_ARROW = {
    "str": pa.string(),
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "Int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
}
_ANNDATA = "cells.h5ad"
_DICTIONARY, _PROVENANCE = "columns.json", "provenance.json"

Extra: TypeAlias = Literal["image quality", "object numbers", "time points", "embeddings"]
"""What the export has only where a plate has it: a table, columns or a file."""
Write: TypeAlias = "Callable[[pd.DataFrame], None]"


@dataclass(frozen=True)
class Outline:
    """What is known of all plates before the first is there: it decides on files and columns."""

    n_plates: int
    extras: frozenset[Extra]

    @classmethod
    def of(cls, plates: Sequence[ExportPlate]) -> Outline:
        """Give that of plates in memory."""
        extras: dict[Extra, bool] = {
            "image quality": any(plate.quality is not None for plate in plates),
            # A key that is missing everywhere would join nothing, and nobody would be told.
            "object numbers": any(plate.cells["object_number"].notna().any() for plate in plates),
            "time points": any(plate.series for plate in plates),
            "embeddings": any(plate.embeddings is not None for plate in plates),
        }
        return cls(len(plates), frozenset(name for name, is_there in extras.items() if is_there))

    @property
    def tables(self) -> dict[str, dict[str, str]]:
        """Columns of each table, with their types."""
        tables = {name: dict(columns) for name, columns in TABLES.items()}
        if "image quality" not in self.extras:
            del tables["image_quality"]
        if "object numbers" not in self.extras:
            del tables["cells"]["Metadata_ObjectNumber"]
        if "time points" not in self.extras:
            for table in tables.values():
                for name in TIME_COLUMNS:
                    del table[name]
        return tables


def export_tables(
    plates: Iterable[ExportPlate],
    out: Path,
    *,
    outline: Outline | None = None,
    options: ExportOptions | None = None,
    provenance: Callable[[], Mapping[str, Any]] = dict,
    job: Job = NO_JOB,
) -> tuple[Path, ...]:
    r"""Write everything into a folder.

    ``cells``, ``sites`` and ``wells`` (and ``image_quality`` when measured) as ``.parquet`` and
    ``.csv`` (UTF-8 with a byte order mark for Excel, comma, ``\n``, ``True``/``False``, empty when
    missing), ``columns.json`` with what each column means, ``cells.h5ad`` when the plates have
    embeddings, and ``provenance.json``. The same input gives the same bytes.

    With an `outline`, plates may be made when it is their turn: each is written to all tables and
    let go before the next one is asked for. `provenance` is asked last. All files replace those
    that are there once all is written, or none.
    """
    options = options or ExportOptions()
    if outline is None:
        plates = list(plates)
        outline = Outline.of(plates)
    if not outline.n_plates:
        raise HcsQcError("There is no plate to export; predict at least one first.")
    tables = outline.tables
    names = [f"{table}.{suffix}" for table in tables for suffix in ("parquet", "csv")]
    names += [_ANNDATA] if "embeddings" in outline.extras else []
    names += [_DICTIONARY, _PROVENANCE]
    with atomic_paths(out, names) as temporary:
        written = _write_plates(plates, out, temporary, outline, options, job)
        source = {
            **provenance(),
            "export": {
                "format_version": TABLES_VERSION,
                "plates": list(written.widths),
                "n_cells": written.n_cells,
                "keep_kinds": list(options.keep_kinds),
                "exclude_unreviewed": options.exclude_unreviewed,
            },
        }
        if _ANNDATA in temporary:
            job.report(outline.n_plates, outline.n_plates + 1, f"Writing {_ANNDATA}")
            with explained_writes(out / _ANNDATA):
                write_anndata(
                    temporary[_ANNDATA],
                    temporary["cells.parquet"],
                    written.embeddings,
                    uns={"provenance": json.dumps(source, ensure_ascii=False)},
                    job=job,
                )
        dictionary = json.dumps(described(tables), indent=2, ensure_ascii=False) + "\n"
        for name, text in ((_DICTIONARY, dictionary), (_PROVENANCE, as_json(source))):
            with explained_writes(out / name):
                temporary[name].write_text(text, encoding="utf-8")
        job.check()
    job.report(outline.n_plates + 1, outline.n_plates + 1, f"Wrote {count_of(len(names), 'file')}")
    return tuple(out / name for name in names)


def exported_cells(folder: Path) -> pd.DataFrame:
    """Read the exported table of cells: that of all plates, as `cell_table` makes it of one."""
    path = folder / "cells.parquet"
    names, n_cells = pq.read_schema(path).names, pq.read_metadata(path).num_rows
    columns: dict[str, Any] = {}
    for name, dtype in CELL_TABLE.items():
        if name not in names:  # numbers that no cell has
            columns[name] = pd.array([pd.NA] * n_cells, dtype="Int64")
        elif dtype == "str":
            texts = none_if_missing(read_column(path, name))
            columns[name] = pd.Series(texts, dtype=object)
        else:
            columns[name] = read_column(path, name)
    return pd.DataFrame(columns)


@dataclass
class _Written:
    """What stays known of the plates that were written."""

    outline: Outline
    widths: dict[str, int | None] = field(default_factory=dict)
    n_cells: int = 0
    embeddings: list[NDArray[np.float32]] = field(default_factory=list)  # mapped, not in memory

    def add(self, plate: ExportPlate) -> None:
        """Note a plate, or refuse it."""
        if plate.name in self.widths:
            raise HcsQcError(
                f"Two plates are called {plate.name!r}; their rows could not be distinguished. "
                "Give one of them another name."
            )
        if more := Outline.of([plate]).extras - self.outline.extras:
            raise HcsQcError(
                f"Plate {plate.name} has changed while plates were written: it has "
                f"{' and '.join(sorted(more))} now. Export again."
            )
        width = None if plate.embeddings is None else int(plate.embeddings.shape[1])
        self.widths[plate.name] = width
        if len(set(self.widths.values())) > 1:
            widths = ", ".join(f"{name}: {width or 'none'}" for name, width in self.widths.items())
            raise HcsQcError(
                f"The plates have embeddings of different widths ({widths}); they must come from "
                "one model. Predict all plates with it again."
            )
        self.n_cells += len(plate.cells)
        if plate.embeddings is not None:
            self.embeddings.append(plate.embeddings)


def _write_plates(
    plates: Iterable[ExportPlate],
    out: Path,
    temporary: Mapping[str, Path],
    outline: Outline,
    options: ExportOptions,
    job: Job,
) -> _Written:
    """Write each plate to all tables before the next one is asked for."""
    written = _Written(outline)
    with ExitStack() as stack:
        writers: dict[str, list[Write]] = {
            table: [
                stack.enter_context(writer(out / name, temporary[name], dtypes))
                for name, writer in ((f"{table}.parquet", _parquet), (f"{table}.csv", _csv))
            ]
            for table, dtypes in outline.tables.items()
        }
        for plate in plates:
            job.report(len(written.widths), outline.n_plates + 1, f"Writing plate {plate.name}")
            written.add(plate)
            for table, writes in writers.items():
                for part in _parts(table, plate, options, job):
                    for write in writes:
                        write(part)
            del plate  # before the next one is made
    return written


def _parts(
    name: str, plate: ExportPlate, options: ExportOptions, job: Job
) -> Iterator[pd.DataFrame]:
    series = plate.series or None
    for part in _parts_of(name, plate, options, job):
        part = with_texts(part, {"Metadata_TimeSeries": np.full(len(part), series, object)})
        part["Metadata_Time"] = pd.array([plate.time] * len(part), dtype="Int64")
        yield part


def _parts_of(
    name: str, plate: ExportPlate, options: ExportOptions, job: Job
) -> Iterator[pd.DataFrame]:
    job.check()
    if name == "cells":
        # A plate without cells still gives its (empty) table.
        for start in range(0, max(1, len(plate.cells)), _ROWS):
            job.check()
            yield cell_table(plate, options, slice(start, start + _ROWS))
    elif name == "sites":
        yield site_table(plate, options)
    elif name == "wells":
        yield well_table(plate, options)
    elif plate.quality is not None:
        names = {"well": "Metadata_Well", "site": "Metadata_Site"}
        table = plate.quality.rename(columns=names)
        yield table.assign(Metadata_Plate=plate.name)[list(QUALITY_TABLE)]


@contextmanager
def _parquet(path: Path, temporary: Path, dtypes: Mapping[str, str]) -> Iterator[Write]:
    """Give what adds rows to a Parquet file, which is whole when the block ends."""
    schema = pa.schema(
        pa.field(name, _ARROW[dtype], metadata=COLUMNS[name]._asdict())
        for name, dtype in dtypes.items()
    )
    # The pandas part of the schema makes pandas give nullable integers back as such.
    empty = pd.DataFrame(
        {
            name: pd.Series(dtype="object" if dtype == "str" else dtype)
            for name, dtype in dtypes.items()
        }
    )
    described = pa.Table.from_pandas(empty, schema=schema, preserve_index=False).schema
    schema = schema.with_metadata(
        {**described.metadata, b"format_version": str(TABLES_VERSION).encode()}
    )
    with explained_writes(path):
        writer = pq.ParquetWriter(temporary, schema, compression="zstd")

    def write(part: pd.DataFrame) -> None:
        table = pa.Table.from_pandas(part[list(dtypes)], schema=schema, preserve_index=False)
        with explained_writes(path):
            writer.write_table(table.replace_schema_metadata(schema.metadata))

    try:
        yield write
    finally:
        with explained_writes(path):
            writer.close()


@contextmanager
def _csv(path: Path, temporary: Path, dtypes: Mapping[str, str]) -> Iterator[Write]:
    """Give what adds rows to a CSV, which is whole when the block ends."""
    with explained_writes(path):
        file = temporary.open("w", encoding="utf-8", newline="")

    def write(part: pd.DataFrame) -> None:
        chosen = without_formulas(part[list(dtypes)])
        with explained_writes(path):
            chosen.to_csv(file, index=False, header=False, lineterminator="\n")

    try:
        with explained_writes(path):
            file.write("\ufeff")  # what "utf-8-sig" writes, which is slow
            header = pd.DataFrame(columns=list(dtypes))
            header.to_csv(file, index=False, lineterminator="\n")
        yield write
    finally:
        with explained_writes(path):
            file.close()
