"""Cells unlike anything annotated: counted by well, and as a sentence."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.assay.scoring.saved_prediction import NoveltySummary
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.novelty import Novelty
from napari_hcs_qc.text import count_of, listing, percent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.embeddings.training_set import AnnotatedCells

MUCH = 0.10
"""Share of a plate's cells from which it is a warning and no mere remark.

On a plate like the annotated one it was 2 %, with 40 annotations 4 %; on one out of focus 40 to
90 %.
"""

_NAMED_WELLS = 3


def fit_novelty(annotated: AnnotatedCells) -> tuple[Novelty | None, str]:
    """Learn what is usual among annotated cells, where they are enough."""
    if not len(annotated.classes):
        return None, "No cell was annotated yet, so none can be said to be unlike those annotated."
    try:
        novelty = Novelty().fit(annotated.embeddings, annotated.groups, annotated.plate)
    except HcsQcError as error:
        return None, str(error)
    return novelty, ""


def novelty_summary(
    ratio: NDArray[np.floating[Any]], wells: Iterable[str], why_not: str = ""
) -> NoveltySummary:
    """Count the cells of a plate that are unlike anything annotated."""
    is_novel = ratio > 1
    n_measured, n_novel = int(np.isfinite(ratio).sum()), int(is_novel.sum())
    names = np.asarray(list(wells), dtype=object)[is_novel]
    counted = Counter(map(str, names)).most_common()
    is_much = n_measured > 0 and n_novel > MUCH * n_measured
    sentence = _sentence(n_measured, n_novel, counted, is_much) if n_measured else why_not
    return NoveltySummary(
        n_measured=n_measured,
        n_novel=n_novel,
        wells=tuple(counted),
        is_much=is_much,
        sentence=sentence,
    )


def _sentence(n_measured: int, n_novel: int, wells: list[tuple[str, int]], is_much: bool) -> str:
    if not n_novel:
        return ""
    verb = "is" if n_novel == 1 else "are"
    text = (
        f"{count_of(n_novel, 'cell')} ({percent(n_novel / n_measured)}) {verb} unlike anything "
        f"annotated, {_where(n_novel, wells)}"
    )
    if is_much:
        return f"{text}; predictions for them are unreliable. Annotate some of them and retrain."
    return f"{text}; annotate some of them."


def _where(n_novel: int, wells: list[tuple[str, int]]) -> str:
    """Say which wells hold most of them, if a few do."""
    total = 0
    for n_named, (_, n) in enumerate(wells[:_NAMED_WELLS], start=1):
        total += n
        if 2 * total > n_novel:
            most = "all" if total == n_novel else "most"
            of_them = "" if n_novel == 1 else f"{most} of them "
            return f"{of_them}in {listing([name for name, _ in wells[:n_named]])}"
    first, n = wells[0]
    return f"in {len(wells)} wells, most in {first} ({n:,})"
