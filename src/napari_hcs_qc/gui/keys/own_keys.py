"""Keys that a person has chosen in place of the desk's own, kept for all assays.

An action is known by its default key: `shown` gives the key that it has now, and `meaning` the
default key of what a pressed key does now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import platformdirs
from napari.components import ViewerModel
from napari.settings import get_settings
from napari.utils.action_manager import action_manager

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import read_json, write_json
from napari_hcs_qc.gui.keys import key_names as keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_hcs_qc.assay.annotations.kinds import Kind

TITLES: dict[str, str] = {
    "N": "normal",
    "A": "abnormal",
    "U": "unsure",
    "Backspace": "remove annotation or verdict",
    keys.NEXT: "next cell that teaches most",
    keys.UNDO: "undo",
    keys.REDO: "redo",
    keys.RETRAIN: "retrain",
    keys.BEFORE: "previous site",
    keys.AFTER: "next site",
    keys.DESELECT: "select nothing",
    keys.RAW: "raw image",
    **{key: f"channel {number} alone" for number, key in enumerate(keys.CHANNELS, start=1)},
    keys.GALLERY: "gallery in the whole window",
    "K": "Review: keep the well",
    "X": "Review: exclude the well",
    "L": "Review: look again",
    "S": "Review: exclude the site",
    keys.HELP: "all keys",
}
"""Actions whose key can be changed, by their default keys."""

# Which mean something wherever they are pressed in a panel.
_FIXED = {
    "Delete": "remove your annotation",
    "Ctrl+A": "select all cells shown",
    "Tab": "go to the next control",
    "Return": "show the cell in its site",
    "Enter": "show the cell in its site",
    **dict.fromkeys(
        ("Left", "Right", "Up", "Down", "PgUp", "PgDown", "Home", "End"), "move in the gallery"
    ),
}
_chosen: dict[str, str] = {}  # those that differ from the default


def keys_file() -> Path:
    """Give the file in which they are kept."""
    return platformdirs.user_config_path("napari-hcs-qc") / "keys.json"


def read_keys() -> None:
    """Use what is kept; the defaults where nothing is, or where it cannot be used."""
    try:
        kept = read_json(keys_file()).get("keys", {})
    except HcsQcError:
        kept = {}
    kept = kept if isinstance(kept, dict) else {}
    read = {default: str(kept.get(default, default)) for default in TITLES}
    _use(read if all(read.values()) and len(set(read.values())) == len(read) else {})


def save_keys(chosen: Mapping[str, str]) -> None:
    """Use these keys of actions from now on, and keep them."""
    _use(chosen)
    keys_file().parent.mkdir(parents=True, exist_ok=True)
    write_json(keys_file(), {"format_version": 1, "keys": _chosen})


def _use(chosen: Mapping[str, str]) -> None:
    _chosen.clear()
    _chosen.update({default: key for default, key in chosen.items() if key != default})


def shown(default: str) -> str:
    """Give the key that an action has now."""
    return _chosen.get(default, default)


def meaning(key: str) -> str:
    """Give the default key of what a key does now; "" where its action has another key."""
    for default, chosen in _chosen.items():
        if chosen == key:
            return default
    return "" if key in _chosen else key


def status_text() -> str:
    """Give what napari's status bar says while one of our layers is the active one."""
    return (
        f"{shown('N')} normal, {shown('A')} abnormal, {shown('U')} unsure, "
        f"{shown(keys.NEXT)} next cell, {shown(keys.HELP)} all keys"
    )


def clash(chosen: Mapping[str, str], kinds: Sequence[Kind]) -> str:
    """Give what is wrong with a choice of keys, in a sentence; "" where nothing is."""
    used: dict[str, str] = {kind.key: f"the kind {kind.name}" for kind in kinds if kind.key}
    used |= _FIXED | napari_keys()
    for default, title in TITLES.items():
        key = chosen.get(default, default)
        if not key:
            return f"“{title}” has no key; press one in its line."
        if key in used:
            return f"The key {key} of “{title}” is taken: {used[key]}. Choose another."
        used[key] = title
    return ""


def napari_keys() -> dict[str, str]:
    """Give the keys of napari's viewer, as they are set in its preferences, and what they do."""
    actions = action_manager._actions
    found: dict[str, str] = {}
    for name, bindings in get_settings().shortcuts.shortcuts.items():
        action = actions.get(name)
        if action is not None and action.keymapprovider is ViewerModel:
            about = f"napari's “{action.description.strip().rstrip('.')}”"
            found |= {str(binding): about for binding in bindings}
    return found
