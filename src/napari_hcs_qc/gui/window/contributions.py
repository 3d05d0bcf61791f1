"""The command of the npe2 manifest that opens all panels; each panel is named there itself."""

from __future__ import annotations


def open_all() -> None:
    """Open the whole desk in the current viewer; the entry "HCS quality control" of the menu."""
    # Imported when it is asked for: napari reads this module to fill its menus.
    import napari

    from napari_hcs_qc.gui.window.desk import open_desk

    viewer = napari.current_viewer()
    if viewer is None:
        raise RuntimeError("There is no napari viewer in which to open HCS quality control.")
    open_desk(viewer)
