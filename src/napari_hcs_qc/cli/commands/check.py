"""``hcs-qc check`` and ``repair``: is an assay as it was written, and what restores its journal."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.cli.arguments import add_assay, parameters
from napari_hcs_qc.cli.command import DAMAGED, Command, Outcome
from napari_hcs_qc.job import Job
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars


def _add_repair_arguments(parser: argparse.ArgumentParser) -> None:
    add_assay(parser)
    parser.add_argument(
        "--csv",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="a CSV that hcs-qc annotations --export wrote, to restore from beside the copies. Can "
        "be repeated",
    )


def _check(options: argparse.Namespace, bars: Bars) -> Outcome:
    from napari_hcs_qc.api.assay import Assay

    checked = Assay.open(options.assay).check(job=Job(bars))
    lines = [
        f"Damaged: {part.name}: {part.damage}" if part.damage else f"{part.name}: {part.content}"
        for part in checked.parts
    ]
    damaged = checked.damaged
    if damaged:
        lines.append(f"{len(damaged)} of {count_of(len(checked.parts), 'part')} damaged.")
    else:
        lines.append(f"{count_of(len(checked.parts), 'part')} checked: as they were written.")
    data = {
        "assay": str(checked.path),
        "parts": [asdict(part) for part in checked.parts],
        "n_damaged": len(damaged),
    }
    return Outcome(lines, data, DAMAGED if damaged else 0)


def _repair(options: argparse.Namespace, _bars: Bars) -> Outcome:
    from napari_hcs_qc.api.assay import Assay

    repaired = Assay.open(options.assay).repair(**parameters(options, "assay"))
    data = {
        "n_whole": repaired.n_whole,
        "n_restored": repaired.n_restored,
        "lost": list(repaired.lost),
        "damaged": None if repaired.damaged is None else str(repaired.damaged),
        "refused": list(repaired.refused),
    }
    refused = [f"Not used: {text}" for text in repaired.refused]
    exit_code = DAMAGED if refused else 0
    if repaired.damaged is None and not repaired.n_restored:
        line = f"The journal is whole: {count_of(repaired.n_whole, 'action')}."
        return Outcome([line, *refused], data, exit_code)
    lines = [
        f"The journal was restored: {count_of(repaired.n_whole, 'action')} of it were whole, "
        f"{repaired.n_restored:,} came from copies and exports"
        + (f"; {count_of(len(repaired.lost), 'part')} may be lost." if repaired.lost else "."),
        *(f"  Lost: {text}" for text in repaired.lost),
        *refused,
    ]
    if repaired.damaged is not None:
        lines.append(f"The damaged file is kept as {repaired.damaged}.")
    return Outcome(lines, data, exit_code)


CHECK = Command(
    "check",
    "Compare every file of an assay with its checksum; nothing is changed.",
    add_assay,
    _check,
)
REPAIR = Command(
    "repair",
    "Restore a damaged journal of annotations from its copies and exports.",
    _add_repair_arguments,
    _repair,
)
