"""The most abnormal and the most normal cells of a well, as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QIcon, QPixmap
from qtpy.QtWidgets import QGridLayout, QLabel, QToolButton, QWidget

from napari_hcs_qc.gui.widgets.controls import clear, to_image, tool_button

if TYPE_CHECKING:
    from napari_hcs_qc.assay.views.montage import Montage, ShownCell

_COLUMNS = 4
_SIDE_PX = 38  # twice four beside one another in a panel


class MontageView(QWidget):
    """A few cells of each class; a click on one shows it in its site."""

    activated = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._montage: Montage | None = None
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(2)

    def value(self) -> Montage | None:
        """Give what is shown."""
        return self._montage

    def set_value(self, montage: Montage | None) -> None:
        """Show the cells of a well; None shows nothing."""
        self._montage = montage
        clear(self._grid)
        if montage is None:
            return
        self._add_block(0, "Most abnormal", montage.abnormal)
        self._add_block(_COLUMNS + 1, "Most normal", montage.normal)
        self._grid.setColumnMinimumWidth(_COLUMNS, 8)
        self._grid.setColumnStretch(2 * _COLUMNS + 1, 1)

    def _add_block(self, left: int, title: str, cells: tuple[ShownCell, ...]) -> None:
        label = QLabel(title if cells else f"{title}: none")
        self._grid.addWidget(label, 0, left, 1, _COLUMNS)
        for column, cell in enumerate(cells[:_COLUMNS]):
            self._grid.addWidget(self._button(cell), 1, left + column)

    def _button(self, cell: ShownCell) -> QToolButton:
        button = tool_button(
            f"{cell.p_abnormal:.2f}",
            f"Abnormal score {cell.p_abnormal:.3f}; click to see the cell in its site.",
            lambda: self.activated.emit(cell.row),
        )
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
        button.setIconSize(QSize(_SIDE_PX, _SIDE_PX))
        button.setAutoRaise(True)
        button.setMinimumWidth(_SIDE_PX + 4)
        if cell.picture is None:
            button.setText("unreadable")
        else:
            button.setIcon(QIcon(QPixmap.fromImage(to_image(cell.picture))))
        return button
