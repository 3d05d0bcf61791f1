"""How well predicted classes agree with a person's; `abnormal` is the class looked for."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import roc_auc_score

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.agreement import rates
from napari_hcs_qc.heads.linear.scoring import ABNORMAL, NORMAL

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Agreement over a set of cells. All figures are shares in 0..1."""

    accuracy: float  # share of cells predicted as annotated
    # F1 of both classes, weighted by how often each is annotated (the paper's figure)
    f1_weighted: float
    f1_abnormal: float
    f1_normal: float
    precision_abnormal: float
    recall_abnormal: float
    auc: float  # area under the ROC curve of P(abnormal)
    n_cells: int  # annotated cells
    n_abnormal: int  # those annotated abnormal
    auc_reason: str = ""  # why `auc` is NaN; empty otherwise

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; a NaN becomes None."""
        return asdict(self) | {"auc": None if math.isnan(self.auc) else self.auc}


def classification_metrics(y_true: ArrayLike, predicted: ArrayLike) -> Metrics:
    """Compare predictions with annotations."""
    is_abnormal = _as_abnormal(np.asarray(y_true), "annotated")
    given = np.asarray(predicted)
    if len(given) != len(is_abnormal):
        raise HcsQcError(
            f"{len(given)} predictions were given for {len(is_abnormal)} annotated cells; "
            "give one prediction per cell."
        )
    auc, reason = math.nan, ""
    if given.dtype.kind in "OUS":
        called = _as_abnormal(given, "predicted")
        reason = "classes were predicted without probabilities"
    else:
        p = given.astype(np.float64)
        if not ((p >= 0) & (p <= 1)).all():
            bad = int((~((p >= 0) & (p <= 1))).sum())
            raise HcsQcError(
                f"{bad} of {len(p)} values of P(abnormal) are NaN or outside 0..1; "
                "leave out the cells that could not be scored."
            )
        called = p >= 0.5
        if is_abnormal.all() or not is_abnormal.any():
            name = ABNORMAL if is_abnormal.all() else NORMAL
            reason = f"all {len(p)} cells are annotated {name}"
        else:
            auc = float(roc_auc_score(is_abnormal, p))
    counts = confusion(is_abnormal, called)
    figures = {name: float(value) for name, value in rates(counts).items()}
    return Metrics(
        **figures,
        auc=auc,
        n_cells=len(is_abnormal),
        n_abnormal=int(is_abnormal.sum()),
        auc_reason=reason,
    )


def confusion(is_abnormal: NDArray[np.bool_], called: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Count ``(4,)`` hits, false alarms, misses, and normal cells called normal."""
    pairs = (is_abnormal & called, ~is_abnormal & called, is_abnormal & ~called)
    hits, alarms, misses = (float(pair.sum()) for pair in pairs)
    return np.array([hits, alarms, misses, len(called) - hits - alarms - misses])


def _as_abnormal(classes: NDArray[Any], which: str) -> NDArray[np.bool_]:
    names = classes.astype(str)
    if names.ndim != 1 or len(names) == 0:
        raise HcsQcError(f"No {which} cells were given (shape {names.shape}); expected a list.")
    unknown = sorted(set(names.tolist()) - {NORMAL, ABNORMAL})
    if unknown:
        raise HcsQcError(
            f"Unknown {which} classes {', '.join(map(repr, unknown[:5]))}; "
            "expected 'normal' or 'abnormal'."
        )
    is_abnormal: NDArray[np.bool_] = names == ABNORMAL
    return is_abnormal
