from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation import learning_curve as module
from napari_hcs_qc.evaluation.crossval import cross_validate
from napari_hcs_qc.evaluation.curves import LearningCurve
from napari_hcs_qc.evaluation.learning_curve import learning_curve
from napari_hcs_qc.heads.knn import KNNHead
from napari_hcs_qc.job import Cancelled, Job


def draw(
    n_wells: int = 20, per_well: int = 10, *, apart: float = 1.2, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    wells = np.repeat([f"p/A{well:02d}" for well in range(1, n_wells + 1)], per_well)
    y = np.where(rng.random(len(wells)) < 0.3, "abnormal", "normal")
    X = rng.normal(size=(len(wells), 8)) + apart * (y == "abnormal")[:, None]
    return X.astype(np.float32), y, wells


class Spy(KNNHead):
    """Remembers what each fit and each prediction was given."""

    seen: list[tuple[str, Any]]

    def fit(self, X: Any, y: Any, groups: Any = None) -> Any:
        self.seen.append(("fit", ([row.tobytes() for row in X], list(y), set(groups))))
        return super().fit(X, y, groups)

    def predict_proba(self, X: Any) -> Any:
        self.seen.append(("score", {row.tobytes() for row in X}))
        return super().predict_proba(X)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    monkeypatch.setattr(Spy, "seen", found, raising=False)
    monkeypatch.setattr(module, "make_head", lambda _name, _seed, _plate: Spy())
    return found


class TestWhatIsFitted:
    def test_subsets_are_nested_stratified_and_never_from_a_held_out_well(self, seen: Any) -> None:
        X, y, wells = draw()
        well_of = {row.tobytes(): well for row, well in zip(X, wells, strict=True)}
        learning_curve(X, y, wells, sizes=(10, 20, 50, 100), seeds=(0, 1))
        fits = [data for what, data in seen if what == "fit"]
        scored = [data for what, data in seen if what == "score"]
        assert len(fits) == len(scored) == 2 * 5 * 4
        share = (y == "abnormal").mean()
        for place, (rows, labels, fit_wells) in enumerate(fits):
            size = (10, 20, 50, 100)[place % 4]
            assert len(set(rows)) == size
            assert abs(labels.count("abnormal") - share * size) <= 2
            assert not {well_of[row] for row in scored[place]} & fit_wells
            assert fit_wells == {well_of[row] for row in rows}
            if place % 4:
                smaller = fits[place - 1][0]
                assert rows[: len(smaller)] == smaller
        assert fits[0][0] != fits[20][0]

    def test_even_a_rare_class_is_there_from_the_beginning(self, seen: Any) -> None:
        X, _, wells = draw()
        y = np.where(np.arange(200) % 50 == 0, "abnormal", "normal")
        learning_curve(X, y, wells, sizes=(2, 5), seeds=(0,))
        for what, data in seen:
            if what == "fit":
                assert "abnormal" in data[1]
                assert "normal" in data[1]

    def test_default_sizes_end_with_all_that_every_fold_gives(self, seen: Any) -> None:
        X, y, wells = draw()
        found = learning_curve(X, y, wells, seeds=(0,))
        assert found.sizes[:4] == (10, 20, 50, 100)
        assert len(found.sizes) == 5
        assert 150 < found.sizes[-1] <= 160
        assert len(seen) == 2 * 5 * 5

    def test_few_cells_make_a_single_point(self) -> None:
        X, y, wells = draw(n_wells=4, per_well=3, seed=3)
        found = learning_curve(X, y, wells, "knn", seeds=(0,))
        assert len(found.sizes) == 1
        assert math.isnan(found.slope)
        assert found.verdict().startswith("Too few annotations to tell (12)")


class TestFigures:
    def test_the_last_point_is_the_cross_validation(self) -> None:
        """With every cell of the fit used, it has to be what `cross_validate` says."""
        rng = np.random.default_rng(0)
        # Nine cells a well and three of them abnormal, so that all folds are of one size.
        wells = np.array([f"p/{well}" for well in np.arange(135) // 9])
        y = np.where(np.arange(135) % 3 == 0, "abnormal", "normal")
        X = rng.normal(size=(135, 8)) + 0.6 * (y == "abnormal")[:, None]
        knn = learning_curve(X, y, wells, "knn", seeds=(0, 1, 2))
        assert knn.sizes[-1] == 108
        same = cross_validate(X, y, wells, "knn", seeds=(0, 1, 2))
        assert knn.mean[-1] == pytest.approx(same.figures.mean["f1_weighted"], abs=1e-12)
        assert knn.sd[-1] == pytest.approx(same.figures.sd["f1_weighted"], abs=1e-12)
        ends = same.figures.ci95["f1_weighted"]
        assert (knn.low[-1], knn.high[-1]) == pytest.approx(ends, abs=1e-12)

    def test_the_slope_is_that_of_the_last_three_points(self) -> None:
        X, y, wells = draw(apart=0.5)
        found = learning_curve(X, y, wells, "knn")
        x = np.log2(found.sizes[-3:])
        assert found.slope == pytest.approx(np.polyfit(x, found.mean[-3:], 1)[0])
        assert found.slope_low < found.slope < found.slope_high
        assert found.gain(found.n_cells) == pytest.approx(found.slope)

    def test_what_can_be_learnt_rises_and_chance_does_not(self) -> None:
        X, y, wells = draw(n_wells=30, apart=0.8)
        found = learning_curve(X, y, wells, "linear", sizes=(10, 50, 200), seeds=(0,))
        assert found.mean[-1] > found.mean[0] + 0.05
        assert found.slope_low > 0
        shuffled = np.random.default_rng(0).permutation(y)
        chance = learning_curve(X, shuffled, wells, "linear", sizes=(10, 50, 200), seeds=(0,))
        assert chance.mean[-1] < 0.7

    def test_it_is_repeatable(self) -> None:
        X, y, wells = draw()
        assert learning_curve(X, y, wells, "knn") == learning_curve(X, y, wells, "knn")

    def test_two_wells_are_divided_by_cell_and_the_note_says_so(self) -> None:
        X, y, wells = draw(n_wells=2, per_well=40)
        found = learning_curve(X, y, wells, "knn", seeds=(0,))
        assert "Held out by cell" in found.note
        assert found.sizes[-1] == 64  # all that is not held out
        assert found.sd == (0.0,) * len(found.sizes)
        # Two wells say nothing of others.
        ends = (*found.low, *found.high, found.slope_low, found.slope_high)
        assert all(math.isnan(end) for end in ends)
        assert "Too few wells" in found.verdict() or "rising" in found.verdict()

    def test_progress_and_cancel(self) -> None:
        X, y, wells = draw()
        told: list[tuple[int, int]] = []
        learning_curve(
            X,
            y,
            wells,
            "knn",
            sizes=(10, 50),
            seeds=(0,),
            job=Job(lambda done, total, _: told.append((done, total))),
        )
        assert told == [(done, 10) for done in range(11)]
        asked = iter([False, False, True])
        told.clear()
        with pytest.raises(Cancelled):
            learning_curve(
                X,
                y,
                wells,
                "knn",
                job=Job(lambda done, total, _: told.append((done, total)), lambda: next(asked)),
            )
        assert [done for done, _ in told] == [0, 1]


class TestInput:
    def test_sizes_that_no_fold_can_give_are_left_out_and_it_is_said(self) -> None:
        X, y, wells = draw()
        found = learning_curve(X, y, wells, "knn", sizes=(500, 10, 190, 10), seeds=(0,))
        assert found.sizes == (10,)
        assert "left out: 190, 500" in found.note

    @pytest.mark.parametrize("sizes", [(), (1, 10), (500,)])
    def test_sizes_that_cannot_be_used_are_refused(self, sizes: tuple[int, ...]) -> None:
        X, y, wells = draw()
        with pytest.raises(HcsQcError, match=r"give numbers of cells from 2 to 1[56]"):
            learning_curve(X, y, wells, "knn", sizes=sizes)

    def test_other_bad_input_is_refused(self) -> None:
        X, y, wells = draw()
        with pytest.raises(HcsQcError, match="No seeds"):
            learning_curve(X, y, wells, seeds=())
        with pytest.raises(HcsQcError, match="199 embeddings were given for 200"):
            learning_curve(X[1:], y, wells)
        with pytest.raises(HcsQcError, match="Unknown head 'x'"):
            learning_curve(X, y, wells, "x")
        with pytest.raises(HcsQcError, match="at least 2 cells of each class"):
            learning_curve(X, ["abnormal"] + ["normal"] * 199, wells)


class TestWords:
    CURVE = LearningCurve(
        sizes=(50, 100, 200),
        mean=(0.9, 0.91, 0.92),
        sd=(0.01, 0.01, 0.01),
        low=(0.85, 0.86, 0.87),
        high=(0.93, 0.94, math.nan),
        slope=0.01,
        slope_low=0.004,
        slope_high=0.02,
        n_cells=250,
    )

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"slope": 0.04}, r"Still rising: 50 more annotations may bring about \+0\.01"),
            ({"slope": 0.04, "slope_low": -0.01}, "may be chance: 50 more annotations may bring"),
            ({"slope": 0.04, "slope_low": math.nan, "slope_high": math.nan}, "may be chance"),
            ({}, r"Flattening: 50 more .* about \+0\.003, twice as many .* \+0\.01"),
            ({"slope": 0.001}, "Flat: more annotations bring little"),
            ({"slope": -0.01, "slope_low": -0.03}, "Flat: more annotations bring little"),
            ({"slope_low": -0.1, "slope_high": 0.1}, r"too uncertain to tell: .* up to \+0\.03"),
            ({"n_cells": 12}, r"Too few annotations to tell \(12\)"),
            ({"slope": math.nan}, "Too few annotations"),
        ],
    )
    def test_the_verdict_says_what_the_figures_say(
        self, changes: dict[str, float], words: str
    ) -> None:
        verdict = replace(self.CURVE, **changes).verdict()
        assert re.search(words, verdict), verdict
        assert verdict.endswith(".")

    def test_nothing_is_promised_beyond_perfect(self) -> None:
        changes = {"slope": 0.3, "slope_low": 0.1, "slope_high": 0.4}
        curve = replace(self.CURVE, mean=(0.9, 0.95, 0.998), **changes)
        assert curve.gain() == pytest.approx(0.002)
        assert curve.verdict() == "Flat: more annotations bring little."

    def test_it_survives_a_manifest(self) -> None:
        data = json.loads(json.dumps(self.CURVE.to_dict(), allow_nan=False))
        assert data["high"][-1] is None
        again = LearningCurve.from_dict({**data, "verdict": "further entries are ignored"})
        assert math.isnan(again.high[-1])
        assert again.to_dict() == self.CURVE.to_dict()

    def test_a_damaged_manifest_is_said(self) -> None:
        data = self.CURVE.to_dict()
        with pytest.raises(HcsQcError, match=r"cannot be read .*slope"):
            LearningCurve.from_dict({name: data[name] for name in data if name != "slope"})
        with pytest.raises(HcsQcError, match="cannot be read"):
            LearningCurve.from_dict({**data, "mean": 3})
