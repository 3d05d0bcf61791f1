"""The cross-validated figures of a model, as they are kept with it."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, ValidationError

from napari_hcs_qc.documents import Part, problems_of
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.curves import LearningCurve, Reliability
from napari_hcs_qc.qc.intervals import Rates

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _none_for_nan(value: object) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value


def _as_curve(value: Any) -> LearningCurve:
    if isinstance(value, LearningCurve):
        return value
    try:
        return LearningCurve.from_dict(value)
    except HcsQcError as error:
        raise ValueError(str(error)) from error


def _curve_as_data(curve: LearningCurve) -> dict[str, Any]:
    return {**curve.to_dict(), "verdict": curve.verdict()}


MaybeNumber = Annotated[float | None, BeforeValidator(_none_for_nan)]
"""A number; None where it is not defined."""

Curve = Annotated[
    LearningCurve,
    PlainValidator(_as_curve, json_schema_input_type=dict[str, Any]),
    PlainSerializer(_curve_as_data, return_type=dict[str, Any]),
]


class Figure(Part):
    """One figure with its name for people."""

    name: str
    mean: MaybeNumber
    sd: MaybeNumber
    """Over the repeats; None where there are none."""
    ci95: tuple[MaybeNumber, MaybeNumber]
    perfect: MaybeNumber = None
    """What exactly right probabilities would give."""


class LabelIssueRecord(Part):
    """An annotated cell that the others contradict."""

    cell: int
    """Row in `ModelManifest.training_cells`."""
    p_abnormal: float


class HeldOut(Part):
    """P(abnormal) of the annotated cells while they were held out."""

    p_abnormal: tuple[tuple[float, ...], ...]
    """Of every cell, in each repeat."""
    is_abnormal: tuple[bool, ...]
    """Whether the cell is annotated abnormal."""

    def called(self, threshold: float) -> NDArray[np.bool_]:
        """Tell which cells each repeat calls abnormal, ``(n_repeats, n_cells)``."""
        # Compared as all scores are, see `classes_at`.
        called: NDArray[np.bool_] = np.array(self.p_abnormal, np.float32) >= np.float32(threshold)
        return called


class Figures(Part):
    """What cross-validation found; only the sentence where it was not possible."""

    sentence: str
    figures: tuple[Figure, ...] = ()
    head: str = ""
    seeds: tuple[int, ...] = ()
    by: str = ""
    n_splits: int = 0
    n_cells: int = 0
    n_wells: int = 0
    note: str = ""
    mean: dict[str, MaybeNumber] = Field(default_factory=dict)
    sd: dict[str, MaybeNumber] = Field(default_factory=dict)
    ci95: dict[str, tuple[MaybeNumber, MaybeNumber]] = Field(default_factory=dict)
    per_seed: tuple[dict[str, int | MaybeNumber | str], ...] = ()
    label_issues: tuple[LabelIssueRecord, ...] = ()
    confusion: tuple[tuple[float, ...], ...] | None = None
    """Held-out cells by annotated and predicted class, normal first."""
    reliability: Reliability | None = None
    learning_curve: Curve | None = None
    held_out: HeldOut | None = None
    """None in models of an earlier version."""

    def rates(self, threshold: float) -> Rates | None:
        """Count what is called abnormal at a threshold; None where wells were not kept whole."""
        if self.held_out is None or self.by != "well":
            return None
        is_abnormal = np.array(self.held_out.is_abnormal, dtype=bool)
        called = self.held_out.called(threshold).mean(axis=0)
        return Rates(
            n_abnormal=int(is_abnormal.sum()),
            n_abnormal_called=float(called[is_abnormal].sum()),
            n_normal=int((~is_abnormal).sum()),
            n_normal_called=float(called[~is_abnormal].sum()),
        )


def _damaged_as_sentence(value: object) -> Figures:
    """Keep a model whose figures are damaged: they can be measured again."""
    if isinstance(value, Figures):
        return value
    try:
        return Figures.model_validate_json(json.dumps(value))
    except ValidationError as error:
        first = next(problems_of(error, Figures))
        return Figures(sentence=f"the figures in the model's manifest are damaged ({first})")


KeptFigures = Annotated[Figures, BeforeValidator(_damaged_as_sentence)]
"""Figures; damaged ones are a sentence that says so."""
