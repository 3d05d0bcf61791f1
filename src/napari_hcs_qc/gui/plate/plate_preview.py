"""What a plate was understood as, with a picture of each channel to choose that of the nuclei."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QIcon, QPixmap
from qtpy.QtWidgets import QButtonGroup, QGridLayout, QToolButton, QWidget

from napari_hcs_qc.gui.widgets.controls import clear, holder, lay_out, to_image
from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from napari_hcs_qc.assay.views.plate_look import PlateLook

_A_ROW = 4
_PICTURE_PX = 108
_CHOSEN = "QToolButton:checked { border: 2px solid #3a9bdc; }"


class PlatePreview(QWidget):
    """Text and pictures of a plate; the picture that is marked is the nuclei channel."""

    value_changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._text = WrappedLabel()
        self._choice = WrappedLabel()
        self._grid = QGridLayout()
        self._group = QButtonGroup(self)
        self._channels = holder(self._grid)
        lay_out(self, self._text, self._choice, self._channels, None)
        self._text.setObjectName("understood")
        self._group.buttonClicked.connect(lambda _: self._changed())
        self.set_text("")

    def value(self) -> str | None:
        """Give the name of the channel that shows nuclei; None where nobody has said it yet."""
        button = self._group.checkedButton()
        return None if button is None else str(button.property("channel"))

    def text(self) -> str:
        """Give what is said of the plate."""
        return self._text.text()

    def set_text(self, text: str) -> None:
        """Show a text, such as a problem, and no pictures."""
        for button in self._group.buttons():
            self._group.removeButton(button)
        clear(self._grid)
        self._text.setText(text)
        self._text.setVisible(bool(text))
        self._choice.hide()
        self._channels.hide()

    def add_problem(self, text: str) -> None:
        """Say above the pictures what was refused."""
        self._text.setText("\n".join(part for part in (f"✖ {text}", self._text.text()) if part))
        self._text.show()

    def set_look(self, look: PlateLook, nuclei: str | None, *, lines: bool = True) -> None:
        """Show a plate; `nuclei` is marked, and a single channel is that of the nuclei."""
        texts = [*(look.lines if lines else ()), *(f"✖ {text}" for text in look.problems)]
        self.set_text("\n".join(texts))
        names = [channel.name for channel in look.plate.channels]
        if len(names) == 1:
            nuclei = names[0]
        for index, name in enumerate(names):
            button = self._button(look, name)
            button.setChecked(name == nuclei)
            self._group.addButton(button)
            self._grid.addWidget(button, index // _A_ROW, index % _A_ROW)
        self._grid.setColumnStretch(_A_ROW, 1)
        self._channels.show()
        self._changed()

    def _button(self, look: PlateLook, name: str) -> QToolButton:
        button = QToolButton()
        button.setText(name)
        button.setProperty("channel", name)
        button.setObjectName(f"channel {name}")
        button.setCheckable(True)
        button.setStyleSheet(_CHOSEN)
        button.setToolTip(f"Find the nuclei in channel {name}.")
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
        picture = look.pictures.get(name)
        if picture is not None:
            button.setIcon(QIcon(QPixmap.fromImage(to_image(picture))))
            button.setIconSize(QSize(_PICTURE_PX, _PICTURE_PX))
        return button

    def _changed(self) -> None:
        chosen = self.value()
        self._choice.setText(
            "▶ No channel has the name of a nuclear stain: click the picture that shows nuclei."
            if chosen is None
            else f"Nuclei are found in channel {chosen}; click another picture to change that."
        )
        self._choice.setVisible(len(self._group.buttons()) > 1)
        self.value_changed.emit()
