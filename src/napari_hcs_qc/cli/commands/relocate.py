"""``hcs-qc relocate`` and ``remove``: plates that moved, and plates that do not belong."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from napari_hcs_qc.cli.arguments import add_allow_remote, add_assay, parameters
from napari_hcs_qc.cli.command import Command, Outcome

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars


def _add_relocate_arguments(parser: argparse.ArgumentParser) -> None:
    _add_remove_arguments(parser)
    parser.add_argument("source", metavar="PLATE", type=Path, help="new path of the plate")
    parser.add_argument(
        "--image-root", metavar="DIR", type=Path, help="folder of the images of a CSV, if moved"
    )
    add_allow_remote(parser)


def _add_remove_arguments(parser: argparse.ArgumentParser) -> None:
    add_assay(parser)
    parser.add_argument("plate", metavar="NAME", help="name of the plate in the assay")


def _relocate(options: argparse.Namespace, _bars: Bars) -> Outcome:
    from napari_hcs_qc.api.assay import Assay

    entry, is_same = Assay.open(options.assay).relocate(**parameters(options, "assay"))
    lines = [f"Plate {entry.name} is now at {entry.source}."]
    if not is_same:
        lines.append(
            "Its files differ in size or date from those in which its cells were found; the next "
            f"'hcs-qc cells {quote(str(options.assay))}' finds the cells again."
        )
    data = {"plate": entry.name, "source": str(entry.source), "is_same": is_same}
    return Outcome(lines, data)


def _remove(options: argparse.Namespace, _bars: Bars) -> Outcome:
    from napari_hcs_qc.api.assay import Assay

    entry = Assay.open(options.assay).remove(options.plate)
    return Outcome(
        [
            f"Plate {entry.name} was removed from the assay. Its images are unchanged; its "
            "annotations stay in the journal and are used again if it is added again."
        ],
        {"plate": entry.name, "source": str(entry.source)},
    )


RELOCATE = Command(
    "relocate",
    "Change a plate's path after its images have moved.",
    _add_relocate_arguments,
    _relocate,
)
REMOVE = Command(
    "remove",
    "Remove a plate from an assay; images and annotations are kept.",
    _add_remove_arguments,
    _remove,
)
