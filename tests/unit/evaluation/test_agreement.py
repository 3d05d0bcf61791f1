"""Figures of held-out cells, and how often their intervals hold the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from napari_hcs_qc.evaluation.agreement import METRIC_NAMES, agreement
from napari_hcs_qc.evaluation.metrics import classification_metrics

if TYPE_CHECKING:
    from numpy.typing import NDArray


def judged(
    n_wells: int = 12, per_well: int = 8, n_repeats: int = 2, seed: int = 0
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Draw cells with P(abnormal), the fold of each, and its well."""
    rng = np.random.default_rng(seed)
    wells = np.repeat(np.arange(n_wells), per_well)
    is_abnormal = rng.random(len(wells)) < 0.4
    p = np.round(rng.random((n_repeats, len(wells))) * 0.6 + 0.4 * is_abnormal, 1)
    fold = np.stack([rng.permutation(n_wells)[wells] % 4 for _ in range(n_repeats)])
    return is_abnormal, p, fold, wells


def test_figures_are_those_of_each_repeat_at_the_threshold() -> None:
    is_abnormal, p, fold, wells = judged()
    found = agreement(is_abnormal, p, fold, wells, threshold=0.7)
    y = np.where(is_abnormal, "abnormal", "normal")
    called = [np.where(row >= 0.7, "abnormal", "normal") for row in p]
    single = [classification_metrics(y, row) for row in called]
    for name in METRIC_NAMES[:-1]:
        values = [getattr(metrics, name) for metrics in single]
        assert found.mean[name] == pytest.approx(np.mean(values))
        assert found.sd[name] == pytest.approx(np.std(values, ddof=1))
    (passed, alarms), (misses, hits) = found.confusion
    assert (hits + misses, passed + alarms) == (is_abnormal.sum(), (~is_abnormal).sum())
    assert found.mean["recall_abnormal"] == pytest.approx(hits / is_abnormal.sum())


def test_the_auc_compares_cells_of_the_same_fold_only() -> None:
    is_abnormal, p, fold, wells = judged()
    # A head of one fold that gives twice as much to all its cells: in each fold nothing changes.
    shifted = np.where(fold == 1, 0.5 + p / 2, p / 2)
    plain, other = (agreement(is_abnormal, rows, fold, wells) for rows in (p, shifted))
    assert other.mean["auc"] == pytest.approx(plain.mean["auc"])
    assert other.ci95["auc"] == pytest.approx(plain.ci95["auc"])
    assert roc_auc_score(is_abnormal, shifted[0]) < roc_auc_score(is_abnormal, p[0]) - 0.1
    in_order = n_pairs = 0.0
    for number in range(4):
        here = fold[0] == number
        n = is_abnormal[here].sum() * (~is_abnormal[here]).sum()
        in_order += n * roc_auc_score(is_abnormal[here], p[0][here])
        n_pairs += n
    single = agreement(is_abnormal, p[:1], fold[:1], wells)
    assert single.mean["auc"] == pytest.approx(in_order / n_pairs)


def test_without_one_well_each_figure_is_that_of_the_others() -> None:
    is_abnormal, p, fold, wells = judged(n_wells=5)
    found = agreement(is_abnormal, p, fold, wells)
    for well in range(5):
        rest = wells != well
        expected = agreement(is_abnormal[rest], p[:, rest], fold[:, rest], None).mean
        for name in METRIC_NAMES:
            assert found.without[name][well] == pytest.approx(expected[name])


def test_wells_that_differ_make_the_interval_wider() -> None:
    rng = np.random.default_rng(0)
    wells = np.repeat(np.arange(20), 20)
    is_abnormal = rng.random(400) < 0.4
    p = np.where(is_abnormal ^ np.isin(wells, range(4)), 0.9, 0.1)[np.newaxis]
    fold = wells[np.newaxis] % 5
    by_well = agreement(is_abnormal, p, fold, wells).ci95["accuracy"]
    by_cell = agreement(is_abnormal, p, fold, np.arange(400)).ci95["accuracy"]
    assert by_well[1] - by_well[0] > 2 * (by_cell[1] - by_cell[0])


def test_of_few_wells_there_is_no_interval() -> None:
    is_abnormal, p, fold, wells = judged(n_wells=3, per_well=40)
    assert np.isnan(list(agreement(is_abnormal, p, fold, wells).ci95.values())).all()
    is_abnormal, p, fold, wells = judged()
    assert np.isnan(list(agreement(is_abnormal, p, fold, None).ci95.values())).all()


def test_where_nothing_is_wrong_something_may_be() -> None:
    wells = np.repeat(np.arange(10), 5)
    is_abnormal = np.arange(50) % 2 == 0
    found = agreement(is_abnormal, is_abnormal[np.newaxis] * 1.0, wells[np.newaxis] % 5, wells)
    for name in METRIC_NAMES:
        low, high = found.ci95[name]
        assert found.mean[name] == high == 1
        assert 0.6 < low < 0.95
