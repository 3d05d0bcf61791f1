"""``hcs-qc run``: all steps, one after another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.cli.arguments import (
    add_annotator,
    add_assay,
    add_cell_options,
    add_classes,
    add_export_options,
    add_kind_option,
    add_plate_options,
    add_position_options,
    add_train_options,
    parameters,
)
from napari_hcs_qc.cli.command import Command, Outcome
from napari_hcs_qc.cli.outcome_text import run_outcome
from napari_hcs_qc.job import Job

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_assay(parser)
    parser.add_argument("plate", metavar="PLATE", type=Path, help="folder, CSV, .zarr or .zarr.zip")
    parser.add_argument(
        "--labels",
        metavar="LABELS",
        type=Path,
        help="annotated cells; without them cells are classified as before any annotation",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="folder for tables and report"
    )
    add_plate_options(parser)
    add_cell_options(parser, flag="--cells-from")
    add_annotator(parser)
    add_kind_option(parser)
    add_classes(parser)
    add_position_options(parser)
    add_train_options(parser)
    add_export_options(parser)


def _run(options: argparse.Namespace, bars: Bars) -> Outcome:
    from napari_hcs_qc.api.functions import run

    return run_outcome(run(**parameters(options), job=Job(bars)))


RUN = Command(
    "run",
    "Run the whole pipeline: assay, cells, annotations, training, tables, report.",
    _add_arguments,
    _run,
)
