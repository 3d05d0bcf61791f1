"""Gives the whole window to one of its docks, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow

if TYPE_CHECKING:
    from qtpy.QtCore import QSize
    from qtpy.QtWidgets import QWidget


class WholeWindow:
    """The window with one dock alone: all others and what is in the middle are hidden."""

    def __init__(self, part: QWidget) -> None:
        self._part = part
        self._hidden: list[QWidget] = []
        self._later = QTimer(part)
        self._later.setSingleShot(True)
        self._later.setInterval(0)
        self._later.timeout.connect(self._restore_sizes)
        self._sizes: dict[QDockWidget, QSize] = {}  # of the docks before

    @property
    def is_filled(self) -> bool:
        """Whether the dock has the whole window."""
        return bool(self._hidden)

    def fill(self) -> bool:
        """Hide all but the dock of the part; give whether it is in the dock of a window."""
        window, dock = self._part.window(), self._dock()
        if self._hidden or dock is None or not isinstance(window, QMainWindow):
            return bool(self._hidden)
        others: list[QDockWidget] = [
            other
            for other in window.findChildren(QDockWidget)
            # Those in tabs behind this one stay there.
            if other is not dock
            and not other.isFloating()
            and other.isVisible()
            and other not in window.tabifiedDockWidgets(dock)
        ]
        self._sizes = {item: item.size() for item in (dock, *others)}
        middle = window.centralWidget()
        self._hidden = [*others, *([] if middle is None else [middle])]
        for widget in self._hidden:
            widget.hide()
        dock.raise_()
        return True

    def leave(self) -> None:
        """Show what was hidden."""
        for widget in self._hidden:
            widget.show()
        self._hidden = []
        self._restore_sizes()
        self._later.start()  # again when the layout knows what is shown now

    def _restore_sizes(self) -> None:
        window = self._part.window()
        if self._hidden or not isinstance(window, QMainWindow):
            return  # filled again meanwhile
        docks, sizes = [*self._sizes], [*self._sizes.values()]
        across, down = Qt.Orientation.Horizontal, Qt.Orientation.Vertical
        window.resizeDocks(docks, [size.width() for size in sizes], across)
        window.resizeDocks(docks, [size.height() for size in sizes], down)

    def _dock(self) -> QDockWidget | None:
        parent: QWidget | None = self._part
        while parent is not None and not isinstance(parent, QDockWidget):
            parent = parent.parentWidget()
        return parent
