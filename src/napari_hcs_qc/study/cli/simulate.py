"""``hcs-qc simulate``: a plate with known artefacts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.cli.arguments import parameters
from napari_hcs_qc.cli.command import Command, Outcome
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import Job

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="DIR", type=Path)
    parser.add_argument("--wells", metavar="N", type=int, default=24, help="number of wells")
    parser.add_argument("--sites", metavar="N", type=int, default=2, help="sites per well")
    parser.add_argument(
        "--shape",
        metavar="HxW",
        type=_shape,
        default=(520, 696),
        help="height and width of a site in px; default: 520x696",
    )
    parser.add_argument("--clean", action="store_true", help="without artefacts")
    parser.add_argument("--seed", metavar="N", type=int, default=0)


def _shape(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit()):
        raise HcsQcError(f"--shape is {text!r}; height x width was expected: 520x696.")
    return int(height), int(width)


def _run(options: argparse.Namespace, bars: Bars) -> Outcome:
    from napari_hcs_qc.study.api.data import simulate

    made = simulate(**parameters(options), job=Job(bars))
    files = {name: str(getattr(made, name)) for name in ("plate_dir", "labels", "platemap")}
    return Outcome([f"{name}: {path}" for name, path in files.items()], files)


COMMAND = Command("simulate", "Simulate a plate with known artefacts.", _add_arguments, _run)
