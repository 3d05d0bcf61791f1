"""Buttons that say what a cell is: their keys, and how often it was said."""

from __future__ import annotations

from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPainter, QPen, QPixmap, QPolygonF
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_hcs_qc.assay.views.annotation_summary import Counts
from napari_hcs_qc.gui.canvas.cell_colours import CLASS_COLOURS
from napari_hcs_qc.gui.canvas.clicking import KEYS
from napari_hcs_qc.gui.widgets.palette import KIND_COLOURS

_COLUMNS = 4
_ICON_PX = 12
_LEAST_PX = 40  # narrower than its words, so that no number makes the panel wider
_TIPS = {
    "normal": "a good cell; mitosis is normal too.",
    "abnormal": "abnormal, no reason given.",
    "unsure": "you cannot decide; not used for training.",
    "blur": "out of focus.",
    "saturation": "so bright that the camera saturates.",
    "debris": "debris: dirt, a fibre or a fragment, not a cell.",
    "dead": "a dead or dying cell.",
    "haze": "covered by haze or background light.",
    "empty": "there is no cell.",
    "noise": "hidden by camera noise.",
    "other": "abnormal for another reason.",
}


class ClassButtons(QWidget):
    """A button for each class and kind, with its key and the number of annotations.

    A click on one with the mouse leaves the keyboard where it was.
    """

    said = Signal(object, object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._counts = Counts({}, {})
        self._buttons: dict[tuple[str | None, str | None], QPushButton] = {}
        self._keys: dict[tuple[str | None, str | None], str] = {}
        for key, said in KEYS.items():
            self._keys.setdefault(said, key)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        # Classes and the way back in one row, kinds below; long words have more room than short.
        order = sorted(self._keys, key=lambda said: said[1] is not None)
        for start in range(0, len(order), _COLUMNS):
            row = QHBoxLayout()
            row.setSpacing(2)
            for said in order[start : start + _COLUMNS]:
                self._buttons[said] = button = self._button(*said)
                row.addWidget(button)
            layout.addLayout(row)
        self.set_value(self._counts)

    def value(self) -> Counts:
        """Give the numbers shown."""
        return self._counts

    def set_value(self, counts: Counts) -> None:
        """Show how many positions are annotated so."""
        self._counts = counts
        for said, button in self._buttons.items():
            cls, kind = said
            if cls is None:
                continue
            n = counts.classes.get(cls, 0) if kind is None else counts.kinds.get(kind, 0)
            button.setText(f"{self._keys[said]} {kind or cls}" + (f" {n:,}" if n else ""))

    def button(self, cls: str | None, kind: str | None = None) -> QPushButton:
        """Give the button of a class and kind; of None for taking back."""
        return self._buttons[(cls, kind)]

    def _button(self, cls: str | None, kind: str | None) -> QPushButton:
        button = QPushButton()
        key = self._keys[(cls, kind)]
        if cls is None:
            button.setText("⌫ clear")
            button.setToolTip(f"Remove your annotations of the selected cells (key {key}).")
        else:
            words = (
                f"Label the selected cells as abnormal, {kind}"
                if kind
                else f"Label the selected cells as {cls}"
            )
            button.setToolTip(f"{words}: {_TIPS[kind or cls]} Key {key}.")
            colour = KIND_COLOURS[kind] if kind else CLASS_COLOURS[cls]
            button.setIcon(_icon(cls, colour))
        button.setIconSize(QSize(_ICON_PX, _ICON_PX))
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        button.setMinimumWidth(_LEAST_PX)
        button.setStyleSheet("QPushButton { text-align: left; padding: 2px 3px; }")
        button.clicked.connect(lambda: self.said.emit(cls, kind))
        return button


def _icon(cls: str, colour: str) -> QIcon:
    """Draw the mark that an annotated cell has on the image: shape and colour."""
    scale = 3  # sharp on a fine screen too
    picture = QPixmap(_ICON_PX * scale, _ICON_PX * scale)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.scale(scale, scale)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QPen(QColor("black"), 0.75))
    painter.setBrush(QColor(colour))
    low, middle, high = 1.0, _ICON_PX / 2, _ICON_PX - 1.0
    area = QRectF(low, low, high - low, high - low)
    if cls == "normal":
        painter.drawEllipse(area)
    elif cls == "abnormal":
        painter.drawRect(area)
    else:
        corners = ((middle, low), (high, middle), (middle, high), (low, middle))
        painter.drawPolygon(QPolygonF([QPointF(x, y) for x, y in corners]))
    painter.end()
    return QIcon(picture)
