"""Which cells a gallery shows beside its order: by class, kind, well, annotator, novelty and P."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from napari_hcs_qc.assay.annotations.matching import match_annotations
from napari_hcs_qc.gui.gallery.gallery_tiles import ABNORMAL, CONFLICT, NORMAL, UNSURE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_hcs_qc.gui.gallery.gallery_tiles import Marks
    from napari_hcs_qc.gui.session.session import Session

ClassFilter = Literal[
    "any", "normal", "abnormal", "unsure", "conflict", "predicted normal", "predicted abnormal"
]
"""Classes that people gave, or that the model gives at the threshold."""

_CODES = {"normal": NORMAL, "abnormal": ABNORMAL, "unsure": UNSURE, "conflict": CONFLICT}
_NOT_MEASURED = ("cell_id", "site", "label", "object_number")  # numbers, but no measurements


class Measurement(NamedTuple):
    """A column of the table of cells, to sort them by."""

    name: str
    is_rising: bool  # whether the smallest is first


@dataclass(frozen=True, kw_only=True)
class CellFilter:
    """What a cell has to be to be shown; as it is made, every cell is."""

    cls: ClassFilter = "any"
    kind: str = ""  # annotated, else predicted; empty for any
    wells: str = ""  # names with * and ?, with blanks or commas between them; empty for all
    annotator: str = ""  # who has annotated the cell; empty for anybody or nobody
    is_novel: bool = False  # whether only cells unlike the annotated ones are shown
    p_low: float = 0.0  # least P(abnormal); cells without one pass where all do
    p_high: float = 1.0  # greatest
    n_most: int | None = None  # so many cells at most, the first of the order

    def matching(
        self, session: Session, marks: Marks, novelty: NDArray[np.floating[Any]] | None
    ) -> NDArray[np.bool_]:
        """Tell which cells of the plate shown are to be shown, (n_cells,)."""
        is_shown = np.ones(len(marks.annotated), dtype=bool)
        is_blind = session.annotations.is_blind
        state = session.selection.state
        if state is None:
            return is_shown
        if self.cls in _CODES:
            is_shown &= marks.annotated == _CODES[self.cls]
        elif self.cls != "any" and not is_blind:
            with np.errstate(invalid="ignore"):
                is_abnormal = marks.p_abnormal >= session.models.threshold
            is_scored = np.isfinite(marks.p_abnormal)
            is_shown &= is_scored & (is_abnormal == (self.cls == "predicted abnormal"))
        if self.kind:
            is_shown &= marks.kind == self.kind
        if self.wells.strip():
            names = self.wells.upper().replace(",", " ").split()
            wells = state.plate_cells.cells["well"].astype(str)
            chosen = [
                well
                for well in wells.unique()
                if any(fnmatchcase(well.upper(), name) for name in names)
            ]
            is_shown &= wells.isin(chosen).to_numpy()
        if self.annotator:
            is_shown &= _annotated_by(session, self.annotator)
        if self.is_novel and novelty is not None:
            is_shown &= np.nan_to_num(novelty, nan=0.0) > 1
        if (self.p_low, self.p_high) != (0.0, 1.0) and not is_blind:
            p_abnormal = np.nan_to_num(marks.p_abnormal, nan=-1.0)
            is_shown &= (p_abnormal >= self.p_low) & (p_abnormal <= self.p_high)
        return is_shown


EVERY_CELL = CellFilter()


def annotators(session: Session) -> tuple[str, ...]:
    """Give the names of all who have annotated cells of the assay."""
    cache = session.annotations.cache
    return () if cache is None else tuple(sorted(set(cache.table["annotator"])))


def measurements(session: Session) -> tuple[str, ...]:
    """Give the columns of the cells of the plate shown by which they can be sorted."""
    state = session.selection.state
    if state is None:
        return ()
    numbers = state.plate_cells.cells.select_dtypes("number")
    return tuple(name for name in numbers.columns if name not in _NOT_MEASURED)


def by_measurement(
    session: Session, by: Measurement, is_shown: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Order cells by a column of the table of cells; those without a value come last."""
    state = session.selection.state
    assert state is not None
    values = state.plate_cells.cells[by.name].to_numpy(np.float64)
    rows = np.flatnonzero(is_shown)
    return rows[np.argsort(values[rows] if by.is_rising else -values[rows], kind="stable")]


def _annotated_by(session: Session, annotator: str) -> NDArray[np.bool_]:
    """Tell which found cells a person has annotated."""
    state, cache = session.selection.state, session.annotations.cache
    assert state is not None and cache is not None
    cells, table = state.plate_cells.cells, cache.table
    mine = table[(table["plate"] == state.plate.name) & (table["annotator"] == annotator)]
    matched = match_annotations(
        mine.reset_index(drop=True),
        cells,
        state.plate_cells.diameter_px / 2,
        add=False,
        by_site=state.by_site,
    )
    return np.asarray(np.isin(cells["cell_id"], matched.cell_id))
