"""The tables that leave the program: cells, sites and wells, with their outlier columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_hcs_qc.cells.by_site import CellsBySite
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.qc.flags import site_keys
from napari_hcs_qc.qc.scores import ESTIMATED, abnormal_cells
from napari_hcs_qc.text_columns import with_texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_hcs_qc.plates.plate import SiteKey

VERDICTS = ("keep", "exclude", "look again")
_DECISIONS = {"keep", "exclude"}

CELL_IS_OUTLIER = "Metadata_cqc_cell_is_outlier"
SITE_IS_OUTLIER = "Metadata_cqc_site_is_outlier"
WELL_IS_OUTLIER = "Metadata_cqc_well_is_outlier"
"""pycytominer drops the rows where **any** column that begins with ``Metadata_cqc`` is true."""

CELL_TABLE: dict[str, str] = {
    "Metadata_Plate": "str",
    "Metadata_Well": "str",
    "Metadata_Site": "int64",
    "Metadata_ObjectNumber": "Int64",
    "cell_id": "Int64",
    "y_px": "float32",
    "x_px": "float32",
    "is_cut": "bool",
    "p_abnormal": "float32",
    "predicted_class": "str",
    "predicted_kind": "str",
    "novelty": "float32",
    "annotated_class": "str",
    "annotated_kind": "str",
    CELL_IS_OUTLIER: "bool",
    SITE_IS_OUTLIER: "bool",
    WELL_IS_OUTLIER: "bool",
}
"""Columns of the exported table of cells, in order; a missing text is None.

``Metadata_ObjectNumber`` is the number of an imported cell in the software it comes from, and
missing on the others; ``cell_id`` counts the cells of a plate in this assay, and is missing on
imported ones. ``p_abnormal`` is a score and no probability: cells to annotate are picked, so its
mean is well above the share of abnormal cells. ``is_cut`` is true where the image border cuts the
cell; such a cell is no outlier by prediction, and no share counts it, unless the assay includes cut
cells. ``novelty`` is the distance from the nearest annotated cells over what is usual among these:
above 1 the cell is unlike anything annotated; missing where it could not be judged.
"""

_FLAGS = {
    "is_flagged": "bool",
    "flag_reason": "str",
    "compared_with": "str",
    "verdict": "str",
}

_PLACE = {"Metadata_Plate": "str", "Metadata_Well": "str"}

SITE_TABLE: dict[str, str] = {
    **_PLACE,
    "Metadata_Site": "int64",
    "n_cells": "Int64",
    "n_cut": "int64",
    "share_abnormal": "float64",
    **_FLAGS,
    SITE_IS_OUTLIER: "bool",
    WELL_IS_OUTLIER: "bool",
}
"""Columns of the exported table of sites.

``n_cells`` is missing where the site is unreadable; ``n_cut`` of them were left out of the shares.
``compared_with`` is ``plate`` or ``control``, and says where too few controls made it the plate.
"""

WELL_TABLE: dict[str, str] = {
    **_PLACE,
    "n_sites": "int64",
    "n_cells": "int64",
    "n_cut": "int64",
    "share_abnormal": "float64",
    **dict.fromkeys(ESTIMATED, "float64"),
    **_FLAGS,
    WELL_IS_OUTLIER: "bool",
}
"""Columns of the exported table of wells.

``share_abnormal`` is the share of the cells that are called abnormal; ``share_estimated`` that of
the cells that are abnormal, corrected for the rates at which the model is wrong on annotated cells,
with the ends of its 95 % interval. These are missing where too little is known of the rates or of
the spread between sites.
"""


@dataclass(frozen=True)
class ExportOptions:
    """What counts as an outlier.

    Parameters
    ----------
    keep_kinds
        Kinds that are biology in this assay, such as ``"dead"``: cells of these kinds stay in.
    exclude_unreviewed
        Whether a flag that nobody decided on yet makes a site or well an outlier.
    """

    keep_kinds: tuple[str, ...] = ()
    exclude_unreviewed: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class ExportPlate:
    """Everything known of one plate, ready to be exported.

    Parameters
    ----------
    name
        Name of the plate.
    series, time
        Of one time point of a series: the name of the plate, and the number of the time point.
    cells
        Table of cells (`napari_hcs_qc.cells.table.CELL_COLUMNS`).
    predictions
        One row for each cell, same order: ``p_abnormal, predicted_class, predicted_kind,
        annotated_class, annotated_kind``; and ``novelty`` where it was measured.
    sites, wells
        From `napari_hcs_qc.qc.flags.score_plate`.
    verdicts
        ``well, site`` (missing for a verdict on the whole well), ``verdict``; rows of other
        plates are left out when there is a column ``plate``; of several on one thing the last
        counts.
    quality
        From `napari_hcs_qc.qc.image_quality.quality_table`; None leaves it out of the export.
    embeddings
        (n_cells, n_features) float32, memory-mapped; None when there are none.
    include_cut
        Whether cells that the image border cuts are outliers by prediction as others are.
    """

    name: str
    cells: pd.DataFrame
    predictions: pd.DataFrame
    sites: pd.DataFrame
    wells: pd.DataFrame
    verdicts: pd.DataFrame
    series: str = ""
    time: int | None = None
    quality: pd.DataFrame | None = None
    embeddings: NDArray[np.float32] | None = None
    include_cut: bool = False

    def __post_init__(self) -> None:
        """Check that the parts are of the same cells.

        Raises
        ------
        HcsQcError
            When their lengths differ.
        """
        n_cells = len(self.cells)
        for what, part in (("predictions", self.predictions), ("embeddings", self.embeddings)):
            if part is not None and len(part) != n_cells:
                raise HcsQcError(
                    f"Plate {self.name} has {n_cells} cells but {len(part)} {what}; one for each "
                    "cell was expected. Run predict again."
                )


def cell_table(
    plate: ExportPlate, options: ExportOptions, rows: slice = slice(None)
) -> pd.DataFrame:
    """Make the table of cells (`CELL_TABLE`), or of a slice of them.

    A cell is an outlier when it is annotated abnormal or, not being annotated normal or abnormal,
    is predicted abnormal and not cut by the image border; unless its kind is one of those to keep.
    A cell that could not be judged is none.
    """
    cells, predictions = plate.cells.iloc[rows], plate.predictions.iloc[rows]
    is_imported = cells["object_number"].notna()
    not_counted = cells["is_cut"].to_numpy(bool) & (not plate.include_cut)
    abnormal = abnormal_cells(predictions, options.keep_kinds, not_counted)
    site_is_out, well_is_out = site_outliers(plate, options), well_outliers(plate, options)
    by_site = CellsBySite.of(cells)
    columns = {
        "Metadata_Plate": np.full(len(cells), plate.name, dtype=object),
        "Metadata_Well": cells["well"],
        "Metadata_Site": cells["site"],
        "Metadata_ObjectNumber": cells["object_number"],
        "cell_id": cells["cell_id"].astype("Int64").mask(is_imported),
        "y_px": cells["y_px"],
        "x_px": cells["x_px"],
        "is_cut": cells["is_cut"],
        "novelty": np.full(len(cells), np.nan, dtype=np.float32),
        **{name: predictions[name] for name in CELL_TABLE if name in predictions},
        CELL_IS_OUTLIER: abnormal == 1,
        SITE_IS_OUTLIER: by_site.spread([site_is_out.get(site, False) for site in by_site.sites]),
        WELL_IS_OUTLIER: by_site.spread(
            [well_is_out.get(site.well, False) for site in by_site.sites]
        ),
    }
    return _typed(columns, CELL_TABLE)


def site_table(plate: ExportPlate, options: ExportOptions | None = None) -> pd.DataFrame:
    """Make the table of sites (`SITE_TABLE`)."""
    options = options or ExportOptions()
    keys = site_keys(plate.sites)
    site_is_out, well_is_out = site_outliers(plate, options), well_outliers(plate, options)
    sites = plate.sites.assign(
        **{
            SITE_IS_OUTLIER: [site_is_out[key] for key in keys],
            WELL_IS_OUTLIER: [well_is_out.get(key.well, False) for key in keys],
        }
    )
    return _scores_table(plate, sites, keys, SITE_TABLE)


def well_table(plate: ExportPlate, options: ExportOptions | None = None) -> pd.DataFrame:
    """Make the table of wells (`WELL_TABLE`)."""
    keys = [(str(well), None) for well in plate.wells["well"]]
    well_is_out = well_outliers(plate, options or ExportOptions())
    wells = plate.wells.assign(**{WELL_IS_OUTLIER: [well_is_out[well] for well, _ in keys]})
    return _scores_table(plate, wells, keys, WELL_TABLE)


def _scores_table(
    plate: ExportPlate,
    scores: pd.DataFrame,
    keys: Sequence[tuple[str, int | None]],
    dtypes: Mapping[str, str],
) -> pd.DataFrame:
    """Make a table of scores with the verdicts on their places."""
    decisions = _verdicts(plate)
    names = {"well": "Metadata_Well", "site": "Metadata_Site"}
    verdicts: list[Any] = [decisions.get(key) for key in keys]
    columns = scores.rename(columns=names).assign(Metadata_Plate=plate.name, verdict=verdicts)
    return _typed(columns, dtypes)


def site_outliers(plate: ExportPlate, options: ExportOptions) -> dict[SiteKey, bool]:
    """Tell for each site whether it is an outlier.

    Only when its verdict is exclude; with `exclude_unreviewed` also when it is flagged and nobody
    decided on it or its well ("look again" decides nothing). One that was kept, itself or with
    its well, never is.
    """
    verdicts = _verdicts(plate)
    outliers = {}
    for key, is_flagged in zip(site_keys(plate.sites), plate.sites["is_flagged"], strict=True):
        verdict = verdicts.get(key)
        is_open = bool(is_flagged) and not {verdict, verdicts.get((key.well, None))} & _DECISIONS
        outliers[key] = verdict == "exclude" or (options.exclude_unreviewed and is_open)
    return outliers


def well_outliers(plate: ExportPlate, options: ExportOptions) -> dict[str, bool]:
    """Tell for each well whether it is an outlier.

    Only when its verdict is exclude; with `exclude_unreviewed` also when it is flagged and nobody
    decided on it. A flag that comes from sites alone is decided as well once each of these sites
    is.
    """
    verdicts = _verdicts(plate)
    undecided = {
        key.well
        for key, is_flagged in zip(site_keys(plate.sites), plate.sites["is_flagged"], strict=True)
        if is_flagged and verdicts.get(key) not in _DECISIONS
    }
    outliers = {}
    columns = plate.wells[["well", "is_flagged", "is_flagged_by_sites"]]
    for well, is_flagged, by_sites in columns.itertuples(index=False):
        verdict = verdicts.get((str(well), None))
        is_open = verdict not in _DECISIONS and (not by_sites or well in undecided)
        is_open = is_open and bool(is_flagged)
        outliers[str(well)] = verdict == "exclude" or (options.exclude_unreviewed and is_open)
    return outliers


def _verdicts(plate: ExportPlate) -> dict[tuple[str, int | None], str]:
    """Last verdict on each (well, site), and on each whole well as (well, None)."""
    table = plate.verdicts
    if "plate" in table:
        table = table.loc[table["plate"] == plate.name]
    verdicts: dict[tuple[str, int | None], str] = {}
    for well, site, verdict in zip(table["well"], table["site"], table["verdict"], strict=True):
        place = str(well), None if pd.isna(site) else int(site)
        if pd.isna(verdict):
            verdicts.pop(place, None)
        elif verdict in VERDICTS:
            verdicts[place] = str(verdict)
        else:
            raise HcsQcError(
                f"The verdict on well {well} is {verdict!r}; {', '.join(VERDICTS)} were expected."
            )
    return verdicts


def _typed(columns: Mapping[str, Any] | pd.DataFrame, dtypes: Mapping[str, str]) -> pd.DataFrame:
    table = pd.DataFrame({name: pd.Series(columns[name]).reset_index(drop=True) for name in dtypes})
    for name, dtype in dtypes.items():
        if dtype == "str":
            table = with_texts(table, {name: table[name].replace("", None)})
        else:
            table[name] = table[name].astype(pd.api.types.pandas_dtype(dtype))
    return table
