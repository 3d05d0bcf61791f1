"""Re-scoring 100 thousand and 2 million cells against the bare products, in one run.

The embeddings are generated and lie in a store as the product writes it. Bare and ours take turns
over slices of the store, each first every other time, so that what the disk and other work cost
falls on both.
"""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from benchmarks.results import timed, watched
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from napari_hcs_qc.encoders.embed.embedding_store import StoreWriter
from napari_hcs_qc.heads.knn import KNNHead
from napari_hcs_qc.heads.linear.linear_head import LinearHead
from napari_hcs_qc.heads.linear.plate_directions import plate_directions
from napari_hcs_qc.heads.linear.scoring import score_embeddings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.encoders.embed.embedding_store import EmbeddingStore, StoreDtype

N_FEATURES, N_ANNOTATED = 944, 288  # of the default encoder; as in labels.csv
_LEAST_CELLS = 1_000_000
_SLICE, _CHUNK, _BLOCK = 50_000, 8192, 16_384
_PAUSE_S = 0.3  # threads of NumPy's library spin for a while after a product, waiting for more
_PEERS_AT_MOST = 100_000  # scikit-learn is timed on so many cells


def generate(folder: Path, n_cells: int, dtype: StoreDtype, seed: int = 0) -> EmbeddingStore:
    """Fill a store: 150 hidden properties mixed into the features, noise, and a tenth odd cells."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(150, N_FEATURES)) / np.sqrt(1 + np.arange(150))[:, np.newaxis]
    pool = (rng.normal(size=(4 * _CHUNK, 150)) @ mixing).astype(np.float32)
    pool += 0.3 * rng.normal(size=pool.shape).astype(np.float32)
    away = rng.normal(size=N_FEATURES).astype(np.float32)
    writer = StoreWriter(folder, (n_cells, N_FEATURES), dtype, _CHUNK, {})
    for chunk in writer.pending:
        rows = writer.rows(chunk)
        start = int(rng.integers(0, len(pool) - len(rows) + 1))
        # Chunks differ by sign and size of each feature, which costs less than new numbers.
        signs = rng.choice(np.array([-1, 1], np.float32), N_FEATURES)
        block = pool[start : start + len(rows)] * signs if chunk else pool[: len(rows)]
        writer.write(chunk, block + (np.asarray(rows) % 10 == 0)[:, np.newaxis] * 0.5 * away)
    return writer.finish()


def compare(folder: Path, n_cells: int, dtype: StoreDtype) -> dict[str, Any]:
    """Measure one size; gives ratios, and the peak of memory while ours scored."""
    began = time.monotonic()
    store = generate(folder, n_cells, dtype)
    generated_s = time.monotonic() - began
    rows = store.embeddings
    chosen = np.arange(0, min(n_cells, 10 * N_ANNOTATED), 5)[:N_ANNOTATED]
    X = np.asarray(rows[chosen], np.float32)
    y = np.where(chosen % 10 == 0, "abnormal", "normal")
    wells = np.array([f"p/A{row % 24:02d}" for row in range(len(y))])
    seconds: dict[str, list[tuple[float, float]]] = {}
    with timed(seconds, "fit"):
        plate = plate_directions(np.asarray(rows[:2000], np.float32))
        linear = LinearHead(plate=plate).fit(X, y, wells)
    knn = KNNHead().fit(X, y)
    scaler = StandardScaler().fit(X)
    with timed(seconds, "fit LogisticRegression"):
        plain = LogisticRegression(max_iter=1000).fit(scaler.transform(X), y)
    peer = KNeighborsClassifier(5, algorithm="brute").fit(X, y)
    anchors = np.ascontiguousarray(linear.anchors_[:, :N_FEATURES].T)
    products = np.hstack([anchors, linear.directions_.T.astype(np.float32)])
    cells, norms = np.ascontiguousarray(knn.cells_.T, np.float32), (knn.cells_**2).sum(axis=1)

    def distances(part: NDArray[Any]) -> None:
        found = part @ cells
        found *= -2
        found += norms

    works: dict[str, Callable[[NDArray[Any]], object]] = {
        "product with the anchors": lambda part: part @ anchors,
        "linear": lambda part: score_embeddings(linear, part),
        "product with anchors and directions": lambda part: part @ products,
        "distances": distances,
        "knn": lambda part: score_embeddings(knn, part),
    }
    peers: dict[str, Callable[[NDArray[Any]], object]] = {
        "LogisticRegression": lambda part: plain.predict_proba(scaler.transform(part)),
        "KNeighborsClassifier": peer.predict_proba,
    }
    score_embeddings(linear, rows[:2000])
    peak = 0.0
    # Of few slices each is taken several times, so that its first reading is one of many.
    starts = list(range(0, n_cells, _SLICE)) * max(1, _LEAST_CELLS // n_cells)
    for number, start in enumerate(starts):
        stop = min(start + _SLICE, n_cells)
        now = {**works, **peers} if stop <= _PEERS_AT_MOST else works
        for name in list(now)[:: 1 if number % 2 else -1]:
            is_ours = name in ("linear", "knn")
            time.sleep(_PAUSE_S)
            with watched() as seen, timed(seconds, name):
                if is_ours:
                    now[name](rows[start:stop])
                else:
                    for at in range(start, stop, _BLOCK):
                        # NumPy multiplies no halves at a useful rate; nor does the bare product.
                        now[name](np.asarray(rows[at : min(at + _BLOCK, stop)], np.float32))
            if is_ours:
                peak = max(peak, seen.mib)
    del rows, store
    shutil.rmtree(folder)

    def ratio(name: str, floor: str, column: int) -> float:
        """Median over slices: of those in which other work came between, few count."""
        n = min(len(seconds[name]), len(seconds[floor]))
        pairs = zip(seconds[name][:n], seconds[floor][:n], strict=True)
        return round(float(np.median([a[column] / b[column] for a, b in pairs])), 3)

    figures: dict[str, Any] = {
        "n_cells": n_cells,
        "dtype": dtype,
        "n_anchors": int(anchors.shape[1]),
        "n_directions": int(linear.directions_.shape[0]),
        "generated_s": round(generated_s, 1),
        "fit_s": round(seconds["fit"][0][0], 3),
        "fit_LogisticRegression_s": round(seconds["fit LogisticRegression"][0][0], 3),
        "peak_mib": round(peak),
    }
    for name in ("linear", "knn"):
        wall, cpu = np.sum(seconds[name], axis=0) * (n_cells / (_SLICE * len(starts)))
        figures[f"{name}_s"], figures[f"{name}_cpu_s"] = round(float(wall), 3), round(float(cpu), 3)
    for name, floor in (
        ("linear", "product with the anchors"),
        ("linear", "product with anchors and directions"),
        ("knn", "distances"),
        ("linear", "LogisticRegression"),
        ("knn", "KNeighborsClassifier"),
    ):
        figures[f"{name} / {floor}"] = ratio(name, floor, 0)
        figures[f"{name} / {floor}, processor time"] = ratio(name, floor, 1)
    return figures
