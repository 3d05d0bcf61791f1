"""The parser of the command line, built from the commands."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from napari_hcs_qc import plugins

if TYPE_CHECKING:
    from napari_hcs_qc.cli.command import Command


def load_command(name: str) -> Command:
    """Load a command by its name."""
    command: Command = plugins.load(plugins.COMMANDS[name])
    return command


def make_parser(command: str = "") -> argparse.ArgumentParser:
    """Build the parser of one command, or of all; nothing heavy is imported."""
    parser = argparse.ArgumentParser(
        prog="hcs-qc",
        description="Quality control of high-content screens: a few annotated cells, an encoder, "
        "and every cell, site and well of the assay checked.",
    )
    parser.add_argument(
        "--version",
        action=_Version,
        nargs=0,
        dest=argparse.SUPPRESS,
        default=argparse.SUPPRESS,
        help="show the version and exit",
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print the result as JSON")
    common.add_argument("--quiet", action="store_true", help="do not show progress bars")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    names = (command,) if command in plugins.COMMANDS else plugins.COMMANDS
    for entry in map(load_command, names):
        subparser = subparsers.add_parser(
            entry.name, help=entry.help, description=entry.help, parents=[common]
        )
        entry.add_arguments(subparser)
    return parser


class _Version(argparse.Action):
    """Looks the version up only where it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from napari_hcs_qc import __version__

        print(f"{parser.prog} {__version__}")
        parser.exit()
