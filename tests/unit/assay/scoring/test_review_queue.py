from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
import pytest

from napari_hcs_qc.assay.annotations.journal import Journal
from napari_hcs_qc.assay.scoring.review_queue import (
    next_open,
    progress,
    review_queue,
    seen_now,
    well_entries,
)
from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate

# Well: (severity, codes, whether only its sites say so); sites: codes of sites 1 and 2.
WELLS: dict[str, tuple[float, str, bool]] = {
    "A01": (0.0, "", False),
    "A02": (3.0, "blur", True),
    "A03": (7.5, "share_abnormal,debris", False),
    "B01": (0.0, "", False),
    "B02": (3.0, "empty", True),
}
SITES = {("A02", 2): "blur", ("A03", 1): "debris", ("B02", 1): "empty", ("B02", 2): "empty"}


class Scored(SimpleNamespace):
    """Stands for a `ScoredPlate`; like it, each is only itself."""

    __hash__ = object.__hash__


def score(
    journal: Journal,
    wells: dict[str, tuple[float, str, bool]] | None = None,
    sites: dict[tuple[str, int], str] | None = None,
    plate: str = "P1",
) -> ScoredPlate:
    """Make what the queue reads of a judged plate."""
    wells, sites = WELLS if wells is None else wells, SITES if sites is None else sites
    table = pd.DataFrame(
        [
            {
                "well": well,
                "n_cells": 120,
                "n_cut": 20,
                "share_abnormal": float("nan") if well == "B02" else 0.25,
                "worst_site": 2 if well == "A02" else 1,
                "is_flagged": bool(codes),
                "flag_codes": codes,
                "flag_reason": f"why {codes}" if codes else "",
                "severity": severity,
                "is_flagged_by_sites": by_sites,
            }
            for well, (severity, codes, by_sites) in wells.items()
        ]
    )
    of_sites = pd.DataFrame(
        [
            {"well": well, "site": site, "flag_codes": sites.get((well, site), "")}
            for well in wells
            for site in (1, 2)
        ]
    ).assign(is_flagged=lambda frame: frame["flag_codes"] != "")
    verdicts = journal.verdicts()
    return cast(
        "ScoredPlate",
        Scored(
            state=SimpleNamespace(plate=SimpleNamespace(name=plate)),
            prediction=SimpleNamespace(model="0003"),
            scores=SimpleNamespace(wells=table, sites=of_sites),
            verdicts=verdicts[verdicts["plate"] == plate].reset_index(drop=True),
            threshold=0.5,
        ),
    )


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal.open(tmp_path / "journal.sqlite")


def decide(
    journal: Journal, scored: ScoredPlate, well: str, verdict: str | None, **more: Any
) -> None:
    seen = seen_now(scored, well, more.get("site"))
    plate = scored.state.plate.name
    journal.verdict(plate, well, verdict, reviewer="anna", seen=seen, **more)


def test_flagged_wells_come_gravest_first_with_their_reason(journal: Journal) -> None:
    entries = review_queue([score(journal), score(journal, plate="P2")])
    assert [entry.key for entry in entries] == [
        ("P1", "A03"),
        ("P2", "A03"),
        ("P1", "A02"),
        ("P1", "B02"),
        ("P2", "A02"),
        ("P2", "B02"),
    ]
    first, blurred = entries[0], entries[2]
    assert first.codes == ("share_abnormal", "debris")
    assert (first.severity, first.reason) == (7.5, "why share_abnormal,debris")
    assert (first.n_cells, first.n_cut) == (120, 20)
    assert (first.share_abnormal, first.worst_site, blurred.worst_site) == (0.25, 1, 2)
    assert entries[3].share_abnormal != entries[3].share_abnormal  # nothing judged on B02
    assert (first.verdict, first.reviewer, first.note, first.at, first.change) == (
        None,
        None,
        None,
        None,
        "",
    )
    assert review_queue([]) == ()


def test_verdicts_appear_with_who_when_and_why(journal: Journal) -> None:
    decide(journal, score(journal), "A03", "exclude", note="fibre")
    decide(journal, score(journal), "B01", "keep")  # not flagged, yet somebody decided
    decide(journal, score(journal), "B02", "exclude", site=2, note="edge")
    by_well = {entry.well: entry for entry in review_queue([score(journal)])}
    assert list(by_well) == ["A03", "A02", "B02", "B01"]
    excluded = by_well["A03"]
    assert (excluded.verdict, excluded.reviewer, excluded.note) == ("exclude", "anna", "fibre")
    assert excluded.at is not None
    assert abs(pd.Timestamp.now(tz="UTC") - excluded.at) < pd.Timedelta("1min")
    assert (by_well["B01"].is_flagged, by_well["B01"].note) == (False, None)
    (site,) = by_well["B02"].site_verdicts
    assert (site.site, site.verdict, site.reviewer, site.note) == (2, "exclude", "anna", "edge")
    assert by_well["B02"].verdict is None
    assert by_well["B02"].flagged_sites == (1, 2)
    journal.undo("anna")
    journal.undo("anna")
    assert [entry.well for entry in review_queue([score(journal)])] == ["A03", "A02", "B02"]


def test_what_is_done_is_what_the_export_takes_as_decided(journal: Journal) -> None:
    scored = score(journal)
    assert progress(review_queue([scored])) == (0, 3)
    decide(journal, scored, "A03", "keep")
    decide(journal, scored, "A02", "look again")
    assert progress(review_queue([score(journal)])) == (1, 3)
    decide(journal, scored, "B02", "exclude", site=1)
    assert progress(review_queue([score(journal)])) == (1, 3)
    decide(journal, scored, "B02", "keep", site=2)  # and now each of its flagged sites is decided
    assert progress(review_queue([score(journal)])) == (2, 3)
    decide(journal, scored, "B02", "look again")
    assert progress(review_queue([score(journal)])) == (1, 3)
    # A03 is flagged by its cells together: a verdict on a site is none on the well.
    journal.verdict("P1", "A03", None, reviewer="anna")
    decide(journal, scored, "A03", "exclude", site=1)
    assert progress(review_queue([score(journal)])) == (0, 3)
    decide(journal, scored, "B01", "look again")
    decide(journal, scored, "A01", "keep", site=2)
    done = {entry.well: entry.is_done for entry in review_queue([score(journal)])}
    assert done == {"A03": False, "A02": False, "B02": False, "A01": True, "B01": False}


def test_the_next_open_well_goes_round(journal: Journal) -> None:
    entries = review_queue([score(journal)])  # A03, A02, B02

    def step(after: object) -> str | None:
        found = next_open(review_queue([score(journal)]), cast("Any", after))
        return None if found is None else found.well

    assert step(None) == "A03"
    assert step(entries[0]) == "A02"
    assert step(("P1", "B02")) == "A03"
    assert step(("P1", "C07")) == "A03"
    decide(journal, score(journal), "A02", "keep")
    assert step(("P1", "A03")) == "B02"
    decide(journal, score(journal), "B02", "look again")
    decide(journal, score(journal), "A03", "exclude")
    assert step(("P1", "A03")) == "B02"
    assert step(("P1", "B02")) == "B02"  # the only one left
    decide(journal, score(journal), "B02", "keep")
    assert step(("P1", "B02")) is None


def test_a_well_whose_flag_changes_after_its_verdict_says_how(journal: Journal) -> None:
    before = score(journal)
    for well in ("A02", "A03", "B01", "B02"):
        decide(journal, before, well, "keep")
    assert {entry.change for entry in review_queue([score(journal)])} == {""}
    now = WELLS | {
        "A02": (0.0, "", False),
        "A03": (8.0, "debris,share_abnormal", False),  # another order is no change
        "B01": (2.0, "haze", False),
        "B02": (4.0, "empty,dim", True),
    }
    change = {entry.well: entry.change for entry in review_queue([score(journal, now)])}
    assert change == {
        "A03": "",
        "B02": "was flagged for few cells, is flagged for few cells and weak signal now",
        "B01": "was not flagged, is flagged for haze now",
        "A02": "was flagged for blur, is no longer flagged",
    }
    decide(journal, score(journal, now), "A02", "keep")  # having seen it
    assert not any(
        entry.change for entry in review_queue([score(journal, now)]) if entry.well == "A02"
    )


def test_a_site_whose_flag_changes_after_its_verdict_says_how(journal: Journal) -> None:
    decide(journal, score(journal), "B02", "exclude", site=2)
    now = score(journal, sites={("B02", 1): "empty"})
    (entry,) = (entry for entry in review_queue([now]) if entry.well == "B02")
    assert entry.site_verdicts[0].change == "was flagged for few cells, is no longer flagged"
    assert entry.change == "site 2 was flagged for few cells, is no longer flagged"


def test_verdicts_without_what_was_seen_are_never_marked(journal: Journal) -> None:
    journal.verdict("P1", "A02", "keep", reviewer="anna")  # by the command line, or long ago
    journal.verdict("P1", "B01", "keep", reviewer="anna", seen={"model": "0001"})
    assert {entry.change for entry in review_queue([score(journal)])} == {""}


def test_what_is_seen_now(journal: Journal) -> None:
    scored = score(journal)
    common = {"model": "0003", "threshold": 0.5}
    assert seen_now(scored, "A03") == common | {
        "is_flagged": True,
        "flag_codes": "share_abnormal,debris",
    }
    assert seen_now(scored, "A03", 2) == common | {"is_flagged": False, "flag_codes": ""}
    for well, site in (("H12", None), ("A03", 9)):
        with pytest.raises(HcsQcError, match="no images of"):
            seen_now(scored, well, site)


def test_wells_of_a_plate_are_listed_once_and_anew_for_a_new_score(journal: Journal) -> None:
    scored, other = score(journal), score(journal, {"A01": (1.0, "dead", False)}, {}, "P2")
    first = {id(entry) for entry in well_entries([scored])}
    both = well_entries([scored, other])
    assert first < {id(entry) for entry in both}
    assert [entry.plate for entry in both].count("P2") == 1
    decide(journal, scored, "A03", "keep")
    again = {entry.well: entry for entry in well_entries([score(journal)])}
    assert again["A03"].verdict == "keep"
    assert not first & {id(entry) for entry in again.values()}
