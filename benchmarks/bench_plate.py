"""How true the numbers of a plate are: cells as the product finds them, judged end to end.

Two readers labelled a stratified sample of the objects of a real plate (``found_labels.csv``, its
data README): cells that version 0.1.0 found, and objects of the reference masks that it missed.
Each object is looked up among the cells that are found now, and judged by a model that saw no
annotation of its well (20 folds by well over ``labels.csv``) at the threshold that ships. Figures
are weighted by the size of each stratum over its decided ones, and means over 5 divisions of the
wells, with the least and the most: few objects are abnormal, and which wells a model learned from
changes what becomes of them. Cells that the image border cuts are left out, as the product does; an
object that is not found counts as not called abnormal.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from benchmarks.labelled_plate import BBBC039, embedded_plate
from scipy.stats import binomtest

from napari_hcs_qc.assay.models.extra_cells import WithMoreCells
from napari_hcs_qc.assay.store.assay_folder import DEFAULT_THRESHOLD
from napari_hcs_qc.assay.store.masks import site_masks
from napari_hcs_qc.cells.imported.masks import read_mask
from napari_hcs_qc.evaluation.crossval import cross_validate
from napari_hcs_qc.heads.head_registry import make_head
from napari_hcs_qc.heads.linear.scoring import score_embeddings
from napari_hcs_qc.plates.plate import SiteKey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.embeddings.training_set import AnnotatedCells
    from napari_hcs_qc.assay.store.plate_state import PlateState

# Nearly all annotations are trained on, as a user's model is.
N_FOLDS, N_SEEDS = 20, 5
_NEAR_PX = 3  # a person's point may lie beside the mask of the object that was meant


def unseen_scores(
    state: PlateState, annotated: AnnotatedCells, rows: NDArray[np.floating], seed: int = 0
) -> NDArray[np.float64]:
    """P(abnormal) of every found cell, by a model that saw no annotation of its well."""
    p_abnormal = np.full(len(rows), np.nan)
    offset = offset_of_found(state, annotated, rows)
    for is_out, judged in well_folds(state, annotated, seed, N_FOLDS):
        known = None if offset is None else offset[judged]
        fit_on = np.flatnonzero(~is_out)
        p_abnormal[judged] = scores(annotated, fit_on, rows[judged], known, seed)
    return p_abnormal


def offset_of_found(
    state: PlateState, annotated: AnnotatedCells, rows: NDArray[np.floating]
) -> NDArray[np.float64] | None:
    """Give what is known of every found cell without annotations, as the product has it."""
    if annotated.priors is None:
        return None
    wells = state.plate_cells.cells["well"]
    return annotated.priors.offsets(np.asarray(rows), [state.plate.name] * len(rows), wells)


def well_folds(
    state: PlateState, annotated: AnnotatedCells, seed: int, n_folds: int
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Divide the wells; give which annotated and which found cells are in each part."""
    wells = state.plate_cells.cells["well"].to_numpy(str)
    annotated_wells = np.array([group.partition("/")[2] for group in annotated.groups])
    names = np.random.default_rng(seed).permutation(np.unique([*wells, *annotated_wells]))
    for fold in np.array_split(names, n_folds):
        yield np.isin(annotated_wells, fold), np.isin(wells, fold)


def scores(
    annotated: AnnotatedCells,
    fit_on: NDArray[np.int64],
    rows: NDArray[np.floating],
    offset_of_rows: NDArray[np.float64] | None,
    seed: int,
) -> NDArray[np.float32]:
    """P(abnormal) of some cells by the default head, fitted on some of the annotated ones."""
    with_more, offset = product_head(annotated, seed), annotated.offset
    with_more.fit(
        annotated.embeddings[fit_on],
        annotated.classes[fit_on],
        groups=annotated.groups[fit_on],
        offset=None if offset is None else offset[fit_on],
    )
    return score_embeddings(with_more.head, np.asarray(rows), offset_of_rows)


def product_head(annotated: AnnotatedCells, seed: int) -> WithMoreCells:
    """Make the default head as the product trains it."""
    head = make_head("linear", seed, annotated.plate)
    return WithMoreCells(head, annotated.found, annotated.groups)


class Found:
    """Looks up objects among the cells that the product finds."""

    def __init__(self, state: PlateState) -> None:
        self._state, self._masks = state, dict[SiteKey, "NDArray[np.int32]"]()
        cells = state.plate_cells.cells
        places = zip(cells["well"], cells["site"], cells["label"], strict=True)
        self._row = {(str(w), int(s), int(n)): row for row, (w, s, n) in enumerate(places)}

    def masks(self, site: SiteKey) -> NDArray[np.int32]:
        """Masks of a site as they were found."""
        if site not in self._masks:
            masks = site_masks(self._state.plate, self._state.plate_cells, site)
            assert masks is not None
            self._masks[site] = masks
        return self._masks[site]

    def row(self, well: str, site: int, y_px: float, x_px: float) -> int:
        """Row of the cell at a position, the nearest within some px; -1 where there is none."""
        masks = self.masks(SiteKey(well, site))
        rows, columns = np.nonzero(masks)
        if not len(rows):
            return -1
        distance = np.hypot(rows - y_px, columns - x_px)
        nearest = int(distance.argmin())
        if distance[nearest] > _NEAR_PX:
            return -1
        return self._row[well, site, int(masks[rows[nearest], columns[nearest]])]


def share_of_reference_missed(found: Found, state: PlateState) -> tuple[int, int]:
    """Count objects of the reference masks of which no found mask covers half, and all."""
    missed = total = 0
    for site in state.plate.sites:
        [path] = (BBBC039 / "masks").glob(f"IXMtest_{site.well}_s{site.site}_*.png")
        masks = found.masks(site)
        reference = read_mask(path, masks.shape).labels
        for number in range(1, int(reference.max()) + 1):
            under = masks[reference == number]
            if under.size < 30:  # a fragment of the annotation
                continue
            total += 1
            most = np.bincount(under[under > 0]).max() if (under > 0).any() else 0
            missed += bool(most < under.size / 2)
    return missed, total


def decided_objects(state: PlateState, found: Found) -> pd.DataFrame:
    """Give the decided objects with their weights, and the row of the cell at each (-1: none)."""
    objects = pd.read_csv(BBBC039 / "found_labels.csv")
    objects = objects[objects["label"].notna()].copy()
    decided = objects.groupby("stratum")["crop"].transform("size")
    objects["weight"] = objects["stratum_size"] / decided
    places = zip(*(objects[name] for name in ("well", "site", "y_px", "x_px")), strict=True)
    rows = np.array([found.row(*place) for place in places])
    is_cut = state.plate_cells.cells["is_cut"].to_numpy(bool)
    return objects.assign(
        row=rows, is_abnormal=objects["label"] == "abnormal", is_cut=(rows >= 0) & is_cut[rows]
    )


def counted_objects(state: PlateState, found: Found) -> pd.DataFrame:
    """Give the decided objects without those that the image border cuts."""
    objects = decided_objects(state, found)
    return objects[~objects["is_cut"] & ~objects["stratum"].str.startswith("border")]


def end_to_end(called: NDArray[np.bool_], objects: pd.DataFrame) -> dict[str, float]:
    """Weighted share called, precision and recall; precision NaN where nothing is called."""
    is_called = (objects["row"] >= 0) & called[objects["row"]]
    precision = share(objects["is_abnormal"], objects[is_called]) if is_called.any() else np.nan
    return {
        "called": share(is_called, objects),
        "precision": precision,
        "recall": share(is_called, objects[objects["is_abnormal"]]),
    }


def share(mask: pd.Series, among: pd.DataFrame) -> float:
    """Weighted share of some objects that something is true of."""
    return float((among["weight"] * mask[among.index]).sum() / among["weight"].sum())


def spread(values: list[float], form: str) -> str:
    """Write a mean with the least and the most."""
    return f"{np.mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def main(arguments: list[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assay", type=Path, help="keep the assay here")
    options = parser.parse_args(arguments)
    if not BBBC039.is_dir():
        print(f"The real images are not at {BBBC039}; nothing was measured.")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        made = embedded_plate(options.assay or Path(folder) / "assay")
        state, annotated, rows = made.state, made.annotated, made.store.embeddings
        cells = state.plate_cells.cells
        found = Found(state)
        inner = counted_objects(state, found)
        is_cut = cells["is_cut"].to_numpy(bool)
        abnormal = inner[inner["is_abnormal"]]
        normal = inner[(inner["stratum"] == "inside-normal") & ~inner["is_abnormal"]]
        of: dict[str, list[float]] = {name: [] for name in ("called", "precision", "recall")}
        of |= {name: [] for name in ("normal called", "all", "inner", "cut")}
        for seed in range(N_SEEDS):
            called = unseen_scores(state, annotated, rows, seed) >= DEFAULT_THRESHOLD
            for name, value in end_to_end(called, inner).items():
                of[name].append(value)
            of["normal called"].append(int(((normal["row"] >= 0) & called[normal["row"]]).sum()))
            of["all"].append(float(called.mean()))
            of["inner"].append(float(called[~is_cut].mean()))
            of["cut"].append(float(called[is_cut].mean()))
        n_false = max(of["normal called"])
        low, high = binomtest(int(n_false), len(normal)).proportion_ci()
        missed, total = share_of_reference_missed(found, state)
        crops = cross_validate(
            annotated.embeddings,
            annotated.classes,
            annotated.groups,
            offset=annotated.offset,
            head_factory=partial(product_head, annotated),
        )
        lines = {
            "cells found; cut by the border": f"{len(cells):,}; {int(is_cut.sum()):,}",
            "reference objects missed": f"{missed} of {total:,} ({missed / total:.1%})",
            "share of objects abnormal": f"{share(inner['is_abnormal'], inner):.1%}",
            "share of these called abnormal": spread(of["called"], ".1%"),
            "precision of what is called abnormal": spread(of["precision"], ".2f"),
            "recall of abnormal objects, those not found missed": spread(of["recall"], ".2f"),
            "share of abnormal objects that are found": (
                f"{share(abnormal['row'] >= 0, abnormal):.2f}"
            ),
            "inside-normal objects called abnormal, at most": (
                f"{n_false} of {len(normal)} (95 % interval {low:.1%} to {high:.1%})"
            ),
            "share of all cells called abnormal": spread(of["all"], ".1%"),
            "share of them, cut ones left out": spread(of["inner"], ".1%"),
            "share of cut cells called abnormal, not counted": spread(of["cut"], ".1%"),
            "on crops centred by hand (labels.csv), not the plate: weighted F1, AUC": (
                f"{crops.figures.mean['f1_weighted']:.3f}, {crops.figures.mean['auc']:.3f}"
            ),
        }
        print("| BBBC022 plate 20585, shared half | |\n|---|---|")
        for name, value in lines.items():
            print(f"| {name} | {value} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
