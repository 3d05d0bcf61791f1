"""npe2 sample data: the simulated sample plate in the desk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import napari

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.gui.canvas.our_layers import empty_cells
from napari_hcs_qc.gui.window.desk import GUIDE, open_desk, panel

if TYPE_CHECKING:
    from napari_hcs_qc.gui.canvas.layers import LayerData


def load_sample() -> list[LayerData]:
    """Open the desk on the sample plate, which is made at the first time.

    napari wants a layer at once: it is given that of the cells, which is empty until then.
    """
    viewer = napari.current_viewer()
    if viewer is None:
        raise HcsQcError("The sample plate is shown in a window; there is no napari viewer.")
    open_desk(viewer)
    panel(viewer, GUIDE).open_sample()
    return [empty_cells()]
