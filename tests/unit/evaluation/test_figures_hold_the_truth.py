"""How often the interval of a model's figure holds what the model reaches on other wells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest

from napari_hcs_qc.evaluation.agreement import METRIC_NAMES, rates
from napari_hcs_qc.evaluation.crossval import cross_validate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_hcs_qc.evaluation.crossval import CrossValidation

LEAST_COVERAGE = 0.90
CASES = [(n_cells, n_wells) for n_cells in (25, 50, 100) for n_wells in (6, 12, 25)]
N_FEATURES = 10


@dataclass(frozen=True, kw_only=True)
class Screen:
    """Cells of any number of wells, as a person picks them there."""

    apart: float  # the classes, in standard deviations of a cell
    well_sd: float = 0.5  # by how much wells are shifted
    alike: float | None = 2.0  # the fewer, the more a well is of one class; None: all wells alike
    wrong: float = 0.01  # share annotated wrongly
    share: float = 0.4  # annotated abnormal

    def cells(
        self, rng: np.random.Generator, well: NDArray[np.int64], kinds: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Draw cells of the wells with these numbers: features, and whether they are abnormal."""
        n_wells = int(well.max()) + 1
        share = np.full(n_wells, self.share)
        if self.alike is not None:
            share = rng.beta(self.share * self.alike, (1 - self.share) * self.alike, n_wells)
        is_abnormal = rng.random(len(well)) < share[well]
        # Abnormal cells of a well are of one kind, more or less like it.
        kind = kinds[rng.integers(len(kinds), size=n_wells)]
        far = self.apart * np.exp(0.25 * rng.normal(size=n_wells))
        X = rng.normal(size=(len(well), N_FEATURES))
        X += self.well_sd * rng.normal(size=(n_wells, N_FEATURES))[well]
        X += (is_abnormal * far[well])[:, np.newaxis] * kind[well]
        return X, is_abnormal ^ (rng.random(len(well)) < self.wrong)


def kinds_of(rng: np.random.Generator) -> NDArray[np.float64]:
    """Give the directions in which three kinds of abnormal cells differ from normal ones."""
    random = rng.normal(size=(3, N_FEATURES))
    kinds = np.eye(N_FEATURES)[0] + 0.6 * random / np.linalg.norm(random, axis=1, keepdims=True)
    return kinds / np.linalg.norm(kinds, axis=1, keepdims=True)


class NearerMean:
    """A head that is quick: thousands are fitted here."""

    classes_ = np.array(["abnormal", "normal"])

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        abnormal, normal = X[y == "abnormal"], X[y == "normal"]
        means = abnormal.mean(axis=0), normal.mean(axis=0)
        squares = ((abnormal - means[0]) ** 2).sum(axis=0) + ((normal - means[1]) ** 2).sum(axis=0)
        self.weights = (means[0] - means[1]) / ((squares + 8) / (len(X) + 8))
        self.shift = -self.weights @ (means[0] + means[1]) / 2
        return self

    def predict_proba(self, X: Any) -> Any:
        p = 1 / (1 + np.exp(-np.clip(X @ self.weights + self.shift, -30, 30)))
        return np.stack([p, 1 - p], axis=1)


def names(is_abnormal: NDArray[np.bool_]) -> NDArray[np.str_]:
    return np.where(is_abnormal, "abnormal", "normal")


def auc(is_abnormal: NDArray[np.bool_], p: NDArray[np.float64]) -> float:
    rank = np.empty(len(p))
    rank[np.argsort(p)] = np.arange(1, len(p) + 1)
    n = int(is_abnormal.sum())
    return float(rank[is_abnormal].sum() - n * (n + 1) / 2) / (n * (len(p) - n))


def reached(
    screen: Screen, head: Any, kinds: NDArray[np.float64], rng: np.random.Generator
) -> dict[str, float]:
    """Measure a fitted head on very many cells of other wells."""
    X, is_abnormal = screen.cells(rng, np.repeat(np.arange(1000), 8), kinds)
    p = head.predict_proba(X)[:, 0]
    called = p >= 0.5
    pairs = (is_abnormal & called, ~is_abnormal & called, is_abnormal & ~called)
    counts = np.array([pair.sum() for pair in (*pairs, ~is_abnormal & ~called)], float)
    return {name: float(rate) for name, rate in rates(counts).items()} | {
        "auc": auc(is_abnormal, p)
    }


@dataclass
class Held:
    """Of each figure, how often it had an interval and how often that held the truth."""

    n: int
    shown: dict[str, list[bool]]

    def coverage(self, name: str) -> float:
        return float(np.mean(self.shown[name]))


def simulated(
    screen: Screen, n_cells: int, n_wells: int, n_draws: int, *, suggested: float = 0.0
) -> Held:
    """Annotate, cross-validate, and look what the model reaches; time and again.

    A share of the cells is suggested: those of many of the same wells of which a model fitted to
    the others is least sure.
    """
    rng = np.random.default_rng(n_cells * 1000 + n_wells)
    shown: dict[str, list[bool]] = {name: [] for name in METRIC_NAMES}
    for _ in range(n_draws):
        kinds = kinds_of(rng)
        n_picked = round(n_cells * (1 - suggested))
        well = np.concatenate([np.arange(n_wells), rng.integers(n_wells, size=n_cells - n_wells)])
        offered = np.concatenate([well, rng.integers(n_wells, size=1000 if suggested else 0)])
        X, is_abnormal = screen.cells(rng, offered, kinds)
        used = np.arange(n_picked)
        if not 1 < is_abnormal[used].sum() < n_picked - 1:
            continue
        if suggested:
            head = NearerMean().fit(X[used], names(is_abnormal[used]))
            doubt = np.abs(head.predict_proba(X)[:, 0] - 0.5)
            doubt[used] = 1
            used = np.concatenate([used, np.argsort(doubt)[: n_cells - n_picked]])
        X, is_abnormal, well = X[used], is_abnormal[used], offered[used]
        y = names(is_abnormal)
        found: CrossValidation = cross_validate(
            X,
            y,
            well,
            "nearer mean",
            head_factory=lambda _: NearerMean(),  # type: ignore[arg-type, return-value]
            counts=np.arange(n_cells) < n_picked,
        )
        truth = reached(screen, NearerMean().fit(X, y), kinds, rng)
        for name, (low, high) in found.figures.ci95.items():
            if np.isfinite(low):
                shown[name].append(low <= truth[name] <= high)
    return Held(n_draws, shown)


HARD = Screen(apart=2.2)  # weighted F1 of 0.75 to 0.79
EASY = Screen(apart=4.5, wrong=0.0)  # 0.93 to 0.96
ALIKE = Screen(apart=3.0, well_sd=0.3, alike=None)
UNLIKE = Screen(apart=3.0, well_sd=1.0, alike=1.0)  # wells of one class, shifted far


@pytest.mark.parametrize("screen", [HARD, EASY], ids=["hard", "easy"])
def test_intervals_hold_the_truth_of_few_draws_of_all_cases(screen: Screen) -> None:
    held = [simulated(screen, *case, 30) for case in CASES]
    for name in METRIC_NAMES:
        within = [hit for case in held for hit in case.shown[name]]
        assert len(within) > 25
        assert np.mean(within) >= LEAST_COVERAGE


@pytest.mark.slow
@pytest.mark.parametrize(("n_cells", "n_wells"), CASES)
@pytest.mark.parametrize(
    "screen", [HARD, EASY, ALIKE, UNLIKE], ids=["hard", "easy", "alike", "unlike"]
)
def test_intervals_hold_the_truth_in_each_case_or_there_are_none(
    screen: Screen, n_cells: int, n_wells: int
) -> None:
    held = simulated(screen, n_cells, n_wells, 200)
    for name in METRIC_NAMES:
        n = len(held.shown[name])
        print(  # noqa: T201
            f"{n_cells} cells, {n_wells} wells: {name} shown {n / held.n:.0%}"
            + (f", holds the truth {held.coverage(name):.0%}" if n else "")
        )
        if n >= 30:  # fewer are chance
            assert held.coverage(name) >= LEAST_COVERAGE
    # It is not by silence that the intervals are right.
    if n_wells > 6 or n_cells > 50:
        assert len(held.shown["f1_weighted"]) > 0.5 * held.n


@pytest.mark.slow
@pytest.mark.parametrize("n_wells", [12, 25])
def test_suggested_cells_are_trained_on_but_do_not_count(n_wells: int) -> None:
    held = simulated(HARD, 100, n_wells, 200, suggested=0.5)
    for name in METRIC_NAMES:
        assert len(held.shown[name]) > 30
        assert held.coverage(name) >= LEAST_COVERAGE
