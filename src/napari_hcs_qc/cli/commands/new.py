"""``hcs-qc new``: make an assay."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.cli.arguments import add_assay, add_detector, add_plate_options, parameters
from napari_hcs_qc.cli.command import Command, Outcome
from napari_hcs_qc.text import a_few, count_of

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars
    from napari_hcs_qc.plates.plate import Plate


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_assay(parser)
    parser.add_argument(
        "plates", metavar="PLATE", nargs="+", type=Path, help="folder, CSV or .zarr"
    )
    add_plate_options(parser)
    add_detector(parser)


def _run(options: argparse.Namespace, _bars: Bars) -> Outcome:
    from napari_hcs_qc.api.assay import Assay
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.platemap_match import assay_platemap

    assay = Assay.new(**parameters(options))
    plates = assay.opened.values()
    folder = AssayFolder.open(assay.path)
    platemaps = {plate.name: assay_platemap(folder, plate) for plate in plates}
    lines = [f"Assay {assay.path} with {count_of(len(assay.plates), 'plate')}."]
    for plate in plates:
        lines += [f"  {plate.name} ({plate.format})", *(f"    {line}" for line in _lines(plate))]
        lines += [f"      {problem}" for problem in plate.problems]
        match = platemaps[plate.name]
        lines += [] if match is None else [f"    Plate map {match.sentence}"]
    data = {
        "assay": str(assay.path),
        "plates": [
            _data(plate) | {"platemap": match and {**asdict(match), "n_matched": match.n_matched}}
            for plate, match in zip(plates, platemaps.values(), strict=True)
        ],
    }
    return Outcome(lines, data)


def _lines(plate: Plate) -> list[str]:
    """Say in five lines how a plate was understood, and why."""
    rows, columns = plate.shape
    shape = plate.reasons.shape or "a guess: the smallest plate with all wells"
    names = ", ".join(channel.name for channel in plate.channels)
    named = f" ({plate.reasons.channels})" if plate.reasons.channels else ""
    n_times = len(plate.time_points)
    time = "1 time point"
    if n_times > 1:
        time = (
            f"{n_times} time points ({a_few(plate.time_points)}), the first is used (--time for "
            "another)"
        )
    size = "unknown: neither names nor headers state it"
    if plate.pixel_size_um:
        size = f"{plate.pixel_size_um:g} µm ({plate.reasons.pixel_size})"
    n_problems = len(plate.problems)
    n_z = _n_z(plate)
    return [
        f"Plate: {rows} × {columns} wells ({shape}); {count_of(len(plate.wells), 'well')} imaged "
        f"({a_few(plate.wells)}), {count_of(len(plate.sites), 'site')}",
        f"Channels: {names}{named}",
        f"Planes: {count_of(n_z, 'z plane')}{', their maximum is used' if n_z > 1 else ''}; {time}",
        f"Pixel size: {size}",
        f"Left out or in doubt: {count_of(n_problems, 'note') + ':' if n_problems else 'nothing'}",
    ]


def _n_z(plate: Plate) -> int:
    """Most planes that a channel has."""
    return int(plate.planes.groupby("channel")["z"].nunique().max())


def _data(plate: Plate) -> dict[str, Any]:
    return {
        "name": plate.name,
        "format": plate.format,
        "shape": list(plate.shape),
        "shape_reason": plate.reasons.shape,
        "shape_is_guess": not plate.reasons.shape,
        "n_wells": len(plate.wells),
        "wells": list(plate.wells),
        "n_sites": len(plate.sites),
        "channels": [channel.name for channel in plate.channels],
        "channels_reason": plate.reasons.channels,
        "n_z": _n_z(plate),
        "time_points": list(plate.time_points),
        "time_point": plate.time_points[0],
        "pixel_size_um": plate.pixel_size_um,
        "pixel_size_reason": plate.reasons.pixel_size,
        "problems": [str(problem) for problem in plate.problems],
    }


NEW = Command("new", "Create an assay from one or more plates.", _add_arguments, _run)
