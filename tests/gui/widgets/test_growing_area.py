"""A dialog with content of any height keeps its buttons on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from qtpy.QtWidgets import QDialog, QVBoxLayout

from napari_hcs_qc.gui.widgets.growing_area import GrowingArea
from napari_hcs_qc.gui.widgets.path_row import ok_or_cancel
from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot


@pytest.mark.parametrize(("n_lines", "is_scrolled"), [(1, False), (15, False), (400, True)])
def test_the_buttons_stay_on_the_screen(qtbot: QtBot, n_lines: int, is_scrolled: bool) -> None:
    dialog, label = QDialog(), WrappedLabel("Reading …")
    qtbot.addWidget(dialog)
    area = GrowingArea(label)
    layout = QVBoxLayout(dialog)
    layout.addWidget(area, 1)
    buttons = ok_or_cancel(dialog)
    layout.addWidget(buttons)
    room = dialog.screen().availableGeometry()
    dialog.resize(400, 150)
    dialog.move(room.left() + 50, room.bottom() - 200)
    dialog.show()
    qtbot.waitExposed(dialog)
    label.setText("\n".join(["A line of what was understood of the plate."] * n_lines))
    qtbot.wait(100)
    assert room.contains(dialog.frameGeometry())
    assert dialog.rect().contains(buttons.geometry())
    assert (area.verticalScrollBar().maximum() > 0) == is_scrolled
    before = dialog.height()
    label.setText("Short.")
    qtbot.wait(50)
    assert dialog.height() == before, "does not jump about"
