"""What a gallery says of a cell, and where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_hcs_qc.gui.session.session import Session


def describe_cell(
    session: Session,
    row: int,
    p_abnormal: NDArray[np.floating[Any]],
    novelty: NDArray[np.floating[Any]] | None,
) -> str:
    """Describe a cell of the plate shown; empty where there is no such cell."""
    state, annotated = session.selection.state, session.annotations.rows
    if state is None or annotated is None or not 0 <= row < len(state.plate_cells.cells):
        return ""
    cell = state.plate_cells.cells.iloc[row]
    lines = [f"{cell['well']} site {cell['site']}, y {cell['y_px']:.0f}, x {cell['x_px']:.0f}"]
    if not session.annotations.is_blind and np.isfinite(p_abnormal[row]):
        lines.append(f"abnormal score {p_abnormal[row]:.2f}")
    if novelty is not None and np.isfinite(novelty[row]):
        lines.append(
            f"novel: {novelty[row]:.1f} times the usual distance from annotated cells"
            if novelty[row] > 1
            else f"similar to annotated cells ({novelty[row]:.1f} of the usual distance)"
        )
    if annotated.classes[row] == "conflict":
        lines.append("annotated: annotators disagree")
    elif annotated.classes[row] is not None:
        kind = f", {annotated.kinds[row]}" if annotated.kinds[row] else ""
        lines.append(f"annotated {annotated.classes[row]}{kind}")
    return "\n".join(lines)


def empty_text(session: Session) -> str:
    """Say why no cell is shown, and what to do."""
    if session.assay.folder is None:
        return "Open an assay or a plate in the Plate panel; its cells appear here."
    if session.selection.plate is None:
        return "The images of this plate have moved or are missing."
    if session.selection.state is None:
        return "Press Find cells in the Plate panel; the cells appear here."
    if len(session.selection.state.plate_cells.cells):
        return "Sorting …"
    return "No cell was found on this plate."
