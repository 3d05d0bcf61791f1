"""The contract of long work: progress callbacks, a stop question, and `Cancelled`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

OnProgress: TypeAlias = Callable[[int, int, str], None]
"""Called as ``on_progress(done, total, message)``; `total` is 0 while it is unknown."""

ShouldStop: TypeAlias = Callable[[], bool]
"""Asked between units of work; the work raises `Cancelled` when it answers true."""


class Cancelled(Exception):
    """Raised by long work after `should_stop` answered true; what was finished stays valid."""


def no_progress(_done: int, _total: int, _message: str) -> None:
    """Report nothing."""


def never_stop() -> bool:
    """Answer that the work should go on."""
    return False


def duration(seconds: float) -> str:
    """Say a time as a person would: ``40 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def check_stop(should_stop: ShouldStop) -> None:
    """Raise `Cancelled` if `should_stop` says so.

    Raises
    ------
    Cancelled
        When ``should_stop()`` is true.
    """
    if should_stop():
        raise Cancelled
