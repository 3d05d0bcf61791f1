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
