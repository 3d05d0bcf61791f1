"""What all panels of the desk share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QWidget

from napari_hcs_qc.gui.canvas.workspace import workspace_of
from napari_hcs_qc.gui.keys.key_actions import KeyActions
from napari_hcs_qc.gui.widgets.controls import Item, lay_out, name_parts, push_button
from napari_hcs_qc.plugins import DESK, load

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
        self._keys = KeyActions.of(self._workspace)
        self._open_rest = push_button(
            "Open the other panels",
            "Opens the whole desk: plate, guide and all other panels of HCS quality control.",
            lambda: load(DESK)(self._workspace.viewer),
        )
        self._make()
        name_parts(self)
        self._keys.changed.connect(self._write_keys)
        self._write_keys()
        self.set_alone(hasattr(self._workspace.viewer, "window"))

    def keyPressEvent(self, event: Any) -> None:
        """Act on a key of ours that no control has used; others go to napari."""
        if not self._keys.press(event):
            event.ignore()

    def _make(self) -> None:
        """Make the controls, lay them out and follow the session."""
        raise NotImplementedError

    def _write_keys(self) -> None:
        """Write the keys as they are now on what names them."""

    def set_alone(self, is_alone: bool) -> None:
        """Offer to open the rest of the desk where this panel was opened alone."""
        self._open_rest.setVisible(is_alone)

    def _lay_out(self, *items: Item, spacing: int = 4) -> None:
        lay_out(self, self._open_rest, *items, margins=_MARGINS, spacing=spacing)
