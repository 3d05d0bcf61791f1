"""Where on the site something lies that is unlike the plate: a heat map over the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from napari_hcs_qc.gui.canvas.our_layers import HEAT
from napari_hcs_qc.gui.keys.own_keys import status_text
from napari_hcs_qc.workflow import desk_steps

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Image
    from numpy.typing import NDArray

    from napari_hcs_qc.gui.canvas.workspace import Workspace
    from napari_hcs_qc.plates.plate import SiteKey

_LIMITS = (1.0, 3.0)  # what is below is usual on the plate, and is not coloured
_LOOK = {"colormap": "inferno", "opacity": 0.6, "blending": "additive"}


class HeatLayer(QObject):
    """Keeps an Image layer of the artefact map of the site, when the overlay asks for it.

    Made in the background, for the site on screen only. Colours and opacity are the person's to
    change in napari's own controls of the layer.
    """

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace.session)
        self._workspace = workspace
        self._on_screen: object = None
        workspace.view.shown.connect(self.refresh)
        workspace.view.options_changed.connect(self.refresh)
        workspace.session.annotations.person_changed.connect(self.refresh)

    @classmethod
    def of(cls, workspace: Workspace) -> HeatLayer:
        """Give the one of a workspace; made at the first call."""
        known = workspace.session.findChild(cls)
        return known if isinstance(known, cls) else cls(workspace)

    def refresh(self, *_: object) -> None:
        """Show or hide the map of the site on screen."""
        view, session = self._workspace.view, self._workspace.session
        layer: Any = self._layer()
        site, state = view.on_screen, session.selection.state
        is_wanted = view.value().heat and not view.is_raw and not session.annotations.is_blind
        is_ready = state is not None and self._on_screen == (state.plate.name, site)
        if layer is not None:
            layer.visible = is_wanted and is_ready  # else it is that of another site
        if not is_wanted or site is None or state is None or (is_ready and layer is not None):
            return
        frozen = self._workspace.tasks.freeze()
        if frozen is None:
            return
        plate = state.plate.name
        job = session.start(
            f"Artefact map of {site}",
            desk_steps.artefact_map,
            frozen,
            plate,
            site,
            slot="artefact map",
            quiet=True,
            failure="warning",
        )
        job.finished.connect(lambda values: self._show(plate, site, values))

    def _layer(self) -> Image | None:
        layers = self._workspace.view.viewer.layers
        return next((item for item in layers if item.metadata.get("hcs_qc") == HEAT), None)

    def _show(self, plate: str, site: SiteKey, values: NDArray[np.float32]) -> None:
        view, state = self._workspace.view, self._workspace.session.selection.state
        if site != view.on_screen or state is None or state.plate.name != plate:
            return
        layer: Any = self._layer()
        if layer is None:
            layers = view.viewer.layers
            active = layers.selection.active
            layer = view.viewer.add_image(
                values,
                name=HEAT,
                metadata={"hcs_qc": HEAT},
                contrast_limits=_LIMITS,
                **_LOOK,
                **view.place,
            )
            layer.help = status_text()
            n_channels = sum(item.metadata.get("hcs_qc") == "channel" for item in layers)
            layers.move(layers.index(layer), n_channels)  # below the cells
            layers.selection.active = active
        else:
            layer.data = values
            layer.scale, layer.units = view.place["scale"], view.place["units"]
        self._on_screen = (plate, site)
        self.refresh()
