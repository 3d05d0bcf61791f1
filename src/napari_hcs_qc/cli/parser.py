"""The parser of the command line, built from the commands."""

from __future__ import annotations

import argparse
from functools import cache
from typing import TYPE_CHECKING

from napari_hcs_qc import plugins
from napari_hcs_qc.cli.commands import CORE

if TYPE_CHECKING:
    from napari_hcs_qc.cli.command import Command


@cache
def commands() -> dict[str, Command]:
    """Give every command by its name, the core's first."""
    found = (*CORE, *(plugins.load(name) for name in plugins.COMMANDS))
    return {command.name: command for command in found}


def make_parser() -> argparse.ArgumentParser:
    """Build the parser; nothing heavy is imported, so that help is instant."""
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
    for command in commands().values():
        subparser = subparsers.add_parser(
            command.name, help=command.help, description=command.help, parents=[common]
        )
        command.add_arguments(subparser)
    return parser


class _Version(argparse.Action):
    """Looks the version up only where it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from napari_hcs_qc import __version__

        print(f"{parser.prog} {__version__}")
        parser.exit()
