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
