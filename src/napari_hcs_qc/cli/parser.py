"""The parser of the command line, built from the commands."""

from __future__ import annotations

import argparse
import re
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from napari_hcs_qc import plugins

if TYPE_CHECKING:
    from napari_hcs_qc.cli.command import Command

_WRONG = 2  # exit code of wrong arguments


class WrongArgumentsError(SystemExit):
    """Ends the program after the message was printed; `text` is the message."""

    def __init__(self, text: str) -> None:
        super().__init__(_WRONG)
        self.text = text


class _Parser(argparse.ArgumentParser):
    """Says which command or option was probably meant."""

    def error(self, message: str) -> NoReturn:
        text = message + self._meant(message)
        self.print_usage(sys.stderr)
        print(f"{self.prog}: error: {text}", file=sys.stderr)
        raise WrongArgumentsError(text)

    def _meant(self, message: str) -> str:
        if message.endswith("required: COMMAND"):
            return f"; begin with {self.prog} demo, or see {self.prog} --help"
        wrong = re.match(r"argument COMMAND: invalid choice: '([^']*)'", message)
        if wrong:
            known = list(plugins.COMMANDS)
        else:
            wrong = re.match(r"unrecognized arguments: (--[^\s=]+)", message)
            known = [option for option in self._options() if option.startswith("--")]
        near = get_close_matches(wrong[1], known, n=1) if wrong else []
        return f"; did you mean {near[0]}?" if near else ""

    def _options(self) -> set[str]:
        parsers: list[argparse.ArgumentParser] = [self]
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers.extend(action.choices.values())
        return {option for parser in parsers for option in parser._option_string_actions}


def load_command(name: str) -> Command:
    """Load a command by its name."""
    command: Command = plugins.load(plugins.COMMANDS[name])
    return command


def make_parser(command: str = "") -> argparse.ArgumentParser:
    """Build the parser of one command, or of all; nothing heavy is imported."""
    parser = _Parser(
        prog="hcs-qc",
        description="Quality control of high-content screens: a few annotated cells, an encoder, "
        "and every cell, site and well of the assay checked.",
        epilog="Begin with hcs-qc demo: it simulates a plate and runs everything on it. "
        "hcs-qc COMMAND --help explains a command.",
    )
    parser.add_argument(
        "--version",
        action=_Version,
        nargs=0,
        dest=argparse.SUPPRESS,
        default=argparse.SUPPRESS,
        help="show the version and exit",
    )
    common = _Parser(add_help=False)
    common.add_argument("--json", action="store_true", help="print the result as JSON, errors too")
    common.add_argument("-q", "--quiet", action="store_true", help="do not show progress bars")
    common.add_argument(
        "-v", "--verbose", action="store_true", help="list each step with its time, without bars"
    )
    common.add_argument(
        "--log-file",
        metavar="FILE",
        type=Path,
        help="append each step with its time, and errors with their details, to a file",
    )
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
