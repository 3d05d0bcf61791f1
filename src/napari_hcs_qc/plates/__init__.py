"""What was imaged: plates, wells, sites and channels, one module per source format."""

from napari_hcs_qc.plates.open import open_plate
from napari_hcs_qc.plates.pixels import Layout
from napari_hcs_qc.plates.plate import Channel, Plate, Projection, SiteKey
from napari_hcs_qc.plates.wells import PLATE_SHAPES, WellName, parse_well, plate_shape, well_name

__all__ = [
    "PLATE_SHAPES",
    "Channel",
    "Layout",
    "Plate",
    "Projection",
    "SiteKey",
    "WellName",
    "open_plate",
    "parse_well",
    "plate_shape",
    "well_name",
]
