"""Where the camera of one viewer looks: all of the image, or a cell of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari.components import ViewerModel

_CELL_PX = 60.0  # as large as a thumb
_NO_STATUS = "Ready"  # as napari writes it


class Framing:
    """Moves the camera, and takes back what it moved unless the person has moved it since."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        # Places of the camera: when all of the image was last fitted, when a cell was brought
        # into the middle, and before that.
        self._fitted: tuple[Any, ...] = ()
        self._size: tuple[int, ...] = ()  # of the canvas then
        self._on_cell: tuple[Any, ...] = ()
        self._before: tuple[Any, ...] = ()

    def fit(self) -> None:
        """Show all of the image."""
        self._viewer.reset_view()
        self._fitted, self._size = self._place, tuple(self._viewer.canvas.size)

    def fit_again(self, _event: object = None) -> None:
        """Fit the image into a canvas of another size, unless the person has moved or zoomed."""
        if self._is_at(self._fitted):
            self.fit()

    def look_at(self, y: float, x: float, diameter: float | None) -> None:
        """Bring a cell into the middle, close enough to see it."""
        camera = self._viewer.scene.camera
        if not self._is_at(self._on_cell):
            self._before = self._place
        camera.center = (0.0, y, x)
        if diameter is not None:
            camera.zoom = max(camera.zoom, _CELL_PX / diameter)
        self._on_cell = self._place
        self.forget_pointer()

    def leave_cell(self) -> None:
        """Look as before a cell was brought into the middle."""
        if self._is_at(self._on_cell):
            camera = self._viewer.scene.camera
            *center, camera.zoom = self._before
            camera.center = tuple(center)
            if self._size != tuple(self._viewer.canvas.size):
                self.fit_again()
        self._on_cell = ()
        self.forget_pointer()

    def forget_pointer(self) -> None:
        """Let the status bar tell of no cell until the mouse moves: another one is under it now."""
        self._viewer.status = _NO_STATUS

    @property
    def _place(self) -> tuple[Any, ...]:
        camera = self._viewer.scene.camera
        return *camera.center, camera.zoom

    def _is_at(self, place: tuple[Any, ...]) -> bool:
        return bool(place) and np.allclose(self._place, place)
