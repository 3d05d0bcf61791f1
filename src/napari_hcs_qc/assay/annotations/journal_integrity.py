"""What makes damage of a journal show, and what mends it: checksums of its actions, and copies."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.errors import DamagedError, HcsQcError, Problem, ProblemsError
from napari_hcs_qc.files import atomic_path
from napari_hcs_qc.text import count_of, listing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

CHECKSUMS = """
CREATE TABLE checksums (
    action  INTEGER PRIMARY KEY REFERENCES actions (seq),
    own     TEXT    NOT NULL,
    running TEXT    NOT NULL
);
"""
"""`own` is of an action and each of its rows, `running` of it and all before it."""

_ACTIONS = """
SELECT seq, uuid, at_us, actor, type, target, source FROM actions NOT INDEXED
WHERE seq > :after ORDER BY seq
"""
# The columns in an order that does not depend on how a journal came to its present form.
_ROWS = {
    "annotations": "action, row, plate, well, site, y_px, x_px, class, kind, note, chosen",
    "verdicts": "action, row, plate, well, site, verdict, note, seen",
}
_COPIES = "journal-copies"  # folder
_KEPT = 3  # the last three states in which a journal was opened
_MOST = 20  # findings of SQLite that are listed


class JournalDamage(ProblemsError, DamagedError):
    """A journal that is not as it was written. It stays as it is."""

    def __init__(self, path: Path, problems: Sequence[Problem]) -> None:
        super().__init__(
            f"{path} is damaged; it was not changed. Restore it from its copies (with --csv FILE "
            "also from what hcs-qc annotations --export wrote) or from a backup: hcs-qc repair "
            f"{path.parent}. "
            f"{count_of(len(problems), 'problem').capitalize()}",
            problems,
        )


def append_checksums(database: sqlite3.Connection) -> None:
    """Add the checksums of the actions that have none yet: the newest, or all of an old journal."""
    query = "SELECT action, running FROM checksums ORDER BY action DESC LIMIT 1"
    after, running = database.execute(query).fetchone() or (0, "")
    new = []
    for seq, _, own in _actions(database, after):
        running = _hash(running, own)
        new.append((seq, own, running))
    database.executemany("INSERT INTO checksums VALUES (?, ?, ?)", new)


def find_damage(database: sqlite3.Connection, *, has_checksums: bool) -> list[Problem]:
    """Compare what a journal holds with its checksums, and have SQLite check its file."""
    problems = list(_differing(database)) if has_checksums else []
    # Of the indices as well: queries rest on them.
    for (text,) in database.execute(f"PRAGMA integrity_check({_MOST})"):
        if text != "ok":
            problems.append(Problem("file", f"{text}."))
    return problems


def _differing(database: sqlite3.Connection) -> Iterator[Problem]:
    kept = {
        action: (own, running)
        for action, own, running in database.execute("SELECT action, own, running FROM checksums")
    }
    running = ""
    for seq, about, own in _actions(database):
        kept_own, kept_running = kept.pop(seq, (None, None))
        if own != kept_own:
            wrong = rows_that_differ(own, kept_own or "")
            which = f" in its {listing(wrong)}" if wrong else ""
            yield Problem(described(seq, about), f"differs from what was recorded{which}.")
        # From here on by what is kept: damage is told once, where it is.
        running = _hash(running, own if kept_own is None else kept_own)
        if kept_running not in (running, None):
            yield Problem(described(seq, about), "does not follow the action before it.")
            running = kept_running
    for seq in sorted(kept, key=str):
        yield Problem(f"action {seq}", "is missing.")


def _actions(
    database: sqlite3.Connection, after: int = 0
) -> Iterator[tuple[int, tuple[Any, ...], str]]:
    """Give number, what else is known, and checksum of each action, in the order of writing.

    A number above 0 without an action is that of rows whose action is missing.
    """
    rows: dict[int, list[str]] = {}
    for table, columns in _ROWS.items():
        query = f"SELECT {columns} FROM {table} WHERE action > :after ORDER BY action, row"
        found = database.execute(query, {"after": after})
        for action, group in groupby(found, key=itemgetter(0)):
            contents = {number: values for _, number, *values in group}
            rows.setdefault(action, []).extend(row_hashes(table, contents))
    for seq, *about in database.execute(_ACTIONS, {"after": after}):
        yield seq, tuple(about), checksum(about, rows.pop(seq, []))
    for seq in sorted(rows):
        yield seq, (), checksum((), rows[seq])


def row_hashes(table: str, rows: Mapping[int, Sequence[Any]]) -> list[str]:
    """Give number and checksum of each row of one action in a table."""
    return [
        f"{number}:{zlib.crc32(_plain([table, number, *values]).encode()):08x}"
        for number, values in rows.items()
    ]


def checksum(about: Sequence[Any], rows: Sequence[str]) -> str:
    """Give the checksum of an action by its columns and the checksums of its rows."""
    return " ".join([_hash(_plain(list(about))), *rows])


def rows_that_differ(actual: str, kept: str) -> list[str]:
    """Name the rows that are not as a kept checksum says; none where the action itself is not."""
    about, *rows = actual.split(" ")
    kept_about, *kept_rows = kept.split(" ")
    if about != kept_about:
        return []
    numbers = {row.partition(":")[0] for row in {*rows} ^ {*kept_rows}}
    return [f"row {number}" for number in sorted(numbers)]


def described(seq: int, about: Sequence[Any]) -> str:
    """Name an action to a person who looks for what is damaged."""
    if len(about) != 6:
        return f"action {seq}"
    _, at_us, actor, event, *_ = about
    try:
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)
        when = f" at {at:%Y-%m-%d %H:%M} UTC"
    except (TypeError, OverflowError):
        when = ""
    return f"action {seq} ({event} by {actor}{when})"


def _plain(values: list[Any]) -> str:
    # Texts of any alphabet as ASCII, floats by their shortest form: the same on every system.
    return json.dumps(values, default=repr)


def _hash(*texts: str) -> str:
    digest = hashlib.blake2b(digest_size=12)
    for text in texts:
        digest.update(text.encode())
        digest.update(b"\0")
    return digest.hexdigest()


# ---- copies ------------------------------------------------------------------------------


def keep_copy(path: Path, database: sqlite3.Connection) -> None:
    """Copy a journal that is whole, unless its newest state has a copy; where it cannot, nothing.

    By SQLite: closing the file by any other way would let go of the locks of this process.
    """
    query = "SELECT action, running FROM checksums ORDER BY action DESC LIMIT 1"
    newest = database.execute(query).fetchone()
    if newest is None:
        return
    copy = path.parent / _COPIES / f"{newest[0]:08d}-{newest[1][:8]}.sqlite"
    with suppress(OSError, HcsQcError, sqlite3.Error):
        if copy.is_file():
            return
        with atomic_path(copy) as temporary, closing(sqlite3.connect(temporary)) as target:
            database.backup(target)
        for old in copies(path)[_KEPT:]:
            old.unlink()


def copies(path: Path) -> list[Path]:
    """Give the copies of a journal, the newest first."""
    found = (path.parent / _COPIES).glob("[!.]*.sqlite")
    return sorted(found, key=lambda copy: (copy.stat().st_mtime_ns, copy.name), reverse=True)
