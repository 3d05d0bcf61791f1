"""How predictions are shown on the images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ColourBy = Literal["class", "score", "kind"]


@dataclass(frozen=True, kw_only=True)
class OverlayOptions:
    """How predictions are shown on the images."""

    colour_by: ColourBy = "class"  # what the colour of a cell's outline says
    only_abnormal: bool = False  # whether normal cells are left out
    halo: bool = True  # whether annotated cells have a mark of their own
    crop: bool = True  # whether the crop of the cell that a key acts on is outlined
    # Whether nuclei are filled with the colour of their class, where masks exist
    masks: bool = False
    contours: bool = False  # whether they have their contour in place of a ring
    heat: bool = False  # whether places that are unlike the plate are coloured
    opacity: float = 1.0  # of the outlines, 0 to 1
