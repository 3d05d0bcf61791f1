"""Restore a damaged journal: what of it is whole, and the rest from its copies and exports."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.assay.annotations import journal_csv
from napari_hcs_qc.assay.annotations.annotation import Annotation
from napari_hcs_qc.assay.annotations.journal_csv import ROW_COLUMNS, ROW_TABLE, Action
from napari_hcs_qc.assay.annotations.journal_integrity import (
    checksum,
    copies,
    described,
    row_hashes,
    rows_that_differ,
)
from napari_hcs_qc.assay.annotations.journal_schema import appending, create_schema, reading
from napari_hcs_qc.errors import DamagedError, HcsQcError, ProblemsError
from napari_hcs_qc.files import atomic_path, explained_writes
from napari_hcs_qc.text import listing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TIMEOUT_S = 30.0
_LEAST_BYTES = 32  # that an action takes in its file: its id alone has as many
# Of the format of SQLite's files: where the header says of how many pages it is, and the kind of a
# page of a table that has others below it.
_PAGE_COUNT, _INTERIOR = slice(28, 32), 5


@dataclass(frozen=True, kw_only=True)
class JournalRepair:
    """What came of the repair of a journal."""

    n_whole: int  # actions of the journal that were as they were written
    n_restored: int = 0  # actions that were not, or were missing, from copies and exports
    lost: tuple[str, ...] = ()  # actions that are nowhere
    damaged: Path | None = None  # where the damaged file is kept; None where nothing was damaged
    refused: tuple[str, ...] = ()  # why a given export was not used


def repair_journal(path: Path, exports: Sequence[Path] = ()) -> JournalRepair:
    """Put a whole journal into the place of a damaged one, which is kept beside it.

    A whole one stays as it is. The caller holds the lock of the assay.
    """
    if path.exists():
        with suppress(DamagedError):
            return _completed(path, exports)
    sources = copies(path)
    with tempfile.TemporaryDirectory(prefix="hcs-qc-") as folder:
        held = _salvaged(path, sources, Path(folder))
        is_readable = bool(held.numbers)
        kept = dict(held.whole)
        for source in sources:
            further = _salvaged(source, (), Path(folder))
            for uuid, action in further.whole.items():
                kept.setdefault(uuid, action)
            held.numbers.update(further.numbers)
            held.whole_numbers.update(further.whole_numbers)
    refused = []
    for export in exports:
        try:
            kept.update(_new_actions(export, kept, held.partial))
        except HcsQcError as error:
            refused.append(str(error))
    partial = {uuid: action for uuid, action in held.partial.items() if uuid not in kept}
    kept = _without_orphans({**kept, **partial})
    if not kept:
        raise HcsQcError(
            f"Nothing of {path} can be read, and it has no copies; it was not changed. Restore it "
            "from a backup, or from a CSV that hcs-qc annotations --export wrote: hcs-qc repair "
            f"{path.parent} --csv FILE. {' '.join(refused)}".rstrip()
        )
    damaged_path, was_there = _beside(path), path.exists()
    with explained_writes(path):
        if was_there:
            shutil.copy2(path, damaged_path)
        with atomic_path(path) as temporary:
            create_schema(temporary, busy_timeout_s=_TIMEOUT_S)
            with appending(temporary, busy_timeout_s=_TIMEOUT_S) as database:
                journal_csv.add_actions(database, kept, path.name)
        # Of the damaged file, and not to be applied to the new one.
        path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
    # Of annotations exported without the ids of their actions, person and time tell which they are.
    exported = {(action.actor, action.at_us) for action in kept.values() if action.is_of_export}
    came_back = {uuid for uuid, made in held.made.items() if made in exported}
    restored = {*kept, *held.whole_numbers, *came_back}
    lost = [text for uuid, text in held.numbers.items() if uuid not in restored]
    lost += [held.lost_rows[uuid] for uuid in partial if uuid not in came_back]
    if not is_readable and sources:
        lost.append("what was recorded since the newest copy, if anything was")
    n_whole = sum(uuid in kept for uuid in held.whole)
    return JournalRepair(
        n_whole=n_whole,
        n_restored=len(kept) - n_whole - len(partial),
        lost=tuple(lost),
        damaged=damaged_path if was_there else None,
        refused=tuple(refused),
    )


def _new_actions(
    export: Path, kept: Mapping[str, Action], partial: Mapping[str, Action]
) -> dict[str, Action]:
    """Give what an export has and `kept` lacks; refuse one that contradicts it."""
    actions = journal_csv.without_known(journal_csv.read_actions(export), {**partial, **kept})
    problems = list(journal_csv.contradictions(actions, kept, export.name))
    if problems:
        raise ProblemsError(f"{export} contradicts the journal", problems)
    return {uuid: action for uuid, action in actions.items() if uuid not in kept}


def _completed(path: Path, exports: Sequence[Path]) -> JournalRepair:
    """Add what a whole journal lacks of exports."""
    with reading(path, busy_timeout_s=_TIMEOUT_S) as database:
        n_whole: int = database.execute("SELECT COUNT(*) FROM actions").fetchone()[0]
    n_new = 0
    refused = []
    for export in exports:
        try:
            actions = journal_csv.read_actions(export)
            with appending(path, busy_timeout_s=_TIMEOUT_S) as database:
                n_new += journal_csv.add_actions(database, actions, export.name)
        except DamagedError:
            raise
        except HcsQcError as error:
            refused.append(str(error))
    return JournalRepair(n_whole=n_whole, n_restored=n_new, refused=tuple(refused))


@dataclass(frozen=True, kw_only=True)
class _Salvaged:
    """What can be read of a file of a journal."""

    whole: dict[str, Action] = field(default_factory=dict)
    partial: dict[str, Action] = field(default_factory=dict)  # without the rows that are damaged
    lost_rows: dict[str, str] = field(default_factory=dict)  # of these
    # What all actions are, by their ids, or by their numbers where these cannot be read
    numbers: dict[str, str] = field(default_factory=dict)
    whole_numbers: set[str] = field(default_factory=set)
    made: dict[str, tuple[Any, Any]] = field(default_factory=dict)  # by whom and when


def _salvaged(path: Path, copies: Sequence[Path], folder: Path) -> _Salvaged:
    """Read action by action, so that a damaged page costs nothing but what it holds."""
    if not path.exists():
        return _Salvaged()
    work = folder / "journal.sqlite"  # SQLite may write to what it reads
    known = _Salvaged()
    for copy in (None, *copies):
        shutil.copyfile(path, work)
        if copy is not None:
            _replace_schema(work, copy)
        with suppress(sqlite3.Error, UnicodeError), closing(sqlite3.connect(work)) as database:
            salvaged = _actions_in(database, work.stat().st_size // _LEAST_BYTES)
            if salvaged.whole or salvaged.partial:
                return salvaged
            known.numbers.update(salvaged.numbers)
            known.made.update(salvaged.made)
    return known


def _replace_schema(path: Path, copy: Path) -> None:
    """Take the pages that name the tables from a copy, in which they are the same."""
    content, whole = bytearray(path.read_bytes()), copy.read_bytes()
    size = int.from_bytes(whole[16:18], "big")
    for page in _schema_pages(whole, size, 1) if size >= 512 else ():
        start = size * (page - 1)
        content[start : start + size] = whole[start : start + size]
    content[_PAGE_COUNT] = (len(content) // max(1, size)).to_bytes(4, "big")
    path.write_bytes(content)


def _schema_pages(content: bytes, size: int, page: int, depth: int = 0) -> list[int]:
    """Give the pages of the table of tables, which begins at the first."""
    start = size * (page - 1)
    head = content[start + (100 if page == 1 else 0) : start + size]
    if len(head) < 12 or head[0] != _INTERIOR or depth > 3:
        return [page]
    children = [int.from_bytes(head[8:12], "big")]
    for cell in range(int.from_bytes(head[3:5], "big")):
        at = start + int.from_bytes(head[12 + 2 * cell : 14 + 2 * cell], "big")
        children.append(int.from_bytes(content[at : at + 4], "big"))
    return [
        page,
        *(p for child in children for p in _schema_pages(content, size, child, depth + 1)),
    ]


def _actions_in(database: sqlite3.Connection, most: int) -> _Salvaged:
    database.text_factory = _text
    has_checksums = _first(database, "SELECT COUNT(*) FROM checksums", ()) is not None
    highest = [
        _first(database, f"SELECT MAX({column}) FROM {table} NOT INDEXED", ())
        for table, column in (
            ("actions", "seq"),
            ("checksums", "action"),
            ("annotations", "action"),
        )
    ]
    last = max([int(row[0]) for row in highest if row and isinstance(row[0], int)], default=0)
    salvaged = _Salvaged()
    query = "SELECT uuid, at_us, actor, type, target, source FROM actions WHERE seq = ?"
    for seq in range(1, min(last, most) + 1):  # numbers without gaps, one of which may be damaged
        about = _first(database, query, (seq,))
        kept = _first(database, "SELECT own FROM checksums WHERE action = ?", (seq,))
        number = f"number {seq}"
        uuid = str(about[0]) if about else number
        try:
            action = Action(*(about or ()))
            rows = _rows(database, seq, action.type)
            action.rows.update(rows)
            if has_checksums:
                _keep_whole(salvaged, seq, action, str(kept[0]) if kept else "")
            elif _is_plausible(action):
                salvaged.whole[action.uuid] = action
        except (TypeError, KeyError, HcsQcError, ValueError, sqlite3.Error):
            pass  # not whole
        if uuid in salvaged.whole:
            salvaged.whole_numbers.add(number)
        if about or kept:
            salvaged.numbers[uuid] = described(seq, about or ())
        if about:
            salvaged.made[uuid] = about[2], about[1]
    return salvaged


def _keep_whole(salvaged: _Salvaged, seq: int, action: Action, kept: str) -> None:
    """Keep an action whose checksum is that which was kept, or those of its rows that are whole."""
    table = ROW_TABLE.get(action.type, "")
    actual = checksum(action.about, row_hashes(table, action.rows))
    if actual == kept:
        salvaged.whole[action.uuid] = action
        return
    wrong = rows_that_differ(actual, kept)
    for name in wrong:
        action.rows.pop(int(name.removeprefix("row ")), None)
    if wrong and action.rows:
        salvaged.partial[action.uuid] = action
        salvaged.lost_rows[action.uuid] = f"{described(seq, action.about)}: {listing(wrong)}"


def _rows(database: sqlite3.Connection, seq: int, event: str) -> dict[int, tuple[Any, ...]]:
    columns = ROW_COLUMNS[event]
    if not columns:
        return {}
    there = {row[1] for row in database.execute(f"PRAGMA table_info({ROW_TABLE[event]})")}
    names = ", ".join(name if name in there else f"NULL AS {name}" for name in columns)
    query = f"SELECT row, {names} FROM {ROW_TABLE[event]} WHERE action = ? ORDER BY row"
    return {row: tuple(values) for row, *values in database.execute(query, (seq,))}


def _is_plausible(action: Action) -> bool:
    """Judge an action of a journal without checksums."""
    if action.type == "annotate":
        return bool(action.rows) and all(Annotation.of_row(row) for row in action.rows.values())
    return action.type in ROW_COLUMNS


def _first(
    database: sqlite3.Connection, query: str, values: tuple[object, ...]
) -> tuple[Any, ...] | None:
    with suppress(sqlite3.Error, UnicodeError):
        row: tuple[Any, ...] | None = database.execute(query, values).fetchone()
        return row
    return None


def _text(content: bytes) -> str:
    return content.decode("utf-8", errors="replace")


def _without_orphans(actions: dict[str, Action]) -> dict[str, Action]:
    """Leave out what undid or redid an action that is lost."""
    return {
        uuid: action
        for uuid, action in actions.items()
        if action.target is None or action.target in actions
    }


def _beside(path: Path) -> Path:
    """Name a file for the damaged journal that nothing has."""
    stamp = f"{datetime.now():%Y%m%d-%H%M%S}"
    return path.with_name(f"{path.stem}-damaged-{stamp}-{os.getpid()}{path.suffix}")
