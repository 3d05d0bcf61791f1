"""A light head that adds to a model's log-odds what was annotated since it was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import expit, logit

from napari_hcs_qc.heads.linear.solver import solve_gram
from napari_hcs_qc.heads.threads import one_blas_thread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_hcs_qc.heads.linear.solver import Floats

_STRENGTH = 0.01  # L2, in units of the mean squared norm: the linear head's before any annotation
_LIMIT = 5.0  # standardised features stop here, as in the linear head
_SCALE_ROWS = 4096  # of embeddings that mean and spread are measured on
_SUREST = 1e-4  # of a probability that is turned into log-odds
FEWEST = 1
"""Annotations of each class below which nothing is fitted."""


class Scale(NamedTuple):
    """Mean and spread of the features of a plate."""

    centre: NDArray[np.float32]  # (n_features,)
    factor: NDArray[np.float32]  # (n_features,), 0 for a constant feature

    @classmethod
    def of(cls, embeddings: NDArray[np.floating[Any]]) -> Scale:
        """Measure them on cells from all over the plate."""
        step = max(1, len(embeddings) // _SCALE_ROWS)
        sample = np.asarray(embeddings[::step], dtype=np.float32)
        sample = sample[np.isfinite(sample).all(axis=1)]
        if not len(sample):
            zeros = np.zeros(embeddings.shape[1], dtype=np.float32)
            return cls(zeros, zeros)
        spread = sample.std(axis=0)
        factor = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
        return cls(sample.mean(axis=0), factor)

    def inputs(self, embeddings: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Standardise the features of some cells."""
        z = (np.asarray(embeddings, dtype=np.float32) - self.centre) * self.factor
        return np.clip(z, -_LIMIT, _LIMIT, out=z)


class LightHead:
    """Fitted on annotated cells of one plate, again at each annotation; keeps what stays the same.

    The decision is the log-odds of the model in use plus a linear function of the features, whose
    fit begins at nothing: where the model is right already it stays as it is.
    """

    def __init__(self, scale: Scale) -> None:
        self._scale = scale
        self._rows: list[int] = []
        self._inputs = np.empty((0, len(scale.centre)), dtype=np.float32)
        self._gram = np.empty((0, 0))
        self._shares = np.empty(0)
        self._weights, self._intercept = np.zeros(len(scale.centre), dtype=np.float32), 0.0

    def fit(
        self,
        embeddings: NDArray[np.floating[Any]],
        rows: NDArray[np.int64],
        is_abnormal: NDArray[np.bool_],
        p_model: NDArray[np.floating[Any]],
    ) -> None:
        """Fit on annotated rows of the embeddings, all of them finite; `p_model` is of each."""
        self._take(embeddings, rows.tolist())
        order = np.array([self._at[row] for row in rows.tolist()], dtype=np.int64)
        classes, offset = np.empty(len(rows), dtype=bool), np.empty(len(rows))
        classes[order], offset[order] = is_abnormal, log_odds(p_model)
        counts = np.maximum(np.bincount(classes, minlength=2), 1)
        unit = max(float(np.trace(self._gram)) / len(rows), float(np.finfo(float).tiny))
        importance = (len(rows) / (2 * counts))[classes.astype(np.int64)]
        with one_blas_thread():
            self._shares, self._intercept = solve_gram(
                self._gram,
                classes,
                importance,
                _STRENGTH * unit,
                offset,
                self._shares,
                tolerance=1e-3,
            )
        self._weights = self._shares.astype(np.float32) @ self._inputs

    def p_abnormal(
        self, embeddings: NDArray[np.floating[Any]], p_model: NDArray[np.floating[Any]]
    ) -> Floats:
        """P(abnormal) of cells, NaN where their embedding is missing."""
        inputs = self._scale.inputs(embeddings)
        decision = inputs @ self._weights + self._intercept + log_odds(p_model)
        return np.asarray(expit(decision.astype(np.float64)))

    def _take(self, embeddings: NDArray[np.floating[Any]], rows: list[int]) -> None:
        """Keep the scalar products of all pairs, of which most were there before."""
        wanted = set(rows)
        stay = [place for place, row in enumerate(self._rows) if row in wanted]
        self._inputs, self._gram = self._inputs[stay], self._gram[np.ix_(stay, stay)]
        self._rows, self._shares = [self._rows[place] for place in stay], self._shares[stay]
        new = sorted(wanted - set(self._rows))
        if new:
            inputs = self._scale.inputs(embeddings[new])
            across = (self._inputs @ inputs.T).astype(np.float64)
            among = (inputs @ inputs.T).astype(np.float64)
            self._gram = np.block([[self._gram, across], [across.T, among]])
            self._inputs = np.concatenate([self._inputs, inputs])
            self._shares = np.concatenate([self._shares, np.zeros(len(new))])
            self._rows += new
        self._at = {row: place for place, row in enumerate(self._rows)}


def log_odds(p: NDArray[np.floating[Any]]) -> Floats:
    """Log-odds of probabilities; 0 where there is none."""
    known = np.where(np.isfinite(p), p, 0.5)
    return np.asarray(logit(np.clip(known, _SUREST, 1 - _SUREST)), dtype=np.float64)
