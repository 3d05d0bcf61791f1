"""``hcs-qc cells``: find or import cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hcs_qc.cli.arguments import (
    add_assay,
    add_cell_options,
    add_position_options,
    parameters,
)
from napari_hcs_qc.cli.command import Command, Outcome
from napari_hcs_qc.errors import Problem, some_lines
from napari_hcs_qc.job import Job
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_assay(parser)
    add_cell_options(parser, flag="--from")
    add_position_options(parser)
    parser.add_argument(
        "--labels", metavar="NAME", help="label image to import, where an OME-Zarr has several"
    )
    parser.add_argument("--plate", metavar="NAME", help="only this plate of the assay")
    parser.add_argument("--again", action="store_true", help="also where cells were found before")


def _run(options: argparse.Namespace, bars: Bars) -> Outcome:
    from napari_hcs_qc.api.assay import Assay

    results = Assay.open(options.assay).cells(**parameters(options, "assay"), job=Job(bars))
    lines, data = [], {}
    for name, plate in results.items():
        lines.append(
            f"{name}: {count_of(len(plate.cells), 'cell')} from {plate.origin} "
            f"(channel {plate.channel}), median diameter {plate.diameter_px:.1f} px, "
            f"{count_of(len(plate.unreadable), 'unreadable site')}"
        )
        if plate.understood:
            lines.append(f"  Read: {plate.understood}")
        if plate.check:
            lines.append(f"  Positions: {plate.check}")
        unreadable = [Problem(str(site), reason) for site, reason in plate.unreadable.items()]
        lines.extend(f"  {problem}" for problem in some_lines([*unreadable, *plate.problems]))
        data[name] = {
            "n_cells": len(plate.cells),
            "diameter_px": plate.diameter_px,
            "channel": plate.channel,
            "source": plate.source,
            "detector": plate.detector,
            "unreadable": {str(site): reason for site, reason in plate.unreadable.items()},
            "check": plate.check,
            "understood": plate.understood,
            "problems": [str(problem) for problem in plate.problems],
        }
    return Outcome(lines, {"plates": data})


CELLS = Command(
    "cells",
    "Find the nuclei of every plate, or import masks or positions.",
    _add_arguments,
    _run,
)
