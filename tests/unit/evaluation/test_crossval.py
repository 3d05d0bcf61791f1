from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.agreement import METRIC_NAMES, agreement
from napari_hcs_qc.evaluation.crossval import cross_validate, grouped_folds
from napari_hcs_qc.evaluation.metrics import classification_metrics
from napari_hcs_qc.heads.knn import KNNHead
from napari_hcs_qc.job import Cancelled, Job


def draw(
    n_wells: int = 20, per_well: int = 10, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    wells = np.repeat([f"p/A{well:02d}" for well in range(1, n_wells + 1)], per_well)
    y = np.where(rng.random(len(wells)) < 0.35, "abnormal", "normal")
    X = rng.normal(size=(len(wells), 8)) + 1.2 * (y == "abnormal")[:, None]
    return X.astype(np.float32), y, wells


class TestSplits:
    def test_no_well_is_on_both_sides(self) -> None:
        _, y, wells = draw()
        split = grouped_folds(wells, y, 5, seed=3)
        assert (split.by, split.n_folds, split.note) == ("well", 5, "")
        held = np.zeros(len(y), int)
        for fit_on, held_out in split:
            assert not set(wells[fit_on]) & set(wells[held_out])
            assert set(fit_on) | set(held_out) == set(range(len(y)))
            share = (y[held_out] == "abnormal").mean()
            assert abs(share - (y == "abnormal").mean()) < 0.15
            held[held_out] += 1
        assert (held == 1).all()

    def test_the_seed_decides(self) -> None:
        _, y, wells = draw()
        folds = [grouped_folds(wells, y, 5, seed).fold for seed in (0, 0, 1)]
        np.testing.assert_array_equal(folds[0], folds[1])
        assert (folds[0] != folds[2]).any()

    def test_fewer_wells_make_fewer_folds_and_it_is_said(self) -> None:
        _, y, wells = draw(n_wells=3)
        split = grouped_folds(wells, y, 5)
        assert (split.by, split.n_folds) == ("well", 3)
        assert "3 folds instead of 5" in split.note

    @pytest.mark.parametrize("n_wells", [1, 2])
    def test_one_or_two_wells_are_divided_by_cell_and_it_is_said(self, n_wells: int) -> None:
        _, y, wells = draw(n_wells=n_wells, per_well=30)
        split = grouped_folds(wells, y, 5)
        assert split.by == "cell"
        assert f"only {n_wells} well" in split.note
        assert "too optimistic" in split.note

    def test_a_class_of_a_single_well_is_said(self) -> None:
        wells = np.repeat(["a", "b", "c", "d"], 5)
        split = grouped_folds(wells, np.where(wells == "a", "abnormal", "normal"), 5)
        assert split.by == "cell"
        assert "one class is annotated in a single well" in split.note

    def test_what_cannot_be_divided_is_refused(self) -> None:
        with pytest.raises(HcsQcError, match="1 abnormal, 9 normal"):
            grouped_folds(None, ["abnormal"] + ["normal"] * 9)
        with pytest.raises(HcsQcError, match="10 normal"):
            grouped_folds(None, ["normal"] * 10)
        with pytest.raises(HcsQcError, match="1 folds"):
            grouped_folds(None, ["normal", "abnormal"] * 5, 1)
        with pytest.raises(HcsQcError, match="1 wells were given for 10"):
            grouped_folds(["a"], ["normal", "abnormal"] * 5)


class TestCrossValidate:
    def test_each_cell_is_judged_by_a_head_that_never_saw_its_well(self) -> None:
        X, y, wells = draw()
        seen: list[set[bytes]] = []

        class Spy(KNNHead):
            def fit(self, X: Any, y: Any, groups: Any = None) -> Any:
                seen.append({row.tobytes() for row in X})
                self.fitted_wells = set(groups)
                return super().fit(X, y, groups)

            def predict_proba(self, X: Any) -> Any:
                well_of = {row.tobytes(): well for row, well in zip(cells, wells, strict=True)}
                assert not {well_of[row.tobytes()] for row in X} & self.fitted_wells
                return super().predict_proba(X)

        cells = X
        cross_validate(X, y, wells, head_factory=lambda _: Spy(), seeds=(0, 1))
        assert len(seen) == 10

    def test_features_that_name_the_well_do_not_help(self) -> None:
        """With leakage, a well's own class share would be learnt from its features."""
        rng = np.random.default_rng(0)
        wells = np.repeat(np.arange(20), 10)
        y = np.where(wells % 2 == 0, "abnormal", "normal")
        X = rng.normal(size=(20, 30))[wells] + 0.01 * rng.normal(size=(200, 30))
        assert cross_validate(X, y, None, "knn", seeds=(0,)).figures.mean["auc"] > 0.99
        assert cross_validate(X, y, wells, "knn", seeds=(0, 1, 2)).figures.mean["auc"] < 0.75

    def test_shuffled_annotations_score_as_chance(self) -> None:
        X, y, wells = draw()
        shuffled = np.random.default_rng(0).permutation(y)
        result = cross_validate(X, shuffled, wells, "linear", seeds=(0, 1, 2))
        assert 0.38 < result.figures.mean["auc"] < 0.62

    def test_the_figures_are_of_the_pooled_held_out_cells(self) -> None:
        X, y, wells = draw()
        result = cross_validate(X, y, wells, "linear", seeds=(0, 1, 2))
        assert result.p_abnormal.shape == (3, 200)
        pooled = [classification_metrics(y, p) for p in result.p_abnormal]
        figures = result.figures
        for name in METRIC_NAMES:
            low, high = figures.ci95[name]
            assert low < figures.mean[name] < high
            if name != "auc":  # which is within folds
                values = [getattr(metrics, name) for metrics in pooled]
                assert figures.mean[name] == pytest.approx(np.mean(values))
                assert figures.sd[name] == pytest.approx(np.std(values, ddof=1))
        assert figures.mean["auc"] > 0.9
        assert (result.by, result.n_splits, result.n_wells, result.note) == ("well", 5, 20, "")
        again = cross_validate(X, y, wells, "linear", seeds=(0, 1, 2))
        np.testing.assert_array_equal(again.p_abnormal, result.p_abnormal)
        assert again.figures.ci95 == figures.ci95

    def test_confusion_counts_each_cell_once(self) -> None:
        X, y, wells = draw()
        X[::3] *= -1  # so that there is something to be mistaken about
        result = cross_validate(X, y, wells, "knn", seeds=(0, 1, 2))
        called = [np.where(p >= 0.5, "abnormal", "normal") for p in result.p_abnormal]
        names = ["normal", "abnormal"]
        oracle = np.mean([confusion_matrix(y, c, labels=names) for c in called], axis=0)
        found = result.figures.confusion
        np.testing.assert_allclose(found, oracle)
        assert found.sum(axis=1).tolist() == [(y == name).sum() for name in names]
        assert len(np.unique(found)) == 4

    def test_two_wells_fall_back_to_cells_and_the_result_says_so(self) -> None:
        X, y, wells = draw(n_wells=2, per_well=40)
        result = cross_validate(X, y, wells, "knn", seeds=(0,))
        assert result.by == "cell"
        assert "Held out by cell" in result.note
        assert result.figures.sd["auc"] == 0
        # Two wells say nothing of others.
        assert np.isnan(list(result.figures.ci95.values())).all()

    def test_all_cells_are_trained_on_and_the_figures_are_of_those_that_count(self) -> None:
        X, y, wells = draw()
        whole = cross_validate(X, y, wells, "knn", seeds=(0, 1))
        counts = np.random.default_rng(0).random(len(y)) < 0.6
        part = cross_validate(X, y, wells, "knn", seeds=(0, 1), counts=counts)
        np.testing.assert_array_equal(part.p_abnormal, whole.p_abnormal)
        assert part.figures.confusion.sum() == counts.sum()
        expected = agreement(
            y[counts] == "abnormal",
            whole.p_abnormal[:, counts],
            whole.fold[:, counts],
            wells[counts],
        )
        assert part.figures.mean == expected.mean
        assert part.figures.ci95 == expected.ci95

    def test_progress_and_cancel(self) -> None:
        X, y, wells = draw()
        seen: list[tuple[int, int]] = []
        cross_validate(
            X, y, wells, "knn", seeds=(0, 1), job=Job(lambda d, t, _: seen.append((d, t)))
        )
        assert seen == [(done, 10) for done in range(11)]
        with pytest.raises(Cancelled):
            cross_validate(X, y, wells, "knn", job=Job(should_stop=lambda: True))

    def test_bad_input_is_refused(self) -> None:
        X, y, wells = draw()
        with pytest.raises(HcsQcError, match="No seeds"):
            cross_validate(X, y, wells, seeds=())
        with pytest.raises(HcsQcError, match="199 embeddings were given for 200"):
            cross_validate(X[1:], y, wells)
        with pytest.raises(HcsQcError, match="Unknown head 'x'"):
            cross_validate(X, y, wells, "x")
