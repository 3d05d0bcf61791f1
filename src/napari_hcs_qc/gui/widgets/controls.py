"""Controls with their text and tooltip, and layouts with what is in them, each made in one call."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from qtpy.QtCore import Qt
from qtpy.QtGui import QImage
from qtpy.QtWidgets import (
    QBoxLayout,
    QCheckBox,
    QComboBox,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayout,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

Part: TypeAlias = "QWidget | QLayout"
Item: TypeAlias = "Part | tuple[Part, int] | None"
"""What a layout holds: a part, a part with its share of free room, or None for free room."""

_Layout = TypeVar("_Layout", bound=QBoxLayout)

# ---- layouts -----------------------------------------------------------------------------------


def row(*items: Item, spacing: int | None = None) -> QHBoxLayout:
    """Put parts side by side."""
    return _fill(QHBoxLayout(), items, spacing)


def column(*items: Item, spacing: int | None = None) -> QVBoxLayout:
    """Put parts below one another."""
    return _fill(QVBoxLayout(), items, spacing)


def form(*rows: tuple[str, Part] | Part) -> QFormLayout:
    """Put parts below one another, with names on their left."""
    layout = QFormLayout()
    layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    layout.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
    for item in rows:
        arguments: tuple[Any, ...] = item if isinstance(item, tuple) else (item,)
        layout.addRow(*arguments)
    return layout


def lay_out(
    widget: QWidget,
    *items: Item,
    margins: tuple[int, int, int, int] = (0, 0, 0, 0),
    spacing: int | None = 4,
) -> None:
    """Fill a widget with parts below one another."""
    layout = column(*items, spacing=spacing)
    layout.setContentsMargins(*margins)
    widget.setLayout(layout)


def holder(layout: QLayout) -> QWidget:
    """Give a widget that holds a layout without a margin."""
    widget = QWidget()
    layout.setContentsMargins(0, 0, 0, 0)
    widget.setLayout(layout)
    return widget


def clear(layout: QLayout) -> None:
    """Delete all widgets of a layout."""
    while (item := layout.takeAt(0)) is not None:
        widget = item.widget()
        if widget is not None:
            widget.hide()
            widget.deleteLater()


def set_tab_order(*widgets: QWidget) -> None:
    """Let the Tab key go through widgets in this order."""
    for before, after in itertools.pairwise(widgets):
        QWidget.setTabOrder(before, after)


def name_parts(owner: QWidget) -> None:
    """Give each part its attribute's name as object name, by which tests and styles find it."""
    for name, part in vars(owner).items():
        if isinstance(part, QWidget) and not part.objectName():
            part.setObjectName(name.strip("_"))


def _fill(layout: _Layout, items: Iterable[Item], spacing: int | None) -> _Layout:
    if spacing is not None:
        layout.setSpacing(spacing)
    for item in items:
        part, share = item if isinstance(item, tuple) else (item, 0)
        if part is None:
            layout.addStretch(1)
        elif isinstance(part, QLayout):
            layout.addLayout(part, share)
        else:
            layout.addWidget(part, share)
    return layout


# ---- controls ----------------------------------------------------------------------------------


def push_button(
    text: str, tip: str, clicked: Callable[[], object] | None = None, *, takes_focus: bool = True
) -> QPushButton:
    """Make a button; one that takes no focus by the mouse leaves the keyboard where it was."""
    button = QPushButton(text)
    button.setToolTip(tip)
    if not takes_focus:
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    if clicked is not None:
        button.clicked.connect(lambda: clicked())
    return button


def tool_button(text: str, tip: str, clicked: Callable[[], object] | None = None) -> QToolButton:
    """Make a small button."""
    button = QToolButton()
    button.setText(text)
    button.setToolTip(tip)
    if clicked is not None:
        button.clicked.connect(lambda: clicked())
    return button


def check_box(text: str, tip: str) -> QCheckBox:
    """Make a box to tick."""
    box = QCheckBox(text)
    box.setToolTip(tip)
    return box


def line_edit(tip: str, placeholder: str = "", text: str = "") -> QLineEdit:
    """Make a line to write in."""
    line = QLineEdit(text)
    line.setToolTip(tip)
    line.setPlaceholderText(placeholder)
    return line


def spin_box(
    low: int, high: int, tip: str, *, step: int = 1, if_low: str = "", suffix: str = ""
) -> QSpinBox:
    """Make a box for a number; `if_low` is shown in place of the lowest."""
    spin = QSpinBox()
    spin.setRange(low, high)
    spin.setSingleStep(step)
    spin.setGroupSeparatorShown(True)
    spin.setSpecialValueText(if_low)
    spin.setSuffix(suffix)
    spin.setToolTip(tip)
    line = spin.lineEdit()
    if line is not None:
        line.setToolTip(tip)  # which covers all of it but the arrows
    return spin


Choices: TypeAlias = "Mapping[Any, str | tuple[str, str]]"
"""Title of each choice by its key, with its tooltip where it has one."""


def combo_box(choices: Choices, tip: str, *, least: int | None = None) -> QComboBox:
    """Make a box to choose from; with `least`, a long title is cut off after so many letters."""
    box = QComboBox()
    add_choices(box, choices)
    box.setToolTip(tip)
    if least is not None:
        box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        box.setMinimumContentsLength(least)
    return box


def add_choices(box: QComboBox, choices: Choices) -> None:
    """Add choices to a box; the data of each is its key."""
    for key, title in choices.items():
        text, tip = title if isinstance(title, tuple) else (title, "")
        box.addItem(text, key)
        if tip:
            box.setItemData(box.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)


def select(box: QComboBox, data: object, *, adds: bool = False) -> None:
    """Select a choice by its key: where it is missing the first, or with `adds` a new one."""
    index = box.findData(data)
    if index < 0 and adds:
        box.addItem(str(data), data)
        index = box.count() - 1
    box.setCurrentIndex(max(0, index))


def heading(text: str) -> QLabel:
    """Make a bold line."""
    label = QLabel(text)
    font = label.font()
    font.setBold(True)
    label.setFont(font)
    return label


def divider() -> QFrame:
    """Make a thin line from left to right."""
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    line.setFrameShadow(QFrame.Shadow.Sunken)
    return line


def to_image(picture: NDArray[np.uint8]) -> QImage:
    """Give a uint8 picture, (height, width, 3) or grey, as Qt's own; the pixels are copied."""
    height, width = picture.shape[:2]
    form, depth = QImage.Format.Format_RGB888, 3
    if picture.ndim == 2:
        form, depth = QImage.Format.Format_Grayscale8, 1
    return QImage(picture.tobytes(), width, height, depth * width, form).copy()
