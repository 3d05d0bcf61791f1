"""The whole desk: every panel of the plugin in one window, laid out for a 1280 × 720 screen.

The plate and the guide are on the left, where napari has its layers, the other panels share the
right side, each as high as the window; the image has the middle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from qtpy.QtCore import Qt, QTimer

from napari_hcs_qc.gui.annotate.annotate_dock import AnnotateDock
from napari_hcs_qc.gui.canvas.clicking import Clicking
from napari_hcs_qc.gui.canvas.mask_layer import MaskLayer
from napari_hcs_qc.gui.canvas.overlay_dock import OverlayDock
from napari_hcs_qc.gui.canvas.workspace import Workspace, workspace_of
from napari_hcs_qc.gui.keys.cheat_sheet import CheatSheet
from napari_hcs_qc.gui.keys.key_actions import KeyActions
from napari_hcs_qc.gui.plate.plate_dock import PlateDock
from napari_hcs_qc.gui.review.review_dock import ReviewDock
from napari_hcs_qc.gui.train.encoder_dock import EncoderDock
from napari_hcs_qc.gui.train.train_dock import TrainDock
from napari_hcs_qc.gui.widgets.following import follow
from napari_hcs_qc.gui.window.furniture import (
    dock_with,
    inner_widget,
    keep_place,
    layer_docks,
    layers_shown,
    let_scroll,
    scrolling,
    show_layers,
    take_keys,
    take_screen,
)
from napari_hcs_qc.gui.window.guide_dock import GuideDock
from napari_hcs_qc.plugins import PANELS, load

if TYPE_CHECKING:
    from pathlib import Path

    from napari import Viewer
    from qtpy.QtWidgets import QDockWidget, QWidget

GUIDE, PLATE, ANNOTATE = "HCS guide and all panels", "HCS plate", "HCS annotate"
TRAIN, OVERLAY, REVIEW, ENCODER = "HCS train", "HCS overlay", "HCS review", "HCS encoder"

# As napari's own menu names a dock: it then shows and hides ours, in place of making a second.
_DOCK_NAME = "{} (HCS quality control)"

# In the order of a day's work.
_TABS: dict[str, type[QWidget]] = {
    ANNOTATE: AnnotateDock,
    TRAIN: TrainDock,
    OVERLAY: OverlayDock,
    REVIEW: ReviewDock,
    ENCODER: EncoderDock,
}
_LEFT_PX, _RIGHT_PX = 310, 400
_GUIDE_PX, _GUIDE_LEAST_PX = 215, 200


def open_desk(viewer: Viewer, assay: Path | None = None) -> Workspace:
    """Open all panels in a viewer; those that are open take their places."""
    workspace = workspace_of(viewer)
    Clicking.of(viewer)
    MaskLayer.of(workspace)
    is_first = any(dock_with(viewer, kind) is None for kind in _kinds().values())
    plate = _dock(viewer, PLATE, area="left", scrolls=False)  # its map takes what room there is
    guide = _dock(viewer, GUIDE, area="left")
    guide.setMinimumHeight(_GUIDE_LEAST_PX)  # its advice and messages are there in a low window
    tabs = [_dock(viewer, name, area="right") for name in (*_TABS, *PANELS)]
    window = viewer.window._qt_window
    if is_first:
        for beside in tabs[1:]:
            window.tabifyDockWidget(tabs[0], beside)
        window.splitDockWidget(plate, guide, Qt.Orientation.Vertical)  # below, if opened first
        for napari_dock in layer_docks(viewer):
            window.tabifyDockWidget(plate, napari_dock)
        show_layers(viewer, False)
        for dock in (plate, *tabs):
            dock.show()
        plate.raise_()
        tabs[0].raise_()
        take_screen(viewer)
        _connect(viewer, workspace)
        _lay_out(viewer)
        # Again when the window is on the screen: before, Qt does not know its size.
        later = QTimer(workspace.session)
        later.setSingleShot(True)
        later.timeout.connect(lambda: _lay_out(viewer))
        later.start(0)
    if assay is not None:
        workspace.session.open(assay)
    return workspace


def show_desk(assay: Path | None = None) -> None:
    """Open napari with the whole desk, and stay until the window is closed."""
    import napari

    viewer = napari.Viewer()
    open_desk(viewer, assay)
    napari.run()


def panel(viewer: Viewer, name: str) -> Any:
    """Give a panel of the desk by its name, None where it is not open."""
    dock = dock_with(viewer, _kinds()[name])
    return None if dock is None else inner_widget(dock)


def show_panel(viewer: Viewer, name: str) -> None:
    """Bring a panel to the front."""
    dock = dock_with(viewer, _kinds()[name])
    if dock is not None:
        dock.show()
        dock.raise_()


def _kinds() -> dict[str, type[QWidget]]:
    """Panels of the desk by their names."""
    others = {name: load(panel) for name, panel in PANELS.items()}
    return {GUIDE: GuideDock, PLATE: PlateDock, **_TABS, **others}


def _dock(viewer: Viewer, name: str, *, area: str, scrolls: bool = True) -> QDockWidget:
    """Give the dock of a panel, made where it is not open."""
    kind: Any = _kinds()[name]
    dock = dock_with(viewer, kind)
    if dock is None:
        made = kind(viewer)
        dock = viewer.window.add_dock_widget(
            scrolling(made) if scrolls else made,
            name=_DOCK_NAME.format(name),
            area=area,
            add_vertical_stretch=False,
        )
    else:
        if scrolls:
            let_scroll(dock)
        side = Qt.DockWidgetArea.LeftDockWidgetArea
        if area == "right":
            side = Qt.DockWidgetArea.RightDockWidgetArea
        window = viewer.window._qt_window
        if not dock.isFloating() and window.dockWidgetArea(dock) != side:
            window.addDockWidget(side, dock)
    inner: Any = inner_widget(dock)
    inner.set_alone(False)
    keep_place(dock)
    # Tabs side by side have room for a single word each; the menu keeps the whole name.
    title = name.split()[1].capitalize()
    dock.setWindowTitle(title)
    bar = getattr(dock, "title", None)  # napari's own title bar, which has a label of that name
    if bar is not None:
        bar.title.setText(title)
    action = dock.toggleViewAction()
    if action is not None:
        action.setText(name)
        # Opened again it comes to the front of its tabs.
        action.toggled.connect(lambda is_open: dock.raise_() if is_open else None)
    return dock


def _connect(viewer: Viewer, workspace: Workspace) -> None:
    """Let the keys act, the guide's switches switch, and errors reach napari's notifications."""
    keys, guide, gallery = KeyActions.of(workspace), panel(viewer, GUIDE), panel(viewer, ANNOTATE)
    take_keys(viewer, keys)
    session = workspace.session
    # Nothing here may hold the window: Qt lets go of these functions when the session is deleted,
    # which is after the window was closed.
    keys.help_requested.connect(lambda: _show_keys(viewer, keys))
    keys.gallery_requested.connect(lambda: _switch_gallery(viewer))
    gallery.gallery.filled_changed.connect(guide.set_gallery_shown)
    guide.layers_toggled.connect(lambda are_shown: show_layers(viewer, are_shown))
    for dock in layer_docks(viewer):
        follow(
            dock.visibilityChanged,
            guide,
            lambda _: guide.set_layers_shown(layers_shown(viewer)),
        )
    session.message.connect(_notify)


def _show_keys(viewer: Viewer, keys: KeyActions) -> None:
    kinds = workspace_of(viewer).session.assay.kinds
    sheet = CheatSheet(kinds, viewer.window._qt_window)
    sheet.keys_chosen.connect(keys.set_keys)
    sheet.show()


def _notify(level: str, text: str) -> None:
    """Show an error among napari's notifications, too, where it stays and can be copied."""
    if level == "error":
        show_error(text)


def _switch_gallery(viewer: Viewer) -> None:
    gallery = panel(viewer, ANNOTATE).gallery
    if not gallery.is_filled:
        show_panel(viewer, ANNOTATE)
    gallery.set_filled(not gallery.is_filled)


def _lay_out(viewer: Viewer) -> None:
    window = viewer.window._qt_window
    plate, tabs, guide = (dock_with(viewer, kind) for kind in (PlateDock, AnnotateDock, GuideDock))
    if plate is None or tabs is None or guide is None:
        return
    window.resizeDocks([plate, tabs], [_LEFT_PX, _RIGHT_PX], Qt.Orientation.Horizontal)
    window.resizeDocks(
        [plate, guide], [window.height() - _GUIDE_PX, _GUIDE_PX], Qt.Orientation.Vertical
    )
