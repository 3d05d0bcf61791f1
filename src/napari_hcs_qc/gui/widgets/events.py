"""Events of Qt as what they are."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import qtpy
from qtpy.QtCore import QEvent
from qtpy.QtGui import QKeyEvent


def as_event(event: Any, kind: type[QEvent]) -> Any:
    """Give an event, known by its `type()`, with the methods of its class.

    PyQt hands it to event filters in the wrapper of an event that was at its address before while
    anybody keeps that one, as napari's canvas keeps clicks: a key then is no `QKeyEvent`.
    """
    if isinstance(event, kind) or not (qtpy.PYQT6 or qtpy.PYQT5):
        return event
    sip: Any = import_module("qtpy.sip")  # its types are wrong
    return sip.wrapinstance(sip.unwrapinstance(event), kind)


def as_key(event: Any) -> Any:
    """Give a key that is pressed, or that no shortcut may take; None for other events."""
    is_key = event.type() in (QEvent.Type.KeyPress, QEvent.Type.ShortcutOverride)
    return as_event(event, QKeyEvent) if is_key else None
