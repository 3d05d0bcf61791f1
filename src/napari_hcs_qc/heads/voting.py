"""Votes of the nearest annotated cells for many cells, at little more than the distances' cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_hcs_qc.heads.linear.decisions import as_tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_hcs_qc.heads.knn import KNNHead

_DISTANCE_BYTES = 2**20  # of one block: what is made of it stays in a processor's own cache
_MOST_ROWS = 512  # more at a time are multiplied at a lower rate
_DOUBT = 2e-5
"""Distances nearer to one another than this share of both cells' squared norms are taken anew.

Single precision is off by about 1e-7 times the root of the number of features of that.
"""


class Voter:
    """What `KNNHead.predict_proba` gives, prepared once for any number of calls and threads.

    Squared distances come from one product in the precision of the embeddings; where they leave
    open which cells are the nearest, the head itself is asked, so that the votes are the same.
    """

    def __init__(self, head: KNNHead, dtype: np.dtype[Any]) -> None:
        self._head = head
        self._dtype = torch.float64 if dtype == np.float64 else torch.float32
        self._k = min(head.k, len(head.codes_))
        # The cells of a class stand side by side, so that its votes are counted in one piece.
        order = np.argsort(head.codes_, kind="stable")
        counts = np.bincount(head.codes_, minlength=len(head.classes_))
        ends = np.cumsum(counts)
        self._classes = [slice(end - n, end) for end, n in zip(ends, counts, strict=True)]
        cells = head.cells_[order].astype(np.float64)
        self._centre = cells.mean(axis=0)
        # |x - c|² - |x|² = |c|² - 2 x c, about the cells' mean, which keeps the numbers small.
        centred = cells - self._centre
        self._factors = torch.from_numpy(-2 * centred.T.copy()).to(self._dtype).contiguous()
        norms = (centred**2).sum(axis=1)
        self._added = torch.from_numpy(norms + 2 * centred @ self._centre).to(self._dtype)
        self._norm = float(norms.max() + (self._centre**2).sum())

    def __call__(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """``(n_cells, n_classes)`` shares of the votes; NaN for cells with a NaN or Inf."""
        n_cells, n_annotated = len(features), self._factors.shape[1]
        shares = np.empty((n_cells, len(self._classes)))
        step = max(16, min(_MOST_ROWS, _DISTANCE_BYTES // (4 * n_annotated)))
        open_rows = []
        rows = as_tensor(features)
        with torch.inference_mode(), np.errstate(invalid="ignore"):
            for start in range(0, n_cells, step):
                some = rows[start : start + step].to(self._dtype)
                distances = torch.addmm(self._added, some, self._factors).numpy()
                size = torch.linalg.vector_norm(some, dim=1).square_().numpy()
                shares[start : start + step], is_open = self._votes(distances, size)
                open_rows.append(start + np.flatnonzero(is_open))
        left = np.concatenate([*open_rows, np.empty(0, np.intp)])
        is_finite = np.isfinite(features[left]).all(axis=1)
        shares[left[~is_finite]] = np.nan
        again = left[is_finite]
        if len(again):
            shares[again] = self._head.predict_proba(
                features[again].astype(self._head.cells_.dtype)
            )
        return shares

    def _votes(
        self, distances: NDArray[Any], size: NDArray[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Shares of the votes, and whose nearest cells are not certain."""
        k = self._k
        shares = np.empty((len(distances), len(self._classes)))
        if k == distances.shape[1]:
            last = np.full((len(distances), 1), np.inf, distances.dtype)
            is_open = ~np.isfinite(size)
        else:
            nearest = np.partition(distances, k, axis=1)[:, : k + 1]
            last = nearest[:, :k].max(axis=1, keepdims=True)
            # A NaN is not greater than anything.
            is_open = ~(nearest[:, k] - last[:, 0] > _DOUBT * (size + self._norm))
        for code, columns in enumerate(self._classes):
            shares[:, code] = np.count_nonzero(distances[:, columns] <= last, axis=1) / k
        return shares, is_open
