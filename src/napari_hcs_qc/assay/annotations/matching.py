"""Join what people said about positions to the cells that were found there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from napari_hcs_qc.assay.annotations.consensus import Outcome, outcome_of, with_outcome
from napari_hcs_qc.cells.by_site import CellsBySite
from napari_hcs_qc.cells.table import is_cut_at, typed_cells
from napari_hcs_qc.text_columns import with_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    Columns: TypeAlias = Mapping[str, NDArray[Any]]
    """Columns of annotations, as `columns_of` gives them."""

_PAIRS_AT_ONCE = 1_000_000


@dataclass(frozen=True, eq=False)
class Matched:
    """Annotations joined to cells."""

    cell_id: NDArray[np.int64]  # for each annotation the id of its cell, found or added
    added: pd.DataFrame  # the cells to be made, as rows of a cell table
    # One row per annotated cell, by id: ``cell_id, class`` (normal, abnormal, unsure
    cells: pd.DataFrame

    @property
    def for_training(self) -> pd.DataFrame:
        """The rows of `cells` that say normal or abnormal without contradiction."""
        return self.cells[self.cells["class"].isin(["normal", "abnormal"])]

    @property
    def conflicts(self) -> pd.DataFrame:
        """The rows of `cells` about which people disagree."""
        return self.cells[self.cells["is_conflict"]]


def match_annotations(
    annotations: pd.DataFrame,
    cells: pd.DataFrame,
    radius_px: float,
    *,
    add: bool = True,
    by_site: CellsBySite | None = None,
    shape: Callable[[], tuple[int, int]] | None = None,
) -> Matched:
    """Join each annotation to the nearest cell of its site within `radius_px`.

    Where there is none it makes a cell, cut where it reaches beyond an image of `shape` (gives
    height, width; asked only then, as it is read from images); annotations within `radius_px` of
    such a cell share it.
    When one person annotated the same cell several times, their last action counts, and two
    contradicting words within one action (two rows of one file) are a conflict. ``unsure`` beside
    a definite word is an abstention.
    """
    cell_id = _nearest(annotations, cells, radius_px, by_site or CellsBySite.of(cells))
    added = cells.iloc[:0]
    if add and (cell_id < 0).any():
        first_id = int(cells["cell_id"].max()) + 1 if len(cells) else 0
        diameter = float(cells["diameter_px"].median()) if len(cells) else 2 * radius_px
        left = np.flatnonzero(cell_id < 0)
        place = ("well", "site", "y_px", "x_px")
        new, cell_of = _new_cells(
            {name: annotations[name].to_numpy()[left] for name in place}, radius_px
        )
        added = cells_at(
            pd.DataFrame(new, columns=list(place)), first_id, diameter, shape and shape()
        )
        cell_id[left] = first_id + cell_of
    ids, outcome = _on_cells(columns_of(annotations), cell_id)
    return Matched(cell_id, added, with_outcome(pd.DataFrame({"cell_id": ids}), outcome))


class SiteMatch(NamedTuple):
    """Annotations of one site joined to its cells: those found, then those to be made."""

    added_yx_px: NDArray[np.float64]  # ``(n_added, 2)``: where cells are to be made
    cell: NDArray[np.int64]  # ``(n_annotated,)``: number of each annotated cell
    outcome: Outcome  # of each of them


def match_on_site(annotations: Columns, yx_px: NDArray[np.float64], radius_px: float) -> SiteMatch:
    """Do the same as `match_annotations` for the cells of one site, without tables.

    This is on the way from a click to its colour, where pandas takes tens of milliseconds.
    """
    at = np.stack([annotations["y_px"], annotations["x_px"]], axis=1).astype(np.float64)
    cell = np.full(len(at), -1, dtype=np.int64)
    if len(at) and len(yx_px):
        dy, dx = (at[:, np.newaxis] - yx_px).transpose(2, 0, 1)
        distance = np.sqrt(dy * dy + dx * dx)
        nearest = distance.argmin(axis=1)
        is_near = distance[np.arange(len(at)), nearest] <= radius_px
        cell[is_near] = nearest[is_near]
    left = np.flatnonzero(cell < 0)
    new, cell_of = _new_cells({name: array[left] for name, array in annotations.items()}, radius_px)
    cell[left] = len(yx_px) + cell_of
    added = np.array([place[2:] for place in new], dtype=np.float64).reshape(-1, 2)
    return SiteMatch(added, *_on_cells(annotations, cell))


def columns_of(annotations: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """Give the columns of annotations as arrays, times as whole numbers."""
    texts = ("well", "class", "kind", "annotator", "action")
    return {
        **{name: annotations[name].to_numpy(dtype=object) for name in texts},
        **{name: annotations[name].to_numpy() for name in ("site", "y_px", "x_px")},
        "at": annotations["at"].astype("int64").to_numpy(),
    }


def _nearest(
    annotations: pd.DataFrame, cells: pd.DataFrame, radius_px: float, by_site: CellsBySite
) -> NDArray[np.int64]:
    """Id of the nearest cell of the same site within the radius; -1 where there is none."""
    cell_id = np.full(len(annotations), -1, dtype=np.int64)
    if not len(annotations) or not len(cells):
        return cell_id
    cell_yx = cells[["y_px", "x_px"]].to_numpy(np.float64)
    cell_ids = cells["cell_id"].to_numpy(np.int64)
    yx = annotations[["y_px", "x_px"]].to_numpy(np.float64)
    positions = CellsBySite.of(annotations)
    begin, end = np.array([by_site.span(site) for site in positions.sites], dtype=np.int64).T[
        :, positions.code
    ]
    for some in _blocks(end - begin):
        n = (end - begin)[some]
        first = np.cumsum(n) - n  # of the pairs of each annotation with the cells of its site
        pair_of = np.repeat(some, n)
        cell = by_site.order[np.arange(len(pair_of)) + np.repeat(begin[some] - first, n)]
        dy, dx = (yx[pair_of] - cell_yx[cell]).T
        distance = np.sqrt(dy * dy + dx * dx)
        least = np.minimum.reduceat(distance, first)
        # Of equally near cells the first is taken.
        nearest = np.flatnonzero(distance == np.repeat(least, n))
        _, index = np.unique(pair_of[nearest], return_index=True)
        is_near = least <= radius_px
        cell_id[some[is_near]] = cell_ids[cell[nearest[index]][is_near]]
    return cell_id


def _blocks(n_candidates: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Cut the annotations that have candidates into blocks that need little memory."""
    rows = np.flatnonzero(n_candidates)
    block = np.cumsum(n_candidates[rows]) // _PAIRS_AT_ONCE
    return iter(np.split(rows, np.flatnonzero(np.diff(block)) + 1) if len(rows) else [])


def _new_cells(
    annotations: Columns, radius_px: float
) -> tuple[list[tuple[str, int, float, float]], NDArray[np.int64]]:
    """Positions of cells to be made, and for each annotation the row of its own.

    In the order of the annotations: each takes the nearest position made before in its site, or
    makes one where it is.
    """
    made: dict[tuple[str, int], list[tuple[float, float, int]]] = {}
    new: list[tuple[str, int, float, float]] = []
    cell_of = np.empty(len(annotations["y_px"]), dtype=np.int64)
    columns = (annotations[name].tolist() for name in ("well", "site", "y_px", "x_px"))
    for index, (well, site, y_px, x_px) in enumerate(zip(*columns, strict=True)):
        near = made.setdefault((well, site), [])
        distances = [(np.hypot(y_px - y, x_px - x), row) for y, x, row in near]
        distance, row = min(distances, default=(np.inf, -1))
        if distance > radius_px:
            row = len(new)
            near.append((y_px, x_px, row))
            new.append((well, site, y_px, x_px))
        cell_of[index] = row
    return new, cell_of


def training_positions(annotations: pd.DataFrame, matched: Matched) -> pd.DataFrame:
    """Choose the annotated positions that a model is trained on.

    Every position counts by itself, also where two of them are on one found cell (dead nuclei that
    touch, say). Left out are unsure ones, those on cells about which people disagree, and words
    that their own author has replaced since.
    """
    columns = ["well", "site", "y_px", "x_px", "class", "kind", "chosen"]
    annotated = annotations[columns].reset_index(drop=True).assign(cell_id=matched.cell_id)
    # Whoever else annotated a suggested cell: it would not have been annotated otherwise.
    suggested = annotated["cell_id"][annotated["chosen"] == "suggested"]
    chosen = annotated["chosen"].where(~annotated["cell_id"].isin(suggested), "suggested")
    annotated = with_texts(annotated, {"chosen": chosen})
    outcome = matched.for_training.set_index("cell_id")["class"]
    agreed = annotated[annotated["class"] == annotated["cell_id"].map(outcome)]
    order = ["well", "site", "y_px", "x_px"]
    # Of two people who say the same of a position, the one who gave a kind is kept.
    return (
        agreed.sort_values([*order, "kind"], na_position="last", kind="stable")
        .drop_duplicates(order)
        .reset_index(drop=True)
    )


def cells_at(
    positions: pd.DataFrame,
    first_id: int,
    diameter_px: float,
    shape: tuple[int, int] | None = None,
) -> pd.DataFrame:
    """Make rows of a cell table for positions that a person gave; there is no mask to measure."""
    n = len(positions)
    is_cut = np.zeros(n, dtype=bool)
    if shape is not None:
        y, x = positions["y_px"].to_numpy(np.float64), positions["x_px"].to_numpy(np.float64)
        is_cut = is_cut_at(y, x, diameter_px, shape)
    return typed_cells(
        {
            "cell_id": np.arange(first_id, first_id + n),
            "well": positions["well"],
            "site": positions["site"],
            "label": np.zeros(n),
            "y_px": positions["y_px"],
            "x_px": positions["x_px"],
            "area_px": np.full(n, np.nan),
            "diameter_px": np.full(n, diameter_px),
            "mean_intensity": np.full(n, np.nan),
            "is_cut": is_cut,
            "source": np.full(n, "annotation", dtype=object),
            "object_number": np.full(n, pd.NA, dtype=object),
        }
    )


def _on_cells(
    annotations: Columns, cell_id: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Outcome]:
    """Annotated cells, ascending, and what is said of each."""
    on_cell = np.flatnonzero(cell_id >= 0)
    cells = cell_id[on_cell]
    person = pd.factorize(annotations["annotator"][on_cell])[0]
    action, at = annotations["action"][on_cell], annotations["at"][on_cell]
    # Within a cell only the last action of each person speaks.
    latest_first = np.lexsort((action, at))[::-1]
    speaker = cells * (person.max(initial=0) + 1) + person
    _, first, of_speaker = np.unique(speaker[latest_first], return_index=True, return_inverse=True)
    last_action = np.empty_like(action)
    last_action[latest_first] = action[latest_first][first][of_speaker]
    speaks = action == last_action
    ids, thing = np.unique(cells[speaks], return_inverse=True)
    words = (annotations[name][on_cell[speaks]] for name in ("class", "kind", "annotator"))
    return ids, outcome_of(thing.reshape(-1), len(ids), *words)
