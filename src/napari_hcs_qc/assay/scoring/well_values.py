"""One number or word a well, to be shown on a map of the plate."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.assay.scoring.review_queue import review_queue
from napari_hcs_qc.assay.scoring.saved_prediction import COLUMN
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.text import count_of, number, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pandas as pd

    from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate
    from napari_hcs_qc.assay.store.plate_cells import PlateCells
    from napari_hcs_qc.plates.plate import Plate

REVIEW_WORDS = ("not flagged", "to review", "keep", "exclude", "look again", "sites decided")
"""What can have become of a well in the review; ``sites decided``: verdicts on its sites do."""

_NO_CELLS = "no cells were found yet; find the cells of the plate"
_NOT_JUDGED = "no model has classified the plate yet; annotate cells and train"
_POSITION = ["site", "y_px", "x_px"]


@dataclass(frozen=True)
class Measure:
    """What a well can be coloured by."""

    title: str  # as a choice and above a legend
    unit: str  # of the values; empty for words
    tooltip: str  # one or two sentences on what it is
    begins_at_zero: bool = False


MEASURES: dict[str, Measure] = {
    "share_abnormal": Measure(
        "Abnormal cells",
        "%",
        "Share of the classified cells of a well that are abnormal at the current threshold; for "
        "annotated cells the annotation counts.",
        begins_at_zero=True,
    ),
    "novelty": Measure(
        "Novel cells",
        "%",
        "Share of the classified cells of a well that are novel: farther from the nearest "
        "annotated cells than these are from those of other wells. Predictions for them are "
        "unreliable.",
        begins_at_zero=True,
    ),
    "cell_count": Measure(
        "Cells", "cells", "Number of cells found on the readable sites of a well."
    ),
    "mean_intensity": Measure(
        "Mean intensity",
        "grey values",
        "Mean grey value of the channel that shows the nuclei, over the sites of a well.",
    ),
    "focus": Measure(
        "Focus: edge width",
        "px",
        "Width of the sharpest edges in the channel that shows the nuclei, mean over the sites of "
        "a well. Wider is more out of focus.",
    ),
    "saturation": Measure(
        "Saturated pixels",
        "%",
        "Share of the pixels at the saturation level, mean over the sites of a well, in the "
        "channel where it is highest.",
        begins_at_zero=True,
    ),
    "severity": Measure(
        "Flag severity",
        "× threshold",
        "How far the worst reason for the flag exceeds its threshold, as a multiple of it (at "
        "most 10); 0 without a flag.",
        begins_at_zero=True,
    ),
    "verdict": Measure("Review", "", "Verdicts on the wells, and flagged wells still to review."),
    "annotations": Measure(
        "Annotated cells",
        "cells",
        "Number of annotated positions of a well.",
        begins_at_zero=True,
    ),
}
"""What wells can be coloured by, in the order of a menu."""


@dataclass(frozen=True, kw_only=True)
class WellValues:
    """One measure of the wells of a plate."""

    title: str  # what it is
    unit: str  # of the values; empty for words
    values: dict[str, float]  # of each well by name; for words the index into `categories`
    categories: tuple[str, ...] | None = None  # the words, where it is words
    missing: dict[str, str] = field(default_factory=dict)  # imaged wells without a value, and why
    # What is to be known beside a value, such as sites that do not count
    notes: dict[str, str] = field(default_factory=dict)
    begins_at_zero: bool = False  # whether the colours begin at 0

    def limits(self) -> tuple[float, float] | None:
        """Values at the two ends of the colours; None for words and where there is no value."""
        if self.categories is not None or not self.values:
            return None
        low, high = min(self.values.values()), max(self.values.values())
        return (min(low, 0.0) if self.begins_at_zero else low), high

    def positions(self) -> dict[str, float]:
        """Tell where the value of each well lies between the limits, 0 to 1; none for words.

        Where all values are equal they lie at 0.
        """
        limits = self.limits()
        if limits is None:
            return {}
        low, high = limits
        span = high - low
        return {well: (x - low) / span if span > 0 else 0.0 for well, x in self.values.items()}

    def write(self, value: float) -> str:
        """Write a value as people read it: ``"12 %"``, ``"118 cells"``, ``"exclude"``."""
        if self.categories is not None:
            return self.categories[int(value)]
        if self.unit == "%":
            return percent(value / 100)
        if self.unit == "cells":
            return count_of(round(value), "cell")
        return f"{number(value)} {self.unit}".rstrip()

    def text(self, well: str) -> str:
        """Say the value of a well, or why there is none."""
        if well not in self.values:
            return f"no value: {self.missing.get(well, 'not imaged')}"
        note = self.notes.get(well)
        return self.write(self.values[well]) + (f" ({note})" if note else "")


def well_values(
    measure: str,
    plate: Plate,
    *,
    plate_cells: PlateCells | None = None,
    scored: ScoredPlate | None = None,
    annotations: pd.DataFrame | None = None,
) -> WellValues:
    """Gather one measure of all wells of a plate; quick, nothing is read."""
    if measure not in MEASURES:
        raise HcsQcError(f"There is no measure '{measure}'; {', '.join(MEASURES)} were expected.")
    categories = None
    if measure == "annotations":
        values, reason = _annotated(plate, annotations), ""
    elif measure == "cell_count":
        values, reason = (
            ({}, _NO_CELLS) if plate_cells is None else (_counted(plate, plate_cells), "")
        )
    elif measure in ("share_abnormal", "novelty", "severity", "verdict"):
        values, reason = ({}, _NOT_JUDGED) if scored is None else _scored(measure, scored)
        categories = REVIEW_WORDS if measure == "verdict" else None
    elif plate_cells is None:
        values, reason = {}, _NO_CELLS
    else:
        values, reason = _OF_IMAGES[measure](plate_cells)
    unreadable = unreadable_wells(plate, plate_cells)
    missing = {
        well: unreadable.get(well, reason or "nothing was measured")
        for well in plate.wells
        if well not in values
    }
    shown = MEASURES[measure]
    return WellValues(
        title=shown.title,
        unit=shown.unit,
        values={well: values[well] for well in plate.wells if well in values},
        categories=categories,
        missing=missing,
        notes=_notes(plate, plate_cells, values),
        begins_at_zero=shown.begins_at_zero,
    )


def unreadable_wells(plate: Plate, plate_cells: PlateCells | None) -> dict[str, str]:
    """Wells of which no site could be read, with the reason of the first; none without `found`."""
    if plate_cells is None or not plate_cells.unreadable:
        return {}
    n_sites = Counter(site.well for site in plate.sites)
    n_bad = Counter(site.well for site in plate_cells.unreadable)
    reasons: dict[str, str] = {}
    for site, why in plate_cells.unreadable.items():
        if n_bad[site.well] >= n_sites[site.well]:
            reasons.setdefault(site.well, why)
    return reasons


def _notes(plate: Plate, plate_cells: PlateCells | None, wells: Iterable[str]) -> dict[str, str]:
    """Say how many sites of a well could not be read, where some could."""
    if plate_cells is None or not plate_cells.unreadable:
        return {}
    n_sites = Counter(site.well for site in plate.sites)
    n_bad = Counter(site.well for site in plate_cells.unreadable)
    return {
        well: f"{n_bad[well]} of {count_of(n_sites[well], 'site')} unreadable"
        for well in wells
        if 0 < n_bad[well] < n_sites[well]
    }


def _annotated(plate: Plate, annotations: pd.DataFrame | None) -> dict[str, float]:
    values = dict.fromkeys(plate.wells, 0.0)
    if annotations is not None and len(annotations):
        mine = annotations[annotations["plate"] == plate.name]
        # Several people at one position (equal to 0.01 px) have annotated one cell.
        places = mine[["well", *_POSITION]].round({"y_px": 2, "x_px": 2}).drop_duplicates()
        counted = places["well"].value_counts()
        values |= {str(well): float(n) for well, n in counted.items() if well in values}
    return values


def _counted(plate: Plate, plate_cells: PlateCells) -> dict[str, float]:
    counted = plate_cells.cells["well"].value_counts()
    unreadable = unreadable_wells(plate, plate_cells)
    return {well: float(counted.get(well, 0)) for well in plate.wells if well not in unreadable}


def _scored(measure: str, scored: ScoredPlate) -> tuple[dict[str, float], str]:
    wells = scored.scores.wells
    if measure == "verdict":
        values = dict.fromkeys(map(str, wells["well"]), 0.0)
        for entry in review_queue([scored]):
            verdict = entry.verdict or ("sites decided" if entry.is_done else "to review")
            values[entry.well] = float(REVIEW_WORDS.index(verdict))
        return values, "it was not classified"
    if measure == "novelty":
        return _novelty(scored)
    if measure == "severity":
        return _finite(wells["well"], wells["severity"]), "it was not classified"
    share = _finite(wells["well"], 100 * wells["share_abnormal"])
    return share, "none of its cells was classified"


def _novelty(scored: ScoredPlate) -> tuple[dict[str, float], str]:
    prediction = scored.prediction
    if not prediction.is_novelty_measured:
        return {}, "it is being computed"
    novelty = prediction.novelty
    if novelty is None or not novelty.n_measured:
        sentence = "" if novelty is None else novelty.sentence
        return {}, sentence or "none of its cells was classified"
    ratio = prediction.table[COLUMN]
    share = 100 * (ratio > 1).astype(float).where(ratio.notna())
    means = share.groupby(scored.state.cells["well"].to_numpy()).mean()
    return _finite(means.index, means), "none of its cells was classified"


def _mean_intensity(plate_cells: PlateCells) -> tuple[dict[str, float], str]:
    return _mean_of(plate_cells, "mean_intensity"), "the nuclear channel was not measured"


def _focus(plate_cells: PlateCells) -> tuple[dict[str, float], str]:
    return _mean_of(plate_cells, "edge_width_px"), "no edges to measure, as in an empty image"


def _saturation(plate_cells: PlateCells) -> tuple[dict[str, float], str]:
    each = plate_cells.quality.groupby(["well", "channel"], sort=False)["saturated_share"].mean()
    highest = 100 * each.groupby("well", sort=False).max()
    return _finite(highest.index, highest), "nothing was measured"


_OF_IMAGES: dict[str, Callable[[PlateCells], tuple[dict[str, float], str]]] = {
    "mean_intensity": _mean_intensity,
    "focus": _focus,
    "saturation": _saturation,
}


def _mean_of(plate_cells: PlateCells, column: str) -> dict[str, float]:
    nuclear = plate_cells.quality[plate_cells.quality["channel"] == plate_cells.channel]
    means = nuclear.groupby("well", sort=False)[column].mean()
    return _finite(means.index, means)


def _finite(wells: Iterable[object], values: pd.Series) -> dict[str, float]:
    numbers = values.to_numpy(np.float64, na_value=np.nan)
    return {
        str(well): float(value)
        for well, value in zip(wells, numbers, strict=True)
        if np.isfinite(value)
    }
