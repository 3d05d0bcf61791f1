"""Assays that were opened of late, remembered between sessions."""

from __future__ import annotations

from pathlib import Path

import platformdirs

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import read_json, write_json

_MOST = 10


def recent_file() -> Path:
    """Give the file in which they are kept."""
    return platformdirs.user_state_path("napari-hcs-qc") / "recent.json"


def recent_assays() -> list[Path]:
    """List them, newest first; those that are gone are left out."""
    try:
        listed = read_json(recent_file()).get("assays", [])
    except HcsQcError:  # none yet, or damaged: a convenience, not worth a message
        return []
    paths = [Path(str(text)) for text in listed] if isinstance(listed, list) else []
    return [path for path in paths if (path / "assay.json").is_file()]


def remember(assay: Path) -> None:
    """Put an assay at the head of the list; where it cannot be written, nothing happens."""
    assay = assay.resolve()
    newest = [assay, *(path for path in recent_assays() if path != assay)][:_MOST]
    try:
        recent_file().parent.mkdir(parents=True, exist_ok=True)
        write_json(recent_file(), {"assays": [str(path) for path in newest]})
    except (HcsQcError, OSError):
        return
