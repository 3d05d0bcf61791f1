from __future__ import annotations

import numpy as np
import pytest

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.crossval import cross_validate
from napari_hcs_qc.evaluation.label_issues import label_issues


def test_the_least_confident_come_first_and_only_those_contradicted() -> None:
    p = [[0.9, 0.2, 0.6, 0.1, 0.95], [0.7, 0.0, 0.6, 0.3, 0.95]]  # means 0.8 0.1 0.6 0.2 0.95
    said = [False, False, True, True, False]
    assert label_issues(p, said).tolist() == [4, 0, 3]
    assert label_issues(np.mean(p, axis=0), said).tolist() == [4, 0, 3]


def test_nothing_is_doubted_where_all_agree() -> None:
    assert label_issues([0.1, 0.9], [False, True]).tolist() == []
    assert label_issues([], []).tolist() == []


@pytest.mark.parametrize(
    ("p", "said", "words"),
    [([0.1], [True, False], "1 probabilities.*2 annotated"), ([np.nan], [True], "between 0 and 1")],
)
def test_what_is_no_probability_is_told(p: list[float], said: list[bool], words: str) -> None:
    with pytest.raises(HcsQcError, match=words):
        label_issues(p, said)


def test_most_planted_slips_are_found() -> None:
    rng = np.random.default_rng(0)
    y = np.where(rng.random(160) < 0.4, "abnormal", "normal")
    X = rng.normal(size=(160, 20)) + 1.2 * (y == "abnormal")[:, np.newaxis]
    wells = np.array([f"P/A{number:02d}" for number in rng.integers(1, 20, 160)])
    slips = rng.choice(160, 8, replace=False)
    said = y.copy()
    said[slips] = np.where(said[slips] == "normal", "abnormal", "normal")
    found = cross_validate(X, said, wells, seeds=(0, 1))
    listed = label_issues(found.p_abnormal, said == "abnormal")
    assert np.isin(slips, listed).mean() >= 7 / 8
    assert np.isin(listed[:8], slips).mean() >= 0.75
