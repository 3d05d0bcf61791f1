"""What is read back from a journal is what was written, or an error that names it."""

from __future__ import annotations

import os
import random
import re
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from napari_hcs_qc.assay.annotations import journal_schema
from napari_hcs_qc.assay.annotations.annotation import Annotation
from napari_hcs_qc.assay.annotations.annotation_cache import AnnotationCache
from napari_hcs_qc.assay.annotations.journal import Journal
from napari_hcs_qc.assay.annotations.journal_integrity import copies
from napari_hcs_qc.assay.annotations.journal_repair import JournalRepair, repair_journal
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.errors import DamagedError, HcsQcError
from napari_hcs_qc.workflow.labels_in_out import write_annotations

if TYPE_CHECKING:
    from pathlib import Path


def opened_anew(path: Path) -> Journal:
    """Open a journal as another process does."""
    journal_schema._CHECKED.pop(path.absolute(), None)
    return Journal.open(path, create=False)


def content(journal: Journal) -> tuple[str, str]:
    return journal.annotations().to_csv(), journal.verdicts().to_csv()


def fill(path: Path, n: int = 60) -> Journal:
    journal = Journal.open(path)
    for i in range(n):
        cls, kind = ("abnormal", "blur") if i % 3 else ("normal", None)
        journal.annotate("SIM", "A01", 1, float(i), 5.5, cls, kind, "me" if i % 2 else "you", "é")
    for column in range(1, 6):
        journal.verdict("SIM", f"A0{column}", "keep", reviewer="me", seen={"share": 0.5})
    for _ in range(4):
        journal.undo("me")
    journal.redo("me")
    return journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a journal with a copy, and annotations made since."""
    journal = fill(tmp_path / "assay" / "journal.sqlite")
    opened_anew(journal.path)
    journal.annotate("SIM", "B01", 2, 7.0, 8.0, "normal", None, "me")
    return journal.path


def flip(path: Path, offset: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(data)


# ---- damage is told ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    # a well alone may be a time's last byte ("A") and the "01" that a random uuid begins with
    [b"abnormal", b"SIM", b"blur", b"keep", b"(?<=SIM)A01"],
    ids=["class", "plate", "kind", "verdict", "well"],
)
def test_a_changed_letter_is_told_with_its_action(path: Path, text: bytes) -> None:
    in_row = re.search(rb"(?<!')" + text, path.read_bytes())  # not in the text of the tables
    assert in_row is not None
    flip(path, in_row.start() + 1)
    with pytest.raises(DamagedError, match=r"damaged.*hcs-qc repair") as caught:
        opened_anew(path)
    assert re.search(r"action \d+ \((annotate|verdict|undo) by \w+", str(caught.value))


def test_nothing_is_added_to_a_damaged_journal(path: Path) -> None:
    flip(path, path.read_bytes().rfind(b"abnormal") + 3)
    before = path.read_bytes()
    journal = Journal(path)
    for step in (
        lambda: journal.undo("me"),
        lambda: journal.verdict("P", "A01", "keep", reviewer="x"),
    ):
        with pytest.raises(DamagedError):
            step()
    assert path.read_bytes() == before


def test_no_flipped_bit_and_no_lost_page_changes_what_is_read(path: Path, tmp_path: Path) -> None:
    whole, expected = path.read_bytes(), content(Journal(path))
    rng = random.Random(17)
    n_told = 0
    damaged = tmp_path / "damaged.sqlite"
    for trial in range(60):
        data = bytearray(whole)
        if trial % 4 == 3:
            page = rng.randrange(len(whole) // 4096) * 4096
            data[page : page + 4096] = bytes(4096)
        else:
            data[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        damaged.write_bytes(data)
        try:
            assert content(opened_anew(damaged)) == expected
        except HcsQcError:
            n_told += 1
    assert n_told > 20


@pytest.mark.parametrize("n_bytes", [1, 100, 4096, 3 * 4096])
def test_a_file_cut_short_is_told(path: Path, n_bytes: int) -> None:
    path.write_bytes(path.read_bytes()[:-n_bytes])
    with pytest.raises(HcsQcError, match="damaged"):
        opened_anew(path).annotations()


def test_rows_that_another_program_removed_are_told(path: Path) -> None:
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("DROP TRIGGER annotations_no_delete")
    database.execute("DELETE FROM annotations WHERE action = 3")
    database.close()
    with pytest.raises(DamagedError, match="action 3 "):
        opened_anew(path)


def test_a_cache_does_not_take_damage_that_came_meanwhile(path: Path) -> None:
    live = AnnotationCache(Journal(path))
    flip(path, path.read_bytes().rfind(b"abnormal") + 3)
    with pytest.raises(DamagedError):
        live.reload()


# ---- copies --------------------------------------------------------------------------------


def test_each_opening_keeps_a_copy_of_what_is_new_and_three_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = Journal.open(path)
    assert copies(path) == []
    for n in range(1, 6):
        journal.annotate("P", "A01", 1, float(n), 0, "normal", None, "me")
        opened_anew(path)
        opened_anew(path)  # nothing new
        assert len(copies(path)) == min(n, 3)
    assert [len(Journal(copy).annotations()) for copy in copies(path)] == [5, 4, 3]


def test_a_journal_without_a_place_for_copies_opens(tmp_path: Path) -> None:
    journal = fill(tmp_path / "journal.sqlite", 3)
    (tmp_path / "journal-copies").write_text("in the way")
    assert len(opened_anew(journal.path).annotations()) > 0


# ---- repair --------------------------------------------------------------------------------


def test_a_whole_journal_stays_as_it_is(path: Path) -> None:
    before = path.read_bytes()
    assert repair_journal(path) == JournalRepair(n_whole=71)
    assert path.read_bytes() == before


def test_a_locked_or_newer_journal_is_not_repaired(path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA user_version = 9")
    before = path.read_bytes()
    with pytest.raises(HcsQcError, match="newer version"):
        repair_journal(path)
    other.close()
    assert path.read_bytes() == before
    assert {each.name for each in path.parent.iterdir()} == {"journal.sqlite", "journal-copies"}


def test_an_export_adds_what_a_whole_journal_lacks(path: Path, tmp_path: Path) -> None:
    Journal(path).export(tmp_path / "e.csv")
    other = Journal.open(tmp_path / "other.sqlite")
    other.annotate("P", "A01", 1, 0, 0, "normal", None, "me")
    assert repair_journal(other.path, [tmp_path / "e.csv"]).n_restored == 71
    assert repair_journal(other.path, [tmp_path / "e.csv"]).n_restored == 0


def test_a_damaged_action_comes_back_from_the_copy(path: Path) -> None:
    expected = content(Journal(path))
    flip(path, path.read_bytes().find(b"abnormal") + 3)
    damaged = path.read_bytes()
    repaired = repair_journal(path)
    assert (repaired.n_restored, repaired.lost) == (1, ())
    assert content(opened_anew(path)) == expected
    assert repaired.damaged is not None and repaired.damaged.read_bytes() == damaged


def test_what_was_recorded_since_the_copy_survives_a_lost_header(path: Path) -> None:
    expected = content(Journal(path))
    path.write_bytes(bytes(4096) + path.read_bytes()[4096:])
    with pytest.raises(HcsQcError):
        opened_anew(path)
    assert repair_journal(path).lost == ()
    assert content(opened_anew(path)) == expected


def test_a_deleted_journal_comes_back_from_its_copy(path: Path) -> None:
    path.unlink()
    repaired = repair_journal(path)
    assert (repaired.n_whole, repaired.n_restored, repaired.damaged) == (0, 70, None)
    assert len(repaired.lost) == 1
    assert len(opened_anew(path).annotations()) > 0


def test_what_is_lost_is_told_and_an_export_brings_it_back(path: Path, tmp_path: Path) -> None:
    journal = Journal(path)
    expected = content(journal)
    journal.export(tmp_path / "journal.csv")
    shutil.rmtree(path.parent / "journal-copies")
    data = path.read_bytes()
    flip(path, data.rfind(b"SIMB01") + 3)
    damaged = path.read_bytes()
    repaired = repair_journal(path)
    assert (repaired.n_whole, repaired.n_restored) == (70, 0)
    [lost] = repaired.lost
    assert "annotate by me" in lost
    assert len(opened_anew(path).annotations()) == expected[0].count("\n") - 2
    path.write_bytes(damaged)
    repaired = repair_journal(path, [tmp_path / "journal.csv"])
    assert (repaired.n_restored, repaired.lost) == (1, ())
    assert content(opened_anew(path)) == expected


@pytest.mark.timeout(60)
def test_a_damaged_number_of_an_action_is_no_loop_count(path: Path) -> None:
    expected = content(Journal(path))
    database = sqlite3.connect(path, isolation_level=None)
    for table in ("actions", "annotations"):
        database.execute(f"DROP TRIGGER {table}_no_update")
    database.execute("UPDATE annotations SET action = 1 << 40 WHERE action = 3")
    database.execute("UPDATE actions SET seq = 1 << 40 WHERE seq = 3")
    database.close()
    repaired = repair_journal(path)
    assert (repaired.n_whole, repaired.n_restored, repaired.lost) == (70, 1, ())
    assert content(opened_anew(path)) == expected


def test_of_many_rows_the_good_ones_are_kept_and_the_damaged_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    rows = [
        Annotation(plate="P", well=f"A{n:02d}", site=1, y_px=n, x_px=1, cls="normal")
        for n in range(1, 25)
    ]
    Journal.open(path).annotate_many(rows, "me")
    flip(path, path.read_bytes().rfind(b"PA07") + 3)
    with pytest.raises(DamagedError, match="differs from what was recorded in its row 6"):
        opened_anew(path)
    repaired = repair_journal(path)
    assert (repaired.n_whole, repaired.n_restored) == (0, 0)
    [lost] = repaired.lost
    assert lost.endswith(": row 6")
    wells = opened_anew(path).annotations()["well"].tolist()
    assert wells == [row.well for row in rows if row.well != "A07"]


def exported_annotations(path: Path, out: Path) -> Path:
    assay = AssayFolder.create(out.parent / "of the export")
    shutil.copy(path, assay.journal_path)
    write_annotations(assay, out)
    return out


def test_exported_annotations_bring_back_what_is_in_no_copy(path: Path, tmp_path: Path) -> None:
    expected = Journal(path).annotations().drop(columns=["action", "chosen"])
    export = exported_annotations(path, tmp_path / "annotations.csv")
    assert repair_journal(path, [export]).n_restored == 0  # it has nothing that is not there
    shutil.rmtree(path.parent / "journal-copies")
    flip(path, path.read_bytes().rfind(b"SIMB01") + 3)
    repaired = repair_journal(path, [export])
    assert (repaired.n_restored, repaired.lost, repaired.refused) == (1, (), ())
    restored = opened_anew(path).annotations().drop(columns=["action", "chosen"])
    pd.testing.assert_frame_equal(restored, expected)
    assert repair_journal(path, [export]).n_restored == 0


def test_exported_annotations_do_not_change_what_people_said_since(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "assay" / "journal.sqlite")
    for x, note in enumerate(("=1+1", "mitosis", None)):
        journal.annotate("SIM", "A01", 1, 1.0, float(x), "normal", None, "=me", note)
    export = exported_annotations(journal.path, tmp_path / "annotations.csv")
    assert "'=1+1" in export.read_text(encoding="utf-8")
    journal.annotate("SIM", "A01", 1, 1.0, 0.0, None, None, "=me")
    journal.annotate("SIM", "A01", 1, 1.0, 1.0, "abnormal", "blur", "=me")
    journal.undo("=me")
    before = content(journal)
    assert repair_journal(journal.path, [export]).n_restored == 0
    assert content(journal) == before
    # In a journal that has nothing of it all comes back, as it was.
    other = Journal.open(tmp_path / "other" / "journal.sqlite")
    assert repair_journal(other.path, [export]).n_restored == 3
    columns = ["class", "kind", "note", "annotator", "x_px"]
    assert other.annotations()[columns].values.tolist() == [
        ["normal", None, "=1+1", "=me", 0.0],
        ["normal", None, "mitosis", "=me", 1.0],
        ["normal", None, None, "=me", 2.0],
    ]


def test_a_file_that_is_no_export_stops_nothing(path: Path, tmp_path: Path) -> None:
    expected = content(Journal(path))
    journal_export, edited, other = (tmp_path / f"{name}.csv" for name in ("all", "edited", "no"))
    Journal(path).export(journal_export)
    text = journal_export.read_text(encoding="utf-8")
    edited.write_text(text.replace(",A01,1,0.0,", ",A01,1,0.5,"), encoding="utf-8")
    other.write_text("well,site\nA01,1\n", encoding="utf-8")
    files = [tmp_path / "missing.csv", other, edited, journal_export]
    flip(path, path.read_bytes().rfind(b"SIMB01") + 3)
    damaged = path.read_bytes()
    for _ in range(2):  # damaged, then whole
        repaired = repair_journal(path, files)
        missing, no_export, contradicting = repaired.refused
        assert "does not exist" in missing
        assert f"{other} is not an export of annotations" in no_export
        assert "differs from the event of that id" in contradicting
        assert repaired.lost == ()
        assert content(opened_anew(path)) == expected
    path.write_bytes(damaged)
    shutil.rmtree(path.parent / "journal-copies")
    assert len(repair_journal(path, files[:3]).lost) == 1
    assert "B01" not in content(opened_anew(path))[0]


def test_nothing_to_restore_from_is_an_error_that_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_bytes(b"\xff" * 9000)
    with pytest.raises(HcsQcError, match=r"no copies.*--csv FILE"):
        repair_journal(path)
    assert path.read_bytes() == b"\xff" * 9000


# ---- of earlier versions, and other systems ------------------------------------------------


def test_an_older_journal_gets_its_checksums_with_the_first_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.sqlite"
    with monkeypatch.context() as patch:
        patch.setattr(journal_schema, "_CHECKSUM_TABLE", "")
        patch.setattr(journal_schema, "SCHEMA_VERSION", 3)
        Journal.open(path)
    database = sqlite3.connect(path, isolation_level=None)
    about = "INSERT INTO actions (uuid, at_us, actor, type) VALUES (?, ?, 'anna', 'annotate')"
    for seq in range(1, 20):
        database.execute(about, (f"u{seq}", seq))
        row = (seq, float(seq))
        database.execute(
            "INSERT INTO annotations (action, row, plate, well, site, y_px, x_px, class) "
            "VALUES (?, 0, 'p', 'A01', 1, ?, 3, 'normal')",
            row,
        )
    database.close()
    journal = opened_anew(path)
    before = journal.annotations()
    assert copies(path) == []  # as it was is what an older version reads
    journal.annotate("p", "A01", 1, 50.0, 3, "abnormal", None, "ben")
    assert journal.annotations().iloc[:19].equals(before)
    flip(path, path.read_bytes().find(b"normal") + 1)
    with pytest.raises(DamagedError, match="differs from what was recorded"):
        opened_anew(path)


def test_times_beyond_what_nanoseconds_hold(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal.sqlite")
    journal.annotate("p", "A01", 1, 0, 0, "normal", None, "anna")
    journal.export(tmp_path / "e.csv")
    text = (tmp_path / "e.csv").read_text(encoding="utf-8")
    text = re.sub(r",20\d\d-", ",2999-", text)
    (tmp_path / "e.csv").write_text(text, encoding="utf-8")
    later = Journal.open(tmp_path / "later.sqlite")
    assert later.import_(tmp_path / "e.csv") == 1
    later.verdict("p", "A01", "keep", reviewer="ben")
    assert later.annotations()["at"].dt.year.tolist() == [2999]
    assert later.verdicts()["at"].dt.year.tolist() == [2999]
    assert len(AnnotationCache(later).table) == 1


@pytest.mark.skipif(os.name != "posix", reason="permissions of a POSIX system")
def test_a_group_that_may_write_new_files_may_write_the_journal(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        Journal.open(tmp_path / "journal.sqlite")
    finally:
        os.umask(before)
    assert (tmp_path / "journal.sqlite").stat().st_mode & 0o777 == 0o664
