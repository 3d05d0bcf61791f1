"""``hcs-qc convert``: write a plate as OME-Zarr."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.cli.arguments import add_plate_options, parameters
from napari_hcs_qc.cli.command import Command, Outcome
from napari_hcs_qc.cli.outcome_text import shown_path
from napari_hcs_qc.job import Job

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plate", metavar="PLATE", type=Path, help="folder, CSV or .zarr")
    parser.add_argument("out", metavar="OUT.zarr", type=Path, help="the OME-Zarr plate")
    parser.add_argument("--ngff", choices=["0.4", "0.5"], default="0.5", help="NGFF version")
    add_plate_options(parser, platemap=False)


def _run(options: argparse.Namespace, bars: Bars) -> Outcome:
    from napari_hcs_qc.api.functions import convert

    result = convert(**parameters(options), job=Job(bars))
    unreadable = [str(problem) for problem in result.unreadable]
    lines = [f"Wrote {shown_path(result.path)}", *(f"  Left out: {line}" for line in unreadable)]
    return Outcome(lines, {"path": str(result.path), "unreadable": unreadable})


CONVERT = Command(
    "convert", "Write a plate as OME-Zarr (pyramidal, resumable).", _add_arguments, _run
)
