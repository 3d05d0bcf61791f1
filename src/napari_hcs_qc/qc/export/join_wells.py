"""Our columns of wells joined onto profiles of whole wells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.qc.export.join_profiles import MATCHED, OntoResult, write_joined
from napari_hcs_qc.tables.columns import find_columns
from napari_hcs_qc.tables.places import read_wells

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_hcs_qc.tables.plate_sites import PlateSites
    from napari_hcs_qc.tables.profiles import Profiles

_KEYS = ["Metadata_Plate", "Metadata_Well"]
_OF_CELLS = ("site", "position", "object_number", "image_number")


def is_of_wells(source: Profiles) -> bool:
    """Tell whether the rows of a table are wells: it names these, and nothing within them."""
    columns = find_columns(source.columns, ("plate", "well", "row", "column", *_OF_CELLS))
    return columns.has_well and not {*_OF_CELLS, "y_px"} & set(columns.names)


def join_wells(
    wells: pd.DataFrame,
    source: Profiles,
    profiles: Path,
    out: Path,
    plates: Mapping[str, PlateSites],
    *,
    job: Job = NO_JOB,
) -> OntoResult:
    """Append the columns of our wells to a table of wells: same rows, same order.

    A well that is none of ours gets missing values, and False in the outlier columns.
    """
    added = [name for name in wells.columns if name not in _KEYS]
    twice = [name for name in (*added, MATCHED) if name in source.columns]
    if twice:
        raise HcsQcError(
            f"{profiles} has the columns {', '.join(twice)} already, as if it had been joined "
            "before; give the table without them."
        )
    keys = read_wells(profiles, source, plates)
    ours = {key: row for row, key in enumerate(zip(*(wells[name] for name in _KEYS), strict=True))}
    pairs = list(zip(keys["plate"], keys["well"], strict=True))
    partner = np.array([ours.get(pair, -1) for pair in pairs], dtype=np.intp)
    is_matched = partner >= 0
    if not is_matched.any():
        raise HcsQcError(
            f"None of the {len(keys)} wells of {profiles} is one of the {len(wells)} of the assay, "
            f"for example {pairs[0] if pairs else 'none'} and {next(iter(ours), 'none')}: check "
            "that it is the same plate."
        )
    table = pa.Table.from_pandas(wells[added], preserve_index=False)
    table = table.take(pa.array(partner, mask=~is_matched))
    for index, name in enumerate(table.column_names):
        if name.startswith("Metadata_cqc_"):
            table = table.set_column(index, name, table[name].fill_null(False))
    write_joined(source, table.append_column(MATCHED, pa.array(is_matched)), out, job)
    by_site = pd.DataFrame(
        {
            "Metadata_Plate": wells["Metadata_Plate"],
            "Metadata_Well": wells["Metadata_Well"],
            "Metadata_Site": 0,
            "n_profiles": 0,
            "n_cells": 0,
            "n_matched": 0,
        }
    )
    return OntoResult(
        n_profiles=len(keys),
        n_matched=int(is_matched.sum()),
        by_site=by_site,
        tolerance_px=0.0,
        out=out,
        of="wells",
    )
