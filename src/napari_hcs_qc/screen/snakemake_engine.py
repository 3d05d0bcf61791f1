"""Snakemake, in a process that ends when the one that started it does.

``python -m napari_hcs_qc.screen.snakemake_engine OUT ARGUMENTS…`` runs Snakemake in the folder of a
screen. It holds a lock of the operating system while it runs, which ends with it however it ends;
Snakemake's own lock would stay behind a killed process, and is not used.

Standard input is a pipe that its parent holds open: when that is closed, and be it by SIGKILL, the
engine interrupts itself, upon which Snakemake ends local jobs and cancels those on a cluster.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = "engine.lock"
BUSY = 75
"""Exit code when another engine is at work in the folder (as EX_TEMPFAIL of sysexits.h)."""

_GRACE_S = 15.0


def main(arguments: list[str]) -> int:
    """Run Snakemake; gives its exit code."""
    out, *options = arguments
    lock = FileLock(Path(out) / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return BUSY
    _watch(os.dup(0))
    # Jobs inherit standard input, and none is to hold or read the pipe.
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    from snakemake.cli import main as snakemake

    try:
        snakemake(options)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _watch(pipe: int) -> None:
    def wait() -> None:
        while os.read(pipe, 1):
            pass
        _end_group(signal.SIGINT)
        time.sleep(_GRACE_S)
        _end_group(signal.SIGTERM)
        time.sleep(_GRACE_S)
        _end_group(getattr(signal, "SIGKILL", signal.SIGTERM))

    threading.Thread(target=wait, name="hcs-qc parent", daemon=True).start()


def _end_group(number: int) -> None:
    """Signal this process and its jobs: it leads a group of its own."""
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), number)
    else:
        os.kill(os.getpid(), number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
