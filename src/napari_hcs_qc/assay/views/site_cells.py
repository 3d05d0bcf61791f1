"""The cells of one site as a person sees them: where, what the model and what people say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.assay.annotations.matching import match_annotations
from napari_hcs_qc.assay.scoring.plate_scores import classes_at
from napari_hcs_qc.assay.scoring.saved_prediction import COLUMN
from napari_hcs_qc.text_columns import none_if_missing

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate
    from napari_hcs_qc.assay.store.plate_cells import PlateCells
    from napari_hcs_qc.cells.by_site import CellsBySite
    from napari_hcs_qc.plates.plate import SiteKey

NOT_JUDGED = "not classified"


@dataclass(frozen=True, eq=False, kw_only=True)
class SiteCells:
    """Cells of one site: those found, then those that people added."""

    site: SiteKey  # the site
    rows: NDArray[np.int64]  # (n,) row in the plate's table of found cells; -1 for an added cell
    yx_px: NDArray[np.float64]  # (n, 2) positions
    diameter_px: NDArray[np.float64]  # (n,) nucleus diameters
    p_abnormal: NDArray[np.float64]  # (n,) the model's word; NaN where there is none
    novelty: NDArray[np.float64]  # (n,) how unlike the annotated cells
    predicted_kind: NDArray[np.object_]  # (n,) words or None
    annotated_class: NDArray[np.object_]  # (n,) words or None
    annotated_kind: NDArray[np.object_]  # (n,) words or None
    is_cut: NDArray[np.bool_]  # (n,) whether the image border cuts it

    def __len__(self) -> int:
        return len(self.rows)

    def predicted_class(self, threshold: float) -> NDArray[np.object_]:
        """Class at a threshold: normal, abnormal, or `NOT_JUDGED`."""
        classes: NDArray[np.object_] = classes_at(self.p_abnormal, threshold)
        classes[np.isnan(self.p_abnormal)] = NOT_JUDGED
        return classes

    def nearest(self, y_px: float, x_px: float, reach: float = 0.75) -> int | None:
        """Index of the cell at a position: the nearest within `reach` of its own diameter."""
        if not len(self):
            return None
        distance = np.hypot(self.yx_px[:, 0] - y_px, self.yx_px[:, 1] - x_px)
        index = int(np.argmin(distance))
        return index if distance[index] <= reach * self.diameter_px[index] else None


def site_cells(
    plate_cells: PlateCells,
    by_site: CellsBySite,
    site: SiteKey,
    annotations: pd.DataFrame,
    scored: ScoredPlate | None = None,
    shape: tuple[int, int] | None = None,
) -> SiteCells:
    """Gather the cells of a site."""
    rows = by_site.rows(site)
    cells = plate_cells.cells.iloc[rows]
    matched = match_annotations(annotations, cells, plate_cells.diameter_px / 2, shape=shape)
    added = matched.added
    n_found, n = len(rows), len(rows) + len(added)
    ids = np.concatenate([cells["cell_id"].to_numpy(), added["cell_id"].to_numpy()])
    where = {int(cell_id): position for position, cell_id in enumerate(ids)}
    classes, kinds = np.full(n, None, dtype=object), np.full(n, None, dtype=object)
    annotated = matched.cells
    at = np.array([where[int(cell_id)] for cell_id in annotated["cell_id"]], dtype=np.int64)
    classes[at] = np.where(
        annotated["is_conflict"], "conflict", none_if_missing(annotated["class"])
    )
    kinds[at] = none_if_missing(annotated["kind"])
    said_of = {
        "p_abnormal": np.full(n, np.nan),
        COLUMN: np.full(n, np.nan),
        "predicted_kind": np.full(n, None, dtype=object),
    }
    if scored is not None:
        table = scored.prediction.table
        for name, values in said_of.items():
            if name in table:
                values[:n_found] = table[name].to_numpy(dtype=values.dtype)[rows]
        _add_scored(scored, site, added, n_found, said_of)
        said_of["predicted_kind"] = none_if_missing(said_of["predicted_kind"])
    columns = ["y_px", "x_px"]
    return SiteCells(
        site=site,
        rows=np.concatenate([rows, np.full(len(added), -1, dtype=np.int64)]),
        yx_px=np.concatenate(
            [cells[columns].to_numpy(np.float64), added[columns].to_numpy(np.float64)]
        ),
        diameter_px=np.concatenate(
            [cells["diameter_px"].to_numpy(), added["diameter_px"].to_numpy()]
        ).astype(np.float64),
        p_abnormal=said_of["p_abnormal"],
        novelty=said_of[COLUMN],
        predicted_kind=said_of["predicted_kind"],
        annotated_class=classes,
        annotated_kind=kinds,
        is_cut=np.concatenate([cells["is_cut"], added["is_cut"]]).astype(bool),
    )


def _add_scored(
    scored: ScoredPlate,
    site: SiteKey,
    added: pd.DataFrame,
    n_found: int,
    columns: dict[str, NDArray[Any]],
) -> None:
    """Fill in what the model said of cells that people had added before it judged."""
    known = scored.state.matched.added
    if not len(added) or not len(known):
        return
    here = np.flatnonzero(((known["well"] == site.well) & (known["site"] == site.site)).to_numpy())
    row_of = {_key(known.iloc[row]): len(scored.state.plate_cells.cells) + int(row) for row in here}
    table = scored.prediction.table
    for position in range(len(added)):
        row = row_of.get(_key(added.iloc[position]))
        if row is not None and row < len(table):
            for name, values in columns.items():
                if name in table:
                    values[n_found + position] = table[name].iloc[row]


def _key(cell: pd.Series[Any]) -> tuple[int, int]:
    return round(float(cell["y_px"]) * 100), round(float(cell["x_px"]) * 100)
