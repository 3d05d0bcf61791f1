"""Counts, disagreements, and what takes a person's words back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import pytest

from napari_hcs_qc.assay.annotations.annotation import Annotation
from napari_hcs_qc.assay.annotations.journal import Journal
from napari_hcs_qc.assay.annotations.matching import cells_at, match_annotations
from napari_hcs_qc.assay.store.plate_cells import PlateCells
from napari_hcs_qc.assay.store.plate_state import PlateState
from napari_hcs_qc.assay.views.annotation_summary import (
    Conflict,
    count_annotations,
    find_conflicts,
    to_take_back,
)
from napari_hcs_qc.cells.by_site import CellsBySite
from napari_hcs_qc.job import Cancelled, Job
from napari_hcs_qc.plates.plate import SiteKey

if TYPE_CHECKING:
    from pathlib import Path

# Rows 0 to 3 of the plate; nuclei of 10 px.
_WHERE = [
    ("A01", 1, 20.25, 30.5),
    ("A01", 1, 60.0, 70.0),
    ("A01", 2, 20.25, 30.5),
    ("B02", 1, 9.0, 9.0),
]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal.open(tmp_path / "journal.sqlite")


@pytest.fixture
def state() -> PlateState:
    positions = pd.DataFrame(_WHERE, columns=["well", "site", "y_px", "x_px"])
    cells = cells_at(positions, 0, 10.0)
    rest: Any = dict.fromkeys(("ranges", "quality", "channel", "projection", "source"))
    found = PlateCells(cells=cells, diameter_px=10.0, unreadable={}, **rest)
    plate = cast("Any", SimpleNamespace(name="P", layout=SimpleNamespace(shape=(500, 500))))
    none = pd.DataFrame(columns=["plate", "well", "site", "y_px", "x_px", "class", "kind"])
    none = none.assign(annotator=None, at=None, action=None)
    matched = match_annotations(none, cells, 5.0)
    return PlateState(
        plate=plate,
        plate_cells=found,
        annotations=none,
        matched=matched,
        by_site=CellsBySite.of(cells),
    )


def said(row: int, cls: str | None, kind: str | None = None, off_px: float = 0.0) -> Annotation:
    well, site, y_px, x_px = _WHERE[row]
    return Annotation(
        plate="P", well=well, site=site, y_px=y_px + off_px, x_px=x_px, cls=cls, kind=kind
    )


def test_what_two_people_say_alike_of_a_position_counts_once(journal: Journal) -> None:
    journal.annotate_many([said(0, "abnormal", "blur"), said(1, "normal")], "anna")
    journal.annotate_many([said(0, "abnormal", "dead"), said(1, "normal")], "ben")
    journal.annotate_many([said(2, "unsure"), said(1, "abnormal")], "cleo")
    counts = count_annotations(journal.annotations())
    assert counts.classes == {"normal": 1, "abnormal": 2, "unsure": 1}
    assert {kind: n for kind, n in counts.kinds.items() if n} == {"blur": 1, "dead": 1}


def test_without_annotations_every_word_counts_none(journal: Journal) -> None:
    counts = count_annotations(journal.annotations())
    assert counts.classes == {"normal": 0, "abnormal": 0, "unsure": 0}
    assert sum(counts.kinds.values()) == 0


def test_a_conflict_names_the_cell_and_who_says_what(journal: Journal, state: PlateState) -> None:
    journal.annotate_many([said(0, "normal"), said(1, "normal"), said(2, "abnormal")], "anna")
    # 2 px beside: the same cell, so they disagree. Unsure contradicts nobody.
    journal.annotate_many([said(0, "abnormal", "dead", 2.0), said(2, "unsure")], "ben")
    found = find_conflicts({"P": state}, journal.annotations())
    site = SiteKey("A01", 1)
    words = (("anna", "normal", None), ("ben", "abnormal", "dead"))
    assert found == (Conflict(plate="P", site=site, y_px=20.25, x_px=30.5, opinions=words),)
    assert str(found[0]) == f"P {site}: anna: normal, ben: abnormal (dead)"


def test_people_may_disagree_about_a_cell_that_was_not_found(
    journal: Journal, state: PlateState
) -> None:
    journal.annotate_many([said(3, "normal", off_px=40.0)], "anna")
    journal.annotate_many([said(3, "abnormal", off_px=41.0)], "ben")
    (conflict,) = find_conflicts({"P": state}, journal.annotations())
    assert (conflict.site, conflict.y_px) == (SiteKey("B02", 1), 49.0)


def test_a_conflict_is_gone_when_one_gives_way(journal: Journal, state: PlateState) -> None:
    journal.annotate_many([said(0, "normal")], "anna")
    journal.annotate_many([said(0, "abnormal")], "ben")
    assert len(find_conflicts({"P": state}, journal.annotations())) == 1
    journal.annotate_many([said(0, "abnormal")], "anna")
    assert find_conflicts({"P": state}, journal.annotations()) == ()


def test_looking_for_conflicts_can_be_stopped(journal: Journal, state: PlateState) -> None:
    with pytest.raises(Cancelled):
        find_conflicts({"P": state}, journal.annotations(), job=Job(should_stop=lambda: True))


def test_words_are_taken_back_where_they_were_given(journal: Journal, state: PlateState) -> None:
    journal.annotate_many([said(0, "abnormal", "blur", off_px=3.0), said(1, "normal")], "anna")
    journal.annotate_many([said(0, "normal")], "ben")
    back = to_take_back(state, journal.annotations(), [0, 2], "anna")
    assert back == (said(0, None, off_px=3.0),)
    journal.annotate_many(back, "anna")
    left = journal.annotations()
    assert sorted(zip(left["annotator"], left["class"], strict=True)) == [
        ("anna", "normal"),
        ("ben", "normal"),
    ]


def test_nothing_is_taken_back_of_others(journal: Journal, state: PlateState) -> None:
    journal.annotate_many([said(0, "normal")], "ben")
    assert to_take_back(state, journal.annotations(), np.array([0, 1]), "anna") == ()
