"""A line for a path with the buttons that look for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QHBoxLayout, QLineEdit, QPushButton, QWidget

if TYPE_CHECKING:
    from collections.abc import Callable


def path_row(edit: QLineEdit, *buttons: tuple[str, Callable[[], None]]) -> QWidget:
    """Put buttons beside a line, with its tooltip."""
    holder = QWidget()
    layout = QHBoxLayout(holder)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(edit, 1)
    for text, act in buttons:
        button = QPushButton(text)
        button.setToolTip(edit.toolTip())
        button.setAutoDefault(False)  # Enter in the line is for OK alone
        button.clicked.connect(act)
        layout.addWidget(button)
    return holder
