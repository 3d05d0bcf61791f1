"""What each column of the exported tables means: the data dictionary."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from napari_hcs_qc.qc.export.export_tables import CELL_TABLE, SITE_TABLE, WELL_TABLE
from napari_hcs_qc.qc.quality_measures import MEASURES

if TYPE_CHECKING:
    from collections.abc import Mapping


TABLES_VERSION = 2
"""Version of the exported tables; raised where a column goes, or has another type or meaning."""


class Column(NamedTuple):
    """What a column means."""

    meaning: str
    unit: str = ""
    source: str = "plate"


QUALITY_TABLE: dict[str, str] = {
    "Metadata_Plate": "str",
    "Metadata_Well": "str",
    "Metadata_Site": "int64",
    "channel": "str",
    **dict.fromkeys(MEASURES, "float64"),
}
"""Columns of the exported table of image quality: a row for each site and channel."""

TIME_COLUMNS: dict[str, str] = {"Metadata_TimeSeries": "str", "Metadata_Time": "Int64"}
"""Columns of time points of a series, in every table; left out where no plate is one."""

TABLES: dict[str, Mapping[str, str]] = {
    name: {"Metadata_Plate": "str", **TIME_COLUMNS, **columns}
    for name, columns in {
        "cells": CELL_TABLE,
        "sites": SITE_TABLE,
        "wells": WELL_TABLE,
        "image_quality": QUALITY_TABLE,
    }.items()
}
"""Columns of each exported table with their types in pandas."""

_MODEL, _PERSON, _RULE, _IMAGE = "model", "annotator", "flag rule", "image"
COLUMNS: dict[str, Column] = {
    "Metadata_Plate": Column("Name of the plate"),
    "Metadata_TimeSeries": Column(
        "Of one time point of a series: the name of the whole plate; the column is left out where "
        "no plate is one"
    ),
    "Metadata_Time": Column(
        "Number of the time point, as names or metadata count it; left out with the former"
    ),
    "Metadata_Well": Column("Well, such as A01"),
    "Metadata_Site": Column("Number of the site (field of view) in its well"),
    "Metadata_ObjectNumber": Column(
        "Number of an imported cell in the software it comes from; the column is left out where no "
        "cell has one",
        source="import",
    ),
    "cell_id": Column("Number of a cell in this assay; missing on imported ones", source="cells"),
    "y_px": Column(
        "Centre of the nucleus, from the top; 0 is the middle of a pixel", "px", "cells"
    ),
    "x_px": Column(
        "Centre of the nucleus, from the left; 0 is the middle of a pixel", "px", "cells"
    ),
    "is_cut": Column(
        "Whether the border of the image cuts the cell; such a cell is in no share and no outlier "
        "by prediction, unless the assay includes cut cells",
        source="cells",
    ),
    "p_abnormal": Column(
        "Score from 0 to 1 that the cell is abnormal; no probability, since cells to annotate are "
        "picked",
        source=_MODEL,
    ),
    "predicted_class": Column("normal or abnormal, at the threshold in use", source=_MODEL),
    "predicted_kind": Column("Why the cell is predicted abnormal", source=_MODEL),
    "novelty": Column(
        "Distance from the nearest annotated cells over what is usual among these: above 1 the "
        "cell is unlike anything annotated",
        source=_MODEL,
    ),
    "annotated_class": Column("normal, abnormal or unsure, as people said", source=_PERSON),
    "annotated_kind": Column("Why the cell is abnormal, as people said", source=_PERSON),
    "Metadata_cqc_cell_is_outlier": Column(
        "Whether the cell is to be left out: annotated or predicted abnormal", source="export"
    ),
    "Metadata_cqc_site_is_outlier": Column(
        "Whether its site is to be left out: by verdict, or flagged and not reviewed if asked for",
        source="export",
    ),
    "Metadata_cqc_well_is_outlier": Column(
        "Whether its well is to be left out: by verdict, or flagged and not reviewed if asked for",
        source="export",
    ),
    "n_sites": Column("Number of sites of the well"),
    "n_cells": Column("Number of cells; missing where the site is unreadable", source="cells"),
    "n_cut": Column("Number of these that the image border cuts", source="cells"),
    "share_abnormal": Column("Share of the cells that are called abnormal", "share", _MODEL),
    "share_estimated": Column(
        "Estimated true share of abnormal cells, corrected for the errors of the model on "
        "annotated cells",
        "share",
        _MODEL,
    ),
    "share_estimated_low": Column("Lower end of its 95 % interval", "share", _MODEL),
    "share_estimated_high": Column("Upper end of its 95 % interval", "share", _MODEL),
    "is_flagged": Column("Whether the rule flags it for review", source=_RULE),
    "flag_reason": Column("Why", source=_RULE),
    "compared_with": Column(
        "Wells it was compared with: the plate's or the controls", source=_RULE
    ),
    "verdict": Column("keep, exclude or look again, as people decided", source="reviewer"),
    "channel": Column("Name of the channel"),
    "octave_power_slope": Column(
        "Slope of log power over log frequency, each octave of equal weight: steep where slightly "
        "blurred",
        source=_IMAGE,
    ),
    "power_log_log_slope": Column("CellProfiler's ImageQuality_PowerLogLogSlope", source=_IMAGE),
    "edge_width_px": Column("Width of the edges", "px", _IMAGE),
    "saturated_share": Column("Share of pixels at the saturation level", "share", _IMAGE),
    "saturated_spot_nuclei": Column(
        "Largest connected saturated area", "areas of a typical nucleus", _IMAGE
    ),
    "background": Column("Background: 5th percentile of the image", "grey value", _IMAGE),
    "background_rise": Column(
        "Background above that of the plate", "share of the plate's intensity range", _IMAGE
    ),
    "background_span": Column(
        "Unevenness of the background", "share of the plate's intensity range", _IMAGE
    ),
    "bright_outside_share": Column(
        "Share of the image that is bright outside nuclei", "share", _IMAGE
    ),
    "bright_structure_share": Column(
        "Share of the image under bright structures wider than nuclei (nuclear channel)",
        "share",
        _IMAGE,
    ),
    "bright_extent_nuclei": Column(
        "Extent of the largest bright structure", "diameters of a typical nucleus", _IMAGE
    ),
    "noise": Column("Standard deviation of the pixel noise", "grey value", _IMAGE),
    "signal_to_noise": Column("Height of the signal above the background", "noise", _IMAGE),
    "mean_intensity": Column("Mean of the image", "grey value", _IMAGE),
    "n_nuclei": Column("Number of nuclei in the mask (nuclear channel)", source=_IMAGE),
    "nuclei_area_share": Column(
        "Share of the image under nuclei (nuclear channel)", "share", _IMAGE
    ),
}
"""What the columns mean, by name; the same in every table."""


def described(tables: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, dict[str, str]]]:
    """Give what ``columns.json`` holds of the tables that are exported."""
    return {
        table: {
            name: {"dtype": dtype, **COLUMNS[name]._asdict()} for name, dtype in columns.items()
        }
        for table, columns in tables.items()
    }


def as_markdown() -> str:
    """Write the data dictionary as a page of the documentation."""
    lines = [
        "<!-- Written by python tests/unit/qc/export/test_dictionary.py -->",
        "",
        "# Columns of the exported tables",
        "",
        f"Format version {TABLES_VERSION}, which is in the metadata of the Parquet files",
        "(`format_version`) and, under `export`, in `provenance.json`. A column that goes, or has",
        "another type or meaning, raises it; one that is added does not.",
        "",
        "`columns.json` beside the tables and the fields of the Parquet files say the same.",
        "Missing values are empty in CSV. To read one with the types of the Parquet file:",
        "",
        "```python",
        "import json",
        "",
        "import pandas as pd",
        "",
        'with open("columns.json") as file:',
        '    columns = json.load(file)["cells"]',
        'types = {name: column["dtype"] for name, column in columns.items()}',
        'cells = pd.read_csv("cells.csv", dtype=types)',
        "```",
    ]
    for table, columns in TABLES.items():
        lines += ["", f"## {table}", "", "| Column | Type | Meaning | Unit | From |"]
        lines.append("|---|---|---|---|---|")
        for name, dtype in columns.items():
            column = COLUMNS[name]
            lines.append(
                f"| `{name}` | {dtype} | {column.meaning} | {column.unit} | {column.source} |"
            )
    return "\n".join(lines) + "\n"
