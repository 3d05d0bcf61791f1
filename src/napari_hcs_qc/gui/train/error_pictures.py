"""Pictures of the cells that a model got wrong in one way; a click goes to one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QMargins, QSize, Qt, Signal
from qtpy.QtGui import QIcon, QPixmap
from qtpy.QtWidgets import QLabel, QListWidget, QListWidgetItem, QWidget

from napari_hcs_qc.gui.widgets.controls import lay_out, name_parts, to_image
from napari_hcs_qc.gui.widgets.tables import ROLE

if TYPE_CHECKING:
    from napari_hcs_qc.qc.reports.plate_report import ErrorExamples

_SIDE_PX = 60
_TILE = QSize(86, 100)  # with its caption
_EDGE_PX = 2


class ErrorPictures(QWidget):
    """How many cells there are, and pictures of the surest errors, each with its caption."""

    activated = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._examples: ErrorExamples | None = None
        self._title = QLabel()
        self._list = _Pictures()
        self._list.itemClicked.connect(self._activate)
        self._list.itemActivated.connect(self._activate)
        lay_out(self, self._title, (self._list, 1), spacing=1)
        name_parts(self)
        self.set_value(None)

    def value(self) -> ErrorExamples | None:
        """Give what is shown."""
        return self._examples

    def set_value(self, examples: ErrorExamples | None) -> None:
        """Show errors of one kind, or nothing."""
        self._examples = examples
        self._list.clear()
        if examples is None:
            self.hide()
            return
        self._title.setText(examples.title)
        for picture, row in zip(examples.pictures, examples.rows, strict=True):
            pixmap = QPixmap.fromImage(to_image(picture.pixels))
            icon = QIcon(pixmap)
            icon.addPixmap(pixmap, QIcon.Mode.Selected)  # as it is, not tinted
            item = QListWidgetItem(icon, picture.caption)
            item.setData(ROLE, row)
            self._list.addItem(item)
        self._list.setVisible(bool(examples.rows))
        self._fit()
        self.show()

    def resizeEvent(self, event: Any) -> None:
        """Keep the height that the pictures need."""
        super().resizeEvent(event)
        self._fit()

    def set_current(self, row: int) -> None:
        """Select the picture of a cell; none where it has none here."""
        rows = [] if self._examples is None else list(self._examples.rows)
        self._list.setCurrentRow(rows.index(row) if row in rows else -1)

    def _fit(self) -> None:
        """Leave to others the room that no picture needs."""
        n_rows = math.ceil(self._list.count() / max(1, self.width() // _TILE.width()))
        title = self._title.sizeHint().height()
        self.setMaximumHeight(title + n_rows * _TILE.height() + 2 * _EDGE_PX)

    def _activate(self, item: QListWidgetItem) -> None:
        self.activated.emit(item.data(ROLE))


class _Pictures(QListWidget):
    """Pictures side by side, in as many rows as there is room for."""

    def __init__(self) -> None:
        super().__init__()
        self.setViewMode(QListWidget.ViewMode.IconMode)
        self.setMovement(QListWidget.Movement.Static)
        self.setResizeMode(QListWidget.ResizeMode.Adjust)
        self.setIconSize(QSize(_SIDE_PX, _SIDE_PX))
        self.setGridSize(_TILE)
        self.setUniformItemSizes(True)
        self.setWordWrap(True)
        self.setToolTip(
            "Annotated cells while held out, the surest first, with well, score and kind. Either "
            "the model is wrong there, or the annotation is a slip. Click one to see it in its "
            "site; a class key then annotates it."
        )

    def sizeHint(self) -> QSize:
        """Ask for one row; there are more where the panel has room."""
        return _TILE.grownBy(QMargins(_EDGE_PX, _EDGE_PX, _EDGE_PX, _EDGE_PX))

    def minimumSizeHint(self) -> QSize:
        """As `sizeHint`."""
        return self.sizeHint()

    def keyPressEvent(self, event: Any) -> None:
        """Go from picture to picture; letters annotate, where Qt would search for captions."""
        if event.text() and event.key() not in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            event.ignore()
        else:
            super().keyPressEvent(event)
