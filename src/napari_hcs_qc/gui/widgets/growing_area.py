"""Content of a dialog that may become higher than the screen has room for."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtWidgets import QScrollArea, QWidget


class GrowingArea(QScrollArea):
    """Lets its dialog grow with what it holds, on the screen; what has no room is scrolled.

    A dialog that grows by itself grows downwards, and its buttons leave the screen.
    """

    def __init__(self, inner: QWidget) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._later = QTimer(self)  # once the content is laid out
        self._later.setSingleShot(True)
        self._later.setInterval(0)
        self._later.timeout.connect(self._grow)
        self.setWidget(inner)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Follow the content."""
        if event.type() == QEvent.Type.LayoutRequest:
            self._later.start()
        return bool(super().eventFilter(watched, event))

    def showEvent(self, event: Any) -> None:
        """Follow the content from the beginning."""
        super().showEvent(event)
        self._later.start()

    def _grow(self) -> None:
        inner, dialog, view = self.widget(), self.window(), self.viewport()
        screen = None if dialog is None else dialog.screen()
        if inner is None or dialog is None or view is None or screen is None:
            return
        if not dialog.isVisible():
            return
        needed = inner.sizeHint().height()
        if inner.hasHeightForWidth():
            needed = inner.heightForWidth(view.width())
        needed = max(needed, inner.minimumSizeHint().height())  # as the area gives it
        room, frame = screen.availableGeometry(), dialog.frameGeometry()
        border = frame.height() - dialog.height()
        height = dialog.height() + max(0, needed - view.height())
        height = min(height, room.height() - border)
        if height != dialog.height():
            dialog.resize(dialog.width(), height)
            self._later.start()  # what was hidden may need more than it said
        top = max(room.top(), min(frame.top(), room.top() + room.height() - border - height))
        if top != frame.top():
            dialog.move(frame.left(), top)
