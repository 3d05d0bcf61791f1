"""Plate and cells to embeddings: a thread reads and cuts while this one encodes and writes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_hcs_qc.encoders.embed.embedding_store import StoreWriter
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import fingerprint
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    import torch
    from numpy.typing import NDArray

    from napari_hcs_qc.cells.intensity import IntensityRanges
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.embed.crop_reader import Batch, CropSource
    from napari_hcs_qc.encoders.embed.embedding_store import EmbeddingStore, StoreDtype
    from napari_hcs_qc.encoders.encoder import Encoder
    from napari_hcs_qc.errors import Problem
    from napari_hcs_qc.plates.plate import Plate, Projection

_CHUNK_CELLS = 256
_DTYPE: StoreDtype = "float32"


class Fingerprinted(Protocol):
    """An encoder, or what is written of one."""

    @property
    def fingerprint(self) -> str:
        """See `Encoder.fingerprint`."""


def store_fingerprint(
    plate: Plate,
    cells: pd.DataFrame,
    ranges: IntensityRanges,
    recipe: CropRecipe,
    encoder: Fingerprinted,
    *,
    projection: Projection = "max",
) -> str:
    """Name of the store that `embed_cells` fills for these inputs."""
    return fingerprint(_parts(plate, cells, ranges, recipe, encoder, projection))


def embed_cells(
    plate: Plate,
    cells: pd.DataFrame,
    ranges: IntensityRanges,
    recipe: CropRecipe,
    encoder: Encoder,
    folder: Path,
    *,
    projection: Projection = "max",
    batch_size: int = 64,
    chunk_cells: int = _CHUNK_CELLS,
    job: Job = NO_JOB,
) -> EmbeddingStore:
    """Encode every cell of a plate into a store, or find it already there.

    Sites are read one after the other in a thread of their own, their crops are cut and handed
    over in batches of constant size, whatever the number of cells in a site; nothing but the cell
    table grows with the plate. What a run that was stopped or killed has finished is kept: at most
    one chunk is computed again. A second run computes nothing; it only tries the sites again that
    were unreadable, in case the disk they are on was away.
    """
    # Here, since PyTorch takes seconds to import, and a store that is there is found without it.
    from napari_hcs_qc.encoders.embed.crop_reader import CropReader, CropSource

    if encoder.stages != recipe.stages:
        raise HcsQcError(
            f"The recipe {recipe.name} pools the stages {recipe.stages!r} and the encoder was "
            f"loaded with {encoder.stages!r}; load it with the recipe's stages."
        )
    if encoder.pooling != recipe.pooling:
        raise HcsQcError(
            f"The recipe {recipe.name} pools by {recipe.pooling} and the encoder was loaded to "
            f"pool by {encoder.pooling}; load it with the recipe's pooling."
        )
    n_views = recipe.n_views(len(plate.channels))
    batch_cells = max(1, batch_size // n_views)
    source = CropSource(plate, cells, ranges, recipe, projection, batch_cells)
    parts = _parts(plate, cells, ranges, recipe, encoder, projection)
    writer = StoreWriter(
        folder / fingerprint(parts),
        (len(cells), n_views * encoder.n_features),
        _DTYPE,
        # Whole batches, so that their size is constant; at least as many as asked for.
        -(-chunk_cells // batch_cells) * batch_cells,
        {"made_of": parts, "encoder": encoder.describe(), "recipe": recipe.to_dict()},
    )
    writer.reopen(_readable_again(writer, source, job))
    message = f"Embedding cells of {plate.name} with {encoder.name}"
    done = len(cells) - sum(len(writer.rows(chunk)) for chunk in writer.pending)
    job.report(done, len(cells), message)
    chunks = [(chunk, writer.rows(chunk)) for chunk in writer.pending]
    with CropReader(source, chunks) as reader:
        encoding = _Encoding(encoder, n_views, job)
        while (batch := reader.next_batch(job)) is not None:
            finished = encoding.add(batch, writer.rows(batch.chunk))
            if finished is not None:
                writer.write(batch.chunk, *finished)
            done += batch.n_cells
            job.report(done, len(cells), message)
    return writer.finish()


def _parts(
    plate: Plate,
    cells: pd.DataFrame,
    ranges: IntensityRanges,
    recipe: CropRecipe,
    encoder: Fingerprinted,
    projection: Projection,
) -> dict[str, str | int]:
    digest = hashlib.sha256("\0".join(cells["well"]).encode())
    for column, kind in (("site", "<i8"), ("y_px", "<f4"), ("x_px", "<f4")):
        digest.update(cells[column].to_numpy(dtype=kind).tobytes())
    return {
        "plate": plate.fingerprint,
        "cells": digest.hexdigest()[:16],
        "ranges": ranges.fingerprint,
        "recipe": recipe.fingerprint,
        "encoder": encoder.fingerprint,
        "projection": projection,
        "dtype": _DTYPE,
    }


def _readable_again(writer: StoreWriter, source: CropSource, job: Job) -> list[int]:
    """Find finished chunks with a site that was unreadable and no longer is."""
    wanted: dict[str, list[int]] = {}
    for chunk, problems in writer.unreadable.items():
        for problem in problems:
            wanted.setdefault(problem.where, []).append(chunk)
    again: set[int] = set()
    for chunk in sorted({chunk for chunks in wanted.values() for chunk in chunks}):
        for key in dict.fromkeys(source.site_of(row) for row in writer.rows(chunk)):
            job.check()
            if str(key) in wanted and source.read(key).pixels is not None:
                again.update(wanted[str(key)])
    return sorted(again)


class _Encoding:
    """Encodes batches and gathers their features until a chunk is full."""

    def __init__(self, encoder: Encoder, n_views: int, job: Job) -> None:
        self._encoder, self._n_views, self._job = encoder, n_views, job
        self._features: NDArray[np.float32] | None = None
        self._unreadable: dict[str, Problem] = {}

    def add(
        self, batch: Batch, chunk_rows: range
    ) -> tuple[NDArray[np.float32], tuple[Problem, ...]] | None:
        """Encode a batch; give the chunk's features and unreadable sites when it ends the chunk."""
        if self._features is None:
            width = self._n_views * self._encoder.n_features
            self._features = np.full((len(chunk_rows), width), np.nan, dtype=np.float32)
        if len(batch.rows):
            self._features[batch.rows - chunk_rows.start] = self._encode(batch.crops)
        self._unreadable.update({problem.where: problem for problem in batch.unreadable})
        if not batch.ends_chunk:
            return None
        finished = self._features, tuple(self._unreadable.values())
        self._features, self._unreadable = None, {}
        return finished

    def _encode(self, crops: torch.Tensor) -> NDArray[np.float32]:
        views = crops.flatten(0, 1)
        encoded = self._encoder.encode(views, job=self._job)
        features: NDArray[np.float32] = encoded.view(len(crops), -1).numpy()
        if not np.isfinite(features).all():
            raise HcsQcError(
                f"The encoder {self._encoder.name} returned features that are not finite numbers; "
                "its weights file may be damaged or of half precision. Download it again or use "
                "another encoder."
            )
        return features
