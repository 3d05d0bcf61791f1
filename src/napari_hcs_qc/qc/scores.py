"""Scores of sites and wells: shares with their intervals, and robust z of every measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.qc.image_quality import MEASURES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_hcs_qc.plates.plate import SiteKey

SMALL_NUCLEUS = 0.4
"""A nucleus smaller than this share of the plate's typical area is a fragment or pyknotic."""

MIN_CONTROL_WELLS = 3
"""With fewer control wells the whole plate is the reference."""

MIN_REFERENCE = 4
"""With fewer sites or wells to compare with, no z is given."""

_WILSON_Z = 1.959963984540054
_MAD_TO_SD = 1.482602218505602

# Often 0 on most sites (no saturated nucleus) and not on the rest: the MAD would be 0 though a
# quarter of the sites has one, so the upper quartile counts as well.
_MOSTLY_ZERO = frozenset(
    {
        "saturated_share",
        "saturated_spot_nuclei",
        "bright_outside_share",
        "bright_structure_share",
    }
)

# Least scatter (absolute, and relative to the median) that is believed of a measure. On a clean
# plate the MAD is tiny, and without a floor its own tails would look like outliers.
_FLOORS: dict[str, tuple[float, float]] = {
    "n_cells": (1.0, 0.10),
    "cells_per_site": (1.0, 0.10),
    "share_abnormal": (0.02, 0.0),
    "share_small": (0.02, 0.0),
    "power_slope": (0.05, 0.0),
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


@dataclass(frozen=True)
class Reference:
    """What sites (or wells) are compared with.

    Parameters
    ----------
    name
        ``"plate"`` or ``"control"``, as reasons put it ("plate median 6 %").
    n
        Number of sites (or wells) it was computed from.
    medians, scales
        Of each measure: its median, and 1.4826 times its median absolute deviation (for measures
        that are 0 on most sites, or 1.4826 times the distance from the median to the upper
        quartile), but no less than the floor of the measure.
    """

    name: Literal["plate", "control"]
    n: int
    medians: Mapping[str, float]
    scales: Mapping[str, float]

    def z(self, measure: str, values: ArrayLike) -> NDArray[np.float64]:
        """Give the robust z of values of one measure; NaN when there is too little to compare."""
        if self.n < MIN_REFERENCE:
            return np.full(np.shape(values), np.nan)
        found = np.asarray(values, dtype=np.float64)
        return (found - self.medians[measure]) / self.scales[measure]


@dataclass(frozen=True, eq=False)
class Scores:
    """A table of scores and what its z's refer to."""

    table: pd.DataFrame
    reference: Reference


def wilson_interval(
    n_abnormal: ArrayLike, n: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wilson score interval (95 %) of a share.

    Parameters
    ----------
    n_abnormal, n
        How many of how many.

    Returns
    -------
    low, high
        Limits, in [0, 1]; NaN where `n` is 0.

    References
    ----------
    Wilson 1927, J Am Stat Assoc 22:209, doi:10.1080/01621459.1927.10502953.
    """
    hits = np.asarray(n_abnormal, dtype=np.float64)
    total = np.where(np.asarray(n) > 0, np.asarray(n, dtype=np.float64), np.nan)
    share = hits / total
    z2 = _WILSON_Z**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _WILSON_Z * np.sqrt(share * (1 - share) / total + z2 / (4 * total**2)) / (1 + z2 / total)
    # At 0 and n the exact limits are 0 and 1; rounding must not put them beyond.
    low = np.where(hits == 0, 0.0 * total, np.maximum(middle - half, 0.0))
    high = np.where(hits == total, 1.0, np.minimum(middle + half, 1.0))
    return low, high


def effective_class(predictions: pd.DataFrame) -> pd.Series[Any]:
    """Class of each cell: the annotation where it says normal or abnormal, else the prediction.

    Parameters
    ----------
    predictions
        Columns ``predicted_class`` and ``annotated_class`` (normal, abnormal, unsure or missing).

    Returns
    -------
    pd.Series
        ``"normal"``, ``"abnormal"``, or missing where the cell was not judged.
    """
    annotated = predictions["annotated_class"].astype(object)
    is_decided = annotated.isin(["normal", "abnormal"])
    chosen = annotated.where(is_decided, predictions["predicted_class"].astype(object))
    return chosen.where(chosen.isin(["normal", "abnormal"]), None)


def effective_kind(predictions: pd.DataFrame) -> pd.Series[Any]:
    """Kind of each cell: the annotated one, else the predicted one where nothing contradicts it.

    A cell annotated normal has no kind; one annotated abnormal without a kind has the predicted.
    """
    annotated = predictions["annotated_kind"].astype(object)
    kind = annotated.where(annotated.notna(), predictions["predicted_kind"].astype(object))
    return kind.where((effective_class(predictions) == "abnormal") & kind.notna(), None)


def abnormal_cells(
    predictions: pd.DataFrame, exclude_kinds: Collection[str] = ()
) -> NDArray[np.float64]:
    """1 for an abnormal cell, 0 for a normal one, NaN for one that was not judged.

    Parameters
    ----------
    predictions
        Columns ``predicted_class``, ``predicted_kind``, ``annotated_class``, ``annotated_kind``.
    exclude_kinds
        Kinds that are biology in this assay: cells of these kinds count as normal.
    """
    classes = effective_class(predictions)
    is_abnormal = (classes == "abnormal") & ~effective_kind(predictions).isin(list(exclude_kinds))
    return np.where(classes.isna(), np.nan, is_abnormal.astype(np.float64))


def score_sites(
    sites: Sequence[SiteKey],
    cells: pd.DataFrame,
    predictions: pd.DataFrame | None,
    quality: pd.DataFrame,
    *,
    unreadable: Mapping[SiteKey, str] | None = None,
    control_wells: Collection[str] = (),
    empty_wells: Collection[str] = (),
    exclude_kinds: Collection[str] = (),
) -> Scores:
    """Score every site of a plate.

    Parameters
    ----------
    sites
        All sites of the plate, readable or not, in plate order; they are the rows.
    cells
        Table of cells; ``well, site, area_px, at_border`` are used.
    predictions
        One row for each row of `cells`, in the same order: ``predicted_class, predicted_kind,
        annotated_class, annotated_kind``. None when no model has judged the plate.
    quality
        Table of `quality_table`. Sites may be missing.
    unreadable
        Why a site could not be read.
    control_wells
        Wells to compare with; the whole plate when fewer than `MIN_CONTROL_WELLS` of them have a
        readable site.
    empty_wells
        Wells meant to hold no cells; not compared with.
    exclude_kinds
        Kinds that do not count as abnormal.

    Returns
    -------
    Scores
        Table: ``well, site, is_readable, problem, n_cells`` (Int64, missing where unreadable),
        ``n_judged, n_abnormal, share_abnormal, share_abnormal_low, share_abnormal_high, n_sized,
        n_small, share_small, share_small_low``, every measure of every channel as
        ``<measure>_<channel>``, and ``z_<name>`` of each.

    Raises
    ------
    HcsQcError
        When `predictions` and `cells` are not of the same length, or a cell lies on a site that
        the plate does not have.
    """
    if predictions is not None and len(predictions) != len(cells):
        raise HcsQcError(
            f"There are {len(predictions)} predictions for {len(cells)} cells; one for each, in "
            "the same order, was expected. Predict the plate again."
        )
    unreadable = unreadable or {}
    index = pd.MultiIndex.from_tuples([tuple(site) for site in sites], names=["well", "site"])
    table = pd.DataFrame(index=index)
    problem = [unreadable.get(site, "") for site in sites]
    table["is_readable"] = [not text for text in problem]
    table["problem"] = problem
    references, name = _reference_wells(table, control_wells, empty_wells)
    counts = _count_cells(cells, predictions, exclude_kinds, references)
    strangers = counts.index.difference(index)
    if len(strangers):
        well, site = strangers[0]
        raise HcsQcError(
            f"The table of cells has cells on site {site} of well {well}, which the plate does "
            "not have. Find the cells of this plate again."
        )
    table = table.join(counts.reindex(index, fill_value=0))
    table["n_cells"] = table["n_cells"].astype("Int64").mask(~table["is_readable"])
    _add_shares(table)
    wide = _wide(quality).reindex(index)
    table = table.join(wide)
    measured = ["n_cells", "share_abnormal", "share_small", *wide.columns]
    reference = _refer(table, measured, references, name)
    return Scores(_with_z(table, measured, reference).reset_index(), reference)


def score_wells(
    sites: pd.DataFrame,
    *,
    control_wells: Collection[str] = (),
    empty_wells: Collection[str] = (),
) -> Scores:
    """Score the wells from their sites.

    Parameters
    ----------
    sites
        Table of `score_sites`, or better of `flag_sites`, whose ``severity`` then tells which
        site of a well is its worst.
    control_wells, empty_wells
        As for `score_sites`.

    Returns
    -------
    Scores
        Table, a row a well in order of the sites: ``well, n_sites, n_unreadable, n_cells,
        cells_per_site`` (of readable sites), ``n_judged, n_abnormal, share_abnormal,
        share_abnormal_low, share_abnormal_high, n_sized, n_small, share_small, share_small_low,
        worst_site`` and ``z_cells_per_site, z_share_abnormal, z_share_small``.
    """
    grouped = sites.groupby("well", sort=False)
    table = pd.DataFrame(
        {
            "n_sites": grouped.size(),
            "n_unreadable": grouped["is_readable"].agg(lambda ok: int((~ok).sum())),
        }
    )
    for column in ("n_cells", "n_judged", "n_abnormal", "n_sized", "n_small"):
        table[column] = grouped[column].sum().astype("int64")
    readable = table["n_sites"] - table["n_unreadable"]
    table["cells_per_site"] = table["n_cells"] / readable.where(readable > 0)
    table["is_readable"] = readable > 0
    _add_shares(table)
    table["worst_site"] = _worst_sites(sites)
    references, name = _reference_wells(table, control_wells, empty_wells)
    measured = ["cells_per_site", "share_abnormal", "share_small"]
    reference = _refer(table, measured, references, name)
    return Scores(_with_z(table, measured, reference).reset_index(), reference)


def _count_cells(
    cells: pd.DataFrame,
    predictions: pd.DataFrame | None,
    exclude_kinds: Collection[str],
    reference_wells: Collection[str],
) -> pd.DataFrame:
    well = cells["well"].astype(str).to_numpy()
    if predictions is None:
        abnormal = np.full(len(cells), np.nan)
    else:
        abnormal = abnormal_cells(predictions, exclude_kinds)
    # A nucleus cut by the border of the image is small for another reason.
    area = cells["area_px"].to_numpy(np.float64, copy=True)
    area[cells["at_border"].to_numpy(bool)] = np.nan
    typical = area[np.isin(well, list(reference_wells)) & np.isfinite(area)]
    limit = SMALL_NUCLEUS * float(np.median(typical)) if len(typical) else 0.0
    counted = pd.DataFrame(
        {
            "well": well,
            "site": cells["site"].to_numpy(),
            "n_cells": 1,
            "n_judged": np.isfinite(abnormal).astype(int),
            "n_abnormal": np.nan_to_num(abnormal).astype(int),
            "n_sized": np.isfinite(area).astype(int),
            "n_small": (area < limit).astype(int),
        }
    )
    return counted.groupby(["well", "site"], sort=False).sum()


def _add_shares(table: pd.DataFrame) -> None:
    for name, hits, total in (
        ("share_abnormal", "n_abnormal", "n_judged"),
        ("share_small", "n_small", "n_sized"),
    ):
        n = table[total].to_numpy(np.float64)
        table[name] = table[hits].to_numpy(np.float64) / np.where(n > 0, n, np.nan)
        table[f"{name}_low"], table[f"{name}_high"] = wilson_interval(table[hits], n)


def _wide(quality: pd.DataFrame) -> pd.DataFrame:
    """One row a site: every measure of every channel as ``<measure>_<channel>``."""
    channels = list(dict.fromkeys(quality["channel"]))
    if not channels:
        return pd.DataFrame(index=pd.MultiIndex.from_arrays([[], []], names=["well", "site"]))
    parts = []
    for channel in channels:
        rows = quality.loc[quality["channel"] == channel].set_index(["well", "site"])
        part = rows[list(MEASURES)].add_suffix(f"_{channel}")
        # What only the nuclear channel has would be columns of NaN for the others.
        parts.append(part.dropna(axis="columns", how="all"))
    wide: pd.DataFrame = pd.concat(parts, axis="columns")
    return wide


def _reference_wells(
    table: pd.DataFrame, control_wells: Collection[str], empty_wells: Collection[str]
) -> tuple[frozenset[str], Literal["plate", "control"]]:
    readable = table.index[table["is_readable"].to_numpy(bool)].get_level_values("well")
    wells = frozenset(str(well) for well in readable)
    controls = wells & frozenset(control_wells)
    if len(controls) >= MIN_CONTROL_WELLS:
        return controls, "control"
    return wells - frozenset(empty_wells), "plate"


def _refer(
    table: pd.DataFrame,
    measures: Iterable[str],
    wells: Collection[str],
    name: Literal["plate", "control"],
) -> Reference:
    is_reference = table.index.get_level_values("well").isin(list(wells))
    is_reference &= table["is_readable"].to_numpy(bool)
    medians, scales = {}, {}
    for measure in measures:
        values = table.loc[is_reference, measure].to_numpy(np.float64, na_value=np.nan)
        values = values[np.isfinite(values)]
        median = float(np.median(values)) if len(values) else float("nan")
        spread = _MAD_TO_SD * float(np.median(np.abs(values - median))) if len(values) else 0.0
        name_of = _measure_of(measure)
        absolute, relative = _FLOORS[name_of]
        if len(values) and name_of in _MOSTLY_ZERO:
            spread = max(spread, _MAD_TO_SD * (float(np.quantile(values, 0.75)) - median))
        medians[measure] = median
        scales[measure] = max(spread, absolute, relative * abs(median))
    return Reference(name, int(is_reference.sum()), medians, scales)


def _measure_of(column: str) -> str:
    """Name of the measure of a column, which may be ``<measure>_<channel>``."""
    if column in _FLOORS:
        return column
    # The longest name wins: background_rise_DNA is not background.
    return max((known for known in _FLOORS if column.startswith(f"{known}_")), key=len)


def _with_z(table: pd.DataFrame, measures: Iterable[str], reference: Reference) -> pd.DataFrame:
    scores = {
        f"z_{measure}": reference.z(measure, table[measure].to_numpy(np.float64, na_value=np.nan))
        for measure in measures
    }
    return table.join(pd.DataFrame(scores, index=table.index))


def _worst_sites(sites: pd.DataFrame) -> pd.Series[Any]:
    """Site of each well with the highest severity, then the highest share of abnormal cells."""
    keys = ["share_abnormal"]
    if "severity" in sites:
        keys.insert(0, "severity")
    # Stable and last-wins: of equals the first site is the worst, so reverse before sorting.
    order = sites.iloc[::-1].sort_values(keys, kind="stable", na_position="first")
    return order.groupby("well", sort=False)["site"].last()
