"""A line for a path with the buttons that look for one, and the buttons of a dialog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QDialog, QDialogButtonBox, QLineEdit, QWidget

from napari_hcs_qc.gui.widgets.controls import holder, push_button, row

if TYPE_CHECKING:
    from collections.abc import Callable


def path_row(edit: QLineEdit, *buttons: tuple[str, Callable[[], None]]) -> QWidget:
    """Put buttons beside a line, with its tooltip."""
    made = [push_button(text, edit.toolTip(), act) for text, act in buttons]
    for button in made:
        button.setAutoDefault(False)  # Enter in the line is for OK alone
    return holder(row((edit, 1), *made))


def ok_or_cancel(dialog: QDialog) -> QDialogButtonBox:
    """Make the buttons that end a dialog."""
    buttons = QDialogButtonBox(
        QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel
    )
    buttons.accepted.connect(dialog.accept)
    buttons.rejected.connect(dialog.reject)
    return buttons


def enable_ok(buttons: QDialogButtonBox, is_enabled: bool) -> None:
    """Let a dialog be accepted, or not."""
    ok = buttons.button(QDialogButtonBox.StandardButton.Ok)
    if ok is not None:
        ok.setEnabled(is_enabled)
