"""All events of a journal as a CSV, and back, without loss."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

from napari_hcs_qc.assay.annotations.annotation import (
    VERDICTS,
    Annotation,
    check_term,
    checked_note,
    checked_person,
    checked_site,
    checked_text,
    seen_as_text,
    seen_from_text,
)
from napari_hcs_qc.assay.annotations.journal_schema import has_chosen, has_seen
from napari_hcs_qc.errors import HcsQcError, Problem, ProblemsError
from napari_hcs_qc.files import atomic_path
from napari_hcs_qc.read_table import read_table
from napari_hcs_qc.text import count_of
from napari_hcs_qc.text_columns import with_formula

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_ABOUT = ("action", "at", "actor", "type", "target", "source")
_ANNOTATION = ("plate", "well", "site", "y_px", "x_px", "class", "kind", "note", "chosen")
_VERDICT = ("plate", "well", "site", "verdict", "note", "seen")
_FIRST_COLUMNS = (*_ABOUT, "row", *_ANNOTATION[:-2], "verdict", "note")
_COLUMNS = (*_FIRST_COLUMNS, "seen", "chosen")  # which older exports do not have
ROW_COLUMNS = {"annotate": _ANNOTATION, "verdict": _VERDICT, "undo": (), "redo": ()}
# What `hcs-qc annotations --export` writes: what annotators say now, without how it came to be.
EXPORTED = ("plate", "well", "site", "y_px", "x_px", "label", "kind", "annotator", "note", "at")
MITOSIS = "mitosis"  # there the kind of a cell that is not abnormal; here its note
_OF_EXPORT = "export-"  # begins the ids of actions read from one
ROW_TABLE = {"annotate": "annotations", "verdict": "verdicts"}


@dataclass
class Action:
    """One action of the journal with its rows: (row number) to the values of its columns."""

    uuid: str
    at_us: int
    actor: str
    type: str
    target: str | None
    source: str | None
    rows: dict[int, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def order(self) -> tuple[int, str]:
        """Place in the order of events."""
        return (self.at_us, self.uuid)

    @property
    def is_of_export(self) -> bool:
        """Whether it was read from exported annotations, which do not have its id."""
        return self.uuid.startswith(_OF_EXPORT)

    @property
    def about(self) -> tuple[Any, ...]:
        """Everything but the rows."""
        return (self.uuid, self.at_us, self.actor, self.type, self.target, self.source)


def load_actions(database: sqlite3.Connection) -> dict[str, Action]:
    """All actions of a journal by id, in their order, undone ones and undos included."""
    query = "SELECT uuid, at_us, actor, type, target, source FROM actions ORDER BY at_us, uuid"
    actions = {row[0]: Action(*row) for row in database.execute(query)}
    for event, table in ROW_TABLE.items():
        missing = {
            name
            for name, is_there in (("seen", has_seen), ("chosen", has_chosen))
            if not is_there(database)
        }
        columns = ", ".join("NULL" if name in missing else name for name in ROW_COLUMNS[event])
        query = f"SELECT uuid, row, {columns} FROM {table} JOIN actions ON seq = action"
        for uuid, row, *values in database.execute(query):
            actions[uuid].rows[row] = tuple(values)
    return actions


def write_actions(path: Path, actions: Mapping[str, Action]) -> None:
    """Write actions as CSV: a line per row of an action, one for an undo or redo."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, _COLUMNS, restval="")
        writer.writeheader()
        for action in actions.values():
            at = (_EPOCH + action.at_us * _MICROSECOND).isoformat(timespec="microseconds")
            values = (action.uuid, at, action.actor, action.type, action.target, action.source)
            about = dict(zip(_ABOUT, values, strict=True))
            if not action.rows:
                writer.writerow(about)
            for row, annotation in sorted(action.rows.items()):
                columns = zip(ROW_COLUMNS[action.type], annotation, strict=True)
                writer.writerow({**about, "row": row, **dict(columns)})


def read_actions(path: Path) -> dict[str, Action]:
    """Read actions that `write_actions` wrote, or annotations that ``annotations --export`` did."""
    table = read_table(path)
    names = list(table.columns)
    missing = [name for name in _FIRST_COLUMNS if name not in names]
    is_of_annotations = "action" in missing and {*EXPORTED} <= {*names}
    if missing and not is_of_annotations:
        raise HcsQcError(
            f"{path} is not an export of annotations: it has no column {', '.join(missing)}. To "
            "import a file of labelled cells, use hcs-qc annotate."
        )
    take = partial(_take_annotation, source=path.name) if is_of_annotations else _take_line
    actions: dict[str, Action] = {}
    problems = []
    for line, values in zip(table.index, table.itertuples(index=False, name=None), strict=True):
        try:
            take(actions, dict(zip(names, values, strict=True)))
        except (HcsQcError, ValueError, OverflowError) as error:
            problems.append(Problem(f"{path.name} line {line}", str(error)))
    if problems:
        raise ProblemsError(
            f"{path}: {count_of(len(problems), 'line')} cannot be read as events", problems
        )
    return actions


def _take_line(actions: dict[str, Action], line: dict[str, str]) -> None:
    event = line["type"]
    if event not in ROW_COLUMNS:
        raise HcsQcError(f"the type {event!r} is not one of {', '.join(ROW_COLUMNS)}.")
    given = Action(
        checked_text(line["action"], "action"),
        _microseconds(line["at"]),
        checked_person(line["actor"], "actor"),
        event,
        line["target"] or None,
        line["source"] or None,
    )
    if (given.target is not None) != (event in ("undo", "redo")):
        raise HcsQcError(f"an action of type {event} with the target {line['target']!r}.")
    action = actions.setdefault(given.uuid, given)
    if action.about != given.about:
        raise HcsQcError(f"the action {given.uuid} differs from an earlier line.")
    if event in ROW_TABLE:
        row = checked_site(int(line["row"]), "row")
        if row in action.rows:
            raise HcsQcError(
                f"row {row} of the action {given.uuid} is repeated from an earlier line."
            )
        action.rows[row] = _row(event, line)


def _take_annotation(actions: dict[str, Action], line: dict[str, str], source: str) -> None:
    """Take a line of `EXPORTED` columns: its action is told by the person and the time alone."""
    line = {name: with_formula(text) for name, text in line.items()}
    actor, at_us = checked_person(line["annotator"]), _microseconds(line["at"])
    uuid = f"{_OF_EXPORT}{uuid5(NAMESPACE_URL, f'{at_us} {actor}')}"
    action = actions.setdefault(uuid, Action(uuid, at_us, actor, "annotate", None, source))
    kind = "" if line["kind"] == MITOSIS and line["label"] != "abnormal" else line["kind"]
    row = _row("annotate", {**line, "class": line["label"], "kind": kind})
    action.rows[len(action.rows)] = row


def without_known(actions: Mapping[str, Action], known: Mapping[str, Action]) -> dict[str, Action]:
    """Leave annotations of an export out on which the journal has the same or a later word."""
    latest: dict[tuple[object, ...], int] = {}
    for action in known.values():
        for row in action.rows.values() if action.type == "annotate" else ():
            place = (action.actor, *Annotation.of_row(row).place)
            latest[place] = max(action.at_us, latest.get(place, action.at_us))
    new = {}
    for uuid, action in actions.items():
        rows = action.rows
        if action.is_of_export:
            rows = {
                number: row
                for number, row in rows.items()
                if latest.get((action.actor, *Annotation.of_row(row).place), action.at_us - 1)
                < action.at_us
            }
            if not rows:
                continue
        new[uuid] = replace(action, rows=rows)
    return new


def _row(event: str, line: dict[str, str]) -> tuple[Any, ...]:
    def given(name: str) -> str | None:
        return line[name] or None

    place = (checked_text(line["plate"], "plate"), checked_text(line["well"], "well"))
    if event == "verdict":
        check_term(given("verdict"), "verdict", VERDICTS)
        only = checked_site(int(line["site"])) if line["site"] else None
        seen = seen_as_text(seen_from_text(line.get("seen")))
        return (*place, only, given("verdict"), checked_note(given("note")), seen)
    position = (int(line["site"]), float(line["y_px"]), float(line["x_px"]))
    content = (given("class"), given("kind"), given("note"), line.get("chosen") or None)
    return Annotation.of_row((*place, *position, *content)).row


def _microseconds(text: str) -> int:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise HcsQcError(f"the time {text!r} has no time zone; for UTC append +00:00.")
    return (at - _EPOCH) // _MICROSECOND


def add_actions(database: sqlite3.Connection, actions: Mapping[str, Action], name: str) -> int:
    """Add those actions that the journal does not have; return how many."""
    known = load_actions(database)
    actions = without_known(actions, known)
    problems = list(contradictions(actions, known, name))
    if problems:
        raise ProblemsError(
            f"{name}: {count_of(len(problems), 'event')} cannot be imported", problems
        )
    new = sorted((action for action in actions.values() if action.uuid not in known), key=_order)
    for action in new:
        cursor = database.execute(
            "INSERT INTO actions (uuid, at_us, actor, type, target, source) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            action.about,
        )
        if action.rows:
            marks = ", ".join("?" * (2 + len(ROW_COLUMNS[action.type])))
            database.executemany(
                f"INSERT INTO {ROW_TABLE[action.type]} VALUES ({marks})",
                ((cursor.lastrowid, row, *entry) for row, entry in sorted(action.rows.items())),
            )
    return len(new)


def _order(action: Action) -> tuple[int, str]:
    return action.order


def contradictions(
    actions: Mapping[str, Action], known: Mapping[str, Action], name: str
) -> Iterator[Problem]:
    for action in actions.values():
        where = f"{name} action {action.uuid}"
        held = known.get(action.uuid)
        if held is not None:
            rows: Iterable[tuple[int, tuple[Any, ...]]] = action.rows.items()
            if held.about != action.about or any(
                not _is_same(held.rows.get(row), entry) for row, entry in rows
            ):
                yield Problem(where, "differs from the event of that id in the journal.")
            continue
        if action.target is None:
            continue
        target = actions.get(action.target) or known.get(action.target)
        if target is None:
            yield Problem(where, f"an {action.type} of {action.target}, which is in neither file.")
        elif target.type not in ROW_TABLE or target.actor != action.actor:
            yield Problem(where, f"an {action.type} of {action.target}, not this person's action.")
        elif target.order >= action.order:
            yield Problem(where, f"an {action.type} of {action.target} that is older than it.")


def _is_same(held: tuple[Any, ...] | None, recorded: tuple[Any, ...]) -> bool:
    """Compare two accounts of a row; what a file of an older version lacks is no contradiction."""
    if held is not None and None in (held[-1], recorded[-1]):
        return held[:-1] == recorded[:-1]
    return held == recorded
