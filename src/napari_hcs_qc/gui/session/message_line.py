"""The line in which a session tells the person something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_hcs_qc.gui.session.session import Session

_SIGNS = {"info": "", "warning": "⚠ ", "error": "✖ "}
_MOST = 20


class MessageLine(QLabel):
    """The last message of a session; earlier ones are in its tooltip."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._messages: list[str] = []
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.setVisible(False)
        session.message.connect(self.show_message)

    def value(self) -> tuple[str, ...]:
        """All messages of late, newest last."""
        return tuple(self._messages)

    def show_message(self, level: str, text: str) -> None:
        """Show a message."""
        self._messages = [*self._messages, _SIGNS.get(level, "") + text][-_MOST:]
        self.setText(self._messages[-1])
        self.setToolTip("\n".join(reversed(self._messages)))
        self.setVisible(True)
