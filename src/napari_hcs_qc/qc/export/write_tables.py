"""Write the tables of an assay: Parquet and CSV, AnnData with the embeddings, provenance."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandas.api.types import union_categoricals

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import atomic_path, write_json, write_text
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.qc.export.dictionary import (
    COLUMNS,
    QUALITY_TABLE,
    TABLES,
    TIME_COLUMNS,
    described,
)
from napari_hcs_qc.qc.export.export_tables import (
    ExportOptions,
    ExportPlate,
    cell_table,
    site_table,
    well_table,
)
from napari_hcs_qc.qc.export.hdf5_sink import hdf5_sink
from napari_hcs_qc.text import count_of
from napari_hcs_qc.text_columns import with_texts, without_formulas

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

_ROWS = 65_536  # rows in memory at a time
_VALUES = 4_194_304  # values of embeddings in memory at a time (16 MiB)
_ARROW = {
    "str": pa.string(),
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "Int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
}
_TEXTS = [name for name, dtype in TABLES["cells"].items() if dtype == "str"]


def export_tables(
    plates: Sequence[ExportPlate],
    out: Path,
    *,
    options: ExportOptions | None = None,
    provenance: Mapping[str, Any] | None = None,
    job: Job = NO_JOB,
) -> tuple[Path, ...]:
    r"""Write everything into a folder.

    ``cells``, ``sites`` and ``wells`` (and ``image_quality`` when measured) as ``.parquet`` and
    ``.csv`` (UTF-8 with a byte order mark for Excel, comma, ``\n``, ``True``/``False``, empty when
    missing), ``columns.json`` with what each column means, ``cells.h5ad`` when the plates have
    embeddings, and ``provenance.json``. The same input gives the same bytes.
    Memory does not grow with the embeddings, which are copied block by block.
    """
    options = options or ExportOptions()
    _check(plates)
    source = {
        **(provenance or {}),
        "export": {
            "plates": [plate.name for plate in plates],
            "n_cells": sum(len(plate.cells) for plate in plates),
            "keep_kinds": list(options.keep_kinds),
            "exclude_unreviewed": options.exclude_unreviewed,
        },
    }
    tables = {name: dict(columns) for name, columns in TABLES.items()}
    if all(plate.quality is None for plate in plates):
        del tables["image_quality"]
    if all(plate.cells["object_number"].isna().all() for plate in plates):
        # A key that is missing everywhere would join nothing, and nobody would be told.
        del tables["cells"]["Metadata_ObjectNumber"]
    if not any(plate.series for plate in plates):
        for table in tables.values():
            for name in TIME_COLUMNS:
                del table[name]
    names = [f"{table}.{suffix}" for table in tables for suffix in ("parquet", "csv")]
    if plates[0].embeddings is not None:
        names.append("cells.h5ad")
    files = [out / name for name in (*names, "columns.json", "provenance.json")]
    for done, path in enumerate(files):
        job.check()
        job.report(done, len(files), f"Writing {path.name}")
        if path.name == "columns.json":
            write_text(path, json.dumps(described(tables), indent=2, ensure_ascii=False) + "\n")
        elif path.suffix == ".json":
            write_json(path, source)
        elif path.suffix == ".h5ad":
            _write_anndata(path, plates, options, source, list(tables["cells"]), job)
        else:
            write = _write_parquet if path.suffix == ".parquet" else _write_csv
            write(path, _parts(path.stem, plates, options, job), tables[path.stem])
    job.report(len(files), len(files), f"Wrote {count_of(len(files), 'file')}")
    return tuple(files)


def _check(plates: Sequence[ExportPlate]) -> None:
    if not plates:
        raise HcsQcError("There is no plate to export; predict at least one first.")
    names = [plate.name for plate in plates]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise HcsQcError(
            f"Two plates are called {twice[0]!r}; their rows could not be distinguished. Give one "
            "of them another name."
        )
    widths = {
        plate.name: None if plate.embeddings is None else plate.embeddings.shape[1]
        for plate in plates
    }
    if len(set(widths.values())) > 1:
        widths_text = ", ".join(f"{name}: {width or 'none'}" for name, width in widths.items())
        raise HcsQcError(
            f"The plates have embeddings of different widths ({widths_text}); they must come from "
            "one model. Predict all plates with it again."
        )


def _parts(
    name: str, plates: Iterable[ExportPlate], options: ExportOptions, job: Job
) -> Iterator[pd.DataFrame]:
    for plate in plates:
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


def _write_parquet(path: Path, parts: Iterable[pd.DataFrame], dtypes: Mapping[str, str]) -> None:
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
    schema = schema.with_metadata(described.metadata)
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):
        for part in parts:
            table = pa.Table.from_pandas(part[list(dtypes)], schema=schema, preserve_index=False)
            writer.write_table(table.replace_schema_metadata(schema.metadata))


def _write_csv(path: Path, parts: Iterable[pd.DataFrame], dtypes: Mapping[str, str]) -> None:
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8-sig", newline="") as file,
    ):
        pd.DataFrame(columns=list(dtypes)).to_csv(file, index=False, lineterminator="\n")
        for part in parts:
            chosen = without_formulas(part[list(dtypes)])
            chosen.to_csv(file, index=False, header=False, lineterminator="\n")


def _write_anndata(
    path: Path,
    plates: Sequence[ExportPlate],
    options: ExportOptions,
    provenance: Mapping[str, Any],
    columns: list[str],
    job: Job,
) -> None:
    """Write ``obs`` by anndata, then ``X`` block by block beside it.

    ``uns["provenance"]`` is JSON text: AnnData has no way to keep missing values in ``uns``.
    """
    blocks = [plate.embeddings for plate in plates if plate.embeddings is not None]
    n_features = blocks[0].shape[1]
    obs = _joined([_observations(part) for part in _parts("cells", plates, options, job)])
    obs = obs[columns]
    names = [f"feature_{index}" for index in range(n_features)]
    var = pd.DataFrame(index=pd.Index(names, dtype=object))
    data = anndata.AnnData(
        obs=obs, var=var, uns={"provenance": json.dumps(provenance, ensure_ascii=False)}
    )
    with atomic_path(path) as temporary, hdf5_sink(temporary) as sink:
        # As `AnnData.write_h5ad` does, into a file that outlives a full disk.
        with h5py.File(sink, "w") as file:
            anndata.io.write_elem(file, "/", data)
        n_rows = max(1, _VALUES // max(1, n_features))
        with h5py.File(sink, "r+") as file:
            if "X" in file:
                del file["X"]
            target = file.create_dataset(
                "X",
                shape=(len(obs), n_features),
                dtype="<f4",
                chunks=(min(1024, max(1, len(obs))), n_features) if len(obs) else None,
            )
            target.attrs["encoding-type"] = "array"
            target.attrs["encoding-version"] = "0.2.0"
            first = 0
            for block in blocks:
                for start in range(0, len(block), n_rows):
                    job.check()
                    sink.check()
                    rows = np.asarray(block[start : start + n_rows], dtype=np.float32)
                    target[first + start : first + start + len(rows)] = rows
                first += len(block)


def _joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Join tables of `_observations`; of texts only their categories stand in memory."""
    obs = pd.concat([part.drop(columns=_TEXTS) for part in parts])
    for name in _TEXTS:
        # Sorted, so that they do not depend on how the cells are divided.
        texts = union_categoricals([part[name] for part in parts], sort_categories=True)
        obs[name] = pd.Categorical.from_codes(texts.codes, texts.categories.astype(object))
    # As objects: what pandas 3 has for texts is not written so that every AnnData reads it.
    obs.index = obs.index.astype(object)
    return obs[list(TABLES["cells"])]


def _observations(cells: pd.DataFrame) -> pd.DataFrame:
    """Name the cells; texts become categories, which may be missing in AnnData and repeat."""
    number = (
        cells["cell_id"]
        .astype(object)
        .where(cells["cell_id"].notna(), "object " + cells["Metadata_ObjectNumber"].astype(str))
    )
    site = cells["Metadata_Well"] + " s" + cells["Metadata_Site"].astype(str)
    obs = cells.set_index(cells["Metadata_Plate"] + " " + site + " " + number.astype(str))
    return obs.assign(**{name: pd.Categorical(obs[name]) for name in _TEXTS})
