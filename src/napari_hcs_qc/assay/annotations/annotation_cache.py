"""What people have said, kept in memory in step with the journal."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.text_columns import rows_of, with_texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.annotations.annotation import Annotation
    from napari_hcs_qc.assay.annotations.journal import Journal

    _Key: TypeAlias = tuple[str, tuple[Any, ...]]
    """Who, and the place."""

COLUMNS = (
    "plate",
    "well",
    "site",
    "y_px",
    "x_px",
    "class",
    "kind",
    "note",
    "chosen",
    "annotator",
    "at",
    "action",
)
_TYPES = {"site": np.int64, "y_px": np.float64, "x_px": np.float64}
_PATIENCE_S = 2.0
_ABOUT_SITE = 3  # plate, well and site begin a place and a row
_CHOSEN, _ANNOTATOR = COLUMNS.index("chosen"), COLUMNS.index("annotator")


class PlateSite(NamedTuple):
    """One site of one of an assay's plates."""

    plate: str
    site: SiteKey


class AnnotationCache:
    """The annotations in effect, so that a click need not read the whole journal again.

    The journal is written first; memory follows only when that has worked. So what is shown as
    said is on the disk.
    """

    def __init__(self, journal: Journal) -> None:
        # A window that waits for another program's lock stands still.
        journal.busy_timeout_s = min(journal.busy_timeout_s, _PATIENCE_S)
        self.journal = journal
        self._rows: dict[_Key, tuple[Any, ...]] = {}
        self._of_site: dict[PlateSite, dict[_Key, None]] = {}
        self._table: pd.DataFrame | None = None
        self._latest: pd.Timestamp = pd.Timestamp(0, tz="UTC")
        self._mark = self._file_mark()
        self._n_actions = journal.n_actions()
        self._take(journal.annotations())
        self._verdicts: tuple[object, pd.DataFrame] | None = None  # with what they were read at

    @property
    def table(self) -> pd.DataFrame:
        """As `Journal.annotations`; not to be changed. Times of this session to a few ms."""
        if self._table is None:
            self._table = _frame(self._rows.values())
        return self._table

    @property
    def verdicts(self) -> pd.DataFrame:
        """As `Journal.verdicts`, read again when anything was recorded; not to be changed."""
        state = self._file_mark(), self.journal.n_actions()
        if self._verdicts is None or self._verdicts[0] != state:
            self._verdicts = state, self.journal.verdicts()
        return self._verdicts[1]

    def at_site(self, where: PlateSite) -> pd.DataFrame:
        """Rows of `table` that are about one site."""
        rows = self._rows
        return _frame(rows[key] for key in self._of_site.get(where, ()))

    def columns_at(self, where: PlateSite) -> dict[str, NDArray[Any]]:
        """Give the columns of `at_site` as arrays, see `matching.columns_of`."""
        rows = [self._rows[key] for key in self._of_site.get(where, ())]
        columns = {
            name: np.array([row[index] for row in rows], dtype=_TYPES.get(name, object))
            for index, name in enumerate(COLUMNS)
        }
        times = [time.asm8 for time in columns["at"]]
        return {**columns, "at": np.array(times, dtype="datetime64[us]").astype(np.int64)}

    def chosen_at(self, place: tuple[Any, ...]) -> str | None:
        """Tell how the cell at an annotated place was chosen, see `Annotation.chosen`."""
        keys = self._of_site.get(_site_of(place), ())
        ways = (self._rows[key][_CHOSEN] for key in keys if key[1] == place)
        return next(filter(None, ways), None)

    def annotate(self, annotations: Sequence[Annotation], annotator: str) -> frozenset[PlateSite]:
        """Record annotations as one action."""
        others_wrote = self.has_changed()
        action = self.journal.annotate_many(annotations, annotator)
        touched = frozenset(_site_of(annotation.place) for annotation in annotations)
        mark, n_actions = self._file_mark(), self.journal.n_actions()
        # The mark is overwritten below, so what others said, before or just now, is read first.
        if others_wrote or n_actions != self._n_actions + 1:
            return touched | self.reload()
        self._mark, self._n_actions = mark, n_actions
        at = max(pd.Timestamp.now(tz="UTC"), self._latest)
        for annotation in annotations:
            key = (annotator.strip(), annotation.place)
            self._forget(key)
            if annotation.cls is not None:
                self._remember(key, (*annotation.row, key[0], at, action))
        self._latest = at
        self._table = None
        return touched

    def undo(self, annotator: str) -> frozenset[PlateSite] | None:
        """Take back the annotator's last action, see `Journal.undo`."""
        return None if self.journal.undo(annotator) is None else self.reload()

    def redo(self, annotator: str) -> frozenset[PlateSite] | None:
        """Put back what was undone last, see `undo`."""
        return None if self.journal.redo(annotator) is None else self.reload()

    def has_changed(self) -> bool:
        """Tell whether the journal's file has changed since it was read, by another window say."""
        return self._file_mark() != self._mark

    def reload(self) -> frozenset[PlateSite]:
        """Read the journal again."""
        mark = self._file_mark()  # before reading: what is written meanwhile is read next time
        n_actions = self.journal.n_actions()
        table = self.journal.annotations()
        before = {key: row[:-2] for key, row in self._rows.items()}
        self._take(table)
        self._mark, self._n_actions = mark, n_actions
        after = {key: row[:-2] for key, row in self._rows.items()}
        changed = {key for key, row in after.items() if before.get(key) != row}
        changed |= before.keys() - after.keys()
        return frozenset(_site_of(place) for _, place in changed)

    def _take(self, table: pd.DataFrame) -> None:
        self._rows, self._of_site, self._table = {}, defaultdict(dict), None
        if len(table):
            self._latest = table["at"].max()
        for row in rows_of(table, COLUMNS):
            plate, well, site, y_px, x_px = row[:5]
            place = (plate, well, int(site), round(y_px * 100), round(x_px * 100))
            self._remember((row[_ANNOTATOR], place), row)

    def _remember(self, key: _Key, row: tuple[Any, ...]) -> None:
        self._rows[key] = row
        self._of_site[_site_of(key[1])][key] = None

    def _forget(self, key: _Key) -> None:
        if self._rows.pop(key, None) is not None:  # a new word goes to the end of the order
            self._of_site[_site_of(key[1])].pop(key)

    def _file_mark(self) -> tuple[int, int]:
        try:
            status = self.journal.path.stat()
        except OSError:
            return (-1, -1)
        return (status.st_mtime_ns, status.st_size)


def _site_of(place: tuple[Any, ...]) -> PlateSite:
    plate, well, site = place[:_ABOUT_SITE]
    return PlateSite(plate, SiteKey(well, int(site)))


def _frame(rows: Iterable[tuple[Any, ...]]) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows), columns=list(COLUMNS))
    types = {"site": "int64", "y_px": "float64", "x_px": "float64", "at": "datetime64[us, UTC]"}
    return with_texts(frame.astype(types), frame[["class", "kind", "note", "chosen"]])
