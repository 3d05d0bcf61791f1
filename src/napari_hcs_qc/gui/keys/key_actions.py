"""What the keys of the desk do, and when they are ours and not napari's."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, Qt, Signal

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.gui.keys import key_names as keys
from napari_hcs_qc.gui.keys.key_names import key_name, keys_of
from napari_hcs_qc.gui.keys.own_keys import meaning, read_keys, save_keys, shown, status_text
from napari_hcs_qc.gui.widgets.events import as_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qtpy.QtWidgets import QWidget

    from napari_hcs_qc.gui.canvas.workspace import Workspace

_REPEATED = (keys.BEFORE, keys.AFTER)  # while they are held down


class KeyActions(QObject):
    """The keys of one viewer, made once by `of`.

    They act while an assay is open, where the canvas, a panel of ours or no widget has the focus;
    on the canvas only while the active layer is one of ours, else they are that layer's own.
    """

    help_requested = Signal()
    gallery_requested = Signal()
    similar_requested = Signal()
    site_requested = Signal()
    changed = Signal()

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace.session)
        self._workspace = workspace
        read_keys()
        self._kinds_changed()
        workspace.session.assay.kinds_changed.connect(self._kinds_changed)

    @classmethod
    def of(cls, workspace: Workspace) -> KeyActions:
        """Give those of a viewer; made at the first call."""
        known = workspace.session.findChild(cls)
        return known if isinstance(known, cls) else cls(workspace)

    def action(self, name: str) -> Callable[[], object] | None:
        """Give what a key does now; None where it is not ours."""
        if name == keys.HELP:
            return self.help_requested.emit
        return None if self._workspace.session.assay.folder is None else self._actions.get(name)

    def press(self, event: Any) -> bool:
        """Act on the key of an event; give whether it is ours."""
        name = meaning(key_name(event))
        act = self.action(name)
        if act is None:
            return False
        event.accept()
        if not event.isAutoRepeat() or name in _REPEATED:
            act()
        return True

    def set_keys(self, chosen: Mapping[str, str]) -> None:
        """Use these keys of actions, by their default keys, and keep them."""
        try:
            save_keys(chosen)
        except (HcsQcError, OSError) as error:
            text = f"The keys hold for this session only; they could not be kept. {error}"
            self._workspace.session.message.emit("error", text)
        viewer = self._workspace.viewer
        for layer in viewer.layers:
            if layer.metadata.get("hcs_qc"):
                layer.help = status_text()
        if self.active_layer is None:
            viewer.help = status_text()
        self.changed.emit()

    def watch_canvas(self, canvas: QWidget) -> None:
        """Act on the keys that the canvas gets, before napari does."""
        _CanvasKeys(self, canvas)

    def watch_window(self, window: QWidget) -> None:
        """Act on the keys that a window has for itself, as after a click on a tab of its panels."""
        _WindowKeys(self, window)

    def watch_layer_list(self, layer_list: QWidget) -> None:
        """Keep our keys in napari's list of layers from choosing and deleting layers."""
        _LayerListKeys(self, layer_list)

    @property
    def active_layer(self) -> Any:
        """The layer of somebody else that is the active one; None where it is ours or none is."""
        active = self._workspace.viewer.layers.selection.active
        return None if active is None or active.metadata.get("hcs_qc") else active

    def explain_active(self, name: str) -> None:
        """Say why a key of ours is left to a layer."""
        layer = self.active_layer
        self._workspace.session.message.emit(
            "info",
            f"The layer {layer.name!r} is active and has the key {shown(name)}; press "
            f"{shown(keys.DESELECT)} to annotate cells again.",
        )

    def select_cells(self) -> None:
        """Make our layer of cells the active one."""
        layer = self._workspace.view.cell_layer
        if layer is not None:
            self._workspace.viewer.layers.selection.active = layer

    def selected_of_ours(self) -> list[str]:
        """Names of our layers that are selected in napari's list."""
        selection = self._workspace.viewer.layers.selection
        return [layer.name for layer in selection if layer.metadata.get("hcs_qc")]

    def tell(self, text: str) -> None:
        """Show a message."""
        self._workspace.session.message.emit("info", text)

    def _kinds_changed(self) -> None:
        workspace = self._workspace
        session, view = workspace.session, workspace.view
        self._actions: dict[str, Callable[[], object]] = {
            key: partial(session.target.annotate, cls, kind)
            for key, (cls, kind) in keys_of(session.assay.kinds).items()
        }
        self._actions |= {
            keys.NEXT: session.suggestions.show_next,
            keys.BEFORE: partial(session.selection.step, -1),
            keys.AFTER: partial(session.selection.step, 1),
            keys.DESELECT: partial(session.target.select, ()),
            keys.UNDO: session.annotations.undo,
            keys.REDO: session.annotations.redo,
            keys.RETRAIN: workspace.training.retrain,
            keys.RAW: view.toggle_raw,
            keys.GALLERY: self.gallery_requested.emit,
        }
        self._actions |= {key: partial(view.solo, index) for index, key in enumerate(keys.CHANNELS)}


class _CanvasKeys(QObject):
    """Looks at what the canvas gets."""

    def __init__(self, actions: KeyActions, canvas: QWidget) -> None:
        super().__init__(actions)
        self._actions = actions
        canvas.installEventFilter(self)

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        """Take the keys that are ours."""
        kind = event.type()
        event = as_key(event)
        if event is None:
            return False
        name = meaning(key_name(event))
        if self._actions.action(name) is None:
            return False
        if self._actions.active_layer is not None and name != keys.HELP:
            if kind == QEvent.Type.KeyPress and name == keys.DESELECT:
                self._actions.select_cells()
            elif kind == QEvent.Type.KeyPress and len(name) == 1 and not event.isAutoRepeat():
                self._actions.explain_active(name)
            return False
        if kind == QEvent.Type.ShortcutOverride:
            event.accept()
            return True
        return self._actions.press(event)


class _WindowKeys(_CanvasKeys):
    """Looks at what a window gets, but not at what its widgets have left to it."""

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Take the keys that are ours while no widget has the focus."""
        return bool(watched.hasFocus()) and super().eventFilter(watched, event)


class _LayerListKeys(QObject):
    """Looks at what the list of layers gets."""

    def __init__(self, actions: KeyActions, layer_list: QWidget) -> None:
        super().__init__(actions)
        self._actions = actions
        layer_list.installEventFilter(self)

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        """Take the keys by which a layer of ours would be deleted, or another one chosen."""
        if event.type() != QEvent.Type.KeyPress:
            return False
        event = as_key(event)
        name = key_name(event)
        if event.key() in (Qt.Key.Key_Backspace, Qt.Key.Key_Delete):
            ours = self._actions.selected_of_ours()
            if ours:
                self._actions.tell(
                    f"The layer {ours[0]} belongs to the desk and was not deleted; hide it by its "
                    "eye, or delete it with the trash button."
                )
            return bool(ours)
        if len(name) == 1 and self._actions.action(meaning(name)) is not None:
            self._actions.tell(f"{name} annotates cells on the image and in the panels only.")
            return True
        return False
