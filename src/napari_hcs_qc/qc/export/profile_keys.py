"""Where a profile lies: plate, well, site and centre, by the names CellProfiler gives them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.wells import parse_well

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_hcs_qc.tables.profiles import Profiles

_PLATE = ("Metadata_Plate", "Image_Metadata_Plate", "Metadata_Barcode", "Image_Metadata_Barcode")
_WELL = ("Metadata_Well", "Image_Metadata_Well", "Metadata_well_position")
_SITE = (
    "Metadata_Site",
    "Image_Metadata_Site",
    "Metadata_Field",
    "Image_Metadata_Field",
    "Metadata_FieldID",
    "Image_Metadata_FieldID",
)
_CENTRES = (
    "Nuclei_Location_Center",
    "Metadata_Nuclei_Location_Center",
    "Location_Center",
    "Metadata_Location_Center",
    "Nuclei_AreaShape_Center",
    "Metadata_Nuclei_AreaShape_Center",
    "AreaShape_Center",
)


def read_keys(path: Path, source: Profiles, cells: pd.DataFrame) -> pd.DataFrame:
    """Read where every profile lies."""
    well, plate = _find(source.columns, _WELL), _find(source.columns, _PLATE)
    site = _find(source.columns, _SITE)
    x, y = _find_centre(source.columns)
    lacks = []
    if well is None:
        lacks.append(f"a well ({', '.join(_WELL)})")
    sites_per_well = cells.groupby(["Metadata_Plate", "Metadata_Well"])["Metadata_Site"].nunique()
    if site is None and (sites_per_well > 1).any():
        lacks.append(f"a site ({', '.join(_SITE)})")
    if x is None or y is None:
        centres = ", ".join(f"{centre}_X/_Y" for centre in _CENTRES)
        lacks.append(f"the centre of the nucleus in px ({centres})")
    if lacks or well is None or x is None or y is None:
        raise HcsQcError(
            f"{path} has no column for {'; nor for '.join(lacks)}. One of the columns listed was "
            "expected; let CellProfiler export it (MeasureObjectSizeShape, image metadata)."
        )
    table = source.read([name for name in (plate, well, site, x, y) if name is not None])
    keys = pd.DataFrame(
        {
            "well": _parsed(table[well], _well_of),
            "y": pd.to_numeric(table[y], errors="coerce").to_numpy(float),
            "x": pd.to_numeric(table[x], errors="coerce").to_numpy(float),
        }
    )
    keys["plate"] = _plates(path, None if plate is None else table[plate], cells, len(keys))
    if site is not None:
        keys["site"] = _parsed(table[site], _site_of)
    else:
        only = cells.drop_duplicates(["Metadata_Plate", "Metadata_Well"])
        pairs = zip(only["Metadata_Plate"], only["Metadata_Well"], strict=True)
        sites = dict(zip(pairs, only["Metadata_Site"], strict=True))
        keys["site"] = [sites.get(key) for key in zip(keys["plate"], keys["well"], strict=True)]
    return keys


def _find(columns: Sequence[str], wanted: Sequence[str]) -> str | None:
    folded = {name.casefold(): name for name in reversed(columns)}
    return next((folded[name.casefold()] for name in wanted if name.casefold() in folded), None)


def _find_centre(columns: Sequence[str]) -> tuple[str | None, str | None]:
    for centre in _CENTRES:
        x, y = _find(columns, [f"{centre}_X"]), _find(columns, [f"{centre}_Y"])
        if x is not None and y is not None:
            return x, y
    return None, None


def _parsed(values: pd.Series[Any], parse: Callable[[object], Any]) -> list[Any]:
    """Parse each different value once."""
    known = {value: parse(value) for value in values.dropna().unique()}
    return [known.get(value) for value in values]


def _well_of(value: object) -> str | None:
    try:
        return str(parse_well(str(value)))
    except HcsQcError:
        return None


def _site_of(value: object) -> int | None:
    """Read 3, 3.0, ``03``, ``s3`` or ``f03`` as 3."""
    match = re.fullmatch(r"\s*[A-Za-z]*_?0*(\d+)(\.0*)?\s*", str(value))
    return int(match[1]) if match else None


def _plates(
    path: Path, values: pd.Series[Any] | None, cells: pd.DataFrame, n_rows: int
) -> list[str | None]:
    """Plate of every profile, by our names."""
    ours = [str(name) for name in cells["Metadata_Plate"].unique()]
    if values is None:
        if len(ours) > 1:
            raise HcsQcError(
                f"{path} names no plate and the assay has {len(ours)} ({', '.join(ours)}); one "
                f"of the columns {', '.join(_PLATE)} was expected."
            )
        return [*ours, None][:1] * n_rows
    theirs = [str(name).removesuffix(".0") for name in values.dropna().unique()]
    if not set(theirs) & set(ours):
        if len(ours) == 1 and len(theirs) <= 1:
            return [ours[0]] * n_rows  # One plate under two names: folder and barcode.
        raise HcsQcError(
            f"{path} has the plates {', '.join(theirs[:5])}; {', '.join(ours[:5])} were expected. "
            "Rename them in one of the two."
        )
    return [None if pd.isna(name) else str(name).removesuffix(".0") for name in values]
