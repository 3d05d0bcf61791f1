"""The command of the npe2 manifest that opens all panels; each panel is named there itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget


def guide_of_desk() -> QWidget:
    """Give the guide as a widget of the Plugins menu; the other panels follow it."""
    import napari
    from qtpy.QtCore import QTimer

    from napari_hcs_qc.gui.window.desk import open_desk
    from napari_hcs_qc.gui.window.guide_dock import GuideDock

    viewer = napari.current_viewer()
    if viewer is None:
        raise RuntimeError("There is no napari viewer in which to open HCS quality control.")
    guide = GuideDock(viewer)
    # Once napari has docked it, which it does with what is given here.
    later = QTimer(guide)
    later.setSingleShot(True)
    later.timeout.connect(lambda: open_desk(viewer))
    later.start(0)
    return guide


def open_all() -> None:
    """Open the whole desk in the current viewer; the entry "HCS quality control" of the menu."""
    # Imported when it is asked for: napari reads this module to fill its menus.
    import napari

    from napari_hcs_qc.gui.window.desk import open_desk

    viewer = napari.current_viewer()
    if viewer is None:
        raise RuntimeError("There is no napari viewer in which to open HCS quality control.")
    open_desk(viewer)
