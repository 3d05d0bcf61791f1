"""The layers of one viewer: the channels of the site shown, its cells and their marks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_hcs_qc.errors import UnreadableSiteError
from napari_hcs_qc.gui.canvas.cell_colours import cell_colours
from napari_hcs_qc.gui.canvas.framing import Framing
from napari_hcs_qc.gui.canvas.layers import image_layers, picture_look
from napari_hcs_qc.gui.canvas.our_layers import (
    ANNOTATED,
    CELLS,
    CROP,
    MASKS,
    RIMS,
    SELECTION,
    TARGET,
    OurLayers,
)
from napari_hcs_qc.gui.canvas.overlay_options import OverlayOptions
from napari_hcs_qc.gui.session.background_jobs import error_text

if TYPE_CHECKING:
    from concurrent.futures import Future

    from napari.components import ViewerModel
    from napari.layers import Labels, Points
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.views.pictures import PictureStyle
    from napari_hcs_qc.assay.views.site_cells import SiteCells
    from napari_hcs_qc.cells.intensity import IntensityRanges
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.gui.session.session import Session
    from napari_hcs_qc.plates.plate import SiteKey
    from napari_hcs_qc.plates.site_cache import SiteCache, SitePixels

_LOG = logging.getLogger(__name__)

_AHEAD = 3
_LOOK_MS = 150
_OVERLAYS = (CELLS, RIMS, ANNOTATED)  # which the raw image is without
_SELECTION_OPACITY = 0.7
_CROP_OPACITY = 0.4  # less than the target

# Frames close about the rings, so that it is plain which cell they mean: of what is only selected,
# and of the target its rim and the frame on it. In diameters of the cell and of nuclei.
_FRAME_DIAMETERS, _FRAME_MARGINS = 1.4, np.array([0.2, 0.28, 0.22])
_FRAME_WIDTHS = np.array([0.03, 0.14, 0.08])
_RING_DIAMETERS, _RING_WIDTH = 1.4, 0.06  # of the cell, of nuclei
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
    look_changed = Signal()
    _arrived = Signal(object, object, object)

    def __init__(self, viewer: ViewerModel, session: Session) -> None:
        super().__init__(session)
        self.viewer = viewer
        self._session = session
        self._look_timer = QTimer(self)  # a slider changes the contrast many times a second
        self._look_timer.setSingleShot(True)
        self._look_timer.setInterval(_LOOK_MS)
        self._look_timer.timeout.connect(self.look_changed)
        self._layers = OurLayers(viewer, self._look_timer.start)
        self._options = OverlayOptions()
        self._is_raw = False
        self._projected = ""  # how planes of the plate became one
        self._before_solo: dict[str, bool] | None = None  # which channels were shown
        self.cells: SiteCells | None = None
        self._on_screen: SiteKey | None = None
        self._plate_on_screen: object = None
        self._centre_on: tuple[float, float] | None = None
        self._arrived.connect(self._receive)
        self._framing = Framing(viewer)
        viewer.canvas.events.size.connect(self._framing.fit_again)
        session.closing.connect(
            lambda: viewer.canvas.events.size.disconnect(self._framing.fit_again)
        )
        session.selection.plate_changed.connect(self._plate_changed)
        session.selection.site_changed.connect(self._go_to)
        session.annotations.changed.connect(self._annotations_changed)
        session.models.scored_changed.connect(self.refresh_cells)
        session.models.novelty_changed.connect(self.refresh_cells)
        session.live.changed.connect(self.refresh_cells)
        session.models.threshold_changed.connect(self._recolour)
        session.annotations.person_changed.connect(self.refresh_cells)
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
        return self._layers.find(CELLS)

    @property
    def on_screen(self) -> SiteKey | None:
        """The site whose pixels are shown; that of the session may still be on its way."""
        return self._on_screen

    @property
    def scale(self) -> float:
        """Length of a pixel in the units of the viewer."""
        plate = self._session.selection.plate
        return 1.0 if plate is None or not plate.pixel_size_um else plate.pixel_size_um

    @property
    def place(self) -> dict[str, Any]:
        """Scale and units of a layer of the plate on screen."""
        return self._layers.place

    def look_at(self, yx_px: tuple[float, float]) -> None:
        """Bring a position of the site into the middle, close enough to see a cell."""
        if self._on_screen != self._session.selection.site:
            self._centre_on = yx_px
            return
        self._centre_on = None
        state, scale = self._session.selection.state, self.scale
        diameter = None if state is None else state.plate_cells.diameter_px * scale
        self._framing.look_at(yx_px[0] * scale, yx_px[1] * scale, diameter)

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
        for layer in self._layers.images():
            # Another plate has other channels; a channel that only this site lacks is hidden.
            if is_new_plate:
                self.viewer.layers.remove(layer)
            elif layer.visible and layer.name not in names:
                layer.visible = False
                layer.metadata["hidden"] = True
        if is_new_plate:
            self._before_solo = None
            self._layers.pixel_um = shown.plate.pixel_size_um
            projection = "max" if shown.state is None else shown.state.plate_cells.projection
            n_planes = shown.plate.planes.groupby("channel")["z"].nunique()
            self._projected = f"  ({projection} of z)" if (n_planes > 1).any() else ""
        for data, options, _ in layers:
            self._layers.set_image(data, options)
        is_new_site, self._on_screen = site != self._on_screen, site
        self.refresh_cells()
        self._caption(f"{shown.plate.name}  {site}{self._projected}")
        if is_new_plate:
            self._framing.fit()
        elif is_new_site:
            self._framing.leave_cell()
        if self._centre_on is not None:
            self.look_at(self._centre_on)
        self._read_ahead(site)
        self.shown.emit(site)

    def _show_unreadable(self, site: SiteKey, reason: str) -> None:
        for layer in self._layers.images():
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
        self._layers.clear()
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
            for name in (CELLS, RIMS, ANNOTATED):
                layer = self._layers.find(name)
                if layer is not None:
                    layer.data = np.empty((0, 2))
        self._session.target.show(self.cells)
        self._mark_target()
        self.cells_changed.emit()

    def _annotations_changed(self, changed: frozenset[Any]) -> None:
        # What is live has refreshed them already.
        is_here = any(item.site == self._on_screen for item in changed)
        if is_here and not self._session.live.is_active:
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
        plate = session.selection.plate
        features = {
            "plate": np.full(len(cells), "" if plate is None else plate.name, dtype=object),
            "well": np.full(len(cells), cells.site.well, dtype=object),
            "site": np.full(len(cells), cells.site.site),
            "cell_id": cells.rows,  # as in the exported table; -1 for a cell that people added
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
        outline = look.outline
        masks = self.mask_layer
        if self._options.contours and masks is not None and masks.visible:
            has_contour = (cells.rows >= 0) & ~is_abnormal
            if masks.metadata.get("site") == self._on_screen:
                outline = np.where(has_contour[:, np.newaxis], outline * [1, 1, 1, 0], outline)
        state = session.selection.state
        self._layers.diameter_px = 20.0 if state is None else state.plate_cells.diameter_px
        size = _RING_DIAMETERS * cells.diameter_px
        self._layers.set_rims(
            cells.yx_px,
            size,
            outline[:, 3] * self._options.opacity,
            shown,
            border_width=_RING_WIDTH,
            symbol=look.ring,
        )
        self._layers.set_points(
            CELLS,
            cells.yx_px,
            size,
            outline,
            features,
            shown,
            border_width=_RING_WIDTH,
            opacity=self._options.opacity,
            symbol=look.ring,
        )
        is_annotated = np.array([text is not None for text in cells.annotated_class], dtype=bool)
        marked = is_annotated if self._options.halo else np.zeros(len(cells), dtype=bool)
        self._layers.set_points(
            ANNOTATED,
            cells.yx_px[marked],
            1.9 * cells.diameter_px[marked],
            look.halo[marked],
            {"annotation": features["annotation"][marked]},
            border_width=0.1,
            symbol=look.symbol[marked],
        )
        self._hide_if_raw()

    def _mark_target(self) -> None:
        """Frame what a key acts on, brightly, and dimly what is only selected."""
        target, cells = self._session.target, self.cells
        bright = [*target.here(target.cells).values()]
        dim = [*target.here(target.selection - target.cells).values()]
        layer = self._layers.find(TARGET)
        if cells is not None and (layer is not None or bright or dim):
            # White in a dark rim: seen on nuclei of any brightness.
            at = np.array([*dim, *bright, *bright], dtype=np.int64)
            looks = np.repeat([0, 1, 2], [len(dim), len(bright), len(bright)])
            self._layers.set_points(
                TARGET,
                cells.yx_px[at],
                _FRAME_DIAMETERS * cells.diameter_px[at]
                + _FRAME_MARGINS[looks] * self._layers.diameter_px,
                _FRAME_COLOURS[looks],
                {},
                border_width=_FRAME_WIDTHS[looks],
                symbol="square",
            )
        elif layer is not None:
            layer.data = np.empty((0, 2))
        layer = self._layers.find(TARGET)
        if bright and layer is not None and not layer.visible:
            layer.visible = True  # a key would act on it all the same
        self._outline_crop()

    def _outline_crop(self) -> None:
        """Outline what the encoder sees of the cell that a key acts on."""
        target, recipe, cells = self._session.target, self._recipe(), self.cells
        here = [*target.here(target.cells).values()]
        sides_px: tuple[float, ...] = ()
        if cells is not None and recipe is not None and len(here) == 1 and self._options.crop:
            sides_px = tuple(recipe.sides_px)
        centre = cells.yx_px[here[0]] if cells is not None and sides_px else np.zeros(2)
        self._layers.set_squares(CROP, centre, sides_px, _CROP_OPACITY)

    def outline_selection(self, shape: NDArray[np.float64] | None) -> None:
        """Draw the box or lasso, (n, 2) corners in pixels; None takes it away."""
        shapes = [] if shape is None or len(shape) < 3 else [shape]
        self._layers.set_outline(SELECTION, shapes, _SELECTION_OPACITY)

    def _recipe(self) -> CropRecipe | None:
        model = self._session.models.model
        return None if model is None else model.recipe

    # ---- what is seen --------------------------------------------------------------------

    @property
    def is_raw(self) -> bool:
        """Whether the image is shown without cells and marks."""
        return self._is_raw

    def toggle_raw(self) -> None:
        """Show the image without cells and marks, but for the frame of the target; or with."""
        self._is_raw = not self._is_raw
        for name in _OVERLAYS:
            layer = self._layers.find(name)
            if layer is not None and not self._is_raw:
                layer.visible = True
        self._hide_if_raw()
        self.options_changed.emit(self._options)

    def look(self) -> tuple[PictureStyle, IntensityRanges] | None:
        """Give colours, gamma and contrast of the channels, as they are shown now."""
        shown = self._session.selection.open_plate
        if shown is None or shown.plate is None or shown.ranges is None:
            return None
        return picture_look(shown.plate, shown.ranges, self._layers.images())

    def _hide_if_raw(self) -> None:
        for name in (*_OVERLAYS, MASKS) if self._is_raw else ():
            layer = self._layers.find(name)
            if layer is not None and layer.visible:
                layer.visible = False

    def solo(self, index: int) -> None:
        """Show one channel alone, by its number from 0; again shows those that were shown."""
        images = self._layers.images()
        if index >= len(images):
            return
        is_alone = all(item.visible == (at == index) for at, item in enumerate(images))
        if is_alone and self._before_solo is not None:
            for item in images:
                item.visible = self._before_solo.get(item.name, False)
            self._before_solo = None
            return
        if self._before_solo is None:
            self._before_solo = {item.name: item.visible for item in images}
        for at, item in enumerate(images):
            item.visible = at == index

    # ---- finding layers ------------------------------------------------------------------

    @property
    def mask_layer(self) -> Labels | None:
        """Our layer of masks, None where there is none."""
        return self._layers.find(MASKS)


def _texts(values: Any, n: int) -> Any:
    if values is None:
        return np.full(n, "", dtype=object)
    return np.array([text or "" for text in values], dtype=object)
