"""The append-only record of what people said about cells, sites and wells."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from napari_hcs_qc.assay.annotations import journal_csv, journal_events
from napari_hcs_qc.assay.annotations.annotation import (
    VERDICTS,
    Annotation,
    Seen,
    check_term,
    checked_note,
    checked_person,
    checked_site,
    checked_text,
    seen_as_text,
    seen_from_text,
)
from napari_hcs_qc.assay.annotations.consensus import agree
from napari_hcs_qc.assay.annotations.journal_schema import (
    appending,
    create_schema,
    forget_check,
    has_chosen,
    has_seen,
    reading,
)
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.text_columns import none_if_missing, rows_of, with_texts

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path

_POSITION = ["plate", "well", "site", "y_key", "x_key"]
_COLUMNS = ["plate", "well", "site", "y_px", "x_px", "class", "kind", "note"]


class LabelsAdded(NamedTuple):
    """What taking in a label file did: annotations new to the journal, and known before."""

    n_new: int
    n_known: int


class Journal:
    """Annotations and verdicts in an SQLite file to which rows are only ever added.

    Every method opens the file, does one transaction and closes it: several processes and threads
    may use one journal, also on a network share, and what a method has returned is on the disk.
    Events are ordered by their time, which never runs backwards within a journal. Undo takes back
    the annotator's own last action (annotations and verdicts alike) by a further event.
    """

    def __init__(self, path: Path, *, busy_timeout_s: float = 30.0) -> None:
        self.path = path
        self.busy_timeout_s = busy_timeout_s

    @classmethod
    def open(cls, path: Path, *, create: bool = True, busy_timeout_s: float = 30.0) -> Journal:
        """Open the journal at `path`; make it when `create` and there is none."""
        # An empty file is what a process killed while making a journal leaves behind.
        if create and not (path.exists() and path.stat().st_size > 0):
            create_schema(path, busy_timeout_s=busy_timeout_s)
        journal = cls(path, busy_timeout_s=busy_timeout_s)
        with reading(path, busy_timeout_s=busy_timeout_s):
            return journal

    # ---- what people say -----------------------------------------------------------------

    def annotate(
        self,
        plate: str,
        well: str,
        site: int,
        y_px: float,
        x_px: float,
        cls: str | None,
        kind: str | None,
        annotator: str,
        note: str | None = None,
    ) -> str:
        """Record one annotation, see `Annotation`; `cls` None takes it back."""
        annotation = Annotation(
            plate=plate, well=well, site=site, y_px=y_px, x_px=x_px, cls=cls, kind=kind, note=note
        )
        return self.annotate_many([annotation], annotator)

    def annotate_many(self, annotations: Iterable[Annotation], annotator: str) -> str:
        """Record several annotations as one action, all or none; one undo takes all back."""
        rows = list(annotations)
        if not rows:
            raise HcsQcError("There is nothing to annotate: no cell was given.")
        with self._appending() as database:
            return journal_events.append_annotations(database, rows, checked_person(annotator))

    def add_labels(self, labels: pd.DataFrame, *, source: str) -> LabelsAdded:
        """Take in what a label file says, once: the same file again adds nothing.

        A row is new unless its annotator's last word from a file at that position (not undone) was
        the same. So what a person has since changed by hand is not changed back by taking in the
        file again, while a row edited in the file is.
        """
        given: dict[str, list[Annotation]] = defaultdict(list)
        for *values, annotator in rows_of(labels, [*_COLUMNS, "annotator"]):
            given[checked_person(annotator)].append(Annotation.of_row(values))
        source = checked_text(source, "source")
        n_new = 0
        with self._appending() as database:
            known = journal_events.last_from_files(database)
            for person, annotations in given.items():
                new = [
                    annotation
                    for annotation in annotations
                    if known.get((person, annotation.place)) != annotation.content
                ]
                if new:
                    journal_events.append_annotations(database, new, person, source=source)
                    n_new += len(new)
        return LabelsAdded(n_new, len(labels) - n_new)

    def verdict(
        self,
        plate: str,
        well: str,
        verdict: str | None,
        *,
        reviewer: str,
        site: int | None = None,
        note: str | None = None,
        seen: Seen | None = None,
    ) -> str:
        """Record a person's word on a well, or on one site of it; None takes it back."""
        check_term(verdict, "verdict", VERDICTS)
        place = (checked_text(plate, "plate"), checked_text(well, "well"))
        where = None if site is None else checked_site(site)
        row = (*place, where, verdict, checked_note(note), seen_as_text(seen))
        person = checked_person(reviewer, "reviewer")
        with self._appending() as database:
            uuid, action = journal_events.append_action(database, person, "verdict")
            database.execute("INSERT INTO verdicts VALUES (?, 0, ?, ?, ?, ?, ?, ?)", (action, *row))
            return uuid

    def undo(self, annotator: str) -> str | None:
        """Take back the last action of `annotator` that is in effect."""
        return self._append_about(journal_events.LAST_ACTIVE, checked_person(annotator), "undo")

    def redo(self, annotator: str) -> str | None:
        """Put back what `annotator` undid last, unless they have acted anew since."""
        return self._append_about(journal_events.LAST_UNDONE, checked_person(annotator), "redo")

    # ---- what is in effect ---------------------------------------------------------------

    def annotations(self) -> pd.DataFrame:
        """Tell what every annotator says now: their last word at each position."""
        with self._reading() as database:
            column = "n.chosen" if has_chosen(database) else "NULL"
            query = journal_events.ANNOTATIONS.format(chosen=column)
            rows = database.execute(query).fetchall()
        frame = pd.DataFrame(rows, columns=[*_COLUMNS, "chosen", "annotator", "at", "action"])
        frame = frame.astype({"site": "int64", "y_px": "float64", "x_px": "float64"})
        frame = frame[~_with_position(frame).duplicated(["annotator", *_POSITION], keep="last")]
        frame = frame[frame["class"].notna()].reset_index(drop=True)
        texts = frame[["class", "kind", "note", "chosen"]]
        return with_texts(frame.assign(at=_times(frame["at"])), texts)

    def consensus(self, annotations: pd.DataFrame | None = None) -> pd.DataFrame:
        """Tell what the annotators together say at each position, see `consensus.agree`."""
        annotations = _with_position(self.annotations() if annotations is None else annotations)
        places = annotations.drop_duplicates(_POSITION)[["y_px", "x_px"]].reset_index(drop=True)
        together = pd.concat([agree(annotations, _POSITION), places], axis=1)
        columns = ["class", "kind", "annotators", "n_annotators", "is_conflict"]
        return together[["plate", "well", "site", "y_px", "x_px", *columns]]

    def verdicts(self) -> pd.DataFrame:
        """Tell the verdicts in effect: the last on each well and site, whoever said it."""
        with self._reading() as database:
            query = journal_events.VERDICTS.format(seen="v.seen" if has_seen(database) else "NULL")
            rows = database.execute(query).fetchall()
        names = ["plate", "well", "site", "verdict", "note", "reviewer", "at", "action", "seen"]
        frame = pd.DataFrame(rows, columns=names).astype({"site": "Int64"})
        frame = frame.drop_duplicates(["plate", "well", "site"], keep="last")
        frame = frame[frame["verdict"].notna()].reset_index(drop=True)
        seen = [seen_from_text(text) for text in none_if_missing(frame["seen"])]
        frame = frame.assign(at=_times(frame["at"]), seen=pd.Series(seen, dtype=object))
        return with_texts(frame, frame[["verdict", "note", "seen"]])

    def n_actions(self) -> int:
        """Count the actions recorded so far, undone ones too; each new one adds one."""
        with self._reading() as database:
            count: int = database.execute("SELECT COUNT(*) FROM actions").fetchone()[0]
        return count

    def check(self) -> int:
        """Compare all of it with its checksums again; count the actions."""
        forget_check(self.path)
        return self.n_actions()

    # ---- out and in ----------------------------------------------------------------------

    def export(self, path: Path) -> int:
        """Write every event, undone ones too, to a CSV from which `import_` restores all."""
        with self._reading() as database:
            actions = journal_csv.load_actions(database)
        journal_csv.write_actions(path, actions)
        return len(actions)

    def import_(self, path: Path) -> int:
        """Add the events of an exported CSV that this journal does not have, all or none.

        Events keep their ids and times, so importing twice adds nothing, and two journals that
        import each other's exports agree.
        """
        actions = journal_csv.read_actions(path)
        with self._appending() as database:
            return journal_csv.add_actions(database, actions, path.name)

    # ---- inside --------------------------------------------------------------------------

    def _reading(self) -> AbstractContextManager[sqlite3.Connection]:
        return reading(self.path, busy_timeout_s=self.busy_timeout_s)

    def _appending(self) -> AbstractContextManager[sqlite3.Connection]:
        return appending(self.path, busy_timeout_s=self.busy_timeout_s)

    def _append_about(self, query: str, actor: str, event: str) -> str | None:
        with self._appending() as database:
            row = database.execute(query, {"actor": actor}).fetchone()
            if row is None:
                return None
            target: str = row[0]
            journal_events.append_action(database, actor, event, target=target)
            return target


def _with_position(frame: pd.DataFrame) -> pd.DataFrame:
    """Add the whole numbers by which two positions are compared, see `Annotation.place`."""
    keys = {name: (frame[f"{name}_px"] * 100).round().astype("int64") for name in ("y", "x")}
    return frame.assign(y_key=keys["y"], x_key=keys["x"])


def _times(at_us: pd.Series) -> pd.Series:
    # In microseconds: nanoseconds, which pandas takes by default, end in the year 2262.
    return at_us.astype("int64").astype("datetime64[us]").dt.tz_localize("UTC")
