"""Nuclei filled or outlined with the colour of their class, where masks exist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import QObject

from napari_hcs_qc.assay.store.masks import site_masks
from napari_hcs_qc.gui.canvas.cell_colours import cell_colours
from napari_hcs_qc.gui.canvas.our_layers import MASKS
from napari_hcs_qc.gui.keys.own_keys import status_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_hcs_qc.gui.canvas.overlay_options import OverlayOptions
    from napari_hcs_qc.gui.canvas.workspace import Workspace
    from napari_hcs_qc.plates.plate import SiteKey

_FILLED = 0.4  # opacity of filled nuclei
_CONTOUR_PX = 2


class MaskLayer(QObject):
    """Keeps a Labels layer of the nuclei of the site, when the overlay asks for it.

    Masks are found again (or read again) in the background, for the site on screen only.
    """

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace.session)
        self._workspace = workspace
        self._on_screen: object = None
        view = workspace.view
        view.shown.connect(self.refresh)
        view.options_changed.connect(self.refresh)
        view.cells_changed.connect(self._recolour)
        workspace.session.models.threshold_changed.connect(self._recolour)
        workspace.session.annotations.person_changed.connect(self._recolour)
        workspace.session.assay.kinds_changed.connect(self._recolour)

    @classmethod
    def of(cls, workspace: Workspace) -> MaskLayer:
        """Give the one of a workspace; made at the first call."""
        known = workspace.session.findChild(cls)
        return known if isinstance(known, cls) else cls(workspace)

    def refresh(self, *_: object) -> None:
        """Show or hide the masks of the site on screen."""
        view, session = self._workspace.view, self._workspace.session
        layer: Any = view.mask_layer
        site, state = view.on_screen, session.selection.state
        if not _is_shown(view.value()) or view.is_raw or site is None or state is None:
            if layer is not None and layer.visible:
                layer.visible = False
                view.refresh_cells()  # with rings again
            return
        if layer is not None and self._on_screen == (state.plate.name, site):
            self._draw(layer, site)
            return
        if layer is not None:
            layer.visible = False  # it has those of another site
        job = session.start(
            f"Masks of {site}",
            _masks,
            state.plate,
            state.plate_cells,
            site,
            slot="masks",
            quiet=True,
            failure="warning",
        )
        job.finished.connect(lambda labels: self._show(site, labels))

    def _show(self, site: SiteKey, labels: NDArray[np.int32] | None) -> None:
        view, session = self._workspace.view, self._workspace.session
        state = session.selection.state
        if site != view.on_screen or state is None:
            return
        if labels is None:
            session.message.emit(
                "info", "There are no masks: cells were imported as positions only."
            )
            return
        layer: Any = view.mask_layer
        if layer is None:
            active = view.viewer.layers.selection.active
            layer = view.viewer.add_labels(
                labels,
                name=MASKS,
                metadata={"hcs_qc": MASKS},
                **view.place,
            )
            layer.editable = False
            layer.help = status_text()
            view.viewer.layers.selection.active = active
        else:
            layer.data = labels
            layer.scale, layer.units = view.place["scale"], view.place["units"]
        self._on_screen = (state.plate.name, site)
        self._draw(layer, site)

    def _draw(self, layer: Any, site: SiteKey) -> None:
        """Show the layer filled or as contours, and rings where it shows none."""
        view = self._workspace.view
        options = view.value()
        layer.metadata["site"] = site
        layer.contour = 0 if options.masks else _CONTOUR_PX
        layer.opacity = _FILLED if options.masks else 1.0
        layer.visible = _is_shown(options)
        view.refresh_cells()

    def _recolour(self, *_: object) -> None:
        view, session = self._workspace.view, self._workspace.session
        layer: Any = view.mask_layer
        cells, state = view.cells, session.selection.state
        if layer is None or not layer.visible or cells is None or state is None:
            return
        look = cell_colours(
            cells,
            session.models.threshold,
            view.value().colour_by,
            kinds=session.assay.kinds,
            is_blind=session.annotations.is_blind,
        )
        is_detected = cells.rows >= 0
        ids = state.plate_cells.cells["label"].to_numpy()[cells.rows[is_detected]]
        colours: dict[int | None, Any] = {None: np.zeros(4), 0: np.zeros(4)}
        colours.update(
            (int(number), colour)
            for number, colour in zip(ids, look.outline[is_detected], strict=True)
        )
        layer.colormap = DirectLabelColormap(color_dict=colours)


def _is_shown(options: OverlayOptions) -> bool:
    return options.masks or options.contours


def _masks(plate: Any, plate_cells: Any, site: SiteKey, **_job: Any) -> NDArray[np.int32] | None:
    return site_masks(plate, plate_cells, site)
