"""P(abnormal) for every cell of a plate, from embeddings that need not fit in memory."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.encoders.embed.crop_workers import start_pool
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.heads.dense import DenseHead
from napari_hcs_qc.heads.knn import KNNHead
from napari_hcs_qc.heads.linear.decisions import Decider, as_tensor
from napari_hcs_qc.heads.linear.linear_head import LinearHead
from napari_hcs_qc.heads.linear.solver import probabilities
from napari_hcs_qc.heads.threads import n_processors, one_blas_thread
from napari_hcs_qc.heads.voting import Voter
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_hcs_qc.heads.head_registry import Head

ABNORMAL = "abnormal"
NORMAL = "normal"

_PIECE_BYTES = 16 * 2**20
_LEAST = 256  # cells that are worth a processor of their own


def score_embeddings(
    head: Head,
    embeddings: NDArray[np.float32],
    offset: NDArray[np.float64] | None = None,
    *,
    chunk: int = 65536,
    job: Job = NO_JOB,
) -> NDArray[np.float32]:
    """Score cells chunk by chunk; a head that was fitted with an offset needs theirs."""
    if embeddings.ndim != 2 or embeddings.shape[1] != head.n_features_in_:
        raise HcsQcError(
            f"The embeddings have the shape {embeddings.shape}; this head was fitted on "
            f"{head.n_features_in_} features. Embed the cells with the model's own encoder and "
            "crop recipe."
        )
    column = abnormal_column(head)
    n_cells = len(embeddings)
    known = _known(head, offset, n_cells)
    row_bytes = max(1, embeddings.shape[1] * embeddings.dtype.itemsize)
    piece = max(1, min(chunk, _PIECE_BYTES // row_bytes))
    scores = np.full(n_cells, np.nan, np.float32)
    score = _scorer(head, column, embeddings.dtype)
    # The forest shares its work among the processors itself.
    is_shared = isinstance(head, LinearHead | DenseHead | KNNHead)
    n_threads = n_processors() if is_shared else 1
    piece = min(piece, max(_LEAST, -(-n_cells // n_threads)))

    def work(start: int) -> None:
        rows = embeddings[start : start + piece]
        of_rows = None if known is None else known[start : start + len(rows)]
        scores[start : start + len(rows)] = score(np.asarray(rows), of_rows)

    starts = range(0, n_cells, piece)
    with (
        start_pool(n_threads, n_threads) as pool,
        one_blas_thread() if is_shared else nullcontext(),
    ):
        pieces = [pool.submit(work, start) for start in starts]
        try:
            for start, future in zip(starts, pieces, strict=True):
                job.check()
                job.report(start, n_cells, "scoring cells")
                future.result()
        except BaseException:
            # The pool ends with what it has begun.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    job.report(n_cells, n_cells, "scoring cells")
    return scores


def abnormal_column(head: Head) -> int:
    """Column of P(abnormal) in ``head.predict_proba``."""
    classes = [str(name) for name in head.classes_]
    if ABNORMAL not in classes:
        raise HcsQcError(
            f"The head knows the classes {', '.join(classes)}; 'abnormal' is missing. "
            "Fit it on cells annotated normal and abnormal."
        )
    return classes.index(ABNORMAL)


def _known(
    head: Head, offset: NDArray[np.float64] | None, n_cells: int
) -> NDArray[np.float64] | None:
    """Weigh the offset as the head does, ``(n_cells, 1)``; None where it has no part."""
    weight = head.offset_weight_ if isinstance(head, LinearHead) else 0.0
    if not weight:
        return None
    if offset is None or offset.shape != (n_cells,):
        shape = "none" if offset is None else f"one of the shape {offset.shape}"
        raise ValueError(
            f"The head was fitted with an offset, and {shape} was given for {n_cells} cells."
        )
    return weight * offset[:, np.newaxis]


def _scorer(
    head: Head, column: int, dtype: np.dtype[Any]
) -> Callable[[NDArray[Any], NDArray[np.float64] | None], NDArray[np.float64]]:
    """Give what makes P(abnormal) of rows in memory; NaN for rows with a NaN or Inf."""
    if isinstance(head, LinearHead):
        decide = Decider(head, dtype)

        def with_offset(
            rows: NDArray[Any], known: NDArray[np.float64] | None
        ) -> NDArray[np.float64]:
            decision = decide(rows)
            return probabilities(decision if known is None else decision + known)[:, column]

        return with_offset
    if isinstance(head, KNNHead):
        vote = Voter(head, dtype)
        return lambda rows, _: vote(rows)[:, column]
    # The dense layer's own checks of a whole array cost as much as its scoring.

    def score(rows: NDArray[Any], _: NDArray[np.float64] | None) -> NDArray[np.float64]:
        if rows.dtype == np.float16:
            rows = as_tensor(rows).float().numpy()
        # A product with zeros is 0 unless something in the row is not finite: one pass, no copy.
        with np.errstate(invalid="ignore"):
            usable = rows @ np.zeros(rows.shape[1], rows.dtype) == 0
        result = np.full(len(rows), np.nan)
        chosen = rows if usable.all() else rows[usable]
        if len(chosen):
            is_dense = isinstance(head, DenseHead)
            p = probabilities(head.decide(chosen)) if is_dense else head.predict_proba(chosen)
            result[usable] = p[:, column]
        return result

    return score
