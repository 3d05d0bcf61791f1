"""The line with the last message of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_hcs_qc.gui.session.session import Session

_SIGNS = {"info": "", "warning": "⚠ ", "error": "✖ "}
_MOST = 20


class MessageLine(WrappedLabel):
    """The last message of a session, until its cause is gone; earlier ones are in its tooltip."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__("", parent)
        self._messages: list[str] = []
        self.setVisible(False)
        session.message.connect(self.show_message)
        session.message_over.connect(self.end_message)

    def value(self) -> tuple[str, ...]:
        """Recent messages, newest last."""
        return tuple(self._messages)

    def show_message(self, level: str, text: str) -> None:
        """Show a message."""
        self._messages = [*self._messages, _SIGNS.get(level, "") + text][-_MOST:]
        self.set_brief(self._messages[-1])
        self.setToolTip("\n".join(reversed(self._messages)))
        self.setVisible(True)

    def end_message(self, text: str) -> None:
        """Show a message no longer where it is the last one."""
        if self._messages and self._messages[-1].endswith(text):
            self.setVisible(False)
