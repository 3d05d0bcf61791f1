"""What all panels of the desk share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QWidget

from napari_hcs_qc.gui.canvas.workspace import workspace_of
from napari_hcs_qc.gui.widgets.controls import Item, lay_out, name_parts

if TYPE_CHECKING:
    import napari.components

_MARGINS = (6, 4, 6, 4)


class Dock(QWidget):
    """A panel of one viewer, which works on that viewer's session."""

    # The annotation is what napari looks for, letter by letter, to pass its viewer.
    def __init__(
        self, viewer: napari.components.ViewerModel, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._workspace = workspace_of(viewer)
        self._session = self._workspace.session
        self._make()
        name_parts(self)

    def _make(self) -> None:
        """Make the controls, lay them out and follow the session."""
        raise NotImplementedError

    def _lay_out(self, *items: Item, spacing: int = 4) -> None:
        lay_out(self, *items, margins=_MARGINS, spacing=spacing)
