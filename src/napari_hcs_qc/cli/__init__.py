"""The command ``hcs-qc``: every step, with progress bars, and one line on bad input."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from napari_hcs_qc.cli.bars import Bars
from napari_hcs_qc.cli.parser import load_command, make_parser
from napari_hcs_qc.errors import HcsQcError, ProblemsError
from napari_hcs_qc.job import Cancelled

if TYPE_CHECKING:
    from collections.abc import Sequence

BAD_INPUT = 2
"""Exit code when the input cannot be used, as for wrong arguments."""

_INTERRUPTED = 130  # as shells report a process that Ctrl+C ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    try:
        arguments = sys.argv[1:] if arguments is None else arguments
        options = make_parser(*arguments[:1]).parse_args(_joined_pattern(arguments))
        with Bars(enabled=not options.quiet and not is_second_process()) as bars:
            outcome = load_command(options.command).run(options, bars)
    except HcsQcError as error:
        _explain(error)
        return BAD_INPUT
    except (KeyboardInterrupt, Cancelled):
        print("hcs-qc: stopped; run the same command again to resume.", file=sys.stderr)
        return _INTERRUPTED
    if is_second_process():
        return 0  # the first one prints the outcome
    if options.json:
        print(json.dumps(outcome.data, indent=2, ensure_ascii=False, default=str))
    else:
        for line in outcome.lines:
            print(line)
    return outcome.exit_code


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


def _explain(error: HcsQcError) -> None:
    line = " ".join(str(error).split())
    print(f"hcs-qc: error: {line}", file=sys.stderr)
    if isinstance(error, ProblemsError):
        # The line above shows the first five of them; here is every one.
        for problem in error.problems[5:]:
            print(f"  {problem}", file=sys.stderr)
