"""How many changed cells a head calls abnormal that never saw a cell of their wells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.crossval import grouped_folds
from napari_hcs_qc.evaluation.metrics import classification_metrics
from napari_hcs_qc.heads.head_registry import make_head
from napari_hcs_qc.heads.linear.scoring import ABNORMAL, NORMAL, abnormal_column
from napari_hcs_qc.qc.intervals import wilson_interval
from napari_hcs_qc.study.artefacts.sensitivity_results import Detection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.embeddings.training_set import MoreCells
    from napari_hcs_qc.heads.head_registry import Head
    from napari_hcs_qc.heads.linear.folds import Folds
    from napari_hcs_qc.study.artefacts.sensitivity_results import Trained

FIGURES = {
    "f1_weighted": "weighted F1",
    "precision_abnormal": "precision of abnormal",
    "recall_abnormal": "recall of abnormal",
}
"""Figures on real annotated cells, by the names of `Metrics`."""


def well_folds(classes: NDArray[np.str_], groups: NDArray[np.str_], seed: int) -> Folds:
    """Divide annotated cells into five folds (fewer where they do not allow it) by well."""
    split = grouped_folds(groups, classes, 5, seed)
    if split.by != "well":
        raise HcsQcError(
            f"The {len(set(groups.tolist()))} annotated wells cannot be split so that no well is "
            "both trained on and tested; annotate normal and abnormal cells in more wells."
        )
    return split


def fit_folds(
    features: NDArray[np.float32],
    classes: NDArray[np.str_],
    groups: NDArray[np.str_],
    split: Folds,
    head: str,
    seed: int,
    extra: Mapping[int, MoreCells] | None = None,
) -> list[Head]:
    """Fit one head a fold on the cells of the other folds."""
    heads = []
    for fold, (train, test) in enumerate(split):
        x, y, wells = features[train], classes[train], groups[train]
        if extra is not None:
            more = extra[fold]
            x = np.concatenate([x, more.embeddings])
            y = np.concatenate([y, more.classes])
            wells = np.concatenate([wells, more.groups])
        shared = set(wells.tolist()) & set(groups[test].tolist())
        if shared:
            raise HcsQcError(f"The well {min(shared)} is both trained on and tested.")
        fitted = make_head(head, seed)
        fitted.fit(x, y, groups=wells)
        heads.append(fitted)
    return heads


def p_abnormal(
    heads: Sequence[Head], folds: NDArray[np.int64], features: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Score cells, each by the head of the fold that it is held out in."""
    p = np.full(len(folds), np.nan)
    for fold, head in enumerate(heads):
        here = folds == fold
        if here.any():
            p[here] = head.predict_proba(features[here])[:, abnormal_column(head)]
    return p


def weighted_f1(
    classes: NDArray[np.str_], p: NDArray[np.float64], threshold: float
) -> dict[str, float]:
    """Weighted F1, and precision and recall of the abnormal, of real annotated cells."""
    called = np.where(p >= threshold, ABNORMAL, NORMAL)
    metrics = classification_metrics(classes, called)
    return {name: getattr(metrics, name) for name in FIGURES}


def detection_row(
    trained: Trained, severity: float, amount: float | None, called: NDArray[np.bool_]
) -> Detection:
    """Share of cells called abnormal at one severity, with its Wilson 95 % interval."""
    n_cells = called.shape[1]
    share = np.array([float(called.mean())])
    low, high = wilson_interval(share * n_cells, np.array([n_cells]))
    return Detection(
        trained=trained,
        severity=severity,
        amount=amount,
        n_cells=n_cells,
        called_abnormal=round(float(share[0]), 6),
        low=round(float(low[0]), 6),
        high=round(float(high[0]), 6),
        per_seed=tuple(round(float(value), 6) for value in called.mean(axis=1)),
    )
