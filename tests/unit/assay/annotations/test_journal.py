from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_hcs_qc.assay.annotations.annotation import Annotation
from napari_hcs_qc.assay.annotations.journal import Journal
from napari_hcs_qc.errors import HcsQcError, ProblemsError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal.open(tmp_path / "journal.sqlite")


def classes(journal: Journal) -> list[tuple[str, float, str]]:
    frame = journal.annotations()
    return list(zip(frame["annotator"], frame["y_px"], frame["class"], strict=True))


def test_an_annotation_is_kept_as_given(journal: Journal) -> None:
    before = pd.Timestamp.now(tz="UTC")
    action = journal.annotate(
        "Platte ä", "B07", np.int64(3), np.float32(10.5), 20, "abnormal", "blur", " anna ", "hm\n?"
    )
    frame = journal.annotations()
    assert frame.drop(columns="at").to_dict("records") == [
        {
            "plate": "Platte ä",
            "well": "B07",
            "site": 3,
            "y_px": 10.5,
            "x_px": 20.0,
            "class": "abnormal",
            "kind": "blur",
            "note": "hm\n?",
            "chosen": None,
            "annotator": "anna",
            "action": action,
        }
    ]
    assert before <= frame["at"][0] + pd.Timedelta("1ms")
    assert frame["at"][0] <= pd.Timestamp.now(tz="UTC")


def test_an_empty_journal_has_typed_empty_tables(journal: Journal) -> None:
    for frame in (journal.annotations(), journal.consensus(), journal.verdicts()):
        assert len(frame) == 0
    assert str(journal.annotations()["at"].dtype).startswith("datetime64")
    assert journal.annotations()["y_px"].dtype == "float64"
    assert journal.undo("anna") is None
    assert journal.redo("anna") is None


def test_the_last_word_at_a_position_counts_per_annotator(journal: Journal) -> None:
    journal.annotate("p", "A01", 1, 5.0, 5.0, "normal", None, "anna")
    journal.annotate("p", "A01", 1, 5.0, 5.0, "abnormal", "dead", "ben")
    journal.annotate("p", "A01", 1, 5.004, 5.0, "unsure", None, "anna")  # same to 0.01 px
    journal.annotate("p", "A01", 1, 5.02, 5.0, "normal", None, "anna")  # another place
    assert classes(journal) == [
        ("ben", 5.0, "abnormal"),
        ("anna", 5.004, "unsure"),
        ("anna", 5.02, "normal"),
    ]


def test_clearing_takes_back_and_can_be_undone(journal: Journal) -> None:
    journal.annotate("p", "A01", 1, 5, 5, "normal", None, "anna")
    journal.annotate("p", "A01", 1, 5, 5, None, None, "anna")
    assert classes(journal) == []
    journal.undo("anna")
    assert classes(journal) == [("anna", 5.0, "normal")]


def test_undo_and_redo_name_the_action_and_stay_with_the_person(journal: Journal) -> None:
    first = journal.annotate("p", "A01", 1, 1, 1, "normal", None, "anna")
    other = journal.annotate("p", "A01", 1, 2, 2, "normal", None, "ben")
    second = journal.annotate("p", "A01", 1, 1, 1, "abnormal", "dead", "anna")
    assert journal.undo("anna") == second
    assert classes(journal) == [("anna", 1.0, "normal"), ("ben", 2.0, "normal")]
    assert journal.undo("anna") == first
    assert journal.undo("anna") is None
    assert journal.redo("anna") == first
    assert journal.redo("anna") == second
    assert journal.redo("anna") is None
    assert journal.redo("ben") is None
    assert journal.undo("ben") == other


def test_a_new_action_ends_redo(journal: Journal) -> None:
    journal.annotate("p", "A01", 1, 1, 1, "normal", None, "anna")
    journal.undo("anna")
    journal.annotate("p", "A01", 1, 2, 2, "normal", None, "ben")  # another person's does not
    assert journal.redo("anna") is not None
    journal.undo("anna")
    journal.verdict("p", "A01", "keep", reviewer="anna")
    assert journal.redo("anna") is None


def test_many_annotations_are_one_action(journal: Journal) -> None:
    rows = [
        Annotation(plate="p", well="A01", site=1, y_px=y, x_px=0, cls="normal") for y in range(5)
    ]
    action = journal.annotate_many(rows, "anna")
    assert set(journal.annotations()["action"]) == {action}
    assert journal.undo("anna") == action
    assert len(journal.annotations()) == 0
    with pytest.raises(HcsQcError, match="nothing to annotate"):
        journal.annotate_many([], "anna")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"cls": "bad"}, "'bad'"),
        ({"cls": "abnormal", "kind": "mitosis"}, "'mitosis'"),
        ({"cls": "normal", "kind": "dead"}, "why a cell is abnormal"),
        ({"y_px": float("nan")}, "y_px=nan"),
        ({"x_px": float("inf")}, "x_px=inf"),
        ({"site": -1}, "-1"),
        ({"site": 2**40}, "site"),
        ({"plate": " "}, "plate"),
        ({"well": ""}, "well"),
        ({"annotator": "  "}, "annotator"),
        ({"note": "\ud800"}, "note"),
        ({"note": "a\x00b"}, "note"),
    ],
)
def test_what_is_no_annotation_is_refused(
    journal: Journal, change: dict[str, object], word: str
) -> None:
    given: dict[str, object] = {
        "plate": "p",
        "well": "A01",
        "site": 1,
        "y_px": 1.0,
        "x_px": 1.0,
        "cls": "normal",
        "kind": None,
        "annotator": "anna",
    }
    with pytest.raises(HcsQcError, match=word):
        journal.annotate(**(given | change))  # type: ignore[arg-type]
    assert len(journal.annotations()) == 0


def test_verdicts_on_wells_and_sites(journal: Journal) -> None:
    journal.verdict("p", "A01", "keep", reviewer="anna", note="fine")
    journal.verdict("p", "A01", "exclude", reviewer="ben", site=2)
    journal.verdict("p", "A02", "look again", reviewer="anna")
    journal.verdict("p", "A01", "exclude", reviewer="ben")

    def now() -> list[tuple[object, ...]]:
        frame = journal.verdicts()
        return [
            (row.well, None if row.site is pd.NA else row.site, row.verdict, row.reviewer)
            for row in frame.itertuples()
        ]

    assert now() == [
        ("A01", 2, "exclude", "ben"),
        ("A02", None, "look again", "anna"),
        ("A01", None, "exclude", "ben"),
    ]
    journal.undo("ben")  # back to what anna said before
    assert ("A01", None, "keep", "anna") in now()
    journal.verdict("p", "A01", None, reviewer="ben")
    assert ("A01", None, "keep", "anna") not in now()
    with pytest.raises(HcsQcError, match="'drop' is not one of keep, exclude, look again"):
        journal.verdict("p", "A01", "drop", reviewer="ben")


def test_what_the_machine_said_is_kept_with_a_verdict(journal: Journal) -> None:
    seen = {"model": "0007", "is_flagged": np.bool_(True), "threshold": np.float32(0.5), "n": 3}
    journal.verdict("p", "A01", "keep", reviewer="anna", seen=seen)
    journal.verdict("p", "A02", "keep", reviewer="anna")
    journal.verdict("p", "A03", "keep", reviewer="anna", seen={})
    found = journal.verdicts()["seen"].tolist()
    assert found == [{"model": "0007", "is_flagged": True, "threshold": 0.5, "n": 3}, None, None]
    assert {type(value) for value in found[0].values()} == {str, bool, float, int}
    journal.verdict("p", "A01", "exclude", reviewer="ben", seen={"is_flagged": False})
    assert journal.verdicts()["seen"].tolist()[-1] == {"is_flagged": False}
    journal.undo("ben")
    assert journal.verdicts()["seen"].tolist()[0]["model"] == "0007"


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), ["blur"], "\ud800"])
def test_what_cannot_be_kept_with_a_verdict_is_refused(journal: Journal, value: object) -> None:
    with pytest.raises(HcsQcError, match=r"codes=|cannot be stored"):
        journal.verdict("p", "A01", "keep", reviewer="anna", seen={"codes": value})  # type: ignore[dict-item]
    assert len(journal.verdicts()) == 0


def test_consensus_of_annotators(journal: Journal) -> None:
    words = {
        0: [("anna", "normal", None), ("ben", "normal", None)],
        1: [("anna", "normal", None), ("ben", "abnormal", "dead")],
        2: [("anna", "abnormal", "dead"), ("ben", "abnormal", "debris")],
        3: [("anna", "abnormal", "dead"), ("ben", "abnormal", None)],
        4: [("anna", "unsure", None), ("ben", "normal", None)],
        5: [("ben", "unsure", None)],
    }
    for y, said in words.items():
        for who, cls, kind in said:
            journal.annotate("p", "A01", 1, y, 0, cls, kind, who)
    frame = journal.consensus()
    found = {
        row["y_px"]: (row["class"], row["kind"], row["annotators"], row["is_conflict"])
        for row in frame.to_dict("records")
    }
    assert found == {
        0: ("normal", None, "anna, ben", False),
        1: (None, None, "anna, ben", True),
        2: ("abnormal", None, "anna, ben", False),
        3: ("abnormal", "dead", "anna, ben", False),
        4: ("normal", None, "anna, ben", False),
        5: ("unsure", None, "ben", False),
    }
    assert frame["n_annotators"].tolist() == [2, 2, 2, 2, 2, 1]


@pytest.mark.parametrize("table", ["actions", "annotations", "verdicts"])
@pytest.mark.parametrize("change", ["UPDATE {} SET rowid = 9", "DELETE FROM {}", "REPLACE"])
def test_rows_can_be_neither_changed_nor_removed(journal: Journal, table: str, change: str) -> None:
    journal.annotate("p", "A01", 1, 1, 1, "normal", None, "anna")
    journal.verdict("p", "A01", "keep", reviewer="anna")
    database = sqlite3.connect(journal.path)
    rows = database.execute(f"SELECT * FROM {table}").fetchall()
    columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
    statement = {
        "UPDATE {} SET rowid = 9": f"UPDATE {table} SET {columns[-1]} = 'x'",
        "DELETE FROM {}": f"DELETE FROM {table}",
        "REPLACE": f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}",
    }[change]
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        database.execute(statement)
    assert database.execute(f"SELECT * FROM {table}").fetchall() == rows
    database.close()


def test_time_never_runs_backwards(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    journal.annotate("p", "A01", 1, 1, 1, "normal", None, "anna")
    monkeypatch.setattr(time, "time_ns", lambda: 10**15)  # the clock was set back to 1970
    journal.annotate("p", "A01", 1, 1, 1, "abnormal", "dead", "anna")
    assert classes(journal) == [("anna", 1.0, "abnormal")]
    journal.undo("anna")
    assert classes(journal) == [("anna", 1.0, "normal")]


# ---- label files ---------------------------------------------------------------------------


def labels(*rows: tuple[float, str, str | None, str]) -> pd.DataFrame:
    return pd.DataFrame(
        [("p", "A01", 1, y, 0.0, cls, kind, None, who) for y, cls, kind, who in rows],
        columns=["plate", "well", "site", "y_px", "x_px", "class", "kind", "note", "annotator"],
    )


def test_a_label_file_is_taken_in_once(journal: Journal) -> None:
    file = labels((1, "normal", None, "anna"), (2, "abnormal", "dead", "ben"))
    assert journal.add_labels(file, source="labels.csv") == (2, 0)
    assert journal.add_labels(file, source="moved.csv") == (0, 2)
    assert classes(journal) == [("anna", 1.0, "normal"), ("ben", 2.0, "abnormal")]


def test_a_label_file_again_keeps_what_was_changed_by_hand(journal: Journal) -> None:
    file = labels((1, "normal", None, "anna"), (2, "normal", None, "anna"))
    journal.add_labels(file, source="labels.csv")
    journal.annotate("p", "A01", 1, 1, 0, "abnormal", "blur", "anna")
    edited = labels((1, "normal", None, "anna"), (2, "unsure", None, "anna"))
    assert journal.add_labels(edited, source="labels.csv") == (1, 1)
    assert classes(journal) == [("anna", 1.0, "abnormal"), ("anna", 2.0, "unsure")]
    assert journal.add_labels(file, source="labels.csv") == (1, 1)  # the file went back
    assert classes(journal) == [("anna", 1.0, "abnormal"), ("anna", 2.0, "normal")]


def test_a_label_file_undone_can_be_taken_in_again(journal: Journal) -> None:
    file = labels((1, "normal", None, "anna"), (2, "normal", None, "anna"))
    journal.add_labels(file, source="labels.csv")
    journal.undo("anna")
    assert classes(journal) == []
    assert journal.add_labels(file, source="labels.csv") == (2, 0)
    assert len(classes(journal)) == 2


# ---- out and in ----------------------------------------------------------------------------


def filled(journal: Journal) -> Journal:
    journal.annotate("p", "A01", 1, 1 / 3, 1e-7, "abnormal", "dead", "anna", 'a "note",\r\nlong; ä')
    journal.annotate("p", "A01", 1, 5, 5, "unsure", None, "ben")
    journal.verdict("p", "A01", "exclude", reviewer="anna", site=4, note="=1+1")
    journal.verdict("p", "A02", "keep", reviewer="ben", seen={"flag_codes": "blur,dim"})
    journal.undo("ben")
    journal.annotate_many(
        [Annotation(plate="p", well="A02", site=1, y_px=y, x_px=0, cls="normal") for y in range(3)],
        "anna",
    )
    journal.undo("anna")
    journal.redo("anna")
    journal.annotate("p", "A01", 1, 5, 5, None, None, "ben")
    journal.add_labels(labels((9, "normal", None, "carla")), source="labels.csv")
    return journal


def same(one: Journal, other: Journal) -> None:
    pd.testing.assert_frame_equal(one.annotations(), other.annotations())
    pd.testing.assert_frame_equal(one.verdicts(), other.verdicts())


def test_export_and_import_lose_nothing(journal: Journal, tmp_path: Path) -> None:
    filled(journal)
    out = tmp_path / "Ausfuhr ä.csv"
    n_actions = journal.export(out)
    assert n_actions == 10
    copy = Journal.open(tmp_path / "copy.sqlite")
    assert copy.import_(out) == n_actions
    same(journal, copy)
    again = tmp_path / "again.csv"
    copy.export(again)
    assert again.read_bytes() == out.read_bytes()
    assert copy.import_(out) == 0
    for who in ("anna", "ben"):  # the undo stacks are the same too
        assert copy.redo(who) == journal.redo(who)
        assert copy.undo(who) == journal.undo(who)
    assert copy.add_labels(labels((9, "normal", None, "carla")), source="labels.csv") == (0, 1)


def test_journals_that_import_each_other_agree(tmp_path: Path) -> None:
    one, two = Journal.open(tmp_path / "1.sqlite"), Journal.open(tmp_path / "2.sqlite")
    for y in range(3):
        one.annotate("p", "A01", 1, y, 0, "normal", None, "anna")
        two.annotate("p", "A01", 1, y, 0, "abnormal", "dead", "anna" if y == 1 else "ben")
    one.undo("anna")
    two.undo("ben")
    for source, target in ((one, two), (two, one)):
        source.export(tmp_path / "e.csv")
        target.import_(tmp_path / "e.csv")
    same(one, two)
    assert ("anna", 1.0, "abnormal") in classes(one)  # said later than "normal"


@settings(max_examples=25)
@given(note=st.text(max_size=20), plate=st.text(min_size=1, max_size=8), y=st.floats(-1e6, 1e6))
def test_any_text_and_number_survives_export(
    tmp_path_factory: pytest.TempPathFactory, note: str, plate: str, y: float
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal.open(folder / "j.sqlite")
    try:
        journal.annotate(plate, "A01", 1, y, 1, "normal", None, "anna", note)
    except HcsQcError:
        return  # cannot be stored, and is said so
    journal.export(folder / "e.csv")
    copy = Journal.open(folder / "copy.sqlite")
    copy.import_(folder / "e.csv")
    same(journal, copy)
    assert journal.annotations()["y_px"][0] == y
    assert journal.annotations()["note"][0] == (note.strip() or None)


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        (",annotate,", ",dance,", "'dance'"),
        ("unsure", "maybe", "'maybe'"),
        ("+00:00", "", "time zone"),
        ("dead", "blur", "differs"),
        (",undo,", ",redo,", "differs"),
        ("exclude", "shut", "'shut'"),
        ("blur,dim", "blur,,dim", "differs"),
        ('{""flag_codes"": ""blur,dim""}', "[1]", "not a JSON object"),
        ('""blur,dim""', "blur", "not JSON"),
        ('""blur,dim""', "NaN", "finite number"),
        (",0.3333333333333333,", ",one,", "one"),
    ],
)
def test_a_changed_export_is_refused_whole(
    journal: Journal, tmp_path: Path, old: str, new: str, word: str
) -> None:
    filled(journal)
    out = tmp_path / "e.csv"
    n_actions = journal.export(out)
    text = out.read_bytes().decode()
    assert old in text
    out.write_bytes(text.replace(old, new).encode())
    with pytest.raises(ProblemsError, match=word):
        journal.import_(out)
    assert journal.export(out) == n_actions


def test_an_export_of_the_first_version_is_taken_in(journal: Journal, tmp_path: Path) -> None:
    filled(journal)
    out = tmp_path / "e.csv"
    n_actions = journal.export(out)
    table = pd.read_csv(out, dtype=str, keep_default_na=False).drop(columns="seen")
    table.to_csv(out, index=False)
    assert journal.import_(out) == 0  # that it lacks a column is no contradiction
    copy = Journal.open(tmp_path / "copy.sqlite")
    assert copy.import_(out) == n_actions
    copy.redo("ben")
    assert copy.verdicts()["seen"].tolist() == [None] * len(copy.verdicts())
    table.replace("exclude", "keep").to_csv(out, index=False)
    with pytest.raises(ProblemsError, match="differs"):
        journal.import_(out)


def test_events_must_fit_each_other(journal: Journal, tmp_path: Path) -> None:
    first = journal.annotate("p", "A01", 1, 1, 1, "normal", None, "anna")
    journal.undo("anna")
    out = tmp_path / "e.csv"
    journal.export(out)
    lines = out.read_bytes().decode().splitlines(keepends=True)
    empty = Journal.open(tmp_path / "empty.sqlite")
    out.write_bytes((lines[0] + lines[2]).encode())  # an undo without its action
    with pytest.raises(ProblemsError, match="neither file"):
        empty.import_(out)
    out.write_bytes((lines[0] + lines[1] + lines[2].replace(",anna,", ",ben,")).encode())
    with pytest.raises(ProblemsError, match="not this person's"):
        empty.import_(out)
    earlier = lines[2].replace(lines[2].split(",")[1], "2001-01-01T00:00:00+00:00")
    out.write_bytes((lines[0] + lines[1] + earlier).encode())
    with pytest.raises(ProblemsError, match="older"):
        empty.import_(out)
    out.write_bytes((lines[0] + lines[1] + lines[1]).encode())
    with pytest.raises(ProblemsError, match=f"row 0 of the action {first}"):
        empty.import_(out)
    assert len(empty.annotations()) == 0
    assert empty.export(out) == 0


def test_a_label_file_is_no_export(journal: Journal, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("well,site,y_px,x_px,label\nA01,1,1,1,normal\n", encoding="utf-8")
    with pytest.raises(HcsQcError, match="not an export of annotations"):
        journal.import_(path)


def test_the_time_of_a_replay_grows_with_the_annotations_and_no_faster(tmp_path: Path) -> None:
    spent: dict[int, float] = {}
    for n_cells in (2_000, 20_000):
        journal = Journal.open(tmp_path / f"{n_cells}.sqlite")
        rows = [
            Annotation(plate="p", well="A01", site=i % 9, y_px=i * 0.5, x_px=i % 700, cls="normal")
            for i in range(n_cells)
        ]
        journal.annotate_many(rows, "anna")
        journal.annotate("p", "A01", 0, 0, 0, "abnormal", "dead", "anna")
        for _ in range(3):
            start = time.process_time()
            frame = journal.annotations()
            seconds = time.process_time() - start
            spent[n_cells] = min(spent.get(n_cells, seconds), seconds)
        assert len(frame) == n_cells
        assert frame["class"].value_counts()["abnormal"] == 1
    assert spent[20_000] < 30 * spent[2_000]  # with the square it would be 100
