from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedGroupKFold

from napari_hcs_qc.heads.linear import linear_head
from napari_hcs_qc.heads.linear.folds import assign_folds
from napari_hcs_qc.heads.linear.linear_head import MAX_CELLS_FOR_PRODUCTS, LinearHead
from napari_hcs_qc.heads.linear.solver import probabilities, rotate, share_of_cells, solve

PLAIN = {"deviations": False, "products": False, "balance": False, "calibrate": False}


class TestSolver:
    @pytest.mark.parametrize("n_classes", [2, 4])
    @pytest.mark.parametrize("n_features", [20, 400])
    def test_it_finds_the_minimum_scikit_learn_finds(self, n_classes: int, n_features: int) -> None:
        rng = np.random.default_rng(0)
        X = rng.normal(size=(120, n_features))
        X -= X.mean(axis=0)
        codes = rng.integers(0, n_classes, 120)
        counts = rng.uniform(0.5, 2, (120, 3))
        rotation = rotate(X)
        found = solve(rotation, codes, n_classes, counts, 5.0, tolerance=1e-9)
        for problem in range(3):
            weights = X.T @ share_of_cells(rotation, found.weights[:, problem])
            decision = X @ weights + found.intercepts[problem]
            oracle = LogisticRegression(C=0.2, tol=1e-10, max_iter=10_000)
            oracle.fit(X, codes, sample_weight=counts[:, problem])
            np.testing.assert_allclose(probabilities(decision), oracle.predict_proba(X), atol=2e-4)

    def test_a_cell_with_no_count_has_no_influence(self) -> None:
        rng = np.random.default_rng(1)
        X, codes = rng.normal(size=(40, 5)), rng.integers(0, 2, 40)
        counts = np.ones((40, 1))
        counts[30:] = 0
        rotation = rotate(X)
        first = solve(rotation, codes, 2, counts, 1.0, tolerance=1e-9)
        flipped = np.where(np.arange(40) >= 30, 1 - codes, codes)
        again = solve(rotation, flipped, 2, counts, 1.0, tolerance=1e-9)
        np.testing.assert_allclose(first.weights, again.weights, atol=1e-8)


class TestLinearHead:
    def test_plain_it_is_logistic_regression_on_standardised_features(self, cells: Any) -> None:
        head = LinearHead(**PLAIN, strengths=(0.05,)).fit(cells.X, cells.y, cells.wells)
        X = cells.X.astype(np.float64)
        z = (X - X.mean(0)) / X.std(0)
        z = np.clip(z, -5, 5)
        inputs = z - z.mean(0)
        penalty = 0.05 * (inputs**2).sum() / len(z)
        oracle = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000).fit(inputs, cells.y)
        np.testing.assert_allclose(head.predict_proba(X), oracle.predict_proba(inputs), atol=1e-3)

    def test_products_are_logistic_regression_on_all_products(self) -> None:
        rng = np.random.default_rng(2)
        X = rng.normal(size=(80, 6))
        y = np.where(X[:, 0] * X[:, 1] > 0, "abnormal", "normal")
        head = LinearHead(deviations=False, balance=False, calibrate=False, strengths=(0.01,))
        head.fit(X, y)
        z = np.clip((X - X.mean(0)) / X.std(0), -5, 5)
        pairs = (z[:, :, None] * z[:, None, :]).reshape(80, -1) / 6
        inputs = np.hstack([z / np.sqrt(6), pairs])
        inputs -= inputs.mean(0)
        penalty = 0.01 * (inputs**2).sum() / 80
        oracle = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000).fit(inputs, y)
        np.testing.assert_allclose(head.predict_proba(X), oracle.predict_proba(inputs), atol=1e-3)

    def test_each_set_of_inputs_earns_its_place(self, cells: Any, new_cells: Any) -> None:
        losses = []
        for inputs in (
            {"deviations": False, "products": False},
            {"products": False},
            {},
        ):
            head = LinearHead(**inputs).fit(cells.X, cells.y, cells.wells)
            losses.append(log_loss(new_cells.y, head.predict_proba(new_cells.X)))
        assert losses[1] < losses[0] - 0.01
        assert losses[2] < losses[1] - 0.05

    def test_probabilities_are_calibrated(self, new_cells: Any, cells: Any) -> None:
        head = LinearHead().fit(new_cells.X, new_cells.y, new_cells.wells)
        p = head.predict_proba(cells.X)[:, 0]
        for low, high in ((0, 0.2), (0.8, 1.01)):
            inside = (p >= low) & (p < high)
            observed = (cells.y[inside] == "abnormal").mean()
            assert abs(p[inside].mean() - observed) < 0.08
        assert abs(p.mean() - (cells.y == "abnormal").mean()) < 0.06

    def test_calibration_tames_an_overconfident_fit(self, cells: Any, new_cells: Any) -> None:
        rng = np.random.default_rng(0)
        y = np.where(rng.random(200) < 0.25, np.array("abnormal"), cells.y)  # noisy annotations
        weak = {"strengths": (1e-5,)}
        raw = LinearHead(**weak, calibrate=False).fit(cells.X, y, cells.wells)
        calibrated = LinearHead(**weak).fit(cells.X, y, cells.wells)
        assert calibrated.calibration_factor_ < 0.8
        assert log_loss(new_cells.y, calibrated.predict_proba(new_cells.X)) < log_loss(
            new_cells.y, raw.predict_proba(new_cells.X)
        )

    def test_constant_and_nearly_constant_features_change_nothing(self, cells: Any) -> None:
        rng = np.random.default_rng(0)
        noise = (1000 * (1 + 1e-8 * rng.normal(size=(200, 2)))).astype(np.float32)
        X = np.hstack([cells.X, np.full((200, 3), 7, np.float32), noise])
        head = LinearHead().fit(X, cells.y, cells.wells)
        shifted = X.copy()
        shifted[:, 60:] += 1000
        np.testing.assert_array_equal(head.predict_proba(X), head.predict_proba(shifted))

    def test_the_scale_of_a_feature_does_not_matter(self, cells: Any) -> None:
        scales = np.geomspace(1e-3, 1e4, 60)
        first = LinearHead().fit(cells.X, cells.y, cells.wells).predict_proba(cells.X)
        X = cells.X * scales
        again = LinearHead().fit(X, cells.y, cells.wells).predict_proba(X)
        np.testing.assert_allclose(first, again, atol=1e-4)

    def test_a_new_kind_of_artefact_does_not_run_away(self, cells: Any) -> None:
        head = LinearHead().fit(cells.X, cells.y, cells.wells)
        wild = np.array(cells.X[:5])
        wild[:, 3] = 1e8
        assert (np.abs(head.decision_function(wild)) < 100).all()

    def test_folds_keep_wells_whole_and_say_when_they_cannot(self, cells: Any) -> None:
        assert LinearHead().fit(cells.X, cells.y, cells.wells).folds_by_ == "well"
        assert LinearHead().fit(cells.X, cells.y).folds_by_ == "cell"
        two = np.where(np.arange(200) < 100, "p/A01", "p/A02")
        assert LinearHead().fit(cells.X, cells.y, two).folds_by_ == "cell"
        one = np.append(np.flatnonzero(cells.y == "normal")[:9], np.argmax(cells.y == "abnormal"))
        assert LinearHead().fit(cells.X[one], cells.y[one]).folds_by_ == "none"

    def test_wells_that_differ_ask_for_a_stronger_penalty(self) -> None:
        """Features that only tell wells apart help within a well and must not be believed."""
        rng = np.random.default_rng(5)
        wells = np.repeat(np.arange(10), 20)
        share = rng.uniform(0.1, 0.9, 10)
        y = np.where(rng.random(200) < share[wells], "abnormal", "normal")
        X = rng.normal(size=(10, 50))[wells] + 0.1 * rng.normal(size=(200, 50))
        X[:, 0] = (y == "abnormal") + rng.normal(0, 1, 200)
        by_well = LinearHead(**PLAIN).fit(X, y, wells)
        by_cell = LinearHead(**PLAIN).fit(X, y)
        assert by_well.strength_ > by_cell.strength_

    def test_balancing_moves_the_uncalibrated_boundary_only(
        self, cells: Any, new_cells: Any
    ) -> None:
        rare = np.flatnonzero((cells.y == "normal") | (np.arange(200) % 4 == 0))
        found = {}
        for balance in (False, True):
            for calibrate in (False, True):
                head = LinearHead(**(PLAIN | {"balance": balance, "calibrate": calibrate}))
                head.fit(cells.X[rare], cells.y[rare], cells.wells[rare])
                found[balance, calibrate] = head.predict_proba(new_cells.X)[:, 0].mean()
        assert found[True, False] > found[False, False] + 0.05
        assert abs(found[True, True] - found[False, True]) < 0.03

    def test_wrong_groups_are_refused(self, cells: Any) -> None:
        with pytest.raises(ValueError, match="3 groups were given for 200"):
            LinearHead().fit(cells.X, cells.y, ["a", "b", "c"])

    def test_few_directions_say_what_all_annotated_cells_say(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Leaving main directions out moves no decision by more than 0.004, on other cells too."""
        rng = np.random.default_rng(3)
        mixing = rng.normal(size=(12, 150)) * np.geomspace(1, 0.05, 12)[:, np.newaxis]

        def draw(n: int) -> np.ndarray:
            return rng.normal(size=(n, 12)) @ mixing + 0.01 * rng.normal(size=(n, 150))

        X = draw(260)
        y = np.where(np.abs(X[:, 0]) + X[:, 1] > np.median(X[:, 1]) + 0.5, "abnormal", "normal")
        wells = rng.integers(0, 40, 260)
        few = LinearHead().fit(X, y, wells)
        monkeypatch.setattr(linear_head, "_main_directions", lambda z, s: (z, s[np.newaxis]))
        every = LinearHead().fit(X, y, wells)
        assert len(every.anchors_) == 260
        assert len(few.anchors_) < 130
        new = draw(2000)
        apart = few.decision_function(new) - every.decision_function(new)
        assert 0 < np.abs(apart).max() < 0.008
        assert set(np.unique(few.anchor_coef_)) <= {-1.0, 1.0}
        assert few.strength_ == every.strength_

    def test_with_more_classes_the_annotated_cells_stay_the_anchors(self, cells: Any) -> None:
        y = np.where(np.arange(200) % 7 == 0, "other", cells.y)
        assert LinearHead().fit(cells.X, y, cells.wells).anchors_.shape == (200, 60)

    def test_many_cells_leave_the_products_out(self) -> None:
        rng = np.random.default_rng(0)
        X = rng.normal(size=(MAX_CELLS_FOR_PRODUCTS + 1, 10))
        y = np.where(X[:, 0] + 0.3 * rng.normal(size=len(X)) > 0, "abnormal", "normal")
        head = LinearHead().fit(X, y)
        assert head.anchors_.shape == (0, 10)
        assert (head.predict(X) == y).mean() > 0.85

    def test_three_hundred_cells_of_a_thousand_features_take_a_second(self) -> None:
        rng = np.random.default_rng(0)
        X = rng.normal(size=(300, 1000))
        y = np.where(X[:, :5].sum(axis=1) > 1, "abnormal", "normal")
        wells = rng.integers(0, 60, 300)
        LinearHead().fit(X, y, wells)
        took = []
        for _ in range(3):
            start = time.process_time()
            LinearHead().fit(X, y, wells)
            took.append(time.process_time() - start)
        assert min(took) < 4  # of all processors together; about 0.4 on the machine it was made on


class TestFolds:
    @pytest.mark.parametrize("seed", range(5))
    def test_a_well_lies_in_one_fold_and_every_class_in_every_training_part(
        self, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        y = np.where(rng.random(90) < 0.2, "abnormal", "normal")
        wells = rng.integers(0, 15, 90)
        folds = assign_folds(y, wells, 5, seed)
        assert folds.by == "well"
        for well in range(15):
            assert len(set(folds.fold[wells == well])) <= 1
        for number in range(folds.n_folds):
            assert set(y[folds.fold != number]) == {"normal", "abnormal"}

    def test_the_seed_decides(self, cells: Any) -> None:
        folds = [assign_folds(cells.y, cells.wells, 5, seed).fold for seed in (0, 0, 1)]
        np.testing.assert_array_equal(folds[0], folds[1])
        assert (folds[0] != folds[2]).any()

    def test_a_class_in_one_well_breaks_wells_up(self) -> None:
        wells = np.repeat(np.arange(5), 6)
        y = np.where(wells == 0, "abnormal", "normal")
        folds = assign_folds(y, wells, 5, 0)
        assert (folds.by, folds.n_folds) == ("cell", 5)

    @pytest.mark.parametrize("seed", range(12))
    @pytest.mark.filterwarnings("ignore:The least populated class")
    def test_wells_are_dealt_out_as_scikit_learn_does(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        n_cells, n_folds = int(rng.integers(60, 300)), int(rng.integers(2, 6))
        y = rng.choice(["a", "b", "c"][: 2 + seed % 2], n_cells)
        wells = rng.integers(0, int(rng.integers(8, 90)), n_cells)
        folds = assign_folds(y, wells, n_folds, seed)
        oracle = StratifiedGroupKFold(folds.n_folds, shuffle=True, random_state=seed)
        expected = np.empty(n_cells, np.int64)
        for number, (_, held_out) in enumerate(oracle.split(y, y, wells)):
            expected[held_out] = number
        np.testing.assert_array_equal(folds.fold, expected)

    def test_a_single_cell_cannot_be_divided(self) -> None:
        assert assign_folds(["normal", "normal", "abnormal"], None, 5, 0).n_folds == 0
