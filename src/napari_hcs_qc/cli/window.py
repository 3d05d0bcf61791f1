"""Whether a window can be opened here, and opening it."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def why_no_window() -> str:
    """Say why napari cannot be opened here; empty when it can."""
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return "There is no display here, so napari was not opened."
    if find_spec("napari") is None:
        return "napari is not installed (pip install 'napari-hcs-qc[all]')."
    return ""


def show_assay(assay: Path | None) -> None:
    """Open napari with the whole desk, and stay until its window is closed."""
    from napari_hcs_qc.gui.window.desk import show_desk

    show_desk(assay)
