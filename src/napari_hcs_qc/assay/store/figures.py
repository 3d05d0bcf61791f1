"""The cross-validated figures of a model, as they are kept with it."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, ValidationError

from napari_hcs_qc.documents import Part, problems_of
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.agreement import TOO_FEW, Agreement, agreement
from napari_hcs_qc.evaluation.curves import LearningCurve, Reliability
from napari_hcs_qc.qc.intervals import Rates, upper_limit
from napari_hcs_qc.text import percent

if TYPE_CHECKING:
    from numpy.typing import NDArray


NOT_OF_THE_PLATE = (
    "The figures are of cells picked in this way: they do not say how many of the calls on all "
    "cells of a plate are right, nor which share of those is abnormal."
)
"""What is said beside the figures, as people pick what they annotate."""

TITLES = {
    "f1_weighted": "weighted F1",
    "auc": "AUC",
    "accuracy": "accuracy",
    "f1_abnormal": "F1 of the abnormal class",
    "f1_normal": "F1 of the normal class",
    "precision_abnormal": "precision of the abnormal class",
    "recall_abnormal": "recall of the abnormal class",
}
"""Cross-validated figures and their names for people."""

MIN_DRAWN = 10
"""Cells drawn at random that stay; with fewer a limit would say nothing."""
_MANY_DRAWN = 300  # from which the limit is as low as it can usefully be

CALIBRATION = "expected calibration error"
"""Another figure, of `Reliability`; the lower the better."""


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
    no_interval: str = TOO_FEW
    """Why there is no interval, where there is none."""
    perfect: MaybeNumber = None
    """What exactly right probabilities would give."""

    def interval_text(self) -> str:
        """Give the interval, or why there is none."""
        low, high = self.ci95
        return self.no_interval if low is None or high is None else f"{low:.3f}–{high:.3f}"


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
    counts: tuple[bool, ...] = ()
    """Whether the figures are also of this cell; empty: of all."""
    fold: tuple[tuple[int, ...], ...] = ()
    """In which it was held out, in each repeat; empty in models of an earlier version."""
    well: tuple[int, ...] = ()
    """Number of its well; empty where the figures have no intervals."""
    random: tuple[bool, ...] = ()
    """Whether the cell was drawn at random from all of its plate; empty where that is not known."""

    def called(self, threshold: float) -> NDArray[np.bool_]:
        """Tell which cells each repeat calls abnormal, ``(n_repeats, n_cells)``."""
        return _called(np.array(self.p_abnormal), threshold)

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which cells the figures are of."""
        return np.array(self.counts or [True] * len(self.is_abnormal), dtype=bool)

    def staying(self, threshold: float) -> tuple[int, int]:
        """Count the cells drawn at random that stay, called normal, and the abnormal of them."""
        p_abnormal = np.array(self.p_abnormal, np.float64).mean(axis=0)
        stays = np.array(self.random, dtype=bool) & ~_called(p_abnormal, threshold)
        return int(stays.sum()), int(np.array(self.is_abnormal, dtype=bool)[stays].sum())

    def agreement(self, threshold: float) -> Agreement:
        """Compare with what was annotated, at a threshold."""
        used = self.counted
        return agreement(
            np.array(self.is_abnormal, dtype=bool)[used],
            np.array(self.p_abnormal, dtype=np.float64)[:, used],
            np.array(self.fold, dtype=np.int64)[:, used],
            np.array(self.well, dtype=np.int64)[used] if self.well else None,
            threshold=threshold,
        )


class Figures(Part):
    """What cross-validation found; only the sentence where it was not possible."""

    sentence: str
    """What the figures were measured on, and how."""
    threshold: float = 0.5
    """From which a cell counted as called abnormal."""
    is_of_uncertain: bool = False
    """Whether they are also of cells suggested because a model was unsure of them: too low."""
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
    label_issues: tuple[LabelIssueRecord, ...] = ()
    confusion: tuple[tuple[float, ...], ...] | None = None
    """Held-out cells by annotated and predicted class, normal first."""
    reliability: Reliability | None = None
    learning_curve: Curve | None = None
    held_out: HeldOut | None = None
    """None in models of an earlier version."""

    def at(self, threshold: float) -> Figures:
        """Give the figures at a threshold.

        Those of an earlier version stay, without the intervals, which were too narrow.
        """
        held_out = self.held_out
        if held_out is None or not held_out.fold:
            unknown = {"ci95": (None, None), "no_interval": "measure again for an interval"}
            shown = tuple(
                figure.model_copy(update=unknown) if figure.name in TITLES.values() else figure
                for figure in self.figures
            )
            return self.model_copy(update={"figures": shown, "ci95": {}})
        agreed = held_out.agreement(threshold)
        why = "too low" if self.is_of_uncertain else TOO_FEW
        sd = agreed.sd if len(held_out.p_abnormal) > 1 else dict.fromkeys(TITLES, math.nan)
        shown = tuple(
            Figure(
                name=title,
                mean=agreed.mean[name],
                sd=sd[name],
                ci95=agreed.ci95[name],
                no_interval=why,
            )
            for name, title in TITLES.items()
        )
        others = tuple(figure for figure in self.figures if figure.name not in TITLES.values())
        changes = {
            "threshold": threshold,
            "figures": (*shown, *others),
            "mean": {name: _none_for_nan(value) for name, value in agreed.mean.items()},
            "sd": {name: _none_for_nan(value) for name, value in sd.items()},
            "ci95": {
                name: (_none_for_nan(low), _none_for_nan(high))
                for name, (low, high) in agreed.ci95.items()
            },
            "confusion": tuple(tuple(row) for row in agreed.confusion.tolist()),
        }
        return self.model_copy(update=changes)

    def explained(self) -> str:
        """Say what the figures are of and at which threshold, and what they are not."""
        if not self.figures:
            return self.sentence
        calls = f"At the threshold {self.threshold:.2f}"
        if self.confusion is not None:
            (passed, alarms), (misses, hits) = self.confusion
            calls += (
                f", {_count(hits)} of {hits + misses:.0f} abnormal and {_count(alarms)} of "
                f"{passed + alarms:.0f} normal cells are called abnormal"
            )
        bound = self.bound_text()
        return " ".join(filter(None, (f"{self.sentence} {calls}.", bound, NOT_OF_THE_PLATE)))

    def bound(self, threshold: float) -> float | None:
        """Limit of the share of abnormal cells among those that stay, at 95 % confidence.

        It holds for cells drawn at random, each judged by a model that saw none of its well; None
        with fewer than `MIN_DRAWN` of them that stay.
        """
        if self.held_out is None or not self.held_out.random or self.by != "well":
            return None
        n_stay, n_abnormal = self.held_out.staying(threshold)
        return None if n_stay < MIN_DRAWN else upper_limit(n_abnormal, n_stay)

    def bound_text(self) -> str:
        """Say what `bound` is of; empty where there is none."""
        limit = self.bound(self.threshold)
        if limit is None or self.held_out is None:
            return ""
        n_stay, n_abnormal = self.held_out.staying(self.threshold)
        wide = " The more such cells, the lower that limit." if n_stay < _MANY_DRAWN else ""
        return (
            f"Of {n_stay} annotated cells that were drawn at random and are called normal, "
            f"{n_abnormal} {'is' if n_abnormal == 1 else 'are'} abnormal: at most "
            f"{percent(limit)} of the cells of their plates that stay are (95 % confidence).{wide}"
        )

    def rates(self, threshold: float) -> Rates | None:
        """Count what is called abnormal at a threshold.

        None where wells were not kept whole, or of cells that a model was unsure of.
        """
        if self.held_out is None or self.by != "well" or self.is_of_uncertain:
            return None
        used = self.held_out.counted
        is_abnormal = np.array(self.held_out.is_abnormal, dtype=bool)[used]
        called = self.held_out.called(threshold).mean(axis=0)[used]
        return Rates(
            n_abnormal=int(is_abnormal.sum()),
            n_abnormal_called=float(called[is_abnormal].sum()),
            n_normal=int((~is_abnormal).sum()),
            n_normal_called=float(called[~is_abnormal].sum()),
        )


def _called(p_abnormal: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    # Compared as all scores are, see `classes_at`.
    called: NDArray[np.bool_] = p_abnormal.astype(np.float32) >= np.float32(threshold)
    return called


def _count(mean: float) -> str:
    """Write a mean over repeats of a number of cells."""
    return f"{mean:.1f}".removesuffix(".0")


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
