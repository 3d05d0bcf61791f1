"""The rows of the journal: adding an action, and the questions that replay all of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from uuid import uuid4

from napari_hcs_qc.assay.annotations.annotation import Annotation

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

_ACTIVE = """
WITH active_actions AS (
  SELECT a.* FROM actions AS a
  WHERE a.type IN ('annotate', 'verdict') AND COALESCE(
    (SELECT e.type FROM actions AS e WHERE e.target = a.uuid
     ORDER BY e.at_us DESC, e.uuid DESC LIMIT 1), 'redo') = 'redo')
"""
"""An annotate or verdict action counts unless the last word on it is an undo.

Not a view of the database, whose text could be damaged.
"""

# SQLite takes a CROSS JOIN in the order written: actions in the order of their index, so that
# nothing needs sorting.
ANNOTATIONS = f"""{_ACTIVE}
SELECT n.plate, n.well, n.site, n.y_px, n.x_px, n.class, n.kind, n.note, {{chosen}},
  a.actor, a.at_us, a.uuid
FROM active_actions AS a CROSS JOIN annotations AS n ON n.action = a.seq
ORDER BY a.at_us, a.uuid, n.row
"""
"""Annotations of the actions that are in effect, oldest first: the last at a position counts.
`chosen` is the column of that name, or NULL in a journal that has none."""

VERDICTS = f"""{_ACTIVE}
SELECT v.plate, v.well, v.site, v.verdict, v.note, a.actor, a.at_us, a.uuid, {{seen}}
FROM active_actions AS a CROSS JOIN verdicts AS v ON v.action = a.seq
ORDER BY a.at_us, a.uuid, v.row
"""
"""Verdicts of the actions that are in effect, oldest first: the last on a well or site counts.
`seen` is the column of that name, or NULL in a journal that has none."""

LAST_ACTIVE = f"""{_ACTIVE}
SELECT uuid FROM active_actions WHERE actor = :actor ORDER BY at_us DESC, uuid DESC LIMIT 1
"""
"""What an undo takes back. An actor's own undos always run from the newest action backwards, so
the top of the undo stack is the newest action in effect."""

LAST_UNDONE = """
SELECT u.target FROM actions AS u
WHERE u.actor = :actor AND u.type = 'undo'
  AND (u.at_us, u.uuid) > (
    SELECT d.at_us, d.uuid FROM actions AS d
    WHERE d.actor = :actor AND d.type IN ('annotate', 'verdict')
    ORDER BY d.at_us DESC, d.uuid DESC LIMIT 1)
  AND u.uuid = (
    SELECT e.uuid FROM actions AS e WHERE e.target = u.target
    ORDER BY e.at_us DESC, e.uuid DESC LIMIT 1)
ORDER BY u.at_us DESC, u.uuid DESC LIMIT 1
"""
"""What a redo puts back: the newest undo that still stands and that no new action followed."""

_FROM_FILES = f"""{_ACTIVE}
SELECT a.actor, n.plate, n.well, n.site, n.y_px, n.x_px, n.class, n.kind, n.note
FROM active_actions AS a CROSS JOIN annotations AS n ON n.action = a.seq
WHERE a.source IS NOT NULL
ORDER BY a.at_us, a.uuid, n.row
"""


def append_action(
    database: sqlite3.Connection,
    actor: str,
    event: str,
    *,
    target: str | None = None,
    source: str | None = None,
) -> tuple[str, int]:
    """Add one action, later in time than all before; return its id and its row in `actions`."""
    last = database.execute("SELECT MAX(at_us) FROM actions").fetchone()[0]
    # A clock that was set back must not reorder what happened.
    at_us = max(time.time_ns() // 1000, -1 if last is None else last + 1)
    uuid = uuid4().hex
    cursor = database.execute(
        "INSERT INTO actions (uuid, at_us, actor, type, target, source) VALUES (?, ?, ?, ?, ?, ?)",
        (uuid, at_us, actor, event, target, source),
    )
    return uuid, int(cursor.lastrowid or 0)


def append_annotations(
    database: sqlite3.Connection,
    annotations: Sequence[Annotation],
    actor: str,
    *,
    source: str | None = None,
) -> str:
    """Add annotations as one action and return its id."""
    uuid, action = append_action(database, actor, "annotate", source=source)
    database.executemany(
        "INSERT INTO annotations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        ((action, number, *annotation.row) for number, annotation in enumerate(annotations)),
    )
    return uuid


def last_from_files(
    database: sqlite3.Connection,
) -> dict[tuple[str, tuple[str, str, int, int, int]], tuple[str | None, str | None, str | None]]:
    """Map (actor, place) to the (class, kind, note) that the actor's label files gave last."""
    contents = {}
    for actor, *values in database.execute(_FROM_FILES):
        annotation = Annotation.of_row(values)
        contents[actor, annotation.place] = annotation.content
    return contents
