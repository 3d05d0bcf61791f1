"""What colour and mark a cell has in the viewer; pure functions, no napari needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.assay.annotations.kinds import BUILT_IN_KINDS
from napari_hcs_qc.gui.widgets.palette import (
    ABNORMAL_COLOUR,
    NEUTRAL_COLOUR,
    NORMAL_COLOUR,
    UNSURE_COLOUR,
    rgba,
    sequential_rgba,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.annotations.kinds import Kind
    from napari_hcs_qc.assay.views.site_cells import SiteCells
    from napari_hcs_qc.gui.canvas.overlay_options import ColourBy

CLASS_COLOURS = {
    "normal": NORMAL_COLOUR,
    "abnormal": ABNORMAL_COLOUR,
    "unsure": UNSURE_COLOUR,
    "conflict": UNSURE_COLOUR,
    "not classified": NEUTRAL_COLOUR,
}
CUT_OPACITY = 0.35  # of cells that the image border cuts: shown, but not counted
# Shapes beside colours, so that everybody can see the class.
SYMBOLS = {"normal": "disc", "abnormal": "square", "unsure": "diamond", "conflict": "cross"}
RINGS = {"abnormal": "square"}  # of predictions; all others are circles


@dataclass(frozen=True, eq=False, kw_only=True)
class CellLook:
    """How the cells of a site look."""

    predicted_class: NDArray[np.object_]  # (n,) class at the threshold
    outline: NDArray[np.float64]  # (n, 4) RGBA in [0, 1] of the outlines
    halo: NDArray[np.float64]  # (n, 4) RGBA of the mark of annotated cells
    symbol: NDArray[np.object_]  # (n,) napari symbol of that mark
    ring: NDArray[np.object_]  # (n,) napari symbol of the outlines


def cell_colours(
    cells: SiteCells,
    threshold: float,
    colour_by: ColourBy,
    *,
    kinds: Sequence[Kind] = BUILT_IN_KINDS,
    is_blind: bool = False,
) -> CellLook:
    """Choose the look of the cells of a site."""
    n = len(cells)
    if is_blind:
        predicted = np.full(n, "not classified", dtype=object)
        outline = _by_name(predicted, CLASS_COLOURS)
    else:
        predicted = cells.predicted_class(threshold)
        if colour_by == "score":
            outline = sequential_rgba(cells.p_abnormal)
        elif colour_by == "kind":
            # A kind that the assay does not list looks like an abnormal cell of none.
            colours = {kind.name: kind.colour for kind in kinds}
            is_known = (predicted == "abnormal") & np.isin(cells.predicted_kind, [*colours])
            outline = _by_name(predicted, CLASS_COLOURS)
            outline[is_known] = _by_name(cells.predicted_kind[is_known], colours)
        else:
            outline = _by_name(predicted, CLASS_COLOURS)
    annotated = cells.annotated_class
    is_open = np.array([text is None for text in annotated], dtype=bool)
    outline[cells.is_cut & is_open, 3] *= CUT_OPACITY
    symbol = np.array([SYMBOLS.get(name, "disc") for name in annotated], dtype=object)
    ring = np.array([RINGS.get(name, "disc") for name in predicted], dtype=object)
    return CellLook(
        predicted_class=predicted,
        outline=outline,
        halo=_by_name(annotated, CLASS_COLOURS),
        symbol=symbol,
        ring=ring,
    )


def _by_name(names: Any, colours: dict[str, str]) -> NDArray[np.float64]:
    chosen = [rgba(colours.get(name, NEUTRAL_COLOUR)) for name in names]
    return np.array(chosen, dtype=np.float64).reshape(-1, 4)
