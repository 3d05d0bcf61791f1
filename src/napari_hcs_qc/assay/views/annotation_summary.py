"""What people have said at a glance: counts, disagreements, and words to be taken back."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.assay.annotations.annotation import CLASSES, Annotation, annotations_at
from napari_hcs_qc.assay.annotations.matching import match_annotations
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.text_columns import rows_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from numpy.typing import ArrayLike

    from napari_hcs_qc.assay.store.plate_state import PlateState


@dataclass(frozen=True)
class Counts:
    """How many positions of an assay are annotated."""

    classes: Mapping[str, int]  # number for each class, 0 where there is none
    kinds: Mapping[str, int]  # number for each kind that there is


def count_annotations(annotations: pd.DataFrame) -> Counts:
    """Count positions by class and kind; what several people say alike counts once."""
    names = ["plate", "well", "site", "y_px", "x_px", "class", "kind"]
    classes: set[tuple[object, ...]] = set()
    kinds: set[tuple[object, ...]] = set()
    for *where, y_px, x_px, cls, kind in rows_of(annotations, names):
        place = (*where, round(y_px * 100), round(x_px * 100))
        classes.add((cls, place))
        if isinstance(kind, str):
            kinds.add((kind, place))
    n_of_class = Counter(str(cls) for cls, _ in classes)
    n_of_kind = Counter(str(kind) for kind, _ in kinds)
    return Counts({cls: n_of_class[cls] for cls in CLASSES}, n_of_kind)


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """A cell about which people disagree."""

    plate: str  # name of the plate
    site: SiteKey  # its site
    y_px: float  # position of the cell
    x_px: float  # position of the cell
    # Each annotator with class and kind (None where not said)
    opinions: tuple[tuple[str, str, str | None], ...]

    def __str__(self) -> str:
        opinions = ", ".join(
            f"{annotator}: {cls} ({kind})" if kind else f"{annotator}: {cls}"
            for annotator, cls, kind in self.opinions
        )
        return f"{self.plate} {self.site}: {opinions}"


def find_conflicts(
    states: Mapping[str, PlateState], annotations: pd.DataFrame, *, job: Job = NO_JOB
) -> tuple[Conflict, ...]:
    """Find the cells of an assay that were called normal and abnormal."""
    conflicts = []
    for done, state in enumerate(states.values()):
        job.check()
        job.report(done, len(states), f"Comparing the annotations of {state.plate.name}")
        state = state.with_annotations(annotations)
        columns = ["annotator", "class", "kind"]
        for cell in state.matched.conflicts["cell_id"]:
            # As far as the journal goes the last word of a person at a place is their only one.
            annotated = state.annotations.loc[state.matched.cell_id == cell, columns]
            where = state.cells.iloc[int(cell)]
            opinions = dict.fromkeys(
                (str(who), str(cls), kind) for who, cls, kind in rows_of(annotated, columns)
            )
            site = SiteKey(str(where["well"]), int(where["site"]))
            conflicts.append(
                Conflict(
                    plate=state.plate.name,
                    site=site,
                    y_px=float(where["y_px"]),
                    x_px=float(where["x_px"]),
                    opinions=(*opinions,),
                )
            )
    return tuple(conflicts)


def to_take_back(
    state: PlateState, annotations: pd.DataFrame, rows: ArrayLike, annotator: str
) -> tuple[Annotation, ...]:
    """Give the annotations that take back what one person said of some found cells.

    They are at the positions that the person gave, which an imported table or a click beside the
    centre may have put elsewhere than where the cell was found.
    """
    plate_cells, plate = state.plate_cells, state.plate.name
    cells = plate_cells.cells.iloc[np.asarray(rows, dtype=np.int64)]
    sites = set(zip(cells["well"], cells["site"], strict=True))
    mine = annotations[(annotations["plate"] == plate) & (annotations["annotator"] == annotator)]
    is_here = [site in sites for site in zip(mine["well"], mine["site"], strict=True)]
    mine = mine[np.array(is_here, dtype=bool)].reset_index(drop=True)
    matched = match_annotations(
        mine, plate_cells.cells, plate_cells.diameter_px / 2, add=False, by_site=state.by_site
    )
    is_meant = np.isin(matched.cell_id, cells["cell_id"])
    return annotations_at(plate, mine[is_meant], None)
