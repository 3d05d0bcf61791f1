"""Text of any length in a narrow panel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget


_BRIEF = 200  # letters, about five lines of a panel


class WrappedLabel(QLabel):
    """Plain text that takes the width there is and as many lines as it needs; can be copied."""

    def __init__(self, text: str = "", parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)

    def set_brief(self, text: str) -> None:
        """Show the beginning of a text that may be long; all of it is in the tooltip."""
        self.setText(text if len(text) <= _BRIEF else f"{text[:_BRIEF].rstrip()} …")
        self.setToolTip(text)
