"""Where the rows of a table lie: plate, well, site and position, as the table has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.read_table import encoding_note
from napari_hcs_qc.tables.columns import Columns, find_columns, missing_columns
from napari_hcs_qc.tables.positions_are import PositionsAre
from napari_hcs_qc.tables.profiles import MISSING, open_profiles
from napari_hcs_qc.tables.values import numbers, site_number, well_at, well_or_none
from napari_hcs_qc.text import a_few
from napari_hcs_qc.text_columns import with_formula

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from napari_hcs_qc.tables.plate_sites import PlateSites
    from napari_hcs_qc.tables.profiles import Profiles

_PLACE = ("plate", "well", "row", "column", "site", "image_number", "file", "position")
NEEDED = (
    "a well (such as Metadata_Well or well), a site (Metadata_Site or site) or the name of the "
    "image, and a position (Location_Center_Y and _X, AreaShape_Center_Y and _X, or y_px and x_px)"
)


@dataclass(frozen=True, eq=False, kw_only=True)
class PlacedTable:
    """Rows of a table and where they lie."""

    columns: Columns
    table: pd.DataFrame  # the columns that mean something, as texts, by line of the file
    places: pd.DataFrame  # plate, well, site, y_px, x_px as the table has them; missing if not
    note: str = ""  # what had to be guessed
    other_plate: str = ""  # name that it gives the plate, where that is not ours

    @property
    def understood(self) -> str:
        """Say what was read from which column."""
        return "; ".join(filter(None, (str(self.columns), self.note)))


def read_placed(
    path: Path,
    plates: Mapping[str, PlateSites],
    meanings: Iterable[str] = (),
    *,
    image_table: Path | None = None,
    source: Profiles | None = None,
) -> PlacedTable:
    """Read where the rows of a table lie, and the columns with further meanings."""
    source = source or open_profiles(path, image_table=image_table)
    columns = find_columns(source.columns, (*_PLACE, *_time_of(plates), *meanings))
    named = _file_sites(path, plates)
    lacking = []
    names_well = columns.has_well or "file" in columns or "image_number" in columns
    if not names_well and named is None:
        lacking += ["well"] if "site" in columns else ["site", "well"]
    elif not _has_site(columns, plates) and named is None:
        lacking += ["site"]
    if "y_px" not in columns:
        lacking += ["x_px", "y_px"]
    if lacking:
        raise missing_columns(path, ", ".join(sorted(lacking)), NEEDED, source.columns)
    needed = list(dict.fromkeys(columns.names.values()))
    table = source.read(needed)
    if isinstance(table.index, pd.RangeIndex):
        table.index = pd.RangeIndex(1, len(table) + 1)
    texts = _as_texts(table)
    places = _placed(path, texts, columns, plates, named)
    by_number = "image_number" in columns and not columns.has_well and "file" not in columns
    if by_number and len(places) and places["well"].isna().all():
        needed_too = f"{NEEDED}, or beside it the table of images (Image.csv, --image-table),"
        raise missing_columns(path, "site, well", needed_too, source.columns)
    is_guess = by_number or ("image_number" in columns and not {"site", "file"} & {*columns.names})
    notes = ["images numbered in the order of the plate's sites"] if is_guess else []
    if path.is_file():
        notes += filter(None, [encoding_note(path)])
    other = _other_plate(texts, columns, plates)
    if other:
        notes.append(f"its plate is called {other}, here it is {next(iter(plates))}")
    return PlacedTable(
        columns=columns, table=texts, places=places, note="; ".join(notes), other_plate=other
    )


def read_wells(path: Path, source: Profiles, plates: Mapping[str, PlateSites]) -> pd.DataFrame:
    """Read plate and well of the rows of a table."""
    meanings = ("plate", "well", "row", "column", *_time_of(plates))
    columns = find_columns(source.columns, meanings)
    texts = _as_texts(source.read(list(dict.fromkeys(columns.names.values()))))
    plate = _plates(path, _names_of_plates(path, texts, columns, plates), plates, len(texts))
    return pd.DataFrame({"plate": plate, "well": _wells(texts, columns)}, dtype=object)


def _as_texts(table: pd.DataFrame) -> pd.DataFrame:
    return table.astype(object).where(table.notna(), "").astype(str)


def _wells(texts: pd.DataFrame, columns: Columns) -> list[Any]:
    well: list[Any] = [None] * len(texts)
    if "well" in columns:
        well = _parsed(texts[columns["well"]], well_or_none)
    if "row" in columns and "column" in columns:
        rows = zip(texts[columns["row"]], texts[columns["column"]], strict=True)
        # `Well` beside `Row` and `Col` may be a running number.
        well = [own or well_at(*pair) for own, pair in zip(well, rows, strict=True)]
    return well


def _has_site(columns: Columns, plates: Mapping[str, PlateSites]) -> bool:
    return (
        "site" in columns
        or "file" in columns
        or "image_number" in columns
        or all(plate.only_sites() is not None for plate in plates.values())
    )


def _file_sites(path: Path, plates: Mapping[str, PlateSites]) -> tuple[str, str, int] | None:
    """Plate, well and site that the name of the table itself states: a table of one image."""
    for name, plate in plates.items():
        key = plate.site_of_file("/".join(path.parts[-3:]))
        if key is not None:
            return name, key.well, key.site
    return None


def _placed(
    path: Path,
    texts: pd.DataFrame,
    columns: Columns,
    plates: Mapping[str, PlateSites],
    named: tuple[str, str, int] | None,
) -> pd.DataFrame:
    n = len(texts)
    plate = _plates(path, _names_of_plates(path, texts, columns, plates), plates, n)
    well = _wells(texts, columns)
    site: list[Any] = [None] * n
    has_site = "site" in columns
    if has_site:
        site = _parsed(texts[columns["site"]], site_number)
    if "file" in columns and not (has_site and columns.has_well):
        keys = _by_file(texts[columns["file"]], plate, plates)
        _fill(well, list(site) if has_site else site, keys)
    if not has_site and "image_number" in columns and not any(site):
        _fill(well, site, _by_number(texts[columns["image_number"]], plate, well, plates))
    if not columns.has_well and not any(well) and named is not None:
        plate, well, site = [named[0]] * n, [named[1]] * n, [named[2]] * n
    if not any(number is not None for number in site):
        only = {name: sites.only_sites() or {} for name, sites in plates.items()}
        site = [only.get(p or "", {}).get(w) for p, w in zip(plate, well, strict=True)]
    return pd.DataFrame(
        {
            "plate": pd.Series(plate, dtype=object),
            "well": pd.Series(well, dtype=object),
            "site": pd.array(site, dtype="Int64"),
            "y_px": numbers(texts[columns["y_px"]]),
            "x_px": numbers(texts[columns["x_px"]]),
        }
    )


def _fill(well: list[Any], site: list[Any], keys: Sequence[tuple[str, int] | None]) -> None:
    """Set sites, and wells where the table names none."""
    for index, key in enumerate(keys):
        if key is not None and well[index] in (None, key[0]):
            well[index], site[index] = key


def _by_file(
    names: pd.Series[Any], plate: Sequence[str | None], plates: Mapping[str, PlateSites]
) -> list[tuple[str, int] | None]:
    known: dict[tuple[str | None, str], tuple[str, int] | None] = {}
    for key in dict.fromkeys(zip(plate, names, strict=True)):
        sites = plates.get(key[0] or "")
        known[key] = sites.site_of_file(key[1]) if sites is not None else None
    return [known[key] for key in zip(plate, names, strict=True)]


def _by_number(
    texts: pd.Series[Any],
    plate: Sequence[str | None],
    well: Sequence[str | None],
    plates: Mapping[str, PlateSites],
) -> list[tuple[str, int] | None]:
    """Take the images in the order of the sites, within each well where wells are named.

    A guess, which holds only where there are as many images as sites; positions are checked.
    """
    rows = pd.DataFrame({"plate": plate, "well": well, "number": numbers(texts)})
    rows["well"] = rows["well"].fillna("")
    keys: list[tuple[str, int] | None] = [None] * len(rows)
    for (name, in_well), group in rows.dropna(subset=["number"]).groupby(["plate", "well"]):
        sites = [
            key
            for key in (plates[str(name)].sites if name in plates else ())
            if in_well in ("", key.well)
        ]
        images = sorted(group["number"].unique())
        if len(images) == len(sites):
            of = dict(zip(images, sites, strict=True))
            for index, image in zip(group.index, group["number"], strict=True):
                keys[index] = of[image]
    return keys


def _parsed(values: pd.Series[Any], parse: Callable[[object], Any]) -> list[Any]:
    """Parse each different value once."""
    known = {value: parse(value) for value in values.unique()}
    return [known[value] for value in values]


def _plates(
    path: Path, values: pd.Series[Any] | None, plates: Mapping[str, PlateSites], n_rows: int
) -> list[str | None]:
    """Plate of every row, by our names."""
    ours = list(plates)
    if values is None or not n_rows:
        if len(ours) > 1 and n_rows:
            raise HcsQcError(
                f"{path} names no plate and the assay has {len(ours)} ({', '.join(ours)}); a "
                "column such as plate, Metadata_Plate or Metadata_Barcode was expected. Add it."
            )
        return [*ours, None][:1] * n_rows
    named = _plate_names(values)
    theirs = list(dict.fromkeys(filter(None, named)))
    if not set(theirs) & set(ours):
        if len(ours) == 1 and len(theirs) <= 1:
            return [ours[0]] * n_rows  # One plate under two names: folder and barcode.
        n_theirs = "the plate" if len(theirs) == 1 else f"{len(theirs)} plates:"
        raise HcsQcError(
            f"{path} has {n_theirs} {', '.join(theirs[:5])}; {', '.join(ours[:5])} "
            f"{'was' if len(ours) == 1 else 'were'} expected. Rename them in one of the two."
        )
    return [name or None for name in named]


def _time_of(plates: Mapping[str, PlateSites]) -> list[str]:
    """Give what is looked for in a table beside the plate, where plates are time points."""
    return ["time"] if any(sites.series for sites in plates.values()) else []


def _names_of_plates(
    path: Path, texts: pd.DataFrame, columns: Columns, plates: Mapping[str, PlateSites]
) -> pd.Series[Any] | None:
    """Give what a table calls the plate of every row; where a series is named, its time point."""
    values = texts[columns["plate"]] if "plate" in columns else None
    if not _time_of(plates):
        return values
    names = [""] * len(texts) if values is None else _plate_names(values)
    series = {sites.series for sites in plates.values()} - {""}
    only = next(iter(series)) if len(series) == 1 and len(set(names)) == 1 else ""
    if names and "time" not in columns:
        if set(names) & series or (only and values is not None and not set(names) & {*plates}):
            raise HcsQcError(
                f"{path} names no time point, and the plate {only or ', '.join(sorted(series))} "
                f"has several here ({a_few(plates)}); a column such as Metadata_Time was expected. "
                "Add it, or name the time points as plates."
            )
        return values
    times = [site_number(text) for text in texts[columns["time"]]] if names else []
    of = {(sites.series, sites.time): name for name, sites in plates.items() if sites.series}
    known = sorted(time for _, time in of if time is not None)
    if times and not {*times} & {*known}:
        theirs = sorted({time for time in times if time is not None})
        raise HcsQcError(
            f"{path} has the time points {a_few(theirs) or 'none'} in the column "
            f"{columns['time']}; {a_few(known)} were expected. Count them alike in the two."
        )
    placed = [
        name if name in plates else of.get((series_name, time), f"{series_name} at {time}")
        for name, time in zip(names, times, strict=True)
        for series_name in [name if name in series else only or name]
    ]
    return pd.Series(placed, index=texts.index, dtype=object)


def _plate_names(values: pd.Series[Any]) -> list[str]:
    names = [with_formula(str(name).strip()).removesuffix(".0") for name in values]
    return ["" if name in MISSING else name for name in names]


def _other_plate(texts: pd.DataFrame, columns: Columns, plates: Mapping[str, PlateSites]) -> str:
    """Name of the plate in a table of one plate, where it is not ours."""
    theirs = set(filter(None, _plate_names(texts[columns["plate"]]))) if "plate" in columns else ()
    ours = {*plates, *(sites.series for sites in plates.values())}
    return next(iter(theirs)) if len(theirs) == 1 and not set(theirs) & ours else ""


def with_unit(columns: Columns, are: PositionsAre, places: pd.DataFrame) -> PositionsAre:
    """Add what the names of the columns say: µm, and as Harmony has it, from the middle."""
    if columns.unit != "um" or are != PositionsAre():
        return are
    y_px = places["y_px"].to_numpy(np.float64)
    is_centred = "position" in columns["y_px"].casefold() and bool((y_px < 0).any())
    return PositionsAre(is_um=True, is_centred=is_centred, is_y_up=is_centred)
