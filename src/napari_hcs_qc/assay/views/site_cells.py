"""The cells of one site as a person sees them: where, what the model and what people say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.assay.annotations.matching import match_on_site
from napari_hcs_qc.assay.scoring.plate_scores import classes_at
from napari_hcs_qc.assay.scoring.saved_prediction import COLUMN
from napari_hcs_qc.cells.table import is_cut_at
from napari_hcs_qc.text_columns import none_if_missing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.annotations.matching import Columns
    from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate
    from napari_hcs_qc.assay.store.plate_cells import PlateCells
    from napari_hcs_qc.cells.by_site import CellsBySite
    from napari_hcs_qc.plates.plate import SiteKey

_COLUMNS = ("y_px", "x_px", "diameter_px", "is_cut")  # of the table of cells
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
    annotations: Columns,
    scored: ScoredPlate | None = None,
    shape: tuple[int, int] | None = None,
) -> SiteCells:
    """Gather the cells of a site; without tables, since a person waits for it at every key."""
    rows = by_site.rows(site)
    found = {name: plate_cells.cells[name].to_numpy()[rows] for name in _COLUMNS}
    yx_px = np.stack([found["y_px"], found["x_px"]], axis=1).astype(np.float64)
    matched = match_on_site(annotations, yx_px, plate_cells.diameter_px / 2)
    # As in a table of cells, whose positions have single precision.
    added_yx = matched.added_yx_px.astype(np.float32).astype(np.float64)
    n_found, n_added = len(rows), len(added_yx)
    n = n_found + n_added
    diameter_px = found["diameter_px"].astype(np.float64)
    typical_px = np.nanmedian(diameter_px) if n_found else plate_cells.diameter_px
    is_cut = np.zeros(n_added, dtype=bool)
    if shape is not None:
        y_px, x_px = matched.added_yx_px.T
        is_cut = is_cut_at(y_px, x_px, float(typical_px), shape)
    classes, kinds = np.full(n, None, dtype=object), np.full(n, None, dtype=object)
    outcome = matched.outcome
    classes[matched.cell] = np.where(outcome.is_conflict, "conflict", outcome.classes)
    kinds[matched.cell] = outcome.kinds
    of_model = {
        "p_abnormal": np.full(n, np.nan),
        COLUMN: np.full(n, np.nan),
        "predicted_kind": np.full(n, None, dtype=object),
    }
    if scored is not None:
        table = scored.prediction.table
        for name, values in of_model.items():
            if name in table:
                values[:n_found] = table[name].to_numpy()[rows]
        _add_scored(scored, site, added_yx, n_found, of_model)
        of_model["predicted_kind"] = none_if_missing(of_model["predicted_kind"])
    return SiteCells(
        site=site,
        rows=np.concatenate([rows, np.full(n_added, -1, dtype=np.int64)]),
        yx_px=np.concatenate([yx_px, added_yx]),
        diameter_px=np.concatenate(
            [diameter_px, np.full(n_added, np.float32(typical_px), dtype=np.float64)]
        ),
        p_abnormal=of_model["p_abnormal"],
        novelty=of_model[COLUMN],
        predicted_kind=of_model["predicted_kind"],
        annotated_class=classes,
        annotated_kind=kinds,
        is_cut=np.concatenate([found["is_cut"].astype(bool), is_cut]),
    )


def _add_scored(
    scored: ScoredPlate,
    site: SiteKey,
    added_yx: NDArray[np.float64],
    n_found: int,
    columns: dict[str, NDArray[Any]],
) -> None:
    """Fill in what the model predicts for cells that people had added before it classified."""
    known = scored.state.matched.added
    if not len(added_yx) or not len(known):
        return
    here = np.flatnonzero(((known["well"] == site.well) & (known["site"] == site.site)).to_numpy())
    places = known[["y_px", "x_px"]].to_numpy(np.float64)
    n_cells = len(scored.state.plate_cells.cells)
    row_of = {_key(places[row]): n_cells + int(row) for row in here}
    table = scored.prediction.table
    for position, place in enumerate(added_yx):
        row = row_of.get(_key(place))
        if row is not None and row < len(table):
            for name, values in columns.items():
                if name in table:
                    values[n_found + position] = table[name].iloc[row]


def _key(yx_px: NDArray[np.float64]) -> tuple[int, int]:
    return round(float(yx_px[0]) * 100), round(float(yx_px[1]) * 100)
