"""``hcs-qc simulate``: a plate with known artefacts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.cli.arguments import parameters
from napari_hcs_qc.cli.command import Command, Outcome
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Job
from napari_hcs_qc.study.api.data import simulate
from napari_hcs_qc.study.cli.flags import add_flags

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="DIR", type=Path, help="folder for the plate")
    texts = {
        "wells": ("N", "number of wells"),
        "sites": ("N", "sites per well"),
        "shape": ("HxW", "height and width of a site in px; default: 520x696"),
        "clean": ("", "without artefacts"),
        "seed": ("N", "of all random numbers"),
    }
    add_flags(parser, simulate, texts, {"shape": _shape})


def _shape(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise HcsQcError(f"--shape is {text!r}; height x width was expected: 520x696.")
    return int(height), int(width)


def _run(options: argparse.Namespace, bars: Bars) -> Outcome:
    made = simulate(**parameters(options), job=Job(bars))
    files = {name: str(getattr(made, name)) for name in ("plate_dir", "labels", "platemap")}
    return Outcome([f"{name}: {path}" for name, path in files.items()], files)


COMMAND = Command("simulate", "Simulate a plate with known artefacts.", _add_arguments, _run)
