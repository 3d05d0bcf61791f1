"""Whether P(abnormal) can be taken at its word: that of cells given 0.8, 80 % are abnormal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.curves import Reliability
from napari_hcs_qc.qc.intervals import wilson_interval

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_N_PERFECT = 500  # draws behind `Reliability.ece_perfect`
_N_BOOTSTRAP = 1000  # draws of wells behind its interval


def reliability(
    p_abnormal: ArrayLike,
    is_abnormal: ArrayLike,
    n_bins: int = 10,
    *,
    units: ArrayLike | None = None,
) -> Reliability:
    """Compare P(abnormal) of held-out cells with how many of them are abnormal."""
    p, abnormal = np.asarray(p_abnormal, np.float64), np.asarray(is_abnormal, bool)
    if n_bins < 2:
        raise HcsQcError(f"{n_bins} bins were requested; at least 2 are needed.")
    if p.ndim != 1 or len(p) == 0 or p.shape != abnormal.shape:
        raise HcsQcError(
            f"{p.size} values of P(abnormal) were given for {abnormal.size} annotated cells; "
            "give one per cell, and at least one."
        )
    n_bad = int((~((p >= 0) & (p <= 1))).sum())
    if n_bad:
        raise HcsQcError(
            f"{n_bad} of {len(p)} values of P(abnormal) are NaN or outside 0..1; leave out the "
            "cells that could not be scored."
        )
    edges = np.arange(n_bins + 1) / n_bins
    bin_of = np.minimum(np.searchsorted(edges, p, side="right") - 1, n_bins - 1)
    counts = np.bincount(bin_of, minlength=n_bins)
    used = np.flatnonzero(counts)
    n = counts[used]
    mean_p = np.bincount(bin_of, p, n_bins)[used] / n
    n_abnormal = np.bincount(bin_of, abnormal, n_bins)[used]
    share = n_abnormal / n
    low, high = wilson_interval(n_abnormal, n)
    ece = float(n @ np.abs(share - mean_p) / len(p))
    in_bin = bin_of[:, np.newaxis] == np.arange(n_bins)
    ends: tuple[float | None, float | None] = (None, None)
    weight = None if units is None else _draw_units(units)
    if weight is not None:
        drawn = np.abs(weight @ (in_bin * (abnormal - p)[:, np.newaxis])).sum(axis=1)
        drawn /= weight.sum(axis=1)
        far, near = np.percentile(drawn, [97.5, 2.5])
        ends = (float(np.clip(2 * ece - far, 0, 1)), float(np.clip(2 * ece - near, 0, 1)))
    chance = np.random.default_rng(0).random((_N_PERFECT, len(p)))
    perfect = np.abs(((chance < p) - p) @ in_bin).sum(axis=1) / len(p)
    return Reliability(
        bin_low=tuple(edges[used].tolist()),
        bin_high=tuple(edges[used + 1].tolist()),
        mean_p=tuple(mean_p.tolist()),
        share=tuple(share.tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        n=tuple(n.tolist()),
        ece=ece,
        ece_low=ends[0],
        ece_high=ends[1],
        ece_perfect=float(perfect.mean()),
    )


def _draw_units(units: ArrayLike) -> NDArray[np.float64] | None:
    """Draw whole units with replacement: how often each cell is drawn; None of a single unit."""
    unit = np.unique(np.asarray(units), return_inverse=True)[1].reshape(-1)
    n_units = int(unit.max()) + 1
    if n_units < 2:
        return None
    rng = np.random.default_rng(0)
    times = rng.multinomial(n_units, np.full(n_units, 1 / n_units), _N_BOOTSTRAP)
    return times[:, unit].astype(np.float64)
