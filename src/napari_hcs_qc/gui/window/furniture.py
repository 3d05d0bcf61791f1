"""The window around the panels: its docks, napari's own ones, and the room there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget, QScrollArea, QWidget

if TYPE_CHECKING:
    from napari import Viewer

    from napari_hcs_qc.gui.keys.key_actions import KeyActions

_ROOMY_PX = 1280, 700  # a window that is smaller takes the screen


def inner_widget(dock: QDockWidget) -> QWidget | None:
    """Give what a dock holds, without the area that scrolls it."""
    widget = dock.widget()
    return widget.widget() if isinstance(widget, QScrollArea) else widget


def dock_with(viewer: Viewer, kind: type[QWidget]) -> QDockWidget | None:
    """Give the dock with a panel of a kind, however it was opened; None where there is none."""
    docks: list[QDockWidget] = viewer.window._qt_window.findChildren(QDockWidget)
    for dock in docks:
        if isinstance(inner_widget(dock), kind):
            return dock
    return None


def scrolling(inner: QWidget) -> QScrollArea:
    """Let a panel scroll up and down in less room than it needs."""
    scroll = QScrollArea()
    scroll.setWidget(inner)
    scroll.setWidgetResizable(True)
    scroll.setFrameShape(QScrollArea.Shape.NoFrame)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    return scroll


def let_scroll(dock: QDockWidget) -> None:
    """Let the panel of a dock scroll that napari's menu has opened."""
    inner = dock.widget()
    if inner is None or isinstance(inner, QScrollArea):
        return
    area = scrolling(QWidget())
    dock.setWidget(area)  # lets go of the panel, and hides it
    area.setWidget(inner)
    inner.show()


def keep_place(dock: QDockWidget) -> None:
    """Let the button "close" hide a dock: opened again by a menu, it comes back where it was."""
    kept: Any = dock
    kept.destroyOnClose = dock.close  # napari's would delete the panel


def layer_docks(viewer: Viewer) -> tuple[QDockWidget, ...]:
    """Give napari's list of layers and their controls."""
    qt_viewer = viewer.window._qt_viewer
    return qt_viewer.dockLayerList, qt_viewer.dockLayerControls


def show_layers(viewer: Viewer, is_shown: bool) -> None:
    """Unfold napari's list of layers and their controls, or fold them away."""
    docks = layer_docks(viewer)
    for dock in docks:
        dock.setVisible(is_shown)
    if is_shown:
        docks[0].raise_()


def layers_shown(viewer: Viewer) -> bool:
    """Whether napari's list of layers or their controls are unfolded."""
    return any(not dock.isHidden() for dock in layer_docks(viewer))


def take_keys(viewer: Viewer, keys: KeyActions) -> None:
    """Let our keys act on canvas and window, and not delete or choose layers in napari's list."""
    qt_viewer = viewer.window._qt_viewer
    keys.watch_canvas(qt_viewer.canvas.native)
    keys.watch_window(viewer.window._qt_window)
    keys.watch_layer_list(qt_viewer.layers)
    # After a click on it, the key that napari pans with would delete a layer.
    qt_viewer.layerButtons.deleteButton.setFocusPolicy(Qt.FocusPolicy.TabFocus)


def take_screen(viewer: Viewer) -> None:
    """Let a window that is too small for the desk take the screen it is on."""
    window = viewer.window._qt_window
    screen = window.screen()
    if window.isMaximized() or window.isFullScreen() or screen is None:
        return
    if window.width() >= _ROOMY_PX[0] and window.height() >= _ROOMY_PX[1]:
        return
    window.setGeometry(screen.availableGeometry())  # where no window manager maximises it
    if window.isVisible():
        window.showMaximized()
    else:
        window.setWindowState(window.windowState() | Qt.WindowState.WindowMaximized)
