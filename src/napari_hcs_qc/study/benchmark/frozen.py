"""One draw of a head on frozen features; light to import, as worker processes begin with it."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.heads.head_registry import make_head
from napari_hcs_qc.heads.linear.plate_directions import PlateDirections
from napari_hcs_qc.heads.linear.scoring import abnormal_column
from napari_hcs_qc.heads.threads import one_blas_thread

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, kw_only=True)
class FrozenDraw:
    """What a head is fitted on and tested on."""

    head: str
    seed: int  # of the head's fit
    # Files of ``(n_cells, n_features)`` float32, memory-mapped by whoever fits
    features: Path
    tested_features: Path
    directions: Path | None  # file with the main directions of the plates, see `plate_directions`
    rows: NDArray[np.int64]  # cells trained on, in the order they are taken
    tested_rows: NDArray[np.int64]
    classes: NDArray[np.str_]  # ``(n_rows,)`` of the cells trained on
    groups: NDArray[np.str_] | None  # ``(n_rows,)`` of the cells trained on


def score(draw: FrozenDraw) -> NDArray[np.float64]:
    """Fit the head and give P(abnormal) of the tested cells, ``(n_tested,)``."""
    features = np.load(draw.features, mmap_mode="r", allow_pickle=False)
    tested = np.load(draw.tested_features, mmap_mode="r", allow_pickle=False)
    head = make_head(draw.head, draw.seed, _directions_of(draw.directions))
    # With one thread a product has the same digits wherever it is computed.
    with one_blas_thread():
        head.fit(np.asarray(features[draw.rows]), draw.classes, draw.groups)
        p: NDArray[np.float64] = head.predict_proba(np.asarray(tested[draw.tested_rows]))
    return p[:, abnormal_column(head)]


def timed_score(draw: FrozenDraw) -> tuple[NDArray[np.float64], float]:
    """Give what `score` gives, and the seconds it took."""
    started = time.perf_counter()
    p = score(draw)
    return p, time.perf_counter() - started


def begin_process() -> None:
    """Prepare a worker process, before PyTorch is imported there by the one head that needs it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is the parent's to answer
    os.environ["OMP_NUM_THREADS"] = "1"


def _directions_of(path: Path | None) -> PlateDirections | None:
    if path is None:
        return None
    with np.load(path, allow_pickle=False) as archive:
        return PlateDirections(**{name: archive[name] for name in PlateDirections._fields})
