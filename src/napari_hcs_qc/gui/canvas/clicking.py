"""Keys and mouse on the canvas: annotating the cells under the cursor."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import skimage.measure
from qtpy.QtCore import QObject, Signal

from napari_hcs_qc.gui.canvas.workspace import workspace_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.annotations.kinds import Kind
    from napari_hcs_qc.gui.canvas.workspace import Workspace

Mode = Literal["look", "normal", "abnormal"]
"""What a click does: choose a cell, or annotate it as normal or abnormal."""

CLASS_KEYS: dict[str, tuple[str | None, str | None]] = {
    "N": ("normal", None),
    "A": ("abnormal", None),
    "U": ("unsure", None),
    "Backspace": (None, None),
    "Delete": (None, None),
}
"""Keys that annotate a cell without a kind: class and kind; None removes the annotation."""

_CLICK_PX = 4.0  # a hand that moves less between press and release has clicked
_OUTLINE = "selection"


def keys_of(kinds: Sequence[Kind]) -> dict[str, tuple[str | None, str | None]]:
    """Give all keys that annotate a cell: class and kind."""
    return CLASS_KEYS | {kind.key: ("abnormal", kind.name) for kind in kinds if kind.key}


class Clicking(QObject):
    """What keys and mouse do on the canvas of one viewer, made once by `of`.

    A key acts on the chosen cells, or where there are none on the cell under the cursor. A click
    chooses a cell or, in the modes normal and abnormal, says so of it; on empty ground it adds a
    cell there. Shift and drag chooses all cells in a box, Control and drag all within a lasso.

    napari's own keys of a Points layer (A, digits, Delete) do not reach our layers: keys bound to
    a layer object go before those of its class.
    """

    mode_changed = Signal(str)
    chosen_changed = Signal(object)
    hovered_changed = Signal(object)

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace.session)
        self._workspace = workspace
        self._viewer: Any = workspace.viewer
        self._mode: Mode = "look"
        self._chosen: frozenset[int] = frozenset()
        self._hovered: int | None = None
        self._site_of_chosen: object = None
        self._keys = keys_of(workspace.session.assay.kinds)
        self._viewer.mouse_drag_callbacks.append(self._pressed)
        self._viewer.mouse_move_callbacks.append(self._moved)
        self._viewer.layers.events.inserted.connect(self._layer_added)
        for layer in self._viewer.layers:
            self._bind(layer)
        self._bind(self._viewer)
        workspace.view.cells_changed.connect(self._cells_changed)
        workspace.session.assay.kinds_changed.connect(self._kinds_changed)
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

    @property
    def chosen(self) -> frozenset[int]:
        """Indices of the chosen cells of the site on screen."""
        return self._chosen

    def choose(self, indices: Iterable[int]) -> None:
        """Choose cells of the site on screen."""
        chosen = frozenset(int(index) for index in indices)
        if chosen == self._chosen:
            return
        self._chosen = chosen
        self._site_of_chosen = self._workspace.view.on_screen
        self._workspace.view.mark_chosen(sorted(chosen))
        self.chosen_changed.emit(chosen)

    @property
    def hovered(self) -> int | None:
        """Index of the cell under the cursor."""
        return self._hovered

    # ---- annotating ----------------------------------------------------------------------

    def act(self, cls: str | None, kind: str | None = None) -> bool:
        """Annotate the chosen cells, or the cell under the cursor."""
        targets = sorted(self._chosen) or ([] if self._hovered is None else [self._hovered])
        if not targets:
            self._workspace.session.message.emit(
                "info",
                "Point at a cell, or select some by dragging with Shift, then press the key.",
            )
            return False
        return self._annotate(targets, cls, kind)

    def _annotate(self, targets: Iterable[int], cls: str | None, kind: str | None) -> bool:
        view, session = self._workspace.view, self._workspace.session
        cells, site = view.cells, view.on_screen
        if cells is None or site is None:
            return False
        if cls is None:
            return session.annotations.clear(site, list(targets))
        positions = [tuple(cells.yx_px[index]) for index in targets]
        return session.annotations.annotate(site, positions, cls, kind)

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

    # ---- keys ----------------------------------------------------------------------------

    def _bind(self, target: Any) -> None:
        session = self._workspace.session
        for key, (cls, kind) in self._keys.items():
            target.bind_key(key, _ignoring(partial(self.act, cls, kind)), overwrite=True)
        others: dict[str, Callable[[], object]] = {
            "Space": self.go_to_suggested,
            "[": partial(session.selection.step, -1),
            "]": partial(session.selection.step, 1),
            "Escape": partial(self.choose, ()),
            "Control-Z": session.annotations.undo,
            "Control-Y": session.annotations.redo,
            "Control-Shift-Z": session.annotations.redo,
            "Control-R": self._workspace.training.retrain,
        }
        for key, act in others.items():
            target.bind_key(key, _ignoring(act), overwrite=True)

    def _kinds_changed(self) -> None:
        before, self._keys = self._keys, keys_of(self._workspace.session.assay.kinds)
        layers = [layer for layer in self._viewer.layers if layer.metadata.get("hcs_qc")]
        for target in (*layers, self._viewer):
            for key in before.keys() - self._keys.keys():
                target.bind_key(key, None)
            self._bind(target)

    def _layer_added(self, event: Any) -> None:
        if event.value.metadata.get("hcs_qc"):
            self._bind(event.value)

    def go_to_suggested(self) -> None:
        """Show the cell whose annotation would help the model most, and choose it."""
        self._workspace.session.suggestions.show_next()

    # ---- mouse ---------------------------------------------------------------------------

    def _at(self, event: Any) -> tuple[float, float]:
        y, x = np.asarray(event.position)[-2:] / self._workspace.view.scale
        return float(y), float(x)

    def _moved(self, _viewer: Any, event: Any) -> None:
        cells = self._workspace.view.cells
        index = None if cells is None else cells.nearest(*self._at(event))
        if index != self._hovered:
            self._hovered = index
            self._workspace.view.outline_crop(index)
            self.hovered_changed.emit(index)

    def _pressed(self, viewer: Any, event: Any) -> Iterator[None]:
        if event.button != 1 or self._workspace.view.cells is None:
            return
        modifiers = tuple(event.modifiers)  # keys of vispy, which are equal to their names
        is_box, is_lasso = "Shift" in modifiers, "Control" in modifiers
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
        finally:
            camera.mouse_pan = pan
            self._workspace.view.outline_selection(None)
        if not has_moved:
            self._clicked(*path[0], adds_to_choice=is_box or is_lasso)
        elif is_box or is_lasso:
            shape = _box(path[0], path[-1]) if is_box else np.array(path)
            self.choose(self._chosen | set(self._within(shape)))

    def _clicked(self, y_px: float, x_px: float, *, adds_to_choice: bool) -> None:
        cells = self._workspace.view.cells
        index = None if cells is None else cells.nearest(y_px, x_px)
        if adds_to_choice:
            if index is not None:
                self.choose(self._chosen ^ {index})
            return
        if self._mode == "look":
            self.choose(() if index is None else (index,))
        elif index is None:
            self.add_cell(y_px, x_px, self._mode)
        else:
            self._annotate([index], self._mode, None)

    def _within(self, shape: NDArray[np.float64]) -> list[int]:
        cells = self._workspace.view.cells
        if cells is None or len(shape) < 3 or not len(cells):
            return []
        measure: Any = skimage.measure  # it has no types
        inside = measure.points_in_poly(cells.yx_px, shape)
        return [int(index) for index in np.flatnonzero(inside)]

    # ---- following -----------------------------------------------------------------------

    def _cells_changed(self) -> None:
        view = self._workspace.view
        n = 0 if view.cells is None else len(view.cells)
        if view.on_screen != self._site_of_chosen or any(index >= n for index in self._chosen):
            self.choose(())
        else:
            view.mark_chosen(sorted(self._chosen))
        if self._hovered is not None and self._hovered >= n:
            self._hovered = None

    def _leave(self) -> None:
        for callbacks, mine in (
            (self._viewer.mouse_drag_callbacks, self._pressed),
            (self._viewer.mouse_move_callbacks, self._moved),
        ):
            if mine in callbacks:
                callbacks.remove(mine)
        self._viewer.layers.events.inserted.disconnect(self._layer_added)


def _ignoring(act: Callable[[], object]) -> Callable[[Any], None]:
    """Give what napari binds: it hands over the layer or viewer, and looks at what is returned."""

    def pressed(_target: Any) -> None:
        act()

    return pressed


def _box(first: tuple[float, float], last: tuple[float, float]) -> NDArray[np.float64]:
    (y0, x0), (y1, x1) = first, last
    return np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]])
