"""``hcs-qc completion``: the script by which a shell completes commands, options and files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.cli.command import Command, Outcome

if TYPE_CHECKING:
    from napari_hcs_qc.cli.bars import Bars

_SHELLS = ("bash", "zsh", "tcsh")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=_SHELLS, help=", ".join(_SHELLS))


def _run(options: argparse.Namespace, _bars: Bars) -> Outcome:
    import shtab

    from napari_hcs_qc.cli.parser import make_parser

    parser = make_parser()
    _complete_files(parser, shtab.FILE)
    script = shtab.complete(parser, options.shell)
    return Outcome([script], {"shell": options.shell, "script": script})


def _complete_files(parser: argparse.ArgumentParser, complete: object) -> None:
    """Let paths be completed, which argparse knows by their type."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete_files(command, complete)
        elif action.type is Path:
            action.complete = complete  # type: ignore[attr-defined]


COMPLETION = Command(
    "completion",
    "Print the script by which a shell completes commands, options and files.",
    _add_arguments,
    _run,
)
