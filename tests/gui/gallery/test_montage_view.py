"""The cells beside a decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QToolButton

from napari_hcs_qc.assay.views.montage import Montage, ShownCell
from napari_hcs_qc.gui.gallery.montage_view import MontageView, to_image

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot


def cell(row: int, p_abnormal: float, *, readable: bool = True) -> ShownCell:
    picture = np.full((20, 20, 3), row, dtype=np.uint8) if readable else None
    return ShownCell(row, p_abnormal, picture)


def test_a_click_on_a_cell_tells_its_row(qtbot: QtBot) -> None:
    view = MontageView()
    qtbot.addWidget(view)
    view.show()
    montage = Montage("A01", (cell(7, 0.99), cell(3, 0.9, readable=False)), ())
    view.set_value(montage)
    assert view.value() is montage
    surest, unreadable = view.findChildren(QToolButton)
    assert surest.text() == "0.99"
    assert not surest.icon().isNull()
    assert unreadable.text() == "unreadable"
    titles = [label.text() for label in view.findChildren(QLabel)]
    assert titles == ["Most abnormal", "Most normal: none"]
    with qtbot.waitSignal(view.activated) as emitted:
        qtbot.mouseClick(surest, Qt.MouseButton.LeftButton)
    assert emitted.args == [7]


def test_another_well_replaces_the_cells(qtbot: QtBot) -> None:
    view = MontageView()
    qtbot.addWidget(view)
    view.show()
    view.set_value(Montage("A01", tuple(cell(row, 0.9) for row in range(6)), (cell(9, 0.1),)))
    qtbot.wait(1)
    assert len([one for one in view.findChildren(QToolButton) if one.isVisible()]) == 5
    view.set_value(None)
    qtbot.wait(1)
    assert [one for one in view.findChildren(QToolButton) if one.isVisible()] == []


def test_a_picture_keeps_its_pixels() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    image = to_image(picture)
    colours = [[image.pixelColor(x, y).getRgb()[:3] for x in range(7)] for y in range(5)]
    assert np.array_equal(np.array(colours), picture)
