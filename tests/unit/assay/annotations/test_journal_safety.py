"""What must not happen to annotations: loss, silent damage, half a step."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from napari_hcs_qc.assay.annotations import journal_schema
from napari_hcs_qc.assay.annotations.annotation import Annotation
from napari_hcs_qc.assay.annotations.journal import Journal
from napari_hcs_qc.errors import HcsQcError, WriteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Annotates for ever (or n times) and prints each id only after the journal has returned it.
WRITER = """
import sys
from pathlib import Path
from napari_hcs_qc.assay.annotations.journal import Journal
journal = Journal.open(Path(sys.argv[1]))
print("ready", flush=True)
who, count = sys.argv[2], int(sys.argv[3])
for i in range(count):
    print(journal.annotate("p", "A01", 1, i, 0, "normal", None, who), flush=True)
    if i % 5 == 4:
        print(journal.annotate("p", "A01", 2, i, 0, "abnormal", "dead", who), flush=True)
        journal.undo(who)
"""


def write_in_process(path: Path, who: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), who, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal.open(tmp_path / "journal.sqlite", busy_timeout_s=0.2)
    journal.annotate("p", "A01", 1, 0, 0, "normal", None, "anna")
    return journal


def action_ids(path: Path) -> set[str]:
    database = sqlite3.connect(path)
    ids = {row[0] for row in database.execute("SELECT uuid FROM actions")}
    database.close()
    return ids


def test_two_processes_write_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "Zwei ä.sqlite"  # made by whichever process comes first
    writers = [write_in_process(path, who, 25) for who in ("anna", "ben")]
    printed = [writer.communicate(timeout=120)[0].split() for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    said = {word for words in printed for word in words} - {"ready"}
    assert len(said) == 2 * 30
    assert said <= action_ids(path)
    frame = Journal.open(path).annotations()
    assert frame.groupby("annotator").size().to_dict() == {"anna": 25, "ben": 25}


@pytest.mark.parametrize("n_lines", [1, 7, 20])
def test_sigkill_loses_nothing_that_was_acknowledged(tmp_path: Path, n_lines: int) -> None:
    path = tmp_path / "journal.sqlite"
    writer = write_in_process(path, "anna", 100_000)
    assert writer.stdout is not None
    printed = [writer.stdout.readline().strip() for _ in range(n_lines)]
    os.kill(writer.pid, signal.SIGKILL)
    printed += writer.stdout.read().split()  # what it still said before it died
    writer.stdout.close()
    assert writer.wait() == -signal.SIGKILL
    journal = Journal.open(path)
    assert set(printed) - {"ready"} <= action_ids(path)
    n_before = len(journal.annotations())
    journal.annotate("p", "A01", 9, 0, 0, "normal", None, "anna")  # and it goes on
    assert len(journal.annotations()) == n_before + 1


def test_an_empty_file_left_by_a_killed_start_is_completed(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    path.touch()
    with pytest.raises(HcsQcError, match="not an annotation journal"):
        Journal.open(path, create=False)
    assert path.stat().st_size == 0
    assert len(Journal.open(path).annotations()) == 0


def test_sync_and_journal_mode_are_those_of_network_shares(journal: Journal) -> None:
    with journal_schema.appending(journal.path, busy_timeout_s=1) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert database.execute("PRAGMA synchronous").fetchone() == (3,)  # EXTRA
        assert database.execute("PRAGMA foreign_keys").fetchone() == (1,)
    beside = {path.name for path in journal.path.parent.iterdir()}
    assert beside == {"journal.sqlite"}


# ---- files that are not a journal ----------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "word"),
    [(b"well,site\nA01,1\n" * 50, "damaged"), (b"SQLite format 3\x00" + b"\xff" * 5000, "damaged")],
)
@pytest.mark.parametrize("create", [True, False])
def test_what_is_no_database_is_left_alone(
    tmp_path: Path, content: bytes, word: str, create: bool
) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_bytes(content)
    with pytest.raises(HcsQcError, match=word) as caught:
        Journal.open(path, create=create)
    assert "backup" in str(caught.value)
    with pytest.raises(HcsQcError):
        Journal(path).annotate("p", "A01", 1, 0, 0, "normal", None, "anna")
    assert path.read_bytes() == content


def test_damage_in_the_middle_is_named_and_left_alone(journal: Journal) -> None:
    rows = [
        Annotation(plate="p", well="A01", site=1, y_px=y, x_px=0, cls="normal", note="x" * 50)
        for y in range(2000)
    ]
    journal.annotate_many(rows, "anna")
    content = bytearray(journal.path.read_bytes())
    content[len(content) // 2 :] = b"\xee" * (len(content) - len(content) // 2)
    journal.path.write_bytes(content)
    with pytest.raises(HcsQcError, match="damaged"):
        journal.annotations()
    assert journal.path.read_bytes() == content


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE profiles (x)")
    database.close()
    content = path.read_bytes()
    with pytest.raises(HcsQcError, match="not an annotation journal"):
        Journal.open(path)
    assert path.read_bytes() == content


def test_a_newer_journal_asks_for_an_upgrade(journal: Journal) -> None:
    database = sqlite3.connect(journal.path)
    database.execute("PRAGMA user_version = 7")
    database.close()
    for step in (
        lambda: Journal.open(journal.path),
        journal.annotations,
        lambda: journal.undo("anna"),
    ):
        with pytest.raises(HcsQcError, match=r"newer version .*format 7.*pip install -U"):
            step()


def older_schema(*without: str) -> str:
    """Give the tables as they were before some columns were added to them."""
    schema = journal_schema._SCHEMA
    for column in without:
        assert schema.count(f"    {column:<7} TEXT,\n") == 1
        schema = schema.replace(f"    {column:<7} TEXT,\n", "")
    return schema


@pytest.fixture
def first_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    """Make a journal as the first version made it, with two verdicts of anna."""
    schema = older_schema("seen", "chosen")
    path = tmp_path / "first.sqlite"
    with monkeypatch.context() as patch:
        patch.setattr(journal_schema, "_SCHEMA", schema)
        patch.setattr(journal_schema, "_CHECKSUM_TABLE", "")
        patch.setattr(journal_schema, "SCHEMA_VERSION", 1)
        Journal.open(path)
    database = sqlite3.connect(path, isolation_level=None)
    for seq, well in enumerate(("A01", "A02"), start=1):
        row = (f"u{seq}", seq, "anna", "verdict")
        database.execute("INSERT INTO actions (uuid, at_us, actor, type) VALUES (?, ?, ?, ?)", row)
        database.execute(
            "INSERT INTO verdicts VALUES (?, 0, 'p', ?, NULL, 'keep', 'x')", (seq, well)
        )
    database.close()
    return Journal(path)


def version_of(journal: Journal) -> int:
    database = sqlite3.connect(journal.path)
    version: int = database.execute("PRAGMA user_version").fetchone()[0]
    database.close()
    return version


def test_a_journal_of_the_first_version_is_read_and_left_as_it_is(
    first_version: Journal, tmp_path: Path
) -> None:
    content = first_version.path.read_bytes()
    journal = Journal.open(first_version.path)
    assert journal.verdicts()[["well", "seen"]].to_numpy().tolist() == [
        ["A01", None],
        ["A02", None],
    ]
    assert len(journal.annotations()) == 0
    assert journal.export(tmp_path / "e.csv") == 2
    assert (journal.path.read_bytes(), version_of(journal)) == (content, 1)
    copy = Journal.open(tmp_path / "copy.sqlite")
    assert copy.import_(tmp_path / "e.csv") == 2
    assert copy.verdicts().equals(journal.verdicts())


@pytest.mark.parametrize("first_write", ["verdict", "annotate", "undo", "import"])
def test_the_first_write_upgrades_a_journal_and_keeps_all(
    first_version: Journal, tmp_path: Path, first_write: str
) -> None:
    journal = first_version
    before = journal.verdicts()
    if first_write == "annotate":
        journal.annotate("p", "A01", 1, 0, 0, "normal", None, "ben")
    elif first_write == "undo":
        assert journal.undo("anna") == "u2"
        assert journal.redo("anna") == "u2"
    elif first_write == "import":
        journal.export(tmp_path / "e.csv")
        assert journal.import_(tmp_path / "e.csv") == 0
    journal.verdict("p", "A03", "keep", reviewer="ben", seen={"flag_codes": "blur"})
    assert version_of(journal) == journal_schema.SCHEMA_VERSION == 4
    assert journal.verdicts()["seen"].tolist() == [None, None, {"flag_codes": "blur"}]
    assert journal.verdicts().iloc[:2].equals(before)
    database = sqlite3.connect(journal.path)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        database.execute("UPDATE verdicts SET seen = NULL")
    database.close()


def test_annotations_of_the_second_version_stay_when_how_cells_are_chosen_is_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "second.sqlite"
    with monkeypatch.context() as patch:
        patch.setattr(journal_schema, "_SCHEMA", older_schema("chosen"))
        patch.setattr(journal_schema, "_CHECKSUM_TABLE", "")
        patch.setattr(journal_schema, "SCHEMA_VERSION", 2)
        Journal.open(path)
    database = sqlite3.connect(path, isolation_level=None)
    database.execute(
        "INSERT INTO actions (uuid, at_us, actor, type) VALUES ('u1', 1, 'anna', 'annotate')"
    )
    database.execute(
        "INSERT INTO annotations VALUES (1, 0, 'p', 'A01', 1, 2, 3, 'abnormal', 'blur', NULL)"
    )
    database.close()
    journal = Journal(path)
    before = journal.annotations()
    assert before["chosen"].tolist() == [None]
    journal.export(tmp_path / "e.csv")
    assert version_of(journal) == 2
    second = Annotation(
        plate="p", well="A02", site=1, y_px=1, x_px=1, cls="normal", chosen="suggested"
    )
    journal.annotate_many([second], "ben")
    assert version_of(journal) == 4
    assert journal.annotations()["chosen"].tolist() == [None, "suggested"]
    assert journal.annotations().iloc[:1].equals(before)
    assert journal.import_(tmp_path / "e.csv") == 0
    copy = Journal.open(tmp_path / "copy.sqlite")
    journal.export(tmp_path / "all.csv")
    assert copy.import_(tmp_path / "all.csv") == 2
    assert copy.annotations().equals(journal.annotations())


def test_an_upgrade_that_fails_half_way_leaves_the_journal_as_it_was(
    first_version: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = first_version.verdicts()
    with monkeypatch.context() as patch:
        injected("PRAGMA query_only = 1", patch)
        with pytest.raises(WriteError, match="read-only"):
            first_version.verdict("p", "A03", "keep", reviewer="ben", seen={"a": 1})
    with (
        pytest.raises(RuntimeError, match="half way"),
        journal_schema.appending(first_version.path, busy_timeout_s=1),
    ):
        raise RuntimeError("half way")
    assert version_of(first_version) == 1
    assert first_version.verdicts().equals(before)


def test_missing_journal(tmp_path: Path, journal: Journal) -> None:
    absent = tmp_path / "absent.sqlite"
    with pytest.raises(HcsQcError, match="does not exist"):
        Journal.open(absent, create=False)
    assert not absent.exists()
    journal.path.unlink()  # under a running program: an error, never a fresh empty journal
    with pytest.raises(HcsQcError, match="does not exist"):
        journal.annotate("p", "A01", 1, 0, 0, "normal", None, "anna")
    assert not journal.path.exists()


# ---- disks that refuse ---------------------------------------------------------------------


@contextmanager
def small_files(n_bytes: int) -> Iterator[None]:
    """Let no file of this process grow beyond `n_bytes`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_failing_disk_keeps_what_was_there(journal: Journal) -> None:
    rows = [
        Annotation(plate="p", well="A01", site=1, y_px=y, x_px=0, cls="normal", note="x" * 500)
        for y in range(2000)
    ]
    with small_files(journal.path.stat().st_size + 20_000), pytest.raises(WriteError) as caught:
        journal.annotate_many(rows, "anna")
    assert "safe" in str(caught.value)
    assert len(journal.annotations()) == 1
    journal.annotate_many(rows, "anna")
    assert len(journal.annotations()) == 2000  # the first position again


def injected(statement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one more statement on each connection, by which SQLite refuses as a disk would."""
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def refusing(*args: object, **kwargs: object) -> sqlite3.Connection:
        database = connect(*args, **kwargs)  # type: ignore[arg-type]
        database.execute(statement)
        return database

    monkeypatch.setattr(journal_schema.sqlite3, "connect", refusing)


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ("PRAGMA max_page_count = 1", "disk is full; free some space"),
        ("PRAGMA query_only = 1", "read-only; change its permissions"),
    ],
)
def test_full_disk_and_read_only_folder(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, statement: str, word: str
) -> None:
    rows = [
        Annotation(plate="p", well="A01", site=1, y_px=y, x_px=0, cls="normal", note="x" * 500)
        for y in range(200)
    ]
    with monkeypatch.context() as patch:
        injected(statement, patch)
        with pytest.raises(WriteError, match=word):
            journal.annotate_many(rows, "ben")
        assert len(journal.annotations()) == 1  # reading still works
    assert len(journal.annotations()) == 1
    journal.annotate_many(rows, "ben")


@pytest.mark.parametrize("said", ["disk I/O error", "unknown error"])
def test_other_failures_of_the_disk(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    def failing(*_args: object, **_kwargs: object) -> sqlite3.Connection:
        raise sqlite3.OperationalError(said)

    monkeypatch.setattr(journal_schema.sqlite3, "connect", failing)
    with pytest.raises(WriteError, match=f"{said}.*check the disk"):
        journal.verdict("p", "A01", "keep", reviewer="anna")
    with pytest.raises(HcsQcError, match=said):
        journal.verdicts()


def test_a_journal_locked_for_too_long_says_so(journal: Journal) -> None:
    other = sqlite3.connect(journal.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(HcsQcError, match="locked by another program"):
            journal.annotate("p", "A01", 1, 1, 0, "normal", None, "anna")
        with pytest.raises(HcsQcError, match="locked by another program"):
            journal.annotations()
    finally:
        other.close()
    journal.annotate("p", "A01", 1, 1, 0, "normal", None, "anna")


def test_a_step_that_fails_half_way_leaves_nothing(journal: Journal) -> None:
    with (
        pytest.raises(RuntimeError, match="half way"),
        journal_schema.appending(journal.path, busy_timeout_s=1) as database,
    ):
        database.execute(
            "INSERT INTO actions (uuid, at_us, actor, type) VALUES ('u', 1, 'x', 'annotate')"
        )
        raise RuntimeError("half way")
    assert "u" not in action_ids(journal.path)


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare to mount read-only")
def test_a_read_only_medium_can_be_read(journal: Journal) -> None:
    folder = journal.path.parent
    script = (
        "from pathlib import Path; from napari_hcs_qc.assay.annotations.journal import Journal;"
        "from napari_hcs_qc.errors import WriteError\n"
        f"journal = Journal.open(Path({str(journal.path)!r}))\n"
        "print(len(journal.annotations()))\n"
        "try: journal.undo('anna')\n"
        "except WriteError as error: print(error)\n"
    )
    mounts = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 77; "$2" -c "$3"'
    command = ["unshare", "-m", "sh", "-c", mounts, "sh", str(folder), sys.executable, script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode in (1, 77) and ("permitted" in done.stderr or "denied" in done.stderr):
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1\n")
    assert "read-only; change its permissions" in done.stdout
