"""The mouse on the canvas: what is pointed at, selected and annotated there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import skimage.measure
from qtpy.QtCore import QObject, Signal

from napari_hcs_qc.gui.canvas.workspace import workspace_of
from napari_hcs_qc.gui.session.target import cell_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_hcs_qc.gui.canvas.workspace import Workspace
    from napari_hcs_qc.gui.session.selection import CellId

Mode = Literal["look", "normal", "abnormal"]
"""What a click does: select a cell, or annotate it as normal or abnormal."""

_CLICK_PX = 4.0  # a hand that moves less between press and release has clicked
_RIGHT = 2


class Clicking(QObject):
    """What the mouse does on the canvas of one viewer, made once by `of`.

    A key acts on the session's target, which is told here where the pointer is. A click selects a
    cell or, in the modes normal and abnormal, annotates it; on empty ground it adds a cell there.
    Shift and drag selects all cells in a box, Control and drag all within a lasso.

    What keys do is said by `KeyActions`.
    """

    mode_changed = Signal(str)
    menu_requested = Signal()  # about the marked cells

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace.session)
        self._workspace = workspace
        self._viewer: Any = workspace.viewer
        self._target = workspace.session.target
        self._mode: Mode = "look"
        # The pointer: where on the canvas it is, where it was when cells were selected, and how
        # far from the middle of the view, which tells where it is once the camera has moved.
        self._at_px: NDArray[np.float64] | None = None
        self._rested_px: NDArray[np.float64] | None = None
        self._from_centre = np.zeros(2)
        self._viewer.mouse_drag_callbacks.extend((self._dragged, self._pressed))
        self._viewer.mouse_move_callbacks.append(self._moved)
        viewer, camera = self._viewer, self._viewer.scene.camera
        self._events = (
            (viewer.events.mouse_over_canvas, self._crossed_border),
            (viewer.canvas.events.size, self._lose_pointer),
            (viewer.dims.events.ndisplay, self._lose_pointer),
            (viewer.dims.events.order, self._view_changed),
            (camera.events.center, self._view_changed),
            (camera.events.zoom, self._view_changed),
        )
        for event, act in self._events:
            event.connect(act)
        workspace.view.shown.connect(self._view_changed)  # another plate has another scale
        self._target.add_sight(self._in_sight)
        self._target.selected.connect(self._cells_selected)
        workspace.session.closing.connect(self._leave)

    @classmethod
    def of(cls, viewer: ViewerModel) -> Clicking:
        """Give the one of a viewer; made at the first call."""
        workspace = workspace_of(viewer)
        known = workspace.session.findChild(cls)
        return known if isinstance(known, cls) else cls(workspace)

    # ---- what it is set to ---------------------------------------------------------------

    @property
    def mode(self) -> Mode:
        """What a click does."""
        return self._mode

    def set_mode(self, mode: Mode) -> None:
        """Change what a click does."""
        assert mode in get_args(Mode), mode
        if mode != self._mode:
            self._mode = mode
            self.mode_changed.emit(mode)

    # ---- annotating ----------------------------------------------------------------------

    def add_cell(self, y_px: float, x_px: float, cls: str) -> bool:
        """Annotate a place where no cell was found, which adds a cell."""
        view, session, plate = (
            self._workspace.view,
            self._workspace.session,
            self._workspace.session.selection.plate,
        )
        if view.on_screen is None or plate is None:
            return False
        height, width = plate.layout.shape
        if not (0 <= y_px <= height - 1 and 0 <= x_px <= width - 1):
            return False  # beside the image
        return session.annotations.annotate(view.on_screen, [(y_px, x_px)], cls)

    # ---- mouse ---------------------------------------------------------------------------

    def _at(self, event: Any) -> tuple[float, float]:
        y, x = np.asarray(event.position)[-2:] / self._workspace.view.scale
        return float(y), float(x)

    def _moved(self, _viewer: Any, event: Any) -> None:
        at_px = np.asarray(event.pos, dtype=float)
        width_height = np.asarray(self._viewer.canvas.size)[::-1]
        if self._viewer.dims.ndisplay != 2 or not ((at_px >= 0) & (at_px < width_height)).all():
            self._lose_pointer()
            return
        rested_px = self._rested_px
        has_moved = rested_px is None or float(np.abs(at_px - rested_px).max()) > _CLICK_PX
        camera = self._viewer.scene.camera
        shown = np.asarray(event.position)[list(self._viewer.dims.displayed)]
        self._at_px = at_px
        self._from_centre = (shown - np.asarray(camera.center)[-2:]) * camera.zoom
        self._target.point(self._at(event), has_moved=has_moved)

    def _view_changed(self, _event: object = None) -> None:
        """Look what is under a pointer that rests while the view moves."""
        if self._at_px is None:
            self._target.refresh()
            return
        camera, dims = self._viewer.scene.camera, self._viewer.dims
        world = np.zeros(dims.ndim)
        shown = np.asarray(camera.center)[-2:] + self._from_centre / camera.zoom
        world[list(dims.displayed)] = shown
        y, x = world[-2:] / self._workspace.view.scale
        self._target.point((float(y), float(x)))

    def _dragged(self, viewer: Any, event: Any) -> Iterator[None]:
        """Follow the pointer while a button is held, when it is not said to move."""
        yield
        while event.type == "mouse_move":
            self._moved(viewer, event)
            yield
        self._moved(viewer, event)

    def _crossed_border(self, _event: object) -> None:
        if not self._viewer.mouse_over_canvas:
            self._lose_pointer()

    def _lose_pointer(self, _event: object = None) -> None:
        """Point at nothing until the mouse moves over the canvas again."""
        self._at_px = None
        self._target.point(None)

    def _cells_selected(self) -> None:
        self._rested_px = self._at_px

    def _in_sight(self, cells: frozenset[CellId]) -> frozenset[CellId]:
        """Give those of some cells that lie in the view."""
        site_cells, viewer = self._workspace.view.cells, self._viewer
        here = self._target.here(cells)
        if site_cells is None or not here or viewer.dims.ndisplay != 2 or not self._is_shown:
            return frozenset()
        world = np.zeros((len(here), viewer.dims.ndim))
        world[:, -2:] = site_cells.yx_px[[*here.values()]] * self._workspace.view.scale
        camera = viewer.scene.camera
        from_centre = world[:, list(viewer.dims.displayed)] - np.asarray(camera.center)[-2:]
        room = np.asarray(viewer.canvas.viewbox_size(viewer.layers))
        is_seen = (np.abs(from_centre) * camera.zoom <= room / 2).all(axis=1)
        return frozenset(cell for cell, seen in zip(here, is_seen, strict=True) if seen)

    @property
    def _is_shown(self) -> bool:
        """Whether the canvas is on screen: the gallery may fill the window."""
        window = getattr(self._viewer, "window", None)
        return window is None or not window._qt_window.centralWidget().isHidden()

    def _pressed(self, viewer: Any, event: Any) -> Iterator[None]:
        if self._workspace.view.cells is None:
            return
        if event.button == _RIGHT:
            yield from self._pressed_right(event)
            return
        if event.button != 1:
            return
        modifiers = tuple(event.modifiers)  # keys of vispy, which are equal to their names
        is_box, is_lasso = "Shift" in modifiers, "Control" in modifiers
        site = self._workspace.view.on_screen
        start = np.asarray(event.pos, dtype=float)
        path = [self._at(event)]
        camera = viewer.scene.camera
        pan = camera.mouse_pan
        if is_box or is_lasso:
            camera.mouse_pan = False
        has_moved = False
        try:
            yield
            while event.type == "mouse_move":
                far = float(np.abs(np.asarray(event.pos, dtype=float) - start).max())
                has_moved = has_moved or far > _CLICK_PX
                if has_moved and (is_box or is_lasso):
                    path.append(self._at(event))
                    shape = _box(path[0], path[-1]) if is_box else np.array(path)
                    self._workspace.view.outline_selection(shape)
                yield
            path.append(self._at(event))  # of quick moves the last are not told
        finally:
            camera.mouse_pan = pan
            self._workspace.view.outline_selection(None)
        if self._workspace.view.on_screen != site:
            return  # another site has come under the hand
        if not has_moved:
            self._clicked(*path[0], adds_to_choice=is_box or is_lasso)
        elif is_box or is_lasso:
            shape = _box(path[0], path[-1]) if is_box else np.array(path)
            self._select(self._selection | self._within(shape))

    def _pressed_right(self, event: Any) -> Iterator[None]:
        """Ask for the menu of a cell, unless the hand zooms with the right button."""
        start, has_moved = np.asarray(event.pos, dtype=float), False
        yield
        while event.type == "mouse_move":
            far = float(np.abs(np.asarray(event.pos, dtype=float) - start).max())
            has_moved = has_moved or far > _CLICK_PX
            yield
        cells = self._workspace.view.cells
        if has_moved or cells is None:
            return
        index = cells.nearest(*self._at(event))
        cell = None if index is None else cell_id(cells, index)
        if cell is not None and cell not in self._selection:
            self._select(frozenset((cell,)))
        self.menu_requested.emit()

    def select_site(self) -> None:
        """Select all cells of the site on screen."""
        cells = self._workspace.view.cells
        if cells is not None:
            self._select(frozenset(cell_id(cells, index) for index in range(len(cells))))

    def _clicked(self, y_px: float, x_px: float, *, adds_to_choice: bool) -> None:
        cells = self._workspace.view.cells
        index = None if cells is None else cells.nearest(y_px, x_px)
        clicked: frozenset[CellId] = frozenset()
        if cells is not None and index is not None:
            clicked = frozenset((cell_id(cells, index),))
        if adds_to_choice:
            self._select(self._selection ^ clicked)
        elif self._mode == "look":
            self._select(clicked)
        else:
            self._target.select(())  # what was selected is not what was clicked
            if clicked:
                self._workspace.session.annotations.annotate_cells(clicked, self._mode)
            else:
                self.add_cell(y_px, x_px, self._mode)

    @property
    def _selection(self) -> frozenset[CellId]:
        """What is selected in the image."""
        return self._target.selection if self._target.is_of_image else frozenset()

    def _select(self, cells: frozenset[CellId]) -> None:
        self._target.select(cells, self._workspace.view.on_screen)

    def _within(self, shape: NDArray[np.float64]) -> frozenset[CellId]:
        cells = self._workspace.view.cells
        if cells is None or len(shape) < 3 or not len(cells):
            return frozenset()
        measure: Any = skimage.measure  # it has no types
        inside = measure.points_in_poly(cells.yx_px, shape)
        return frozenset(cell_id(cells, int(index)) for index in np.flatnonzero(inside))

    def _leave(self) -> None:
        for callbacks, mine in (
            (self._viewer.mouse_drag_callbacks, self._dragged),
            (self._viewer.mouse_drag_callbacks, self._pressed),
            (self._viewer.mouse_move_callbacks, self._moved),
        ):
            if mine in callbacks:
                callbacks.remove(mine)
        for event, act in self._events:
            event.disconnect(act)


def _box(first: tuple[float, float], last: tuple[float, float]) -> NDArray[np.float64]:
    (y0, x0), (y1, x1) = first, last
    return np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]])
