"""Names of the keys of the desk; none of them has a meaning for napari's viewer or its windows.

They are the defaults, by which the actions are known; see `own_keys`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hcs_qc.assay.annotations.kinds import Kind

NEXT = "."
UNDO, REDO = "Ctrl+Z", "Ctrl+Shift+Z"
RETRAIN = "Ctrl+Shift+R"
BEFORE, AFTER = "[", "]"
DESELECT = "Esc"
RAW = "I"
CHANNELS = tuple(f"F{number}" for number in range(1, 9))
GALLERY = "F9"
HELP = "?"

CLASS_KEYS: dict[str, tuple[str | None, str | None]] = {
    "N": ("normal", None),
    "A": ("abnormal", None),
    "U": ("unsure", None),
    "Backspace": (None, None),
    "Delete": (None, None),
}
"""Keys that annotate a cell without a kind: class and kind; None removes the annotation."""

_QT_NAMES = {"Del": "Delete"}
_SHIFT = Qt.KeyboardModifier.ShiftModifier
_MODIFIERS = {
    "Ctrl": Qt.KeyboardModifier.ControlModifier,
    "Alt": Qt.KeyboardModifier.AltModifier,
    "Shift": _SHIFT,
    "Meta": Qt.KeyboardModifier.MetaModifier,
}


def keys_of(kinds: Sequence[Kind]) -> dict[str, tuple[str | None, str | None]]:
    """Give all keys that annotate a cell: class and kind."""
    return CLASS_KEYS | {kind.key: ("abnormal", kind.name) for kind in kinds if kind.key}


def key_name(event: Any) -> str:
    """Name the key of an event, with what is held, as ``Ctrl+Shift+Z``."""
    held = event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
    text = event.text()
    if len(text) == 1 and text.isprintable() and not text.isalpha() and not held & ~_SHIFT:
        # wherever the layout has it, with Shift or not
        return str(text) if text != " " else "Space"
    return _name(event.key(), held)


def name_of(sequence: QKeySequence) -> str:
    """Name the first key of a sequence as `key_name` names it when it is pressed; "" for none."""
    if not sequence.count():
        return ""
    combination = sequence[0]
    held = combination.keyboardModifiers() & ~Qt.KeyboardModifier.KeypadModifier
    name = _name(combination.key(), Qt.KeyboardModifier.NoModifier)
    is_sign = len(name) == 1 and not name.isalpha()
    return name if is_sign and not held & ~_SHIFT else _name(combination.key(), held)


def _name(key: Any, held: Any) -> str:
    name = QKeySequence(key).toString(QKeySequence.SequenceFormat.PortableText)
    prefix = "".join(f"{text}+" for text, modifier in _MODIFIERS.items() if held & modifier)
    return prefix + _QT_NAMES.get(name, name)
