"""Figures that are kept with a model."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy.stats import binom

from napari_hcs_qc.assay.store.figures import Figures, HeldOut, KeptFigures
from napari_hcs_qc.evaluation.reliability import reliability

ADAPTER: TypeAdapter[Figures] = TypeAdapter(KeptFigures)
BINS = asdict(reliability([0.2, 0.8], [False, True]))


def test_figures_are_read_as_they_were_written() -> None:
    figures = ADAPTER.validate_python({"sentence": "3 folds", "reliability": BINS})
    assert figures.sentence == "3 folds"
    assert figures.reliability == reliability([0.2, 0.8], [False, True])
    assert ADAPTER.validate_json(ADAPTER.dump_json(figures)) == figures


def test_the_errors_at_a_threshold_are_those_of_held_out_cells() -> None:
    held_out = {
        "p_abnormal": [[0.9, 0.6, 0.7, 0.1], [0.8, 0.4, 0.2, 0.1]],
        "is_abnormal": [True, True, False, False],
    }
    figures = ADAPTER.validate_python({"sentence": "", "by": "well", "held_out": held_out})
    assert ADAPTER.validate_json(ADAPTER.dump_json(figures)) == figures
    rates = figures.rates(0.5)
    assert rates is not None
    assert (rates.n_abnormal, rates.n_normal) == (2, 2)
    assert (rates.n_abnormal_called, rates.n_normal_called) == (1.5, 0.5)  # means of the repeats
    stricter = figures.rates(0.8)
    assert stricter is not None
    assert (stricter.n_abnormal_called, stricter.n_normal_called) == (1.0, 0.0)


HELD_OUT = {
    "p_abnormal": [[0.9, 0.6, 0.7, 0.1, 0.2], [0.8, 0.4, 0.2, 0.1, 0.9]],
    "is_abnormal": [True, True, False, False, False],
    "counts": [True, True, True, True, False],
    "fold": [[0, 1, 0, 1, 0], [1, 0, 1, 0, 1]],
    "well": [0, 1, 2, 3, 4],
}


def test_figures_are_given_at_the_threshold_in_use_of_the_cells_that_count() -> None:
    stored = {"sentence": "5 cells.", "by": "well", "held_out": HELD_OUT}
    figures = ADAPTER.validate_python(stored).at(0.75)
    by_name = {figure.name: figure for figure in figures.figures}
    assert by_name["recall of the abnormal class"].mean == 0.5
    assert by_name["precision of the abnormal class"].mean == 1.0
    assert figures.confusion == ((2.0, 0.0), (1.0, 1.0))
    assert by_name["AUC"].mean == 1  # 0.6 and 0.7 are of different folds
    assert by_name["AUC"].interval_text() == "too few wells to say"
    told = figures.explained()
    assert "5 cells. At the threshold 0.75, 1 of 2 abnormal and 0 of 2 normal cells" in told
    assert "nor which share" in told
    rates = figures.rates(0.75)
    assert rates is not None
    assert (rates.n_normal, rates.n_normal_called) == (2, 0.0)
    assert ADAPTER.validate_json(ADAPTER.dump_json(figures)) == figures


def test_of_cells_that_a_model_was_unsure_of_there_are_no_errors_nor_intervals() -> None:
    hard = ADAPTER.validate_python(
        {
            "sentence": "",
            "by": "well",
            "is_of_uncertain": True,
            "held_out": {**HELD_OUT, "well": []},
        }
    ).at(0.5)
    assert hard.rates(0.5) is None
    assert {figure.interval_text() for figure in hard.figures} == {"too low"}


def test_the_errors_are_not_known_of_an_earlier_version_or_where_wells_were_parted() -> None:
    held_out = {"p_abnormal": [[0.9, 0.1]], "is_abnormal": [True, False]}
    assert Figures(sentence="", by="well").rates(0.5) is None
    by_cell = ADAPTER.validate_python({"sentence": "", "by": "cell", "held_out": held_out})
    assert by_cell.rates(0.5) is None


@pytest.mark.parametrize(
    ("bins", "place"),
    [
        ({name: value for name, value in BINS.items() if name != "share"}, "reliability.share"),
        ({**BINS, "ece": "x"}, "reliability.ece"),
    ],
)
def test_of_damaged_figures_the_sentence_names_what_is_wrong(
    bins: dict[str, Any], place: str
) -> None:
    figures = ADAPTER.validate_python({"sentence": "3 folds", "reliability": bins})
    assert figures.reliability is None
    assert "damaged" in figures.sentence
    assert place in figures.sentence


def drawn(p_abnormal: Any, is_abnormal: Any, is_random: Any) -> Figures:
    """Figures of annotated cells, some of them drawn at random."""
    held_out = HeldOut(
        p_abnormal=(tuple(map(float, p_abnormal)),),
        is_abnormal=tuple(map(bool, is_abnormal)),
        fold=((0,) * len(p_abnormal),),
        random=tuple(map(bool, is_random)),
    )
    return Figures(sentence="", by="well", held_out=held_out)


def test_the_share_of_what_stays_is_bounded_by_the_cells_drawn_at_random() -> None:
    # Of 40 random cells 38 stay, 2 of them abnormal; what was picked has no part in it.
    p_abnormal = [0.1] * 38 + [0.9] * 2 + [0.1] * 10
    is_abnormal = [False] * 36 + [True] * 4 + [True] * 10
    figures = drawn(p_abnormal, is_abnormal, [True] * 40 + [False] * 10)
    # The limit at which two or fewer of 38 are seen in one of 20 draws.
    limit = figures.bound(0.5)
    assert limit is not None
    assert binom.cdf(2, 38, limit) == pytest.approx(0.05)
    assert "Of 38 annotated cells that were drawn at random" in figures.at(0.5).bound_text()
    assert "at most 16 % of the cells" in figures.at(0.5).explained()
    # Where the threshold lets none stay, or few were drawn, there is no limit.
    assert figures.bound(0.05) is None
    assert drawn(p_abnormal[:9], is_abnormal[:9], [True] * 9).bound(0.5) is None
    assert drawn(p_abnormal, is_abnormal, []).bound(0.5) is None


@pytest.mark.parametrize("n_random", [30, 100, 300])
@pytest.mark.parametrize("recall", [0.3, 0.75])
def test_the_bound_holds_in_95_of_100_draws_of_cells(n_random: int, recall: float) -> None:
    """A plate of 10,000 cells, 6 % of them abnormal, of which a model calls some and not others."""
    rng = np.random.default_rng(1)
    n_cells = 10_000
    is_abnormal = rng.random(n_cells) < 0.06
    p_abnormal = np.where(rng.random(n_cells) < np.where(is_abnormal, recall, 0.01), 0.8, 0.1)
    true = is_abnormal[p_abnormal < 0.5].mean()
    limits = []
    for _ in range(2000):
        rows = rng.choice(n_cells, n_random, replace=False)
        limit = drawn(p_abnormal[rows], is_abnormal[rows], [True] * n_random).bound(0.5)
        assert limit is not None
        limits.append(limit)
    assert np.mean(np.array(limits) >= true) >= 0.94
    if n_random >= 100 and true > 0.03:
        assert np.median(limits) <= 3 * true
