"""``hcs-qc new``: make an assay."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.cli.arguments import add_assay, add_detector, add_plate_options, parameters
from napari_hcs_qc.cli.command import Command, Outcome
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_assay(parser)
    parser.add_argument(
        "plates", metavar="PLATE", nargs="+", type=Path, help="folder, CSV or .zarr"
    )
    add_plate_options(parser)
    add_detector(parser)


def _run(options: argparse.Namespace, _bars: Bars) -> Outcome:
    from napari_hcs_qc.api.assay import Assay

    assay = Assay.new(**parameters(options))
    plates = assay.opened.values()
    lines = [f"Assay {assay.path} with {count_of(len(assay.plates), 'plate')}."]
    for plate in plates:
        lines.append(
            f"  {plate.name}: {plate.format}, {count_of(len(plate.wells), 'well')}, "
            f"{count_of(len(plate.sites), 'site')}, "
            f"channels {', '.join(channel.name for channel in plate.channels)}"
        )
        lines.extend(f"    {problem}" for problem in plate.problems)
    data = {
        "assay": str(assay.path),
        "plates": [
            {
                "name": plate.name,
                "format": plate.format,
                "n_wells": len(plate.wells),
                "n_sites": len(plate.sites),
                "channels": [channel.name for channel in plate.channels],
                "problems": [str(problem) for problem in plate.problems],
            }
            for plate in plates
        ],
    }
    return Outcome(lines, data)


NEW = Command("new", "Create an assay from one or more plates.", _add_arguments, _run)
