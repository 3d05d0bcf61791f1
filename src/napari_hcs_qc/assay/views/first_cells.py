"""The first cells to annotate: typical ones of groups of cells, or by the score of a prior."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.heads.linear.plate_directions import plate_directions
from napari_hcs_qc.heads.threads import one_blas_thread
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_hcs_qc.heads.linear.plate_directions import PlateDirections

N_STARTING = 10
"""Cells asked about before the model's doubts are: what it doubts early it has not seen yet."""

_CELLS = 5000  # that the groups are found among
_LIMIT = 5.0  # so that a single fibre is no group of its own
_INITS = 3
_ODD_CELLS = 0.1  # of the cells are called odd
_ODD_SHARE = 0.4  # of the starting cells come from these
_TOP = 1 / 3  # of the scores of a prior, of which half of the first cells are


def starting_cells(
    embeddings: NDArray[np.floating[Any]],
    n: int = N_STARTING,
    *,
    plate: PlateDirections | None = None,
    among: NDArray[np.integer[Any]] | None = None,
    seed: int = 0,
    job: Job = NO_JOB,
) -> NDArray[np.int64]:
    """Choose cells that stand for all the others, or all `among` which, to be annotated first.

    The cells are grouped by k-means along the main directions of the plate, and of each group the
    cell nearest to its centre is taken: typical cells, after Hacohen et al. (2022),
    https://arxiv.org/abs/2202.02794, who found that with few annotations these teach most. Since
    artefacts are rare, four in ten are typical of the oddest tenth of the cells, those farthest
    from the plate's mean; else a plate with 5 % abnormal cells would show none to begin with.
    Figures are in ``benchmarks/README.md``.
    """
    rng = np.random.default_rng(seed)
    rows = np.arange(len(embeddings)) if among is None else np.asarray(among)
    if len(rows) > _CELLS:
        rows = np.sort(rng.choice(rows, _CELLS, replace=False))
    job.report(0, 2, "Sampling the cells of the plate")
    cells = np.asarray(embeddings[rows], dtype=np.float64)
    usable = np.isfinite(cells).all(axis=1)
    rows, cells = rows[usable], cells[usable]
    plate = plate or plate_directions(cells, seed)
    if plate is None or len(rows) < n:
        return np.empty(0, dtype=np.int64)
    job.check()
    job.report(1, 2, "Grouping cells")
    along = np.clip(cells @ plate.directions.T - plate.offset, -_LIMIT, _LIMIT)
    how_odd = np.einsum("ij,ij->i", along, along)
    odd = np.flatnonzero(how_odd >= np.quantile(how_odd, 1 - _ODD_CELLS))
    n_odd = round(_ODD_SHARE * n)
    with one_blas_thread():
        from_odd = odd[_typical(along[odd], n_odd, seed)]
        job.check()
        everywhere = _typical(along, n, seed)  # some of which the odd ones may be
    everywhere = everywhere[~np.isin(everywhere, from_odd)][: n - len(from_odd)]
    job.report(2, 2, "Chose starting cells")
    chosen: NDArray[np.int64] = rng.permutation(rows[np.concatenate([from_odd, everywhere])])
    return chosen.astype(np.int64)


def starting_cells_by_score(
    scores: NDArray[np.floating[Any]],
    n: int = N_STARTING,
    *,
    among: NDArray[np.integer[Any]] | None = None,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Choose the first cells where a prior has scored all: half from the top third, half not.

    The higher a cell of the top third stands the likelier it is drawn (by 1 / rank), so that both
    classes are among them however few cells are abnormal; figures are in ``benchmarks/README.md``.
    """
    rows = np.arange(len(scores)) if among is None else np.asarray(among)
    rows = rows[np.isfinite(scores[rows])]
    rng = np.random.default_rng([seed, 2])
    by_score = rows[np.argsort(-scores[rows], kind="stable")]
    n_top = round(_TOP * len(rows))
    odds = 1 / np.arange(1, n_top + 1)
    top = rng.choice(
        by_score[:n_top], min(n // 2, n_top), replace=False, p=odds / odds.sum(), shuffle=False
    )
    rest = rng.permutation(by_score[n_top:])[: n - n // 2]
    chosen: NDArray[np.int64] = rng.permutation(np.concatenate([top, rest])).astype(np.int64)
    return chosen


def _typical(cells: NDArray[np.float64], n: int, seed: int) -> NDArray[np.int64]:
    """Rows of the cells nearest to the centres of `n` groups, in the order of the groups."""
    from sklearn.cluster import KMeans

    if n < 1:
        return np.empty(0, dtype=np.int64)
    grouped = KMeans(min(n, len(cells)), n_init=_INITS, random_state=seed).fit(cells)
    distance = np.linalg.norm(cells - grouped.cluster_centers_[grouped.labels_], axis=1)
    # The first cell of each group when all are ordered by their distance.
    order = np.lexsort((distance, grouped.labels_))
    _, first = np.unique(grouped.labels_[order], return_index=True)
    rows: NDArray[np.int64] = order[first].astype(np.int64)
    return rows
