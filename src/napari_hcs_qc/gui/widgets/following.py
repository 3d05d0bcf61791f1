"""Following the signals of what outlives a widget, such as a session or a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtCore import QObject

if TYPE_CHECKING:
    from collections.abc import Callable


def follow(signal: Any, owner: QObject, act: Callable[..., object]) -> None:
    """Call a function at each signal while its owner lives.

    Qt cuts the connections to methods of an object that it deletes, but not those to functions
    that hold the object: a panel whose dock was closed would be called, and raise.
    """
    signal.connect(lambda *values: act(*values) if is_open(owner) else None)


def is_open(owner: object) -> bool:
    """Whether Qt has not deleted an object, as it does with a widget whose dock was closed."""
    return not isinstance(owner, QObject) or bool(isalive(owner))  # type: ignore[no-untyped-call]
