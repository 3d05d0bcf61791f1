"""OME-Zarr plates (NGFF 0.1 to 0.5), read at full resolution.

The specification of both versions: https://ngff.openmicroscopy.org. ngio is imported within the
functions: it takes seconds, and most plates are not OME-Zarr.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd
from pydantic import BaseModel, ValidationError

from napari_hcs_qc.errors import HcsQcError, Problem
from napari_hcs_qc.plates.ome_zarr.image_metadata import describe_image
from napari_hcs_qc.plates.ome_zarr.plain_metadata import (
    PlateMetadata,
    field_paths,
    plate_metadata,
)
from napari_hcs_qc.plates.ome_zarr.zarr_chunks import absent_chunks
from napari_hcs_qc.plates.ome_zarr.zarr_image import (
    METADATA_FILES,
    ImageFacts,
    attributes_of,
    short_reason,
)
from napari_hcs_qc.plates.pixels import UnreadableImageError
from napari_hcs_qc.plates.plate import (
    GIVEN_SHAPE,
    OME_ZARR,
    PLANE_COLUMNS,
    Channel,
    Plate,
    Reasons,
)
from napari_hcs_qc.plates.remote import as_location, is_remote
from napari_hcs_qc.plates.summary import time_points_problem
from napari_hcs_qc.plates.wells import WellName, parse_well, plate_shape, row_letters
from napari_hcs_qc.text import a_few, count_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class ConversionRecord(BaseModel):
    """What `convert_plate` keeps in the attribute `ATTRIBUTE`, as NGFF has no place for it."""

    format_version: int = 1
    source: str
    source_fingerprint: str
    pixel_size_um: float | None
    complete: bool = False
    unreadable: tuple[Problem, ...] = ()  # sites that were left out


_FIELDS_LOOKED_AT = 1_000  # for absent chunks
_SUSPICIOUS = 0.25  # share of absent chunks

ATTRIBUTE = "napari_hcs_qc"
"""Attribute of the plate group with its `ConversionRecord`."""


def read_record(path: Path) -> ConversionRecord | None:
    """Read what `convert_plate` recorded; None where it has not made the plate."""
    try:
        return ConversionRecord.model_validate(attributes_of(path).get(ATTRIBUTE))
    except ValidationError:
        return None


@dataclass(frozen=True, kw_only=True)
class _Field:
    """One image of a well, as its metadata describes it."""

    well: WellName
    site: int
    path: Path
    channels: tuple[str, ...]
    facts: ImageFacts
    is_named: bool  # whether its channels have names


@dataclass
class _Reading:
    """What was found and not understood so far."""

    root: Path
    first_number: int  # of rows and columns that are numbered
    fields: list[_Field] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def note(self, where: str, what: str, fix: str = "") -> None:
        self.problems.append(Problem(where, what, fix))


def is_ome_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr group: a plate, or something else in that format."""
    return any((path / name).is_file() for name in (*METADATA_FILES, ".zgroup"))


def open_ome_zarr_plate(
    path: Path,
    *,
    name: str | None = None,
    shape: tuple[int, int] | None = None,
    time: int | None = None,
) -> Plate:
    """Index an OME-Zarr plate: every field of every well, from metadata alone."""
    path = as_location(path).absolute()
    if not is_ome_zarr(path):
        raise HcsQcError(
            f"{path} is not an OME-Zarr: it has neither zarr.json nor .zattrs. The folder of an "
            "OME-Zarr plate was expected; check that it was copied whole."
        )
    try:
        meta = plate_metadata(path)
    except Exception as error:  # Whatever a damaged group makes the libraries raise.
        if isinstance(error, KeyError) and error.args == ("plate",):
            raise HcsQcError(
                f"{path} is a Zarr group but not an OME-Zarr plate of NGFF 0.1 to 0.5: its "
                "metadata has no 'plate'. Give the group above it that has, not one image."
            ) from error
        raise HcsQcError(
            f"{path} has metadata that are damaged, or not of an OME-Zarr plate of NGFF 0.1 to 0.5 "
            f"({short_reason(error)}). Copy it again from its source."
        ) from error
    reading = _Reading(path, _numbers_from(meta))
    record = read_record(path)
    if record is not None:
        _note_conversion(reading, record)
    seen: set[WellName] = set()
    for well in meta.wells:
        _read_well(reading, well.path, seen)
    if meta.n_acquisitions > 1:
        reading.note(
            path.name,
            f"has {meta.n_acquisitions} acquisitions; each of their images is its own site",
        )
    if not reading.fields:
        first = f", for example: {reading.problems[0]}" if reading.problems else ";"
        raise HcsQcError(
            f"{path} holds no readable field{first} Check that it was copied whole, or write it "
            "anew from its source."
        )
    _note_absent_chunks(reading)
    corner = _declared_corner(meta.rows, meta.columns, reading.first_number)
    channels = _join_channels(reading.fields)
    is_unknown = record is not None and record.pixel_size_um is None
    size = None if is_unknown else _pixel_size(reading)
    planes = _plane_table(reading.fields, channels, time)
    if planes.empty:
        n_times = max(each.facts.size("t") for each in reading.fields)
        raise HcsQcError(
            f"{path} has no time point {time}; it has {', '.join(map(str, range(n_times)))}. Give "
            "one of them (--time), or none for the first."
        )
    times = (time,) if time is not None else tuple(range(1 + int(planes["time"].max())))
    return Plate(
        name=name or meta.name or re.sub(r"(\.ome)?\.(zarr(\.zip)?|ozx)$", "", path.name),
        source=path,
        format=OME_ZARR,
        shape=_shape(path, shape, [corner, *seen]),
        channels=tuple(Channel(each) for each in channels),
        planes=planes,
        pixel_size_um=size,
        problems=(*time_points_problem(times), *reading.problems),
        time_points=times,
        reasons=Reasons(
            shape=GIVEN_SHAPE if shape else "",
            channels="the OME-Zarr" if any(each.is_named for each in reading.fields) else "",
            pixel_size="the OME-Zarr" if size else "",
        ),
    )


def _shape(path: Path, shape: tuple[int, int] | None, wells: list[WellName]) -> tuple[int, int]:
    if shape is None:
        return plate_shape(wells)
    for well in wells[1:]:
        if well.row >= shape[0] or well.column >= shape[1]:
            raise HcsQcError(
                f"{path}: well {well} is outside a plate of {shape[0]}×{shape[1]} wells. Give a "
                "larger plate shape, or none."
            )
    return shape


# Wells and fields -----------------------------------------------------------------------------


def _read_well(reading: _Reading, well_path: str, seen: set[WellName]) -> None:
    try:
        well = _well_of(well_path, reading.first_number)
    except HcsQcError as error:
        reading.note(well_path, f"left out: {error}")
        return
    if well in seen:
        reading.note(well_path, f"left out: well {well} is listed twice")
        return
    seen.add(well)
    try:
        paths = field_paths(reading.root / well_path)
    except Exception as error:  # noqa: BLE001  A damaged well must not stop the plate.
        reading.note(
            str(well),
            f"cannot be read: {short_reason(error)}",
            f"Restore {well_path} from its source.",
        )
        return
    if not paths:
        reading.note(str(well), "lists no fields")
    for site, field_path in zip(_site_numbers(reading, well, paths), paths, strict=True):
        _read_field(reading, well, site, f"{well_path}/{field_path}")


def _read_field(reading: _Reading, well: WellName, site: int, path: str) -> None:
    folder = reading.root / path
    try:
        facts = describe_image(str(folder))
    except UnreadableImageError as error:
        reading.note(f"{well} s{site}", f"{path} {error}.", "Restore it from its source.")
        return
    names, n_channels = facts.channel_names, facts.size("c")
    if len(names) != n_channels:
        if names:
            reading.note(
                f"{well} s{site}",
                f"{path} names {len(names)} channels and has {n_channels}; they are numbered",
            )
        names = tuple(f"channel {index}" for index in range(n_channels))
    reading.fields.append(
        _Field(
            well=well,
            site=site,
            path=folder,
            channels=names,
            facts=facts,
            is_named=bool(facts.channel_names),
        )
    )


def _well_of(well_path: str, first_number: int) -> WellName:
    """Position of a well from its path: row name, then column name."""
    parts = well_path.strip("/").split("/")
    if len(parts) != 2:
        raise HcsQcError(
            f"'{well_path}' is not the path of a well; row/column was expected, such as A/1."
        )
    row, column = parts
    if row.isdecimal():  # Some writers number the rows.
        row = row_letters(int(row) - first_number)
    if column.isdecimal() and first_number == 0:
        column = str(int(column) + 1)
    return parse_well(f"{row}{column}")


def _numbers_from(meta: PlateMetadata) -> int:
    """Whether rows and columns are numbered from 0 or from 1.

    They are from 0 where one has that name, or where the names of numbered rows are their indices.
    """
    if "0" in {name.lstrip("0") or "0" for name in (*meta.rows, *meta.columns)}:
        return 0
    rows = [(well.path.split("/")[0], well.row_index) for well in meta.wells]
    is_index = all(name.isdecimal() and int(name) == index for name, index in rows)
    return 0 if rows and is_index else 1


def _site_numbers(reading: _Reading, well: WellName, paths: Sequence[str]) -> list[int]:
    """Site number of every field: its path where that is a number, else the next free one."""
    numbers: dict[str, int] = {}
    for path in paths:
        if path.isdecimal() and int(path) not in numbers.values():
            numbers[path] = int(path)
    others = [path for path in paths if path not in numbers]
    free = max(numbers.values(), default=-1) + 1
    for number, path in enumerate(others, start=free):
        numbers[path] = number
    if others:
        listed = ", ".join(f"'{path}' is s{numbers[path]}" for path in others[:3])
        reading.note(str(well), f"field paths that are not unused numbers were numbered: {listed}")
    return [numbers[path] for path in paths]


# The plate ------------------------------------------------------------------------------------


def _note_conversion(reading: _Reading, record: ConversionRecord) -> None:
    """Repeat what `convert_plate` recorded: sites it could not read, or that it was stopped."""
    if not record.complete:
        reading.note(
            reading.root.name, "its conversion was not finished.", "Run the same convert again."
        )
    for problem in record.unreadable:
        reading.note(problem.where, f"not converted: {problem.what}", problem.fix)


def _declared_corner(rows: Sequence[str], columns: Sequence[str], first_number: int) -> WellName:
    """Last row and column that the plate declares, imaged or not."""
    corner = WellName(0, 0)
    for path in (*(f"{row}/1" for row in rows), *(f"A/{column}" for column in columns)):
        try:
            well = _well_of(path, first_number)
        except HcsQcError:
            continue  # A well that is really there is reported where it is read.
        corner = WellName(max(corner.row, well.row), max(corner.column, well.column))
    return corner


def _join_channels(fields: Sequence[_Field]) -> list[str]:
    """Names of all channels, in the order of the first field that has the most of them."""
    fullest = max(fields, key=lambda each: len(each.channels))
    names: dict[str, str] = {}
    for each in (fullest, *fields):
        for name in each.channels:  # of which no two are alike in upper and lower case
            names.setdefault(name.casefold(), name)
    return list(names.values())


def _plane_table(
    fields: Sequence[_Field], channels: Sequence[str], only_time: int | None
) -> pd.DataFrame:
    only = None if only_time is None else (only_time,)
    index = {name.casefold(): number for number, name in enumerate(channels)}
    rows = [
        (str(each.well), each.site, index[name.casefold()], z, rank, str(each.path), part)
        for each in fields
        for part, name in enumerate(each.channels)
        for z in range(each.facts.size("z"))
        for rank, time in enumerate(range(each.facts.size("t")) if only is None else only)
        if time < each.facts.size("t")
    ]
    return pd.DataFrame(rows, columns=list(PLANE_COLUMNS))


def _note_absent_chunks(reading: _Reading) -> None:
    """Name the fields much of which is not on disk, and reads as the fill value."""
    if is_remote(reading.root):
        return  # a server tells of each chunk only where it is asked for it
    step = math.ceil(len(reading.fields) / _FIELDS_LOOKED_AT)
    lacking = []
    for each in reading.fields[::step]:
        absent = absent_chunks(each.facts, each.path)
        if absent.n_planes or absent.n_chunks > _SUSPICIOUS * absent.of_chunks:
            lacking.append(f"{each.well} s{each.site} {absent.n_chunks} of {absent.of_chunks}")
    if lacking:
        reading.note(
            reading.root.name,
            f"{count_of(len(lacking), 'field lacks', 'fields lack')} many of their chunks, which "
            f"are read as the fill value: {a_few(lacking)}.",
            "That is right where they are black; else copy the plate again.",
        )


def _pixel_size(reading: _Reading) -> float | None:
    """Pixel size of most fields in µm."""
    sizes = Counter(each.facts.pixel_size_um for each in reading.fields)
    size, count = sizes.most_common(1)[0]
    if len(sizes) > 1:
        reading.note(
            reading.root.name,
            f"its fields differ in pixel size; {size} µm, that of {count} of "
            f"{len(reading.fields)}, is used",
        )
    return size
