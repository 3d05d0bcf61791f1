"""Figures that are kept with a model."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from pydantic import TypeAdapter

from napari_hcs_qc.assay.store.figures import Figures, KeptFigures
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
