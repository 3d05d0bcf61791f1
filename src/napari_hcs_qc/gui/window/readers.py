"""npe2 reader: an assay dropped onto napari opens the desk; a plate shows its first site."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, TypeAlias

import napari

from napari_hcs_qc.cells.intensity import measure_intensity
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.gui.canvas.layers import first_readable, image_layers
from napari_hcs_qc.gui.canvas.workspace import has_workspace
from napari_hcs_qc.gui.plate.plate_opening import is_assay
from napari_hcs_qc.gui.window.plate_signs import looks_like_plate
from napari_hcs_qc.plates import open_plate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_hcs_qc.gui.canvas.layers import LayerData
    from napari_hcs_qc.plates.plate import Plate

_CONTRAST_SITES = 2  # of measure_intensity: few, since a person waits


Read: TypeAlias = "Callable[[object], list[LayerData] | list[tuple[None]]]"

_NOTHING: list[tuple[None]] = [(None,)]
"""What npe2 expects where a path was opened and there is no layer to add."""


def get_reader(path: str | Sequence[str]) -> Read | None:
    """Offer to read `path` if it is an assay or a plate; None leaves it to other plugins."""
    if not isinstance(path, str):
        return None
    where = Path(path)
    if is_assay(where):
        return lambda _path: _open_in_desk(where)
    if not looks_like_plate(where):
        return None
    return lambda _path: _open_in_desk(where) if _has_desk() else read_plate(open_plate(where))


def _has_desk() -> bool:
    """Whether the current viewer works on assays already."""
    viewer = napari.current_viewer()
    return viewer is not None and has_workspace(viewer)


def _open_in_desk(path: Path) -> list[tuple[None]]:
    """Open an assay in the desk of the current viewer, or ask where that of a plate should be."""
    from napari_hcs_qc.gui.plate.plate_opening import open_path
    from napari_hcs_qc.gui.window.desk import open_desk

    viewer = napari.current_viewer()
    if viewer is None:
        raise HcsQcError(
            f"The assay {path} is shown in a window; use: hcs-qc open {quote(str(path))}."
        )
    workspace = open_desk(viewer)
    open_path(workspace.session, path, viewer.window._qt_window)
    return _NOTHING


def read_plate(plate: Plate) -> list[LayerData]:
    """Give the layers of the first readable site of a plate."""
    site, pixels = first_readable(plate)
    ranges = measure_intensity(plate, n_sites=_CONTRAST_SITES)
    return image_layers(plate, site, pixels, ranges)
