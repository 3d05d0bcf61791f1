"""ImageXpress and MetaXpress exports: the ``.HTD`` description, and projections beside planes."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_hcs_qc.errors import HcsQcError, Problem
from napari_hcs_qc.plates.limits import MAX_CHANNELS, MAX_SITES, readable
from napari_hcs_qc.plates.plate import Channel
from napari_hcs_qc.plates.readers.names.place import NO_CHANNEL, NO_Z
from napari_hcs_qc.plates.wells import PLATE_SHAPES, parse_well, well_name
from napari_hcs_qc.text import a_few

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from napari_hcs_qc.plates.readers.assemble import PlaneFile


_DIGITS = 12  # of a number in the file that are read


@dataclass(frozen=True, kw_only=True)
class Description:
    """What an ``.HTD`` file promises."""

    path: Path  # the file
    shape: tuple[int, int] | None  # rows and columns of the plate
    wells: frozenset[str]  # names of the wells selected for imaging
    n_sites: int  # sites a well
    waves: dict[str, str]  # names of the wavelengths, by number from ``"1"``
    has_projection: bool | None  # whether ``ZStep_0`` holds projections


def read_htd(path: Path) -> Description:
    """Read an ``.HTD`` file. It promises more than it keeps: wells and waves may have no files."""
    try:
        # Every byte is a character in Latin-1, which is what MetaXpress writes.
        text = path.read_text(encoding="latin-1")
    except OSError as error:
        raise HcsQcError(f"{path} cannot be read: {error.strerror or error}.") from error
    with readable(path, "an HTD file"):
        entries = {
            row[0]: [value.strip() for value in row[1:]]
            for row in csv.reader(text.replace("\0", "").splitlines(), skipinitialspace=True)
            if len(row) > 1
        }
    rows, columns = _number(entries, "YWells"), _number(entries, "XWells")
    most_rows, most_columns = PLATE_SHAPES[1536]
    if rows > most_rows or columns > most_columns:
        raise HcsQcError(
            f"{path} is of a plate of {rows:,} × {columns:,} wells; plates of up to {most_rows} × "
            f"{most_columns} (1,536 wells) are read."
        )
    for key, most in (("YSites", MAX_SITES), ("NWavelengths", MAX_CHANNELS)):
        if _number(entries, key) > most:
            raise HcsQcError(
                f"{path} is damaged: {key} is {_number(entries, key):,}; at most {most:,} were "
                "expected."
            )
    if "HTSInfoFile" not in entries and not (rows and columns):
        raise HcsQcError(f'{path} is not an HTD file; a line "HTSInfoFile" was expected.')
    wells = set()
    for row in range(rows):
        for column, chosen in enumerate(entries.get(f"WellsSelection{row + 1}", [])):
            if chosen.upper() == "TRUE" and row < 32 and column < 48:
                wells.add(well_name(row, column))
    n_sites = 1
    if _flag(entries, "Sites"):
        chosen_sites = [
            value.upper()
            for row in range(_number(entries, "YSites"))
            for value in entries.get(f"SiteSelection{row + 1}", [])
        ]
        n_sites = max(1, chosen_sites.count("TRUE"))
    waves = {
        str(number): entries.get(f"WaveName{number}", [""])[0]
        for number in range(1, _number(entries, "NWavelengths") + 1)
    }
    return Description(
        path=path,
        shape=(rows, columns) if rows and columns else None,
        wells=frozenset(wells),
        n_sites=n_sites,
        waves=waves,
        has_projection=_flag(entries, "ZProjection"),
    )


def htd_text(
    shape: tuple[int, int], wells: Iterable[str], n_sites: int, waves: Mapping[int, str]
) -> str:
    """Describe a plate whose own ``.HTD`` is not there, in the words that `read_htd` reads."""
    n_rows, n_columns = shape
    chosen = {parse_well(well) for well in wells}

    def marks(row: int) -> str:
        flags = ((row, column) in chosen for column in range(n_columns))
        return ", ".join("TRUE" if flag else "FALSE" for flag in flags)

    lines = [
        '"HTSInfoFile", Version 1.0',
        '"Description", "Written by napari-hcs-qc from the names of the images"',
        f'"XWells", {n_columns}',
        f'"YWells", {n_rows}',
        *(f'"WellsSelection{row + 1}", {marks(row)}' for row in range(n_rows)),
        '"Sites", TRUE',
        f'"XSites", {n_sites}',
        '"YSites", 1',
        f'"SiteSelection1", {", ".join(["TRUE"] * n_sites)}',
        f'"NWavelengths", {max(waves)}',
        *(f'"WaveName{n}", "{waves.get(n, "")}"' for n in range(1, max(waves) + 1)),
        '"EndFile"',
    ]
    return "\r\n".join(lines) + "\r\n"


def _number(entries: dict[str, list[str]], key: str) -> int:
    values = entries.get(key, [])
    if not values or not values[0].isdecimal():
        return 0
    return int(values[0][:_DIGITS])  # beyond every limit already


def _flag(entries: dict[str, list[str]], key: str) -> bool | None:
    values = entries.get(key, [])
    return values[0].upper() == "TRUE" if values else None


def wave_channels(description: Description) -> dict[str, Channel]:
    """Channels by key, named as the microscope's wavelengths."""
    return {key: Channel(name) for key, name in description.waves.items() if name}


def without_projections(
    files: Iterable[PlaneFile], description: Description | None
) -> list[PlaneFile]:
    """Leave out the projection of a stack whose planes are there.

    MetaXpress numbers planes from ``ZStep_1`` and writes projections to ``ZStep_0`` or beside the
    ``ZStep`` folders; in a mixed acquisition a wavelength may have its projection only, which is
    then kept as its one plane. Only a description without projections makes ``ZStep_0`` a plane.
    """
    lowest = 0 if description is not None and description.has_projection is False else 1
    stacks: defaultdict[tuple[str, int, str, int], list[PlaneFile]] = defaultdict(list)
    for file in files:
        stacks[file.well, file.site, file.channel, file.time].append(file)
    kept: list[PlaneFile] = []
    for stack in stacks.values():
        planes = [file for file in stack if file.z >= lowest]
        kept += planes or [file if file.z < 0 else file._replace(z=NO_Z) for file in stack]
    return kept


def unkept_promises(description: Description, files: Iterable[PlaneFile]) -> list[Problem]:
    """Name wells, sites and wavelengths that have no file at all, in one problem."""
    sites: defaultdict[str, set[int]] = defaultdict(set)
    waves = set()
    for file in files:
        waves.add(file.channel)
        try:
            sites[str(parse_well(file.well))].add(file.site)
        except HcsQcError:
            continue  # recorded where the wells are checked
    lacking = []
    wells = sorted(description.wells - set(sites), key=parse_well)
    if wells:
        lacking.append(f"{len(wells)} of {len(description.wells)} wells ({a_few(wells)})")
    short = sorted(
        (well for well in description.wells & set(sites) if len(sites[well]) < description.n_sites),
        key=parse_well,
    )
    if short:
        lacking.append(f"some of the {description.n_sites} sites of {a_few(short)}")
    if waves != {NO_CHANNEL}:
        lost = [
            f"w{key} {name}"
            for key, name in description.waves.items()
            if name and key not in waves  # an unnamed one only keeps the count of the others
        ]
        if lost:
            noun = "wavelengths" if len(lost) > 1 else "wavelength"
            lacking.append(f"the {noun} {', '.join(lost)}")
    if not lacking:
        return []
    what = f"lists what has no files: {'; '.join(lacking)}."
    return [Problem(description.path.name, what)]
