"""One workspace for each viewer: the session, its tasks and its layers, shared by all widgets."""

from __future__ import annotations

import gc
import sys
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QApplication, QLabel, QWidget

from napari_hcs_qc.gui.canvas.site_view import SiteView
from napari_hcs_qc.gui.session.session import Session
from napari_hcs_qc.gui.session.tasks import Tasks
from napari_hcs_qc.gui.session.training_tasks import TrainingTasks

if TYPE_CHECKING:
    from napari.components import ViewerModel

_MANY_MODULES = 20
_SIGN_PERCENT = 1  # of the speed of its movie: a picture in three seconds


@dataclass(frozen=True, eq=False, kw_only=True)
class Workspace:
    """What the widgets of one viewer share."""

    viewer: ViewerModel  # the viewer
    session: Session  # what is worked on
    tasks: Tasks  # long work on plates
    training: TrainingTasks  # long work on models
    view: SiteView  # the layers

    def close(self) -> None:
        """End all work of this viewer and forget it."""
        if _WORKSPACES.pop(id(self.viewer), None) is None:
            return  # closed already
        self.session.close()
        self.session.deleteLater()
        gc.unfreeze()  # all may be collected again, see _pass_over


_WORKSPACES: dict[int, Workspace] = {}


def workspace_of(viewer: ViewerModel) -> Workspace:
    """Give the workspace of a viewer, made at the first call; it ends when its window closes.

    A viewer without a window (`ViewerModel`) has one too; close it yourself.
    """
    # napari hands its plugins a proxy of the viewer, a new one for each widget.
    viewer = getattr(viewer, "__wrapped__", viewer)
    known = _WORKSPACES.get(id(viewer))
    if known is not None and known.viewer is viewer:
        return known
    window = getattr(viewer, "window", None)
    main_window = None if window is None else window._qt_window
    # No child of the window: the window goes when Python lets go of it, which may be while the
    # session is being deleted, and would delete it a second time.
    session = Session()
    tasks = Tasks(session)
    training = TrainingTasks(session, tasks)
    workspace = Workspace(
        viewer=viewer,
        session=session,
        tasks=tasks,
        training=training,
        view=SiteView(viewer, session),
    )
    training.wait_for_drawing(workspace.view.shown)
    _WORKSPACES[id(viewer)] = workspace
    if main_window is not None:
        _Closing(workspace, main_window)
        _slow_signs(main_window)
        _pass_over(session, training)
    return workspace


def has_workspace(viewer: ViewerModel) -> bool:
    """Whether a viewer has a workspace."""
    return id(getattr(viewer, "__wrapped__", viewer)) in _WORKSPACES


def _pass_over(session: Session, training: TrainingTasks) -> None:
    """Let the search for garbage pass over what was imported, until the window is closed.

    napari, PyTorch and the rest are a million objects; each search through them all would stop the
    window for most of a second, now and then in the middle of a person's work.
    """
    n_imported = 0

    def pass_over() -> None:
        nonlocal n_imported
        if len(sys.modules) > n_imported + _MANY_MODULES:
            n_imported = len(sys.modules)
            gc.freeze()

    pass_over()
    # What they stand for was imported for them: PyTorch, scikit-learn, the steps of training.
    session.models.embeddings_changed.connect(pass_over)
    training.model_changed.connect(pass_over)


def _slow_signs(window: Any) -> None:
    """Let napari's sign that something is at work turn slowly.

    Each of its pictures repaints the whole window, canvas and all; without a graphics card that
    takes several times the processor time of scoring a plate.
    """
    for label in window.statusBar().findChildren(QLabel):
        movie = label.movie()
        if movie is not None:
            movie.setSpeed(_SIGN_PERCENT)


class _Closing(QObject):
    """Ends a workspace when its window is closed."""

    def __init__(self, workspace: Workspace, window: QWidget) -> None:
        super().__init__(workspace.session)
        self._workspace = workspace
        self._window = weakref.ref(window)
        window.installEventFilter(self)
        app = QApplication.instance()
        if app is not None:
            app.aboutToQuit.connect(self._quit)  # ours, so that Qt lets go of it with us

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        """Look at the events of the window; none is kept from it."""
        if event.type() == QEvent.Type.Close:
            if event.spontaneous():  # napari may ask, and the person may take it back
                QTimer.singleShot(0, self._close_if_hidden)
            else:
                self._workspace.close()
        return False

    def _quit(self) -> None:
        self._workspace.close()

    def _close_if_hidden(self) -> None:
        window = self._window()
        if window is None or not window.isVisible():
            self._workspace.close()
