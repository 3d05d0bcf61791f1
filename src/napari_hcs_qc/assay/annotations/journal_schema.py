"""The journal's database: its tables, how it is opened, and what its errors mean to a user."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_hcs_qc.assay.annotations.journal_integrity import (
    CHECKSUMS,
    JournalDamage,
    append_checksums,
    find_damage,
    keep_copy,
)
from napari_hcs_qc.errors import DamagedError, HcsQcError, Problem, WriteError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA_VERSION = 4
"""1 had no `seen` with verdicts, 1 and 2 no `chosen` with annotations, 1 to 3 no checksums; such a
journal is read as it is and upgraded when written to."""

APPLICATION_ID = 0x48435143  # "HCQC": tells our journal from any other SQLite file

_TABLES = """
CREATE TABLE actions (
    seq     INTEGER PRIMARY KEY,
    uuid    TEXT    NOT NULL UNIQUE CHECK (uuid <> ''),
    at_us   INTEGER NOT NULL,
    actor   TEXT    NOT NULL CHECK (actor <> ''),
    type    TEXT    NOT NULL CHECK (type IN ('annotate', 'verdict', 'undo', 'redo')),
    target  TEXT    REFERENCES actions (uuid),
    source  TEXT,
    CHECK ((target IS NOT NULL) = (type IN ('undo', 'redo')))
);
CREATE INDEX actions_of_actor ON actions (actor, at_us, uuid);
CREATE INDEX actions_on_target ON actions (target, at_us, uuid);
CREATE INDEX actions_in_time ON actions (at_us, uuid);
CREATE TABLE annotations (
    action  INTEGER NOT NULL REFERENCES actions (seq),
    row     INTEGER NOT NULL,
    plate   TEXT    NOT NULL,
    well    TEXT    NOT NULL,
    site    INTEGER NOT NULL,
    y_px    REAL    NOT NULL,
    x_px    REAL    NOT NULL,
    class   TEXT    CHECK (class IN ('normal', 'abnormal', 'unsure')),
    kind    TEXT,
    note    TEXT,
    chosen  TEXT,
    PRIMARY KEY (action, row)
) WITHOUT ROWID;
CREATE TABLE verdicts (
    action  INTEGER NOT NULL REFERENCES actions (seq),
    row     INTEGER NOT NULL,
    plate   TEXT    NOT NULL,
    well    TEXT    NOT NULL,
    site    INTEGER,
    verdict TEXT    CHECK (verdict IN ('keep', 'exclude', 'look again')),
    note    TEXT,
    seen    TEXT,
    PRIMARY KEY (action, row)
) WITHOUT ROWID;
"""

# INSERT OR REPLACE deletes without firing delete triggers, hence the guard on insert as well.
_APPEND_ONLY = """
CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table}
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table}
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table}
WHEN EXISTS (SELECT 1 FROM {table} WHERE {same})
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
"""

_SAME_ROW = "action = NEW.action AND row = NEW.row"
_SCHEMA = (
    _TABLES
    + _APPEND_ONLY.format(table="actions", same="uuid = NEW.uuid OR seq = NEW.seq")
    + _APPEND_ONLY.format(table="annotations", same=_SAME_ROW)
    + _APPEND_ONLY.format(table="verdicts", same=_SAME_ROW)
)
_CHECKSUM_TABLE = CHECKSUMS + _APPEND_ONLY.format(table="checksums", same="action = NEW.action")

# Journals that this process has checked, and how their files were then.
_CHECKED: dict[Path, tuple[int, int, int]] = {}


def create_schema(path: Path, *, busy_timeout_s: float) -> None:
    """Make the journal's tables in a new or zero-byte file; leave an existing journal as it is.

    Two processes may do this at once: the second waits for the first and finds it done.
    """
    with explained_sqlite(path, writing=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()  # SQLite's own files are not writable for a group, whatever the umask
        database = _connect(path, "rw", busy_timeout_s)
        try:
            database.execute("BEGIN IMMEDIATE")
            if database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0] == 0:
                # executescript() would commit first and lose the lock, so statement by statement.
                for statement in _statements(_SCHEMA + _CHECKSUM_TABLE):
                    database.execute(statement)
                database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            database.execute("COMMIT")
        finally:
            database.close()


@contextmanager
def reading(path: Path, *, busy_timeout_s: float) -> Iterator[sqlite3.Connection]:
    """Open the journal for one consistent read; it may lie on a read-only medium."""
    with explained_sqlite(path, writing=False):
        database = _connect(path, "rw", busy_timeout_s)
        try:
            database.execute("BEGIN")
            _check_version(path, database)
            _check_content(path, database)
            yield database
        finally:
            database.close()


@contextmanager
def appending(path: Path, *, busy_timeout_s: float) -> Iterator[sqlite3.Connection]:
    """One write transaction: on return everything is on the disk, on an error nothing is."""
    with explained_sqlite(path, writing=True):
        database = _connect(path, "rw", busy_timeout_s)
        try:
            _check_version(path, database)
            # IMMEDIATE takes the write lock now, so what is read in here stays true.
            database.execute("BEGIN IMMEDIATE")
            _check_version(path, database)  # another process may have upgraded it
            _check_content(path, database)
            _upgrade(database)
            yield database
            append_checksums(database)
            database.execute("COMMIT")
            _CHECKED[path.absolute()] = _file_mark(path)
        finally:
            database.close()  # rolls back what was not committed


def has_seen(database: sqlite3.Connection) -> bool:
    """Tell whether verdicts are kept with what was seen: not in a journal of version 1."""
    return _version(database) > 1


def has_chosen(database: sqlite3.Connection) -> bool:
    """Tell whether annotations are kept with how their cell was chosen: from version 3 on."""
    return _version(database) > 2


def _has_checksums(database: sqlite3.Connection) -> bool:
    return _version(database) > 3


def _upgrade(database: sqlite3.Connection) -> None:
    """Bring an older journal up to `SCHEMA_VERSION`, as part of what is being written."""
    if not has_seen(database):
        database.execute("ALTER TABLE verdicts ADD COLUMN seen TEXT")
    if not has_chosen(database):
        database.execute("ALTER TABLE annotations ADD COLUMN chosen TEXT")
    if not _has_checksums(database):
        for statement in _statements(_CHECKSUM_TABLE):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _version(database: sqlite3.Connection) -> int:
    version: int = database.execute("PRAGMA user_version").fetchone()[0]
    return version


def _statements(script: str) -> Iterator[str]:
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def _connect(path: Path, mode: str, busy_timeout_s: float) -> sqlite3.Connection:
    uri = path.absolute().as_uri()
    if not uri.startswith("file:///"):  # a Windows share; SQLite refuses a host in the address
        uri = "file:////" + uri.removeprefix("file://")
    database = sqlite3.connect(
        f"{uri}?mode={mode}", uri=True, timeout=busy_timeout_s, isolation_level=None
    )
    try:
        # A rollback journal, not WAL: WAL needs shared memory, which network shares do not have.
        database.execute("PRAGMA journal_mode = DELETE")
        # EXTRA syncs the folder too, so that a power cut right after an answer loses nothing.
        database.execute("PRAGMA synchronous = EXTRA")
        database.execute("PRAGMA fullfsync = ON")
        database.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        database.close()
        raise
    return database


def _check_version(path: Path, database: sqlite3.Connection) -> None:
    application = database.execute("PRAGMA application_id").fetchone()[0]
    if application != APPLICATION_ID:
        raise DamagedError(
            f"{path} is an SQLite file but not an annotation journal of hcs-qc, or it is damaged. "
            f"Restore the journal from its copies: hcs-qc repair {path.parent}."
        )
    version = _version(database)
    if version > SCHEMA_VERSION:
        raise HcsQcError(
            f"{path} was made by a newer version of napari-hcs-qc (journal format {version}; this "
            f"one reads up to {SCHEMA_VERSION}). Upgrade: pip install -U napari-hcs-qc."
        )
    query = "SELECT COUNT(*) FROM sqlite_master WHERE name = 'checksums'"
    if not _has_checksums(database) and database.execute(query).fetchone()[0]:
        what = f"its format is {version}, and it has checksums, which formats before 4 have not."
        raise JournalDamage(path, [Problem(path.name, what)])


def _check_content(path: Path, database: sqlite3.Connection) -> None:
    """Compare all that a journal holds with its checksums, once for each state of its file.

    The first time in a process, which is when an assay is opened, a copy is kept.
    """
    key, mark = path.absolute(), _file_mark(path)
    if _CHECKED.get(key) == mark:
        return
    problems = find_damage(database, has_checksums=_has_checksums(database))
    if problems:
        raise JournalDamage(path, problems)
    if key not in _CHECKED and _has_checksums(database):
        keep_copy(path, database)
    _CHECKED[key] = mark


def forget_check(path: Path) -> None:
    """Have a journal compared with its checksums again, though its file looks the same."""
    _CHECKED[path.absolute()] = (0, 0, 0)


def _file_mark(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


@contextmanager
def explained_sqlite(path: Path, *, writing: bool) -> Iterator[None]:
    """Turn what SQLite and the system say about `path` into an error with advice."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise  # a broken rule of the journal is an error of the program, not of the user
    except (sqlite3.DatabaseError, OSError, UnicodeDecodeError) as error:
        raise _explanation(path, error, writing=writing) from error


def _explanation(path: Path, error: Exception, *, writing: bool) -> HcsQcError:
    code = (getattr(error, "sqlite_errorname", None) or "").removeprefix("SQLITE_")
    text = str(error)

    def is_(prefix: str, message: str) -> bool:
        return code.startswith(prefix) or message in text

    if is_("READONLY", "readonly database"):
        return WriteError(
            f"Cannot write {path}: the file or its folder is read-only; change its permissions or "
            f"copy the assay to another folder. Nothing was recorded by this step."
        )
    if is_("FULL", "disk is full"):
        return WriteError(
            f"Cannot write {path}: the disk is full; free some space and repeat the last step. "
            f"What was recorded before is safe."
        )
    if is_("BUSY", "is locked"):
        return HcsQcError(
            f"{path} is locked by another program that has been writing to it for too long; "
            f"close that program and repeat the last step."
        )
    is_damaged = is_("NOTADB", "not a database") or is_("CORRUPT", "malformed")
    # What we ask of a whole journal is never refused as such: a name in its tables has changed.
    if is_damaged or code == "ERROR" or is_("none", "decode"):
        return JournalDamage(path, [Problem(path.name, f"{text}.")])
    if is_("CANTOPEN", "unable to open"):
        if not path.exists():
            return HcsQcError(
                f"{path} does not exist; restore it from its copies: hcs-qc repair {path.parent}."
            )
        return HcsQcError(f"{path} cannot be opened; check the permissions of it and its folder.")
    if writing:
        return WriteError(
            f"Cannot write {path}: {text}: check the disk and repeat the last step. "
            f"What was recorded before is safe."
        )
    return HcsQcError(f"{path} cannot be read: {text}. Check the disk and try again.")
