"""``hcs-qc new``: make an assay."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.cli.arguments import add_assay, add_detector, add_plate_options, parameters
from napari_hcs_qc.cli.command import Command, Outcome
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars
    from napari_hcs_qc.plates.plate import Plate


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_assay(parser)
    parser.add_argument(
        "plates",
        metavar="PLATE",
        nargs="+",
        type=Path,
        help="folder, CSV, .zarr, .zarr.zip, or a CZI, ND2, LIF or VSI file",
    )
    add_plate_options(parser)
    add_detector(parser)


def _run(options: argparse.Namespace, _bars: Bars) -> Outcome:
    from napari_hcs_qc.api.assay import Assay
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.platemap_match import assay_platemap
    from napari_hcs_qc.plates.summary import plate_lines

    assay = Assay.new(**parameters(options))
    plates = assay.opened.values()
    folder = AssayFolder.open(assay.path)
    platemaps = {plate.name: assay_platemap(folder, plate) for plate in plates}
    lines = [f"Assay {assay.path} with {count_of(len(assay.plates), 'plate')}."]
    of_series = Counter(plate.series for plate in plates)
    described: set[str] = set()
    for plate in plates:
        if plate.series in described:
            continue
        described |= {plate.series} - {""}
        title = plate.name
        if plate.series:
            title += (
                f", the first of {count_of(of_series[plate.series], 'time point')}, each a plate"
            )
        lines += [
            f"  {title} ({plate.format})",
            *(f"    {line}" for line in plate_lines(plate)),
        ]
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


def _data(plate: Plate) -> dict[str, Any]:
    from napari_hcs_qc.plates.summary import z_planes

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
        "n_z": len(z_planes(plate)),
        "z_planes": z_planes(plate),
        "z_projection": "max" if len(z_planes(plate)) > 1 else None,
        "time_points": list(plate.time_points),
        "time_point": plate.time_points[0],
        "series": plate.series or None,
        "pixel_size_um": plate.pixel_size_um,
        "pixel_size_reason": plate.reasons.pixel_size,
        "problems": [str(problem) for problem in plate.problems],
    }


NEW = Command("new", "Create an assay from one or more plates.", _add_arguments, _run)
