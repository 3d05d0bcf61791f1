"""How a command ends that cannot go on: one line, never a traceback."""

from __future__ import annotations

import errno
import json
import os
import platform
import sys
import tempfile
import traceback
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.errors import HcsQcError, ProblemsError, some_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

BAD_INPUT = 2
"""Exit code when the input cannot be used, as for wrong arguments."""
UNEXPECTED = 3
"""Exit code of an error of the program itself."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def encode_anything() -> None:
    """Write what the encoding of the terminal lacks as its code instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def explain(error: Exception, arguments: Sequence[str]) -> int:
    """Print what went wrong, for a person and with ``--json`` as data; give the exit code."""
    code, text, details = BAD_INPUT, str(error), None
    problems = error.problems if isinstance(error, ProblemsError) else ()
    if isinstance(error, HcsQcError):
        pass
    elif isinstance(error, MemoryError):
        text = (
            "There is not enough memory for this step. Close other programs and run the same "
            "command again; what is finished is kept."
        )
    elif isinstance(error, OSError) and error.errno in _FULL:
        where = f" {error.filename}" if error.filename else ""
        text = (
            f"Cannot write{where}: {error.strerror}: the disk or quota is full; free some space "
            "and run the same command again."
        )
    else:
        code, details = UNEXPECTED, _keep_details(error, arguments)
        where = "could not be written" if details is None else f"are in {details}"
        text = (
            f"unexpected {type(error).__name__}: {error}. This is an error of the program; please "
            f"report it. Details {where}."
        )
    line = " ".join(text.split())
    print(f"hcs-qc: error: {line}", file=sys.stderr)
    shown = [" ".join(text.split()) for text in some_lines(problems)]
    if any(problem not in line for problem in shown):  # else the line has all of them
        print(*(f"  {problem}" for problem in shown), sep="\n", file=sys.stderr)
    texts = [str(problem) for problem in problems]
    print_failure(arguments, line, code, problems=texts, details=details)
    return code


def print_failure(
    arguments: Sequence[str],
    text: str,
    code: int,
    *,
    problems: Sequence[str] = (),
    details: Path | None = None,
) -> None:
    """Print with ``--json`` why a command failed, as data."""
    if "--json" in arguments:
        data = {
            "error": text,
            "exit_code": code,
            "problems": list(problems),
            "details": None if details is None else str(details),
        }
        print(json.dumps(data, indent=2))


def _keep_details(error: Exception, arguments: Sequence[str]) -> Path | None:
    """Write what a developer needs; None where no folder takes it."""
    from napari_hcs_qc import __version__

    lines = [
        f"napari-hcs-qc {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"hcs-qc {' '.join(map(str, arguments))}",
        "",
        *traceback.format_exception(error),
    ]
    name = f"hcs-qc-error-{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.txt"
    for folder in _folders():
        try:
            path = folder / name
            path.write_text("\n".join(lines), encoding="utf-8", errors="backslashreplace")
        except OSError:
            continue
        return path
    return None


def _folders() -> list[Path]:
    try:
        return [Path(tempfile.gettempdir()), Path.cwd()]
    except OSError:  # no folder for temporary files can be written to
        return [Path.cwd()]
