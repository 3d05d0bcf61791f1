"""npe2 sample data: the first site of the simulated sample plate."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.gui.window.readers import read_plate
from napari_hcs_qc.plates import open_plate
from napari_hcs_qc.study.simulation.synthetic import sample_spec, simulate_plate

if TYPE_CHECKING:
    from napari_hcs_qc.gui.canvas.layers import LayerData

_WELLS = 2


def load_sample() -> list[LayerData]:
    """Simulate the first wells of the sample plate and give the layers of their first site."""
    spec = sample_spec()
    wells = spec.wells[:_WELLS]
    schedule = tuple(item for item in spec.schedule if item[0] in wells)
    with tempfile.TemporaryDirectory() as folder:
        made = simulate_plate(Path(folder), spec.with_changes(wells=wells, schedule=schedule))
        return read_plate(open_plate(made.plate_dir))
