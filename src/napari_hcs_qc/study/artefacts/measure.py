"""How many changed cells a head calls abnormal that never saw a cell of their wells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.crossval import grouped_folds
from napari_hcs_qc.evaluation.metrics import classification_metrics
from napari_hcs_qc.heads.head_registry import make_head
from napari_hcs_qc.heads.linear.scoring import ABNORMAL, NORMAL, abnormal_column
from napari_hcs_qc.qc.scores import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.models.extra_cells import Simulated
    from napari_hcs_qc.heads.head_registry import Head
    from napari_hcs_qc.heads.linear.folds import Folds


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
    extra: Mapping[int, Simulated] | None = None,
) -> list[Head]:
    """Fit one head a fold on the cells of the other folds."""
    heads = []
    for fold, (train, test) in enumerate(split):
        x, y, wells = features[train], classes[train], groups[train]
        if extra is not None:
            more = extra[fold]
            x = np.concatenate([x, more.features])
            y = np.concatenate([y, np.full(len(more.features), ABNORMAL)])
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
    names = ("f1_weighted", "precision_abnormal", "recall_abnormal")
    return {name: getattr(metrics, name) for name in names}


def detection_row(
    severity: float, amount: float | None, called: NDArray[np.bool_]
) -> dict[str, Any]:
    """Share of cells called abnormal at one severity, with its Wilson 95 % interval."""
    n_cells = called.shape[1]
    share = np.array([float(called.mean())])
    low, high = wilson_interval(share * n_cells, np.array([n_cells]))
    return {
        "severity": severity,
        "amount": amount,
        "n_cells": n_cells,
        "called_abnormal": round(float(share[0]), 6),
        "low": round(float(low[0]), 6),
        "high": round(float(high[0]), 6),
        "per_seed": [round(float(value), 6) for value in called.mean(axis=1)],
    }


def severity_at(rows: Sequence[Mapping[str, Any]], share: float) -> float | None:
    """Severity from which on at least `share` of the cells is called abnormal, by interpolation.

    From there on for good: a curve that falls below again counts from where it last rises. None
    where the highest severity is not called that often.
    """
    points = sorted((float(row["severity"]), float(row["called_abnormal"])) for row in rows)
    reached: float | None = None
    previous: tuple[float, float] | None = None
    for severity, value in points:
        if value < share:
            reached = None
        elif reached is None:
            reached = severity
            if previous is not None:
                s0, v0 = previous
                reached = s0 + (severity - s0) * (share - v0) / (value - v0)
        previous = (severity, value)
    return reached
