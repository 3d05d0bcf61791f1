"""Scores of sites and wells: shares, of wells with their intervals, and robust z of measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pandas as pd

from napari_hcs_qc.cells.by_site import CellsBySite
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.qc.intervals import well_intervals
from napari_hcs_qc.qc.quality_measures import MEASURES
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_hcs_qc.plates.plate import SiteKey
    from napari_hcs_qc.qc.intervals import Rates

SMALL_NUCLEUS = 0.4
"""A nucleus smaller than this share of the plate's typical area is a fragment or pyknotic."""

MIN_REFERENCE = 4
"""With fewer sites or wells to compare with, no z is given; so many control wells are needed."""

ESTIMATED = ("share_estimated", "share_estimated_low", "share_estimated_high")
"""Columns of the estimated true share of abnormal cells of a well and its 95 % interval."""

_CLASSES = pd.Index(["normal", "abnormal"], dtype=object)
MAD_TO_SD = 1.482602218505602

# Often 0 on most sites (no saturated nucleus) and not on the rest: the MAD would be 0 though a
# quarter of the sites has one, so the upper quartile counts as well.
_MOSTLY_ZERO = frozenset(
    {"saturated_share", "saturated_spot_nuclei", "bright_outside_share", "bright_structure_share"}
)

# Least scatter (absolute, and relative to the median) that is believed of a measure. On a clean
# plate the MAD is tiny, and without a floor its own tails would look like outliers.
_FLOORS: dict[str, tuple[float, float]] = {
    "n_cells": (1.0, 0.10),
    "cells_per_site": (1.0, 0.10),
    "share_abnormal": (0.02, 0.0),
    "share_small": (0.02, 0.0),
    "octave_power_slope": (0.05, 0.0),
    "power_log_log_slope": (0.05, 0.0),
    "edge_width_px": (0.05, 0.05),
    "saturated_share": (0.0002, 0.0),
    "saturated_spot_nuclei": (0.05, 0.0),
    "background": (1e-9, 0.02),
    "background_rise": (0.005, 0.0),
    "background_span": (0.005, 0.0),
    "bright_outside_share": (0.0005, 0.0),
    "bright_structure_share": (0.0005, 0.0),
    "bright_extent_nuclei": (0.5, 0.0),
    "noise": (1e-9, 0.05),
    "signal_to_noise": (1e-9, 0.10),
    "mean_intensity": (1e-9, 0.05),
    "n_nuclei": (1.0, 0.10),
    "nuclei_area_share": (0.01, 0.0),
}


UNKNOWN_KIND = "unknown"  # no kind has this name


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What sites (or wells) are compared with."""

    # ``"plate"`` or ``"control"``, as reasons put it ("plate median 6 %")
    name: Literal["plate", "control"]
    note: str  # why it is not the controls that the plate map lists, or ""
    rows: NDArray[np.bool_]  # which sites (or wells) it was computed from
    plate_rows: NDArray[np.bool_]  # which there are, but for those not read or meant to be empty
    medians: Mapping[str, float]
    scales: Mapping[str, float]

    def z(self, measure: str, values: ArrayLike) -> NDArray[np.float64]:
        """Give the robust z of values of one measure; NaN when there is too little to compare."""
        if np.count_nonzero(self.rows) < MIN_REFERENCE:
            return np.full(np.shape(values), np.nan)
        numbers = np.asarray(values, dtype=np.float64)
        return (numbers - self.medians[measure]) / self.scales[measure]


@dataclass(frozen=True, eq=False)
class Scores:
    """A table of scores and what its z's refer to."""

    table: pd.DataFrame
    reference: Reference


def effective_class(predictions: pd.DataFrame) -> pd.Series[Any]:
    """Class of each cell: the annotation where it says normal or abnormal, else the prediction."""
    annotated = predictions["annotated_class"].astype(object)
    is_decided = annotated.isin(["normal", "abnormal"])
    chosen = annotated.where(is_decided, predictions["predicted_class"].astype(object))
    return chosen.where(chosen.isin(["normal", "abnormal"]), None)


def effective_kind(predictions: pd.DataFrame) -> pd.Series[Any]:
    """Kind of each abnormal cell: of one that a person annotated only what that person gave.

    So no predicted kind takes back a person's "abnormal".
    """
    annotated = predictions["annotated_kind"].astype(object)
    is_annotated = predictions["annotated_class"].isin(["normal", "abnormal"])
    kind = annotated.where(is_annotated, predictions["predicted_kind"].astype(object))
    return kind.where((effective_class(predictions) == "abnormal") & kind.notna(), None)


def abnormal_cells(
    predictions: pd.DataFrame,
    keep_kinds: Collection[str] = (),
    is_cut: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """1 for an abnormal cell, 0 for a normal one, NaN for one not judged.

    Nor is one judged that `is_cut` marks, unless a person has annotated it.
    """
    annotated = _class_index(predictions["annotated_class"])
    chosen = np.where(annotated >= 0, annotated, _class_index(predictions["predicted_class"]))
    is_abnormal = chosen == 1
    if len(keep_kinds):  # kinds take as long as classes, so only where they are asked for
        is_abnormal &= ~effective_kind(predictions).isin(list(keep_kinds)).to_numpy()
    is_unknown = chosen < 0
    if is_cut is not None:
        is_unknown |= is_cut & (annotated < 0)
    return np.where(is_unknown, np.nan, is_abnormal.astype(np.float64))


def count_kinds(predictions: pd.DataFrame, is_abnormal: NDArray[np.bool_]) -> dict[str, int]:
    """Count abnormal cells by kind, the most frequent first and `UNKNOWN_KIND` last.

    Empty where none has a kind: then nothing tells kinds apart.
    """
    kinds = effective_kind(predictions)[is_abnormal]
    if not kinds.notna().any():
        return {}
    n_of_kind = {str(kind): int(n) for kind, n in kinds.value_counts().items()}
    n_unknown = int(kinds.isna().sum())
    return n_of_kind | ({UNKNOWN_KIND: n_unknown} if n_unknown else {})


def _class_index(classes: pd.Series[Any]) -> NDArray[np.intp]:
    """Index of each class in `_CLASSES`; -1 for anything else."""
    return _CLASSES.get_indexer(pd.Index(classes, dtype=object))


def score_sites(
    sites: Sequence[SiteKey],
    cells: pd.DataFrame,
    predictions: pd.DataFrame | None,
    quality: pd.DataFrame,
    *,
    unreadable: Mapping[SiteKey, str] | None = None,
    control_wells: Collection[str] = (),
    empty_wells: Collection[str] = (),
    keep_kinds: Collection[str] = (),
    include_cut: bool = False,
    by_site: CellsBySite | None = None,
) -> Scores:
    """Score every site of a plate."""
    if predictions is not None and len(predictions) != len(cells):
        raise HcsQcError(
            f"There are {len(predictions)} predictions for {len(cells)} cells; one for each, in "
            "the same order, was expected. Predict the plate again."
        )
    unreadable = unreadable or {}
    by_site = by_site or CellsBySite.of(cells)
    row_of = {site: row for row, site in enumerate(sites)}
    strangers = sorted(site for site in by_site.sites if site not in row_of)
    if strangers:
        raise HcsQcError(
            f"The table of cells has cells on site {strangers[0].site} of well "
            f"{strangers[0].well}, which the plate does not have. Find the cells of this plate "
            "again."
        )
    problem = [unreadable.get(site, "") for site in sites]
    is_readable = np.array([not text for text in problem], dtype=bool)
    wells = [str(site[0]) for site in sites]
    compared = _Compared.of(wells, is_readable, control_wells, empty_wells)
    code = np.array([row_of[site] for site in by_site.sites], dtype=np.int64)[by_site.code]
    counts = _count_cells(
        cells, predictions, keep_kinds, include_cut, code, wells, compared.is_reference
    )
    columns: dict[str, Any] = {"is_readable": is_readable, "problem": problem}
    columns["n_cells"] = pd.arrays.IntegerArray(counts.pop("n_cells"), ~is_readable)
    columns |= counts
    _add_shares(columns)
    measures = _measures_of(quality, row_of)
    columns |= measures
    measured = ["n_cells", "share_abnormal", "share_small", *measures]
    reference = _refer(columns, measured, compared, is_readable)
    _add_z(columns, measured, reference)
    places = {"well": wells, "site": np.array([site[1] for site in sites], dtype=np.int64)}
    return Scores(pd.DataFrame(places | columns), reference)


def score_wells(
    sites: pd.DataFrame,
    *,
    control_wells: Collection[str] = (),
    empty_wells: Collection[str] = (),
    rates: Rates | None = None,
) -> Scores:
    """Score the wells from their sites; without `rates` no true share is estimated."""
    code, wells = pd.factorize(sites["well"].to_numpy(dtype=object))
    n_wells = len(wells)
    is_unreadable = ~sites["is_readable"].to_numpy(bool)
    n_sites = np.bincount(code, minlength=n_wells).astype(np.int64)
    n_unreadable = np.bincount(code[is_unreadable], minlength=n_wells).astype(np.int64)
    columns: dict[str, Any] = {"n_sites": n_sites, "n_unreadable": n_unreadable}
    for name in ("n_cells", "n_cut", "n_scored", "n_abnormal", "n_sized", "n_small"):
        counts = sites[name].to_numpy(np.float64, na_value=0.0)
        columns[name] = np.bincount(code, counts, minlength=n_wells).astype(np.int64)
    readable = n_sites - n_unreadable
    is_readable = readable > 0
    columns["cells_per_site"] = columns["n_cells"] / np.where(is_readable, readable, np.nan)
    columns["is_readable"] = is_readable
    _add_shares(columns)
    estimated = well_intervals(sites["n_abnormal"], sites["n_scored"], code, n_wells, rates)
    for name, values in zip(ESTIMATED, estimated, strict=True):
        columns[name] = values
    columns["worst_site"] = _worst_sites(sites, code, n_wells)
    names = [str(well) for well in wells]
    compared = _Compared.of(names, is_readable, control_wells, empty_wells)
    measured = ["cells_per_site", "share_abnormal", "share_small"]
    reference = _refer(columns, measured, compared, is_readable)
    _add_z(columns, measured, reference)
    return Scores(pd.DataFrame({"well": names} | columns), reference)


def _count_cells(
    cells: pd.DataFrame,
    predictions: pd.DataFrame | None,
    keep_kinds: Collection[str],
    include_cut: bool,
    code: NDArray[np.int64],
    wells: Sequence[str],
    is_reference: NDArray[np.bool_],
) -> dict[str, NDArray[np.int64]]:
    """Count the cells of each site; `code` is the row of the site of each cell."""
    is_cut = cells["is_cut"].to_numpy(bool)
    abnormal = np.full(len(cells), np.nan)
    not_counted = is_cut & (not include_cut)
    if predictions is not None:
        abnormal = abnormal_cells(predictions, keep_kinds, not_counted)
    # A nucleus cut by the border of the image is small for another reason.
    area = cells["area_px"].to_numpy(np.float64, copy=True)
    area[is_cut] = np.nan
    typical = area[is_reference[code] & np.isfinite(area)]
    limit = SMALL_NUCLEUS * float(np.median(typical)) if len(typical) else 0.0

    def count(is_counted: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(code[is_counted], minlength=len(wells)).astype(np.int64)

    return {
        "n_cells": np.bincount(code, minlength=len(wells)).astype(np.int64),
        "n_cut": count(not_counted & np.isnan(abnormal)),
        "n_scored": count(np.isfinite(abnormal)),
        "n_abnormal": count(abnormal == 1),
        "n_sized": count(np.isfinite(area)),
        "n_small": count(area < limit),
    }


_LEAST_SCORED = 0.5  # of the cells that count, else there is no share of abnormal ones


def _add_shares(columns: dict[str, Any]) -> None:
    for name, hits, total in (
        ("share_abnormal", "n_abnormal", "n_scored"),
        ("share_small", "n_small", "n_sized"),
    ):
        n = columns[total].astype(np.float64)
        is_known = n > 0
        if total == "n_scored":  # a few annotated cells say nothing of a well without predictions
            n_cells = pd.array(columns["n_cells"]).to_numpy(np.float64, na_value=np.nan)
            is_known &= ~(n < _LEAST_SCORED * (n_cells - columns["n_cut"]))
        columns[name] = columns[hits].astype(np.float64) / np.where(is_known, n, np.nan)


def _measures_of(
    quality: pd.DataFrame, row_of: Mapping[SiteKey, int]
) -> dict[str, NDArray[np.float64]]:
    """Every measure of every channel as ``<measure>_<channel>``, in the order of the sites."""
    channel, channels = pd.factorize(quality["channel"].to_numpy(dtype=object))
    by_site = CellsBySite.of(quality)  # rows of any table that names well and site
    row = np.array([row_of.get(site, -1) for site in by_site.sites], dtype=np.int64)[by_site.code]
    values = quality[list(MEASURES)].to_numpy(np.float64)
    measures = {}
    for index, name in enumerate(channels):
        is_mine = channel == index
        rows, mine = row[is_mine], values[is_mine]
        is_measured = ~np.isnan(mine).all(axis=0)
        is_known = rows >= 0
        placed = np.full((len(row_of), len(MEASURES)), np.nan)
        placed[rows[is_known]] = mine[is_known]
        for column, measure in enumerate(MEASURES):
            # What only the nuclear channel has would be columns of NaN for the others.
            if is_measured[column]:
                measures[f"{measure}_{name}"] = placed[:, column].copy()
    return measures


@dataclass(frozen=True)
class _Compared:
    """Which rows are to be compared with, by their well, readable or not."""

    is_reference: NDArray[np.bool_]
    is_meant_empty: NDArray[np.bool_]
    name: Literal["plate", "control"]
    note: str

    @classmethod
    def of(
        cls,
        wells: Sequence[str],
        is_readable: NDArray[np.bool_],
        control_wells: Collection[str],
        empty_wells: Collection[str],
    ) -> Self:
        readable = {well for well, ok in zip(wells, is_readable, strict=True) if ok}
        controls = readable.intersection(control_wells)
        is_enough = len(controls) >= MIN_REFERENCE
        chosen = controls if is_enough else readable.difference(empty_wells)
        note = ""
        if len(control_wells) and not is_enough:
            n_controls = len(controls)
            note = (
                f"only {count_of(n_controls, 'control well')}" if n_controls else "no control well"
            )
        empty = set(empty_wells)
        return cls(
            np.array([well in chosen for well in wells], dtype=bool),
            np.array([well in empty for well in wells], dtype=bool),
            "control" if is_enough else "plate",
            note,
        )


def _refer(
    columns: Mapping[str, Any],
    measures: Iterable[str],
    compared: _Compared,
    is_readable: NDArray[np.bool_],
) -> Reference:
    is_reference = compared.is_reference & is_readable
    medians, scales = {}, {}
    for measure in measures:
        values = _floats(columns[measure])[is_reference]
        values = values[np.isfinite(values)]
        median = float(np.median(values)) if len(values) else float("nan")
        spread = MAD_TO_SD * float(np.median(np.abs(values - median))) if len(values) else 0.0
        name_of = _measure_of(measure)
        absolute, relative = _FLOORS[name_of]
        if len(values) and name_of in _MOSTLY_ZERO:
            spread = max(spread, MAD_TO_SD * (float(np.quantile(values, 0.75)) - median))
        medians[measure] = median
        scales[measure] = max(spread, absolute, relative * abs(median))
    return Reference(
        name=compared.name,
        note=compared.note,
        rows=is_reference,
        plate_rows=is_readable & ~compared.is_meant_empty,
        medians=medians,
        scales=scales,
    )


def _measure_of(column: str) -> str:
    """Name of the measure of a column, which may be ``<measure>_<channel>``."""
    if column in _FLOORS:
        return column
    # The longest name wins: background_rise_DNA is not background.
    return max((known for known in _FLOORS if column.startswith(f"{known}_")), key=len)


def _add_z(columns: dict[str, Any], measures: Iterable[str], reference: Reference) -> None:
    for measure in measures:
        columns[f"z_{measure}"] = reference.z(measure, _floats(columns[measure]))


def _floats(values: Any) -> NDArray[np.float64]:
    """Give a column as floats, NaN where it is missing."""
    if isinstance(values, np.ndarray):
        return values.astype(np.float64, copy=False)
    floats: NDArray[np.float64] = values.to_numpy(np.float64, na_value=np.nan)
    return floats


def _worst_sites(
    sites: pd.DataFrame, code: NDArray[np.intp], n_wells: int
) -> NDArray[np.integer[Any]]:
    """Site of each well with the highest severity, then the highest share of abnormal cells."""
    share = np.nan_to_num(sites["share_abnormal"].to_numpy(np.float64), nan=-np.inf)
    severity = (
        sites["severity"].to_numpy(np.float64) if "severity" in sites else np.zeros(len(sites))
    )
    # Of equals the first site is the worst; the last in this order is the one that stays.
    order = np.lexsort((-np.arange(len(sites)), share, severity))
    numbers = sites["site"].to_numpy()
    worst = np.zeros(n_wells, dtype=numbers.dtype)
    worst[code[order]] = numbers[order]
    return worst
