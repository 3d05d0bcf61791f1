from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self
from xml.etree import ElementTree

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from napari_hcs_qc.assay.embeddings.training_set import MoreCells
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.qc.reports.figures import to_svg
from napari_hcs_qc.study.artefacts import measure
from napari_hcs_qc.study.artefacts.artefact_kinds import KINDS
from napari_hcs_qc.study.artefacts.measure import (
    detection_row,
    fit_folds,
    p_abnormal,
    weighted_f1,
    well_folds,
)
from napari_hcs_qc.study.artefacts.sensitivity_page import SIMULATED_SUFFIX, detection_chart
from napari_hcs_qc.study.artefacts.sensitivity_results import (
    Curve,
    Detection,
    Trained,
    severity_at,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

RNG = np.random.default_rng(0)
GROUPS = np.array([f"P/{letter}{number:02d}" for letter in "ABC" for number in range(1, 5)] * 6)
CLASSES = np.where(RNG.random(len(GROUPS)) < 0.35, "abnormal", "normal")
FEATURES = RNG.normal(size=(len(GROUPS), 6)).astype(np.float32)
FEATURES[:, 0] += 4 * (CLASSES == "abnormal")


def simulated(embeddings: NDArray[np.float32], groups: NDArray[np.str_]) -> MoreCells:
    return MoreCells(embeddings, np.full(len(groups), "abnormal"), groups)


class Recorder:
    """A head that remembers the wells it was fitted on and answers with a constant."""

    made: ClassVar[list[Recorder]] = []

    def __init__(self) -> None:
        self.classes_ = np.array(["abnormal", "normal"])
        self.made.append(self)

    def fit(self, X: NDArray[Any], y: NDArray[Any], groups: NDArray[Any]) -> Self:
        self.wells = set(groups.tolist())
        self.n, self.n_abnormal = len(X), int((y == "abnormal").sum())
        return self

    def predict_proba(self, X: NDArray[Any]) -> NDArray[np.float64]:
        number = self.made.index(self) / 10
        return np.tile([number, 1 - number], (len(X), 1))


def test_no_well_is_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorder, "made", [])
    monkeypatch.setattr(measure, "make_head", lambda *_: Recorder())
    split = well_folds(CLASSES, GROUPS, 0)
    heads: Any = fit_folds(FEATURES, CLASSES, GROUPS, split, "linear", 0)
    p = p_abnormal(heads, split.fold, FEATURES)
    tested_by = np.rint(p * 10).astype(int)
    assert set(tested_by.tolist()) == set(range(len(heads)))
    for number, head in enumerate(heads):
        assert not head.wells & set(GROUPS[tested_by == number].tolist())


def test_a_simulated_cell_of_a_tested_well_is_refused() -> None:
    split = well_folds(CLASSES, GROUPS, 0)
    good, bad = {}, {}
    for fold, (train, test) in enumerate(split):
        made = FEATURES[train[:3]]
        good[fold] = simulated(made, GROUPS[train[:3]])
        bad[fold] = simulated(made, GROUPS[test[:3]])
    assert len(fit_folds(FEATURES, CLASSES, GROUPS, split, "knn", 0, good)) == split.n_folds
    with pytest.raises(HcsQcError, match="both trained on and tested"):
        fit_folds(FEATURES, CLASSES, GROUPS, split, "knn", 0, bad)


def test_simulated_cells_are_added_as_abnormal_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "make_head", lambda *_: Recorder())
    split = well_folds(CLASSES, GROUPS, 0)
    extra = {
        fold: simulated(FEATURES[train[:7]], GROUPS[train[:7]])
        for fold, (train, _) in enumerate(split)
    }
    heads: Any = fit_folds(FEATURES, CLASSES, GROUPS, split, "linear", 0, extra)
    for head, (train, _test) in zip(heads, split, strict=True):
        assert head.n == len(train) + 7
        assert head.n_abnormal == (CLASSES[train] == "abnormal").sum() + 7


def test_too_few_wells_are_refused() -> None:
    with pytest.raises(HcsQcError, match="2 annotated wells cannot be split"):
        well_folds(CLASSES, np.where(np.arange(len(GROUPS)) % 2, "P/A01", "P/A02"), 0)


def test_figures_are_those_of_scikit_learn_at_any_threshold() -> None:
    p = RNG.random(len(CLASSES))
    for threshold in (0.3, 0.5, 0.8):
        called = np.where(p >= threshold, "abnormal", "normal")
        found = weighted_f1(CLASSES, p, threshold)
        assert found["f1_weighted"] == pytest.approx(f1_score(CLASSES, called, average="weighted"))
        one = {"pos_label": "abnormal", "zero_division": 0}
        assert found["precision_abnormal"] == pytest.approx(precision_score(CLASSES, called, **one))
        assert found["recall_abnormal"] == pytest.approx(recall_score(CLASSES, called, **one))


def test_the_interval_counts_each_cell_once() -> None:
    called = np.array([[True] * 12 + [False] * 28] * 3)
    row = detection_row("real", 0.5, 2.0, called)
    assert row.called_abnormal == 0.3
    assert row.n_cells == 40
    # Wilson 1927 for 12 of 40, not for 36 of 120.
    assert row.low == pytest.approx(0.18073, abs=1e-4)
    assert row.high == pytest.approx(0.45429, abs=1e-4)
    assert row.per_seed == (0.3, 0.3, 0.3)


def rows(*points: tuple[float, float], trained: Trained = "real") -> list[Detection]:
    return [
        Detection(
            trained=trained,
            severity=severity,
            amount=3.0 * severity,
            n_cells=10,
            called_abnormal=share,
            low=max(0.0, share - 0.1),
            high=min(1.0, share + 0.1),
            per_seed=(share,),
        )
        for severity, share in points
    ]


def test_the_severity_from_which_half_is_found() -> None:
    assert severity_at(rows((0, 0.0), (0.5, 0.4), (1.0, 0.6)), 0.5) == pytest.approx(0.75)
    assert severity_at(rows((0, 0.1), (1.0, 0.4)), 0.5) is None
    assert severity_at(rows((0, 0.7), (1.0, 0.9)), 0.5) == 0.0
    # One that falls again counts from its last rise.
    falls = rows((0, 0.0), (0.2, 0.8), (0.4, 0.2), (0.8, 1.0))
    assert severity_at(falls, 0.5) == pytest.approx(0.4 + 0.4 * 0.3 / 0.8)
    assert severity_at(rows((0, 0.0), (0.5, 0.8), (1.0, 0.1)), 0.5) is None


def test_the_chart_has_the_curves_of_every_kind() -> None:
    names = ["one <&>", "one <&>" + SIMULATED_SUFFIX, "two"]
    kinds = list(KINDS)[:5]
    panels = {
        kind: [
            Curve(encoder, kind, rows((1, 0.9), (0, untouched), (0.5, 0.5), trained=trained))
            for encoder, trained, untouched in (
                ("one <&>", "real", 0.1),
                ("one <&>", "simulated", 0.15),
                ("two", "real", 0.2),
            )
        ]
        for kind in kinds
    }
    figure = detection_chart(panels, "Title", "from <here>")
    drawn = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in drawn] == kinds
    shares = {line.get_label(): line for line in drawn[4].lines}
    for name in names:
        # Side by side, so that intervals can be told apart.
        assert np.allclose(shares[name].get_xdata(), [0, 0.5, 1], atol=0.02)
    assert np.allclose(shares["two"].get_ydata(), [20, 50, 90])
    spans = [segment[:, 1].tolist() for segment in drawn[4].collections[0].get_segments()]  # type: ignore[attr-defined]
    assert np.allclose(spans, [[0, 20], [40, 60], [80, 100]])
    untouched = [line.get_ydata() for line in drawn[4].lines if line.get_linestyle() == ":"]
    assert np.allclose(untouched, [[10, 10], [15, 15], [20, 20]])
    first, simulated, second = (shares[name] for name in names)
    assert first.get_color() == simulated.get_color() != second.get_color()
    assert simulated.is_dashed() and not first.is_dashed()
    root = ElementTree.fromstring(to_svg(figure))
    texts = ["".join(text.itertext()) for text in root.iter() if text.tag.endswith("}text")]
    assert {*names, "Title", "from <here>", "severity (1 is 3 px sd)"} <= set(texts)
    assert to_svg(figure) == to_svg(detection_chart(panels, "Title", "from <here>"))
