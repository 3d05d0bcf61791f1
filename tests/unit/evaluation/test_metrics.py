from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.metrics import classification_metrics

cells = st.lists(
    st.tuples(st.sampled_from(["normal", "abnormal"]), st.integers(0, 10)), min_size=1, max_size=60
)


@settings(max_examples=200)
@given(cells)
def test_the_figures_are_those_of_scikit_learn(drawn: list[tuple[str, int]]) -> None:
    y = np.array([label for label, _ in drawn])
    p = np.array([tenths / 10 for _, tenths in drawn])
    called = np.where(p >= 0.5, "abnormal", "normal")
    found = classification_metrics(y, p)
    assert found.accuracy == pytest.approx(oracle.accuracy_score(y, called))
    weighted = oracle.f1_score(y, called, average="weighted", zero_division=0)
    assert found.f1_weighted == pytest.approx(weighted)
    precision, recall, f1, _ = oracle.precision_recall_fscore_support(
        y, called, labels=["abnormal"], zero_division=0
    )
    assert found.precision_abnormal == pytest.approx(precision[0])
    assert found.recall_abnormal == pytest.approx(recall[0])
    assert found.f1_abnormal == pytest.approx(f1[0])
    assert (found.n_cells, found.n_abnormal) == (len(y), (y == "abnormal").sum())
    if len(set(y)) == 2:
        assert found.auc == pytest.approx(oracle.roc_auc_score(y == "abnormal", p))
        assert found.auc_reason == ""
    else:
        assert math.isnan(found.auc)
        assert found.auc_reason == f"all {len(y)} cells are annotated {y[0]}"


def test_classes_in_place_of_probabilities_have_no_auc() -> None:
    found = classification_metrics(["normal", "abnormal"], ["normal", "normal"])
    assert found.accuracy == 0.5
    assert math.isnan(found.auc)
    assert "without probabilities" in found.auc_reason
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["auc"] is None


@pytest.mark.parametrize(
    ("y", "predicted", "words"),
    [
        ([], [], "No annotated cells"),
        (["normal", "odd"], [0, 1], "Unknown annotated classes 'odd'"),
        (["normal"], ["maybe"], "Unknown predicted classes 'maybe'"),
        (["normal"], [0.1, 0.2], "2 predictions were given for 1"),
        (["normal", "abnormal"], [0.1, np.nan], "1 of 2 values .* NaN or outside"),
        (["normal", "abnormal"], [0.1, 1.5], "1 of 2 values"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    y: list[str], predicted: list[object], words: str
) -> None:
    with pytest.raises(HcsQcError, match=words):
        classification_metrics(y, predicted)
