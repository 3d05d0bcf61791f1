"""Write AnnData of any number of cells: the cells from their Parquet file, embeddings by blocks."""

from __future__ import annotations

import mmap
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from napari_hcs_qc.qc.export.dictionary import TABLES
from napari_hcs_qc.qc.export.hdf5_sink import hdf5_sink

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.job import Job
    from napari_hcs_qc.qc.export.hdf5_sink import Hdf5Sink

_VALUES = 4_194_304  # values of embeddings in memory at a time (16 MiB)
_NAMED_BY = ["Metadata_Plate", "Metadata_Well", "Metadata_Site", "cell_id", "Metadata_ObjectNumber"]
_DTYPES = TABLES["cells"]


def write_anndata(
    path: Path,
    cells: Path,
    embeddings: Sequence[NDArray[np.float32]],
    *,
    uns: Mapping[str, str],
    job: Job,
) -> None:
    """Write ``obs`` column by column from the exported table of cells, and ``X`` block by block.

    `uns` is text: AnnData has no way to keep missing values in ``uns``.
    """
    n_features = embeddings[0].shape[1]
    # As `AnnData.write_h5ad` does, into a file that outlives a full disk.
    with pq.ParquetFile(cells) as table, hdf5_sink(path) as sink, h5py.File(sink, "w") as file:
        columns = {name: pd.Series(dtype=object) for name in table.schema_arrow.names}
        names = [f"feature_{index}" for index in range(n_features)]
        frame = anndata.AnnData(
            obs=pd.DataFrame(columns, index=pd.Index([], dtype=object)),
            var=pd.DataFrame(index=pd.Index(names, dtype=object)),
            uns=dict(uns),
        )
        anndata.io.write_elem(file, "/", frame)
        _write_names(file["obs"], table, job, sink)
        for name in columns:
            job.check()
            sink.check()
            del file["obs"][name]
            anndata.io.write_elem(file["obs"], name, read_column(cells, name))
        _write_embeddings(file, table.metadata.num_rows, embeddings, job, sink)


def _write_names(obs: h5py.Group, table: pq.ParquetFile, job: Job, sink: Hdf5Sink) -> None:
    """Name the cells; the texts are never in memory as a whole."""
    name = obs.attrs["_index"]
    attributes = dict(obs[name].attrs)
    del obs[name]
    text = h5py.special_dtype(vlen=str)
    target = obs.create_dataset(name, shape=(table.metadata.num_rows,), dtype=text)
    target.attrs.update(attributes)
    columns = [column for column in _NAMED_BY if column in table.schema_arrow.names]
    first = 0
    for batch in table.iter_batches(columns=columns):
        job.check()
        sink.check()
        target[first : first + len(batch)] = _names(batch.to_pandas(integer_object_nulls=True))
        first += len(batch)


def _names(cells: pd.DataFrame) -> NDArray[np.object_]:
    texts = {name: cells[name].astype(str) for name in cells}
    number = texts["cell_id"]
    if "Metadata_ObjectNumber" in cells:
        number = number.where(cells["cell_id"].notna(), "object " + texts["Metadata_ObjectNumber"])
    place = texts["Metadata_Plate"] + " " + texts["Metadata_Well"] + " s" + texts["Metadata_Site"]
    return (place + " " + number).to_numpy(dtype=object)


def read_column(cells: Path, name: str) -> Any:
    """Read one column; texts become categories, which may be missing in AnnData and repeat."""
    dtype = _DTYPES[name]
    texts = [name] if dtype == "str" else []
    with pq.ParquetFile(cells, read_dictionary=texts) as table:
        column = table.read([name]).column(0)
    if texts:
        found = column.to_pandas().array
        # Sorted, so that they do not depend on how the cells are divided; as objects: what pandas 3
        # has for texts is not written so that every AnnData reads it.
        categories = pd.Index(sorted(found.categories), dtype=object)
        return found.rename_categories(found.categories.astype(object)).set_categories(categories)
    if dtype == "Int64":
        return column.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get).array
    return column.to_pandas().to_numpy()


def _write_embeddings(
    file: h5py.File,
    n_cells: int,
    embeddings: Sequence[NDArray[np.float32]],
    job: Job,
    sink: Hdf5Sink,
) -> None:
    n_features = embeddings[0].shape[1]
    n_rows = max(1, _VALUES // max(1, n_features))
    if "X" in file:
        del file["X"]
    target = file.create_dataset(
        "X",
        shape=(n_cells, n_features),
        dtype="<f4",
        chunks=(min(1024, max(1, n_cells)), n_features) if n_cells else None,
    )
    target.attrs["encoding-type"] = "array"
    target.attrs["encoding-version"] = "0.2.0"
    first = 0
    for block in embeddings:
        for start in range(0, len(block), n_rows):
            job.check()
            sink.check()
            rows = block[start : start + n_rows]
            target[first + start : first + start + len(rows)] = np.asarray(rows, dtype=np.float32)
            _let_go(rows)
        first += len(block)


def _let_go(rows: NDArray[np.float32]) -> None:
    """Give the pages of a mapped file back, which else would all stay beside what is written."""
    mapped = getattr(rows, "_mmap", None)
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        with suppress(OSError):
            mapped.madvise(mmap.MADV_DONTNEED)
