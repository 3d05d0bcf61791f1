"""Annotations that the rest of the annotations contradict: a slip of the hand, or a hard cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_LIMIT = 0.5


def label_issues(p_abnormal: ArrayLike, is_abnormal: ArrayLike) -> NDArray[np.int64]:
    """List the annotated cells whose annotation held-out predictions contradict.

    A model that was fitted on a wrong annotation tends to repeat it; one that was fitted without
    the whole well of the cell does not. So the probabilities have to be held-out ones, as
    `cross_validate` gives them, and their mean over the seeds is what counts. They are ordered by
    what Northcutt et al. (2021), https://arxiv.org/abs/1911.00068, call self-confidence, the
    probability of the class that was annotated. That paper lists only cells whose other class is
    as probable as for the average cell of it; where annotations are few that misses every other
    slip, so all are listed that are more likely of the other class.
    """
    p = np.atleast_2d(np.asarray(p_abnormal, dtype=np.float64)).mean(axis=0)
    annotated = np.asarray(is_abnormal, dtype=bool)
    if p.shape != annotated.shape:
        raise HcsQcError(f"{p.size} probabilities were given for {annotated.size} annotated cells.")
    if not ((p >= 0) & (p <= 1)).all():
        raise HcsQcError("Probabilities have to be between 0 and 1; cross-validate first.")
    confidence = np.where(annotated, p, 1 - p)
    order = np.argsort(confidence, kind="stable")
    listed: NDArray[np.int64] = order[confidence[order] < _LIMIT].astype(np.int64)
    return listed
