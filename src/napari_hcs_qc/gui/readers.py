"""npe2 reader: a plate dropped onto napari shows its first site, with the plate's contrast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.cells.intensity import measure_intensity
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.gui.layers import first_readable, image_layers
from napari_hcs_qc.plates import open_plate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_hcs_qc.gui.layers import LayerData
    from napari_hcs_qc.plates.plate import Plate

_CONTRAST_SITES = 2  # of measure_intensity: few, since a person waits


def get_reader(path: str | Sequence[str]) -> Callable[[object], list[LayerData]] | None:
    """Offer to read `path` if it is a plate; None leaves it to other plugins.

    Parameters
    ----------
    path
        A folder, an OME-Zarr plate, or a LoadData table. Several paths are not a plate.
    """
    if not isinstance(path, str):
        return None
    try:
        plate = open_plate(Path(path))
    except HcsQcError:
        return None
    return lambda _path: read_plate(plate)


def read_plate(plate: Plate) -> list[LayerData]:
    """Give the layers of the first readable site of a plate.

    Raises
    ------
    HcsQcError
        When no site can be read.
    """
    site, pixels = first_readable(plate)
    ranges = measure_intensity(plate, n_sites=_CONTRAST_SITES)
    return image_layers(plate, site, pixels, ranges)
