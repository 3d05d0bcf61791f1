"""The whole desk: every panel of the plugin in one window, laid out for a 1440 × 900 screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QDockWidget, QScrollArea, QWidget

from napari_hcs_qc.gui.annotate.annotate_dock import AnnotateDock
from napari_hcs_qc.gui.canvas.clicking import Clicking
from napari_hcs_qc.gui.canvas.mask_layer import MaskLayer
from napari_hcs_qc.gui.canvas.overlay_dock import OverlayDock
from napari_hcs_qc.gui.canvas.workspace import Workspace, workspace_of
from napari_hcs_qc.gui.plate.plate_dock import PlateDock
from napari_hcs_qc.gui.review.review_dock import ReviewDock
from napari_hcs_qc.gui.train.encoder_dock import EncoderDock
from napari_hcs_qc.gui.train.train_dock import TrainDock
from napari_hcs_qc.gui.window.guide_dock import GuideDock
from napari_hcs_qc.plugins import PANELS, load

if TYPE_CHECKING:
    from pathlib import Path

    from napari import Viewer

GUIDE, PLATE, ANNOTATE = "HCS guide", "HCS plate", "HCS annotate"
TRAIN, OVERLAY, REVIEW, ENCODER = "HCS train", "HCS overlay", "HCS review", "HCS encoder"

_PLUGIN = "napari-hcs-qc"

# In the order of a day's work. The plate stays in sight; the others share the place below it.
_TABS: tuple[tuple[str, type[QWidget]], ...] = (
    (ANNOTATE, AnnotateDock),
    (TRAIN, TrainDock),
    (OVERLAY, OverlayDock),
    (REVIEW, ReviewDock),
    (ENCODER, EncoderDock),
)
_WIDTH_PX = 460
_GUIDE_PX = 190
_PLATE_PX = 430
_TABS_PX = 430


def open_desk(viewer: Viewer, assay: Path | None = None) -> Workspace:
    """Open all panels in a viewer; those that are open stay as they are."""
    workspace = workspace_of(viewer)
    Clicking.of(viewer)
    MaskLayer.of(workspace)
    _dock(viewer, GUIDE, GuideDock, None, area="left")
    _dock(viewer, PLATE, PlateDock, None, scrolls=False)  # its map takes whatever room there is
    first: QDockWidget | None = None
    for name, kind in (*_TABS, *((name, load(panel)) for name, panel in PANELS.items())):
        dock = _dock(viewer, name, kind, first)
        first = first or dock
    if first is not None:
        first.raise_()
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
    widget = viewer.window.dock_widgets.get(_name_of(viewer, name))
    return widget.widget() if isinstance(widget, QScrollArea) else widget


def show_panel(viewer: Viewer, name: str) -> None:
    """Bring a panel to the front."""
    dock = _dock_of(viewer, name)
    if dock is not None:
        dock.show()
        dock.raise_()


def _dock(
    viewer: Viewer,
    name: str,
    kind: type[QWidget],
    beside: QDockWidget | None,
    *,
    area: str = "right",
    scrolls: bool = True,
) -> QDockWidget | None:
    if _name_of(viewer, name) not in viewer.window.dock_widgets:
        make: Any = kind
        inner = make(viewer)
        shown = _scrolling(inner) if scrolls else inner
        dock = viewer.window.add_dock_widget(
            shown, name=name, area=area, add_vertical_stretch=False
        )
        if beside is not None:
            viewer.window._qt_window.tabifyDockWidget(beside, dock)
        # Tabs side by side have room for a single word each; the menu keeps the whole name.
        dock.setWindowTitle(name.removeprefix("HCS ").capitalize())
        action = dock.toggleViewAction()
        if action is not None:
            action.setText(name)
    return _dock_of(viewer, name)


def _name_of(viewer: Viewer, name: str) -> str:
    """Give the name under which napari knows a panel, another when its own menu has opened it."""
    by_menu = f"{name} ({_PLUGIN})"
    return by_menu if by_menu in viewer.window.dock_widgets else name


def _scrolling(inner: QWidget) -> QScrollArea:
    scroll = QScrollArea()
    scroll.setWidget(inner)
    scroll.setWidgetResizable(True)
    scroll.setFrameShape(QScrollArea.Shape.NoFrame)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    return scroll


def _dock_of(viewer: Viewer, name: str) -> QDockWidget | None:
    widget = viewer.window.dock_widgets.get(_name_of(viewer, name))
    while widget is not None and not isinstance(widget, QDockWidget):
        widget = widget.parentWidget()
    return widget


def _lay_out(viewer: Viewer) -> None:
    window = viewer.window._qt_window
    plate, tabs, guide = (_dock_of(viewer, name) for name in (PLATE, ANNOTATE, GUIDE))
    if plate is None or tabs is None:
        return
    window.resizeDocks([plate, tabs], [_WIDTH_PX, _WIDTH_PX], Qt.Orientation.Horizontal)
    window.resizeDocks([plate, tabs], [_PLATE_PX, _TABS_PX], Qt.Orientation.Vertical)
    if guide is not None:
        window.resizeDocks([guide], [_GUIDE_PX], Qt.Orientation.Vertical)
