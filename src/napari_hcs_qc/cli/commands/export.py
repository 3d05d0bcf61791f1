"""``hcs-qc export``, ``report`` and ``crops``: what leaves an assay."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.cli.arguments import (
    add_assay,
    add_export_options,
    add_keep_kinds,
    add_position_options,
    parameters,
)
from napari_hcs_qc.cli.command import Command, Outcome
from napari_hcs_qc.cli.outcome_text import exported_outcome, shown_path
from napari_hcs_qc.job import Job

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars

_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h: blocks from this size on are not kept


def _add_export_arguments(parser: argparse.ArgumentParser) -> None:
    add_assay(parser)
    parser.add_argument("out", metavar="DIR", type=Path, help="folder for the tables")
    add_export_options(parser)
    parser.add_argument(
        "--geojson",
        action="store_true",
        help="also write the cells of each site as GeoJSON, which QuPath opens over the image",
    )
    parser.add_argument(
        "--labels",
        action="store_true",
        help="also write the cells of each plate as label images of an OME-Zarr plate, with their "
        "classes, kinds and scores",
    )
    parser.add_argument(
        "--artefact-maps",
        action="store_true",
        help="--labels, with a second channel that shows where something lies that is unlike the "
        "plate: fibres, debris, haze, blur",
    )
    parser.add_argument(
        "--onto",
        metavar="PROFILES",
        type=Path,
        help="also add the columns to a CellProfiler or CytoTable table, joined by position; "
        "profiles of whole wells by their well",
    )
    add_position_options(parser)


def _export(options: argparse.Namespace, bars: Bars) -> Outcome:
    from napari_hcs_qc.api.assay import Assay

    _return_memory()
    exported = Assay.open(options.assay).export(**parameters(options, "assay"), job=Job(bars))
    return exported_outcome(exported)


def _return_memory() -> None:
    """Let this process give memory back to the system as soon as it is free.

    glibc and Arrow keep it for later, which after a plate of millions is twice what is in use.
    """
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 2**22)


def _add_report_arguments(parser: argparse.ArgumentParser) -> None:
    add_assay(parser)
    parser.add_argument("out", metavar="OUT.html", type=Path, help="the report")
    add_keep_kinds(parser)


def _report(options: argparse.Namespace, bars: Bars) -> Outcome:
    from napari_hcs_qc.api.assay import Assay

    written = Assay.open(options.assay).report(**parameters(options, "assay"), job=Job(bars))
    return Outcome([f"Report: {shown_path(written)}"], {"report": str(written)})


def _add_crops_arguments(parser: argparse.ArgumentParser) -> None:
    add_assay(parser)
    parser.add_argument("out", metavar="DIR", type=Path, help="new folder for the crops")
    parser.add_argument(
        "--of",
        choices=("annotated", "predicted"),
        default="annotated",
        help="cells that people annotated, or all cells by their predictions (default: annotated)",
    )
    parser.add_argument(
        "--most", metavar="N", type=int, help="at most so many cells of each class, at random"
    )
    parser.add_argument(
        "--overlays",
        action="store_true",
        help="also write a picture of each of their sites, with all cells in circles by class",
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of what is random")


def _crops(options: argparse.Namespace, bars: Bars) -> Outcome:
    from napari_hcs_qc.api.assay import Assay
    from napari_hcs_qc.workflow.crop_export import crops_text

    written = Assay.open(options.assay).crops(**parameters(options, "assay"), job=Job(bars))
    unreadable = [str(problem) for problem in written.unreadable]
    data = {
        "folder": str(written.folder),
        "n_by_class": written.n_by_class,
        "n_sites": written.n_sites,
        "unreadable": unreadable,
    }
    return Outcome([crops_text(written), *(f"  {text}" for text in unreadable)], data)


EXPORT = Command(
    "export", "Write the tables of cells, sites and wells.", _add_export_arguments, _export
)
REPORT = Command(
    "report", "Write the report, one HTML file that opens offline.", _add_report_arguments, _report
)
CROPS = Command(
    "crops",
    "Write crops of cells as TIFF, in folders by class.",
    _add_crops_arguments,
    _crops,
)
