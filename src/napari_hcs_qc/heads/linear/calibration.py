"""Probabilities that mean what they say, from decisions on held-out cells (Platt scaling)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import minimize

from napari_hcs_qc.heads.linear.solver import probabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_DOUBT_FACTOR = 0.5  # sd of the log of the factor before any annotation is seen
_DOUBT_SHIFT = 1.0  # sd of the shift, in log-odds


class Calibration(NamedTuple):
    """``factor * decision + shift`` are log-odds one can believe."""

    factor: float  # above 0
    shift: Floats  # ``(n_outputs,)``
    log_loss: float  # mean log-loss of the held-out cells after calibration


def calibrate(decisions: Floats, codes: NDArray[np.int64], n_cells: int) -> Calibration:
    """Fit factor and shift to held-out decisions.

    Priors hold the factor near 1 and the shift near 0, so that ten annotations cannot run away
    with them; with some hundred they no longer matter.
    """
    n_outputs = decisions.shape[1]
    evidence = n_cells / len(codes)
    one_hot = np.eye(max(2, n_outputs))[codes][:, -n_outputs:]
    rows = np.arange(len(codes))

    def cost(parameters: Floats) -> tuple[float, Floats]:
        factor, shift = np.exp(parameters[0]), parameters[1:]
        p = probabilities(factor * decisions + shift)
        loss = -evidence * np.log(np.maximum(p[rows, codes], 1e-300)).sum()
        residual = evidence * (p[:, -n_outputs:] - one_hot)
        prior = (parameters[0] / _DOUBT_FACTOR) ** 2 + ((shift / _DOUBT_SHIFT) ** 2).sum()
        gradient = np.append(factor * (residual * decisions).sum(), residual.sum(axis=0))
        gradient[0] += parameters[0] / _DOUBT_FACTOR**2
        gradient[1:] += shift / _DOUBT_SHIFT**2
        return float(loss + 0.5 * prior), gradient

    fitted = minimize(
        cost,
        np.zeros(1 + n_outputs),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-2.0, 2.0)] + [(-4.0, 4.0)] * n_outputs,
    ).x
    factor, shift = float(np.exp(fitted[0])), fitted[1:]
    return Calibration(factor, shift, log_loss(factor * decisions + shift, codes))


def log_loss(decisions: Floats, codes: NDArray[np.int64]) -> float:
    """Mean log-loss of decision values, ``(n, n_outputs)``."""
    p = probabilities(decisions)[np.arange(len(codes)), codes]
    return float(-np.log(np.maximum(p, 1e-12)).mean())
