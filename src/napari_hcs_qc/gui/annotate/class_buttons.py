"""Buttons that annotate cells: their keys, and how often each was used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QAction, QColor, QIcon, QPainter, QPen, QPixmap, QPolygonF
from qtpy.QtWidgets import QPushButton, QSizePolicy, QWidget

from napari_hcs_qc.assay.annotations.kinds import BUILT_IN_KINDS
from napari_hcs_qc.assay.views.annotation_summary import Counts
from napari_hcs_qc.gui.canvas.cell_colours import CLASS_COLOURS
from napari_hcs_qc.gui.keys.key_names import keys_of
from napari_hcs_qc.gui.keys.own_keys import shown
from napari_hcs_qc.gui.widgets.controls import column, holder, lay_out, row, tool_button

if TYPE_CHECKING:
    from napari_hcs_qc.assay.annotations.kinds import Kind

_COLUMNS = 4
_ICON_PX = 12
_LEAST_PX = 40  # narrower than its text, so that no number makes the panel wider
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

    pressed = Signal(object, object)
    add_pressed = Signal()
    remove_pressed = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._counts = Counts({}, {})
        self._kinds: tuple[Kind, ...] = ()
        self._keys: dict[tuple[str | None, str | None], str] = {}
        self._buttons: dict[tuple[str | None, str | None], QPushButton] = {}
        self._rows = QWidget()
        lay_out(self, self._rows)
        self.set_kinds(BUILT_IN_KINDS)

    def value(self) -> Counts:
        """Give the numbers shown."""
        return self._counts

    def set_value(self, counts: Counts) -> None:
        """Show how many positions are annotated so."""
        self._counts = counts
        for (cls, kind), button in self._buttons.items():
            if cls is None:
                continue
            n = counts.classes.get(cls, 0) if kind is None else counts.kinds.get(kind, 0)
            key = self._keys.get((cls, kind), "")
            button.setText(f"{key} {kind or cls}".strip() + (f" {n:,}" if n else ""))

    def set_kinds(self, kinds: tuple[Kind, ...]) -> None:
        """Offer these kinds."""
        if kinds == self._kinds:
            return
        self._kinds = kinds
        self.write_keys()

    def write_keys(self) -> None:
        """Make the buttons with the keys as they are now."""
        kinds = self._kinds
        self._keys = {}
        for key, label in keys_of(kinds).items():
            self._keys.setdefault(label, shown(key))
        classes = [label for label in self._keys if label[1] is None]
        self._buttons = {label: self._button(*label) for label in classes}
        self._buttons |= {
            ("abnormal", kind.name): self._button("abnormal", kind.name, kind.colour)
            for kind in kinds
        }
        buttons: list[QWidget] = [*self._buttons.values()]
        add = tool_button("+", "Add a kind of your own.", self.add_pressed.emit)
        add.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        add.setObjectName("add_kind")
        # Classes and the way back in one row, kinds below; long words have more room than short.
        n_classes = len(classes)
        n_missing = -len(kinds) % _COLUMNS
        buttons += [_filler() for _ in range(n_missing)]
        starts = range(n_classes, len(buttons), _COLUMNS)
        rows = (row(*buttons[i : i + _COLUMNS], spacing=2) for i in starts)
        before, self._rows = (
            self._rows,
            holder(column(row(*buttons[:n_classes], add, spacing=2), *rows, spacing=2)),
        )
        layout = self.layout()
        assert layout is not None
        layout.replaceWidget(before, self._rows)
        before.hide()
        before.deleteLater()
        self.set_value(self._counts)

    def button(self, cls: str | None, kind: str | None = None) -> QPushButton:
        """Give the button of a class and kind; of None for taking back."""
        return self._buttons[(cls, kind)]

    def _button(self, cls: str | None, kind: str | None, colour: str = "") -> QPushButton:
        button = QPushButton()
        key = self._keys.get((cls, kind))
        if cls is None:
            button.setText("⌫")
            button.setToolTip(f"Remove your annotations of the framed cells (key {key}).")
        else:
            label = f"abnormal, {kind}" if kind else cls
            about = _TIPS.get(kind or cls, "a kind of this assay. Right-click to remove it.")
            with_key = f" Key {key}." if key else ""
            button.setToolTip(f"Label the framed cells as {label}: {about}{with_key}")
            button.setIcon(class_icon(cls, colour or CLASS_COLOURS[cls]))
        if kind is not None and kind not in _TIPS:
            remove = QAction("Remove this kind", button)
            remove.triggered.connect(lambda: self.remove_pressed.emit(kind))
            button.addAction(remove)
            button.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
        button.setIconSize(QSize(_ICON_PX, _ICON_PX))
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        button.setMinimumWidth(_LEAST_PX)
        if cls is None:
            button.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        button.setStyleSheet("QPushButton { text-align: left; padding: 2px 3px; }")
        button.clicked.connect(lambda: self.pressed.emit(cls, kind))
        return button


def _filler() -> QWidget:
    """Make what takes the place of a button in the last row."""
    filler = QWidget()
    filler.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    filler.setMinimumWidth(_LEAST_PX)
    return filler


def class_icon(cls: str, colour: str) -> QIcon:
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
