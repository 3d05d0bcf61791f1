"""Copies of a journal: the last three states in which it was opened."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import atomic_path

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "journal-copies"
_KEPT = 3


def keep_copy(path: Path, database: sqlite3.Connection) -> None:
    """Copy a journal that is whole, unless its newest state has a copy; where it cannot, nothing.

    By SQLite: closing the file by any other way would let go of the locks of this process.
    """
    query = "SELECT action, running FROM checksums ORDER BY action DESC LIMIT 1"
    newest = database.execute(query).fetchone()
    if newest is None:
        return
    copy = path.parent / FOLDER / f"{newest[0]:08d}-{newest[1][:8]}.sqlite"
    with suppress(OSError, HcsQcError, sqlite3.Error):
        if copy.is_file():
            return
        with atomic_path(copy) as temporary, closing(sqlite3.connect(temporary)) as target:
            database.backup(target)
        for old in copies(path)[_KEPT:]:
            old.unlink()


def copies(path: Path) -> list[Path]:
    """Give the copies of a journal, the newest first."""
    found = (path.parent / FOLDER).glob("[!.]*.sqlite")
    return sorted(found, key=lambda copy: (copy.stat().st_mtime_ns, copy.name), reverse=True)
