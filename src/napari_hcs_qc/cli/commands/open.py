"""``hcs-qc open``: an assay in napari."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.cli.command import Command, Outcome
from napari_hcs_qc.cli.window import show_assay, why_no_window
from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "assay",
        metavar="ASSAY",
        type=Path,
        nargs="?",
        help="folder of the assay; default: none open",
    )


def _run(options: argparse.Namespace, _bars: Bars) -> Outcome:
    from napari_hcs_qc.api.assay import Assay

    path = options.assay
    if path is not None:
        Assay.open(path)  # a wrong path is an error here, not in a window
    reason = why_no_window()
    if reason:
        raise HcsQcError(reason)
    show_assay(path)
    return Outcome([], {"assay": None if path is None else str(path)})


OPEN = Command(
    "open", "Open an assay in napari: browse, annotate, retrain, review.", _add_arguments, _run
)
