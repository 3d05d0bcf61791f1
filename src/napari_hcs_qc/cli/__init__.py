"""The command ``hcs-qc``: every step, with progress bars, and one line on bad input."""

from __future__ import annotations

import atexit
import gc
import json
import os
import sys
from typing import TYPE_CHECKING

from napari_hcs_qc.cli.bars import Bars
from napari_hcs_qc.cli.endings import encode_anything, explain, print_failure
from napari_hcs_qc.cli.parser import WrongArgumentsError, load_command, make_parser
from napari_hcs_qc.cli.step_log import step_log
from napari_hcs_qc.job import Cancelled

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_BRIEF = {"status"}  # over before a search for garbage would pay
_INTERRUPTED = 130  # as shells report a process that Ctrl+C ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command: that of the process, unless `arguments` are given."""
    encode_anything()
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # none is used
    is_process = arguments is None
    arguments = sys.argv[1:] if arguments is None else arguments
    if is_process:
        gc.disable()  # there is no garbage among what is imported
        atexit.register(gc.freeze)  # nor need a process that ends look through all its objects
    try:
        options = make_parser(*arguments[:1]).parse_args(_joined_pattern(arguments))
        with (
            step_log(arguments, verbose=options.verbose, file=options.log_file),
            _bars(options) as bars,
        ):
            command = load_command(options.command)
            if is_process and options.command not in _BRIEF:
                gc.enable()
            outcome = command.run(options, bars)
    except WrongArgumentsError as error:
        print_failure(arguments, error.text, int(str(error.code)))
        raise
    except (KeyboardInterrupt, Cancelled):
        text = "stopped; run the same command again to resume."
        print(f"hcs-qc: {text}", file=sys.stderr)
        print_failure(arguments, text, _INTERRUPTED)
        return _INTERRUPTED
    except Exception as error:  # noqa: BLE001 - whatever it is ends in a line
        return explain(error, arguments)
    if is_second_process():
        return 0  # the first one prints the outcome
    try:
        if options.json:
            # As ASCII where the terminal has fewer characters, so that it stays JSON.
            is_ascii = "utf" not in (sys.stdout.encoding or "").lower()
            print(json.dumps(outcome.data, indent=2, ensure_ascii=is_ascii, default=str))
        else:
            for line in outcome.lines:
                print(line)
        sys.stdout.flush()
    except BrokenPipeError:  # who reads it has seen enough: `hcs-qc status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return outcome.exit_code


def _bars(options: argparse.Namespace) -> Bars:
    """Draw bars where a person sees them; lines of a file or another program's input are none."""
    is_shown = not options.quiet and not is_second_process()
    return Bars(enabled=is_shown and not options.verbose and sys.stderr.isatty(), notes=is_shown)


def _joined_pattern(arguments: Sequence[str]) -> list[str]:
    """Take what follows ``--pattern`` for its value, though it begins with dashes."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--pattern":
            joined[-1] = f"--pattern={argument}"
        else:
            joined.append(argument)
    return joined


def is_second_process() -> bool:
    """Whether `torchrun` started this process beside another one, which speaks to the user."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and os.environ.get("RANK", "0") != "0"
