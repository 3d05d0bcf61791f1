"""The layers of one viewer: the channels of the site shown, its cells and their marks."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_hcs_qc.errors import UnreadableSiteError
from napari_hcs_qc.gui.canvas.cell_colours import cell_colours
from napari_hcs_qc.gui.canvas.layers import image_layers
from napari_hcs_qc.gui.canvas.overlay_options import OverlayOptions
from napari_hcs_qc.gui.session.background_jobs import error_text

if TYPE_CHECKING:
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Points, Shapes
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.views.site_cells import SiteCells
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.gui.session.session import Session
    from napari_hcs_qc.plates.plate import SiteKey
    from napari_hcs_qc.plates.site_cache import SiteCache, SitePixels

_LOG = logging.getLogger(__name__)

CELLS, ANNOTATED, CROP, MASKS = "cells", "annotated", "crop", "masks"
TARGET, SELECTION = "target", "selection"
_AHEAD = 3

# Frames close about the rings, so that it is plain which cell they mean: of what is only selected,
# and of the target its rim and the frame on it. In diameters of the cell and of nuclei.
_FRAME_DIAMETERS, _FRAME_MARGINS = 1.4, np.array([0.2, 0.28, 0.22])
_FRAME_WIDTHS = np.array([0.03, 0.14, 0.08])
_FRAME_COLOURS = np.array([[1, 1, 1, 0.5], [0, 0, 0, 1], [1, 1, 1, 1]], dtype=float)


class SiteView(QObject):
    """Keeps the layers of a viewer in step with a session.

    Layers are made once and then changed: making one costs a fifth of a second, changing one a
    few milliseconds. A layer that the person has deleted is made again with the next site; layers
    that are not ours are left alone.
    """

    shown = Signal(object)
    cells_changed = Signal()
    options_changed = Signal(object)
    _arrived = Signal(object, object, object)

    def __init__(self, viewer: ViewerModel, session: Session) -> None:
        super().__init__(session)
        self.viewer = viewer
        self._session = session
        self._options = OverlayOptions()
        self.cells: SiteCells | None = None
        self._on_screen: SiteKey | None = None
        self._plate_on_screen: object = None
        self._centre_on: tuple[float, float] | None = None
        self._arrived.connect(self._receive)
        session.selection.plate_changed.connect(self._plate_changed)
        session.selection.site_changed.connect(self._go_to)
        session.annotations.changed.connect(self._annotations_changed)
        session.models.scored_changed.connect(self.refresh_cells)
        session.models.novelty_changed.connect(self.refresh_cells)
        session.models.threshold_changed.connect(self._recolour)
        session.annotations.person_changed.connect(self._recolour)
        session.assay.kinds_changed.connect(self._recolour)
        session.selection.cell_chosen.connect(self.look_at)
        session.target.changed.connect(self._mark_target)
        session.target.selected.connect(self._mark_target)

    # ---- options -------------------------------------------------------------------------

    def value(self) -> OverlayOptions:
        """Options now."""
        return self._options

    def set_value(self, options: OverlayOptions) -> None:
        """Change the options; the layers follow at once."""
        if options == self._options:
            return
        self._options = options
        self._recolour()
        self._outline_crop()
        self.options_changed.emit(options)

    # ---- the site ------------------------------------------------------------------------

    @property
    def cell_layer(self) -> Points | None:
        """Our layer of cells, None where there is none."""
        return self._layer(CELLS)

    @property
    def on_screen(self) -> SiteKey | None:
        """The site whose pixels are shown; that of the session may still be on its way."""
        return self._on_screen

    @property
    def scale(self) -> float:
        """Length of a pixel in the units of the viewer."""
        plate = self._session.selection.plate
        return 1.0 if plate is None or not plate.pixel_size_um else plate.pixel_size_um

    def look_at(self, yx_px: tuple[float, float]) -> None:
        """Bring a position of the site into the middle, close enough to see a cell."""
        if self._on_screen != self._session.selection.site:
            self._centre_on = yx_px
            return
        self._centre_on = None
        camera = self.viewer.scene.camera
        camera.center = (0.0, yx_px[0] * self.scale, yx_px[1] * self.scale)
        state = self._session.selection.state
        if state is not None:  # a cell as large as a thumb
            zoom = 60.0 / (state.plate_cells.diameter_px * self.scale)
            camera.zoom = max(camera.zoom, zoom)

    def _plate_changed(self) -> None:
        """Forget the cells on screen: a key pressed now must not act on those of another plate."""
        if self._on_screen is not None:
            self._on_screen = None
            self.refresh_cells()

    def _go_to(self, site: SiteKey | None) -> None:
        cache = self._session.selection.cache
        if site is None or cache is None:
            self._clear()
            return
        ready = cache.peek(site)
        if ready is not None:
            self._show(site, ready)
            return
        future = cache.request(site)
        # The future's callback runs in the cache's thread; the signal brings it to this one.
        future.add_done_callback(lambda done: self._emit_arrived(cache, site, done))

    def _emit_arrived(self, cache: SiteCache, site: SiteKey, done: Future[SitePixels]) -> None:
        try:
            self._arrived.emit(cache, site, done)
        except RuntimeError:  # the viewer was closed meanwhile, and this object with it
            return

    def _receive(self, cache: SiteCache, site: SiteKey, done: Future[SitePixels]) -> None:
        if (
            cache is not self._session.selection.cache
            or site != self._session.selection.site
            or done.cancelled()
        ):
            return  # the person has gone on, maybe to the same site of another plate
        error = done.exception()
        if error is None:
            self._show(site, done.result())
            return
        if not isinstance(error, UnreadableSiteError):
            _LOG.warning("%s could not be read", site, exc_info=error)
        self._show_unreadable(site, error_text(error))

    def _show(self, site: SiteKey, loaded: SitePixels) -> None:
        session = self._session
        shown = session.selection.open_plate
        if shown is None or shown.plate is None or shown.ranges is None:
            return
        is_new_plate = self._plate_on_screen is not shown.plate
        self._plate_on_screen = shown.plate
        layers = image_layers(shown.plate, site, loaded.pixels, shown.ranges)
        names = {options["name"] for _, options, _ in layers}
        for layer in self._image_layers():
            # Another plate has other channels; a channel that only this site lacks is hidden.
            if is_new_plate:
                self.viewer.layers.remove(layer)
            elif layer.visible and layer.name not in names:
                layer.visible = False
                layer.metadata["hidden"] = True
        for data, options, _ in layers:
            self._set_image(data, options, session.selection.plate is shown.plate)
        self._on_screen = site
        self.refresh_cells()
        self._caption(f"{shown.plate.name}  {site}")
        if is_new_plate:
            self.viewer.reset_view()
        if self._centre_on is not None:
            self.look_at(self._centre_on)
        self._read_ahead(site)
        self.shown.emit(site)

    def _set_image(self, data: Any, options: dict[str, Any], _same: bool) -> None:
        layer = self._layer(options["name"])
        if layer is None:
            metadata = {**options["metadata"], "hcs_qc": "channel"}
            added = self.viewer.add_image(data, **{**options, "metadata": metadata})
            # Channels lie below the cells, whichever was made first.
            self.viewer.layers.move(self.viewer.layers.index(added), len(self._image_layers()) - 1)
            return
        layer.data = data
        if layer.metadata.pop("hidden", False):
            layer.visible = True
        layer.metadata.update(options["metadata"])

    def _show_unreadable(self, site: SiteKey, reason: str) -> None:
        for layer in self._image_layers():
            layer.data = np.zeros_like(layer.data)
        self._on_screen = site
        self.refresh_cells()
        self._caption(f"{site} could not be read")
        self._session.message.emit("warning", reason)
        self.shown.emit(site)

    def _read_ahead(self, site: SiteKey) -> None:
        session = self._session
        if session.selection.cache is None or session.selection.plate is None:
            return
        sites = session.selection.plate.sites
        at = sites.index(site)
        ahead = [sites[(at + by) % len(sites)] for by in range(1, _AHEAD + 1)]
        session.selection.cache.prefetch([*ahead, sites[at - 1]])

    def _clear(self) -> None:
        for layer in list(self.viewer.layers):
            if layer.metadata.get("hcs_qc"):
                self.viewer.layers.remove(layer)
        self._on_screen, self._plate_on_screen, self.cells = None, None, None
        self._session.target.show(None)
        self.cells_changed.emit()

    def _caption(self, text: str) -> None:
        self.viewer.title = f"{text} — napari"
        overlays = getattr(getattr(self.viewer, "canvas", None), "overlays", None)
        overlay = self.viewer.text_overlay if overlays is None else overlays.text
        overlay.text = text
        overlay.position = "top_left"
        overlay.visible = True

    # ---- its cells -----------------------------------------------------------------------

    def refresh_cells(self) -> None:
        """Gather the cells of the site again and show them."""
        site = self._on_screen
        self.cells = None if site is None else self._session.annotations.cells_of(site)
        if self.cells is not None:
            self._show_cells(self.cells)
        else:
            for name in (CELLS, ANNOTATED):
                layer = self._layer(name)
                if layer is not None:
                    layer.data = np.empty((0, 2))
        self._session.target.show(self.cells)
        self._mark_target()
        self.cells_changed.emit()

    def _annotations_changed(self, changed: frozenset[Any]) -> None:
        if any(item.site == self._on_screen for item in changed):
            self.refresh_cells()

    def _recolour(self, *_: object) -> None:
        if self.cells is not None:
            self._show_cells(self.cells)

    def _show_cells(self, cells: SiteCells) -> None:
        session = self._session
        look = cell_colours(
            cells,
            session.models.threshold,
            self._options.colour_by,
            kinds=session.assay.kinds,
            is_blind=session.annotations.is_blind,
        )
        is_abnormal = look.predicted_class == "abnormal"
        is_abnormal |= np.isin(cells.annotated_class, ["abnormal", "conflict"])
        shown = (
            is_abnormal
            if self._options.only_abnormal and not session.annotations.is_blind
            else None
        )
        features = {
            "class": look.predicted_class.astype(str),
            "p_abnormal": np.where(session.annotations.is_blind, np.nan, cells.p_abnormal),
            "novelty": cells.novelty,
            "is_cut": cells.is_cut,
            "kind": _texts(
                cells.predicted_kind if not session.annotations.is_blind else None, len(cells)
            ),
            "annotation": _texts(cells.annotated_class, len(cells)),
            "annotated_kind": _texts(cells.annotated_kind, len(cells)),
        }
        self._set_points(
            CELLS,
            cells.yx_px,
            1.4 * cells.diameter_px,
            look.outline,
            features,
            shown,
            border_width=0.06,
            opacity=self._options.opacity,
        )
        is_annotated = np.array([text is not None for text in cells.annotated_class], dtype=bool)
        marked = is_annotated if self._options.halo else np.zeros(len(cells), dtype=bool)
        self._set_points(
            ANNOTATED,
            cells.yx_px[marked],
            1.9 * cells.diameter_px[marked],
            look.halo[marked],
            {"annotation": features["annotation"][marked]},
            None,
            border_width=0.1,
            symbol=look.symbol[marked],
        )

    def _set_points(
        self,
        name: str,
        yx_px: Any,
        size: Any,
        colours: Any,
        features: dict[str, Any],
        shown: Any,
        *,
        border_width: Any,
        opacity: float = 1.0,
        symbol: Any = "disc",
    ) -> None:
        layer = self._layer(name)
        if layer is None:
            active = self.viewer.layers.selection.active
            layer = self.viewer.add_points(
                np.empty((0, 2)),
                ndim=2,
                name=name,
                face_color="transparent",
                border_width_is_relative=False,
                scale=(self.scale, self.scale),
                metadata={"hcs_qc": name},
            )
            layer.editable = False  # cells come from the journal, not from napari's own tools
            # The person acts on the cells, so that layer is the active one.
            self.viewer.layers.selection.active = layer if name == CELLS else active
        # One change and one redraw instead of seven: the person waits for the colour.
        with layer.events.blocker_all():
            if len(yx_px) != len(layer.data) or not np.array_equal(yx_px, layer.data):
                layer.data = yx_px
            with _single_refresh(layer):
                if len(yx_px):
                    layer.size = size
                    layer.border_color = colours
                    widths = np.broadcast_to(border_width, len(yx_px))
                    layer.border_width = widths * self._diameter_px
                    layer.symbol = symbol
                    layer.shown = np.ones(len(yx_px), dtype=bool) if shown is None else shown
                layer.features = features
        layer.refresh()
        layer.events.features()
        if not np.allclose(layer.scale, self.scale):
            layer.scale = (self.scale, self.scale)
        if layer.opacity != opacity:
            layer.opacity = opacity

    def _mark_target(self) -> None:
        """Frame what a key acts on, brightly, and dimly what is only selected."""
        target, cells = self._session.target, self.cells
        bright = [*target.here(target.cells).values()]
        dim = [*target.here(target.selection - target.cells).values()]
        layer = self._layer(TARGET)
        if cells is not None and (layer is not None or bright or dim):
            # White in a dark rim: seen on nuclei of any brightness.
            at = np.array([*dim, *bright, *bright], dtype=np.int64)
            looks = np.repeat([0, 1, 2], [len(dim), len(bright), len(bright)])
            self._set_points(
                TARGET,
                cells.yx_px[at],
                _FRAME_DIAMETERS * cells.diameter_px[at]
                + _FRAME_MARGINS[looks] * self._diameter_px,
                _FRAME_COLOURS[looks],
                {},
                None,
                border_width=_FRAME_WIDTHS[looks],
                symbol="square",
            )
        elif layer is not None:
            layer.data = np.empty((0, 2))
        layer = self._layer(TARGET)
        if bright and layer is not None and not layer.visible:
            layer.visible = True  # a key would act on it all the same
        self._outline_crop()

    def _outline_crop(self) -> None:
        """Outline what the encoder sees of the cell that a key acts on."""
        target, recipe, cells = self._session.target, self._recipe(), self.cells
        here = [*target.here(target.cells).values()]
        if len(here) != 1 or recipe is None or cells is None or not self._options.crop:
            self._set_outline(CROP, [])
            return
        y, x = cells.yx_px[here[0]]
        self._set_outline(CROP, [_square(y, x, side) for side in recipe.sides_px])

    def outline_selection(self, shape: NDArray[np.float64] | None) -> None:
        """Draw the box or lasso, (n, 2) corners in pixels; None takes it away."""
        self._set_outline(SELECTION, [] if shape is None or len(shape) < 3 else [shape])

    def _set_outline(self, name: str, shapes: list[NDArray[np.float64]]) -> None:
        layer = self._layer(name)
        if not shapes:
            if layer is not None and layer.visible:
                layer.visible = False
            return
        if layer is None:
            active = self.viewer.layers.selection.active
            self.viewer.add_shapes(
                shapes,
                shape_type="polygon",
                name=name,
                face_color="transparent",
                edge_color="white",
                edge_width=max(1.0, 0.04 * self._diameter_px),
                opacity=0.7 if name == SELECTION else 0.4,  # a crop is less than the target
                scale=(self.scale, self.scale),
                metadata={"hcs_qc": name},
            )
            self.viewer.layers.selection.active = active
            return
        layer.data = shapes
        layer.scale = (self.scale, self.scale)
        layer.visible = True

    @property
    def _diameter_px(self) -> float:
        """Nucleus diameter of the plate, the measure of all line widths."""
        state = self._session.selection.state
        return 20.0 if state is None else state.plate_cells.diameter_px

    def _recipe(self) -> CropRecipe | None:
        model = self._session.models.model
        return None if model is None else model.recipe

    # ---- finding layers ------------------------------------------------------------------

    def _layer(self, name: str) -> Any:
        for layer in self.viewer.layers:
            if layer.name == name and layer.metadata.get("hcs_qc"):
                return layer
        return None

    def _image_layers(self) -> list[Image]:
        return [item for item in self.viewer.layers if item.metadata.get("hcs_qc") == "channel"]

    @property
    def mask_layer(self) -> Labels | None:
        """Our layer of masks, None where there is none."""
        return self._layer(MASKS)

    @property
    def crop_layer(self) -> Shapes | None:
        """Our layer with the outline of a crop, None where there is none."""
        return self._layer(CROP)


def _single_refresh(layer: Any) -> AbstractContextManager[None]:
    """Keep a layer from refreshing itself at each change; napari has no public way."""
    blocked: AbstractContextManager[None] = getattr(layer, "_block_refresh", nullcontext)()
    return blocked


def _square(y: float, x: float, side_px: float) -> NDArray[np.float64]:
    half = side_px / 2
    return np.array(
        [[y - half, x - half], [y - half, x + half], [y + half, x + half], [y + half, x - half]]
    )


def _texts(values: Any, n: int) -> Any:
    if values is None:
        return np.full(n, "", dtype=object)
    return np.array([text or "" for text in values], dtype=object)
