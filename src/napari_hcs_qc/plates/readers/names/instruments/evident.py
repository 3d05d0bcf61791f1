"""Olympus (Evident) ScanR, with the wells' names or with their numbers alone (EMBL)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.readers.names.name_format import WELL, Example, NameFormat, compiled
from napari_hcs_qc.plates.readers.names.place import NO_Z, NUMBERED, Place
from napari_hcs_qc.plates.wells import PLATE_SHAPES, parse_well

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable

_REST = (
    r"--W(?P<number>\d+)--P(?P<site>\d+)(?:--Z(?P<z>\d+))?(?:--T(?P<time>\d+))?(?:--Z(?P<z2>\d+))?"
    r"--(?P<channel>.+?)"
)
_WITH_WELL = compiled(rf"(?:(?P<plate>.*)--)?{WELL}{_REST}")


def _read(_folder: str, match: re.Match[str]) -> Place:
    groups = match.groupdict()
    z = groups["z"] or groups["z2"]
    return Place(
        groups.get("well") or f"{NUMBERED}{int(groups['number'])}",
        int(groups["site"]),
        groups["channel"],
        NO_Z if z is None else int(z),
        int(groups["time"] or 0),
    )


def scanr_shape(names: Iterable[str]) -> tuple[int, int] | None:
    """Plate shape that ScanR names give away: ``B1--W00013`` means 12 columns; None if none does.

    Wells are numbered from 1 along the rows, so every well below row A tells the columns.
    """
    shapes = {columns: (rows, columns) for rows, columns in PLATE_SHAPES.values()}
    grids = set()
    for name in names:
        match = _WITH_WELL.fullmatch(name)
        try:
            row, column = parse_well(match["well"]) if match else (0, 0)
        except HcsQcError:
            continue
        if match and row:
            grids.add(divmod(int(match["number"]) - 1 - column, row))
    if len(grids) != 1:
        return None
    columns, rest = grids.pop()
    return shapes.get(columns) if rest == 0 else None


FORMATS = (
    NameFormat(
        name="scanr",
        instrument="Evident/Olympus ScanR",
        pattern=_WITH_WELL,
        read=_read,
        shape=scanr_shape,
        examples=(
            Example("A1--W00001--P00001--Z00000--T00000--GFP.tif", "A01", 1, "GFP", 0, 0),
            Example("run--B12--W00024--P00002--Z00001--T00003--Cy5.tif", "B12", 2, "Cy5", 1, 3),
        ),
        metadata="experiment_descriptor.xml: pixel size",
    ),
    NameFormat(
        name="scanr-numbers",
        instrument="Evident/Olympus ScanR and EMBL names with numbered wells",
        pattern=compiled(rf"(?!(?:.*--)?[A-Z]{{1,2}}\d{{1,2}}--W)(?P<plate>.*?){_REST}"),
        read=_read,
        examples=(
            Example("--W00014--P00001--Z00000--T00000--cherry.tif", "B02", 1, "cherry", 0, 0),
            Example("sirna--W0013--P002--T0001--Z000--dapi.ome.tif", "B01", 2, "dapi", 0, 1),
        ),
        metadata="experiment_descriptor.xml: pixel size",
    ),
)
