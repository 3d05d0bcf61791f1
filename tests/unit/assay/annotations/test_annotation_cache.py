"""Annotations in memory are those of the journal, whoever writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_hcs_qc.assay.annotations.annotation import Annotation
from napari_hcs_qc.assay.annotations.annotation_cache import AnnotationCache, PlateSite
from napari_hcs_qc.assay.annotations.journal import Journal
from napari_hcs_qc.assay.annotations.matching import columns_of
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.plate import SiteKey

if TYPE_CHECKING:
    from pathlib import Path

SITE = PlateSite("P", SiteKey("A01", 1))


@pytest.fixture
def live(tmp_path: Path) -> AnnotationCache:
    return AnnotationCache(Journal.open(tmp_path / "journal.sqlite"))


def cell(x_px: float, cls: str | None, kind: str | None = None, site: int = 1) -> Annotation:
    return Annotation(plate="P", well="A01", site=site, y_px=10.0, x_px=x_px, cls=cls, kind=kind)


def same(left: pd.DataFrame, right: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        left.drop(columns="at").reset_index(drop=True),
        right.drop(columns="at").reset_index(drop=True),
        check_dtype=False,
    )


said = st.tuples(
    st.sampled_from(["annotate", "undo", "redo", "elsewhere"]),
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from(["normal", "abnormal", "unsure", None])),
        min_size=1,
        max_size=3,
        unique_by=lambda one: one[0],
    ),
    st.sampled_from(["anna", "bert"]),
    st.sampled_from([1, 2]),
)


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(acts=st.lists(said, max_size=8))
def test_memory_is_what_the_journal_says_after_any_acts(
    tmp_path_factory: pytest.TempPathFactory, acts: list
) -> None:
    journal = Journal.open(tmp_path_factory.mktemp("live") / "journal.sqlite")
    live = AnnotationCache(journal)
    for act, cells, person, site in acts:
        rows = [cell(x, cls, None, site) for x, cls in cells]
        if act == "annotate":
            touched = live.annotate(rows, person)
            assert PlateSite("P", SiteKey("A01", site)) in touched
        elif act == "undo":
            live.undo(person)
        elif act == "redo":
            live.redo(person)
        else:
            journal.annotate_many(rows, person)  # another window
            live.reload()
        same(live.table, journal.annotations())
        for number in (1, 2):
            here = live.table[live.table["site"] == number]
            where = PlateSite("P", SiteKey("A01", number))
            same(live.at_site(where), here)
            columns = live.columns_at(where)
            for name, values in columns_of(here).items():
                assert columns[name].tolist() == values.tolist()


def test_nothing_changes_when_the_journal_cannot_be_written(live: AnnotationCache) -> None:
    live.annotate([cell(1, "normal")], "anna")
    live.journal.path.rename(live.journal.path.with_suffix(".gone"))
    with pytest.raises(HcsQcError):
        live.annotate([cell(2, "abnormal")], "anna")
    assert live.table["class"].tolist() == ["normal"]


def test_reload_tells_the_sites_where_another_window_changed_something(
    live: AnnotationCache,
) -> None:
    live.annotate([cell(1, "normal"), cell(2, "normal", site=2)], "anna")
    assert not live.has_changed()
    live.journal.annotate_many([cell(1, "abnormal", "blur")], "anna")
    assert live.has_changed()
    assert live.reload() == {SITE}
    assert live.reload() == frozenset()


def test_an_annotation_after_a_change_elsewhere_takes_in_both(live: AnnotationCache) -> None:
    live.journal.annotate_many([cell(5, "abnormal")], "bert")
    live.annotate([cell(1, "normal")], "anna")
    same(live.table, live.journal.annotations())


def test_undo_tells_that_there_is_nothing_left(live: AnnotationCache) -> None:
    live.annotate([cell(1, "normal")], "anna")
    assert live.undo("anna") == {SITE}
    assert live.undo("anna") is None
    assert live.redo("anna") == {SITE}
    assert live.redo("anna") is None


def test_verdicts_are_read_again_when_anybody_gave_one(live: AnnotationCache) -> None:
    other = Journal.open(live.journal.path)
    assert not len(live.verdicts)
    other.verdict("P", "A01", "exclude", reviewer="bert")
    assert live.verdicts["verdict"].tolist() == ["exclude"]
    assert live.verdicts is live.verdicts
    live.journal.verdict("P", "A01", "keep", reviewer="anna")
    same(live.verdicts, other.verdicts())
    other.undo("anna")
    assert live.verdicts["verdict"].tolist() == ["exclude"]
