"""Keys act while they are ours: an assay is open, the image or a panel of ours has the focus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.action_manager import action_manager
from napari.utils.shortcuts import default_shortcuts
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QLabel, QWidget

from napari_hcs_qc.assay.annotations.kinds import BUILT_IN_KINDS
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.gui.keys import key_names
from napari_hcs_qc.gui.keys.cheat_sheet import CheatSheet, sections
from napari_hcs_qc.gui.keys.key_actions import KeyActions
from napari_hcs_qc.gui.keys.key_names import key_name

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot

NONE = Qt.KeyboardModifier.NoModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier
CTRL = Qt.KeyboardModifier.ControlModifier


class Pad(QWidget):
    """Takes the place of the canvas, or of napari's list of layers; remembers what it was left."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[int] = []

    def keyPressEvent(self, event: Any) -> None:
        """Take a key."""
        self.keys.append(event.key())


@pytest.fixture
def canvas(qtbot: QtBot, desk: Any) -> Pad:
    pad = Pad()
    qtbot.addWidget(pad)
    KeyActions.of(desk.workspace).watch_canvas(pad)
    return pad


def recorded(assay: Path) -> int:
    table = AssayFolder.open(assay).journal().annotations()
    return int((table["annotator"] == "anna").sum())


def test_keys_are_ours_while_an_assay_is_open(desk: Any, canvas: Pad, assay_path: Path) -> None:
    QTest.keyClick(canvas, Qt.Key.Key_A)
    assert canvas.keys == [Qt.Key.Key_A]
    desk.open(assay_path)
    desk.session.annotations.annotator = "anna"
    desk.point_at(0)
    QTest.keyClick(canvas, Qt.Key.Key_A)
    assert canvas.keys == [Qt.Key.Key_A] and recorded(assay_path) == 1
    for key, held in (
        (Qt.Key.Key_Space, NONE),
        (Qt.Key.Key_R, CTRL),
        (Qt.Key.Key_Y, CTRL),
        (Qt.Key.Key_V, NONE),
    ):
        QTest.keyClick(canvas, key, held)
        assert canvas.keys[-1] == key, "napari's own"
    desk.session.close_assay()
    QTest.keyClick(canvas, Qt.Key.Key_N)
    assert canvas.keys[-1] == Qt.Key.Key_N


def test_a_layer_of_somebody_else_keeps_all_its_keys(
    desk: Any, canvas: Pad, assay_path: Path
) -> None:
    desk.open(assay_path)
    desk.session.annotations.annotator = "anna"
    desk.point_at(0)
    mine = desk.viewer.add_labels(np.zeros((20, 20), np.uint8), name="mine")
    assert desk.viewer.layers.selection.active is mine
    for key in (Qt.Key.Key_A, Qt.Key.Key_1, Qt.Key.Key_BracketLeft, Qt.Key.Key_Backspace):
        QTest.keyClick(canvas, key)
        assert canvas.keys[-1] == key
    assert not recorded(assay_path)
    assert "'mine' is active" in desk.messages[-1][1]
    QTest.keyClick(canvas, Qt.Key.Key_Escape)
    assert desk.viewer.layers.selection.active is desk.view.cell_layer
    QTest.keyClick(canvas, Qt.Key.Key_A)
    assert recorded(assay_path) == 1


def test_the_list_of_layers_neither_deletes_ours_nor_takes_our_letters(
    qtbot: QtBot, desk: Any, assay_path: Path
) -> None:
    layers = Pad()
    qtbot.addWidget(layers)
    KeyActions.of(desk.workspace).watch_layer_list(layers)
    desk.open(assay_path)
    desk.point_at(0)
    for key in (Qt.Key.Key_Backspace, Qt.Key.Key_Delete, Qt.Key.Key_A, Qt.Key.Key_1):
        QTest.keyClick(layers, key)
    assert layers.keys == []
    mine = desk.viewer.add_points(np.zeros((1, 2)), name="mine")
    desk.viewer.layers.selection.active = mine
    QTest.keyClick(layers, Qt.Key.Key_Backspace)
    assert layers.keys == [Qt.Key.Key_Backspace]


def test_the_status_bar_says_our_keys_and_not_those_of_points(desk: Any, assay_path: Path) -> None:
    desk.open(assay_path)
    assert desk.viewer.layers.selection.active is desk.view.cell_layer
    assert "N normal" in desk.viewer.help and "<2>" not in desk.viewer.help
    for layer in desk.viewer.layers:
        desk.viewer.layers.selection.active = layer
        assert "<" not in desk.viewer.help, layer.name


def test_no_key_of_ours_is_one_of_the_viewer() -> None:
    ours = {
        key_names.NEXT,
        key_names.UNDO,
        key_names.REDO,
        key_names.RETRAIN,
        key_names.RAW,
        key_names.GALLERY,
        *key_names.CHANNELS,
        *(key for key in key_names.CLASS_KEYS if len(key) == 1),
    }
    of_viewer = {
        str(key)
        for name, action in action_manager._actions.items()
        if action.keymapprovider in (None, ViewerModel)
        for key in default_shortcuts.get(name, ())
    }
    assert "Space" in of_viewer and not ours & of_viewer


@pytest.mark.parametrize(
    ("key", "held", "text", "name"),
    [
        (Qt.Key.Key_A, NONE, "a", "A"),
        (Qt.Key.Key_A, NONE, "A", "A"),  # with caps lock
        (Qt.Key.Key_A, SHIFT, "A", "Shift+A"),
        (Qt.Key.Key_Period, NONE, ".", "."),
        (Qt.Key.Key_Period, SHIFT, ".", "."),  # where the layout has it there
        (Qt.Key.Key_Question, SHIFT, "?", "?"),
        (Qt.Key.Key_1, Qt.KeyboardModifier.KeypadModifier, "1", "1"),
        (Qt.Key.Key_Z, CTRL | SHIFT, "\x1a", "Ctrl+Shift+Z"),
        (Qt.Key.Key_Delete, NONE, "\x7f", "Delete"),
        (Qt.Key.Key_F3, NONE, "", "F3"),
    ],
)
def test_a_key_has_one_name_on_any_keyboard(key: Any, held: Any, text: str, name: str) -> None:
    assert key_name(QKeyEvent(QEvent.Type.KeyPress, key, held, text)) == name


def test_the_sheet_has_all_keys(qtbot: QtBot, desk: Any, canvas: Pad) -> None:
    keys = KeyActions.of(desk.workspace)
    with qtbot.waitSignal(keys.help_requested):  # without an assay, too
        QApplication.sendEvent(
            canvas, QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_Question, SHIFT, "?")
        )
    sheet = CheatSheet(BUILT_IN_KINDS)
    sheet.show()
    text = " ".join(label.text() for label in sheet.findChildren(QLabel))
    for kind in BUILT_IN_KINDS:
        assert kind.name in text
    listed = ", ".join(key for _, lines in sections(BUILT_IN_KINDS) for key, _ in lines)
    for key in (key_names.NEXT, key_names.REDO, key_names.RETRAIN, key_names.GALLERY, "F1", "K"):
        assert key in listed
    with qtbot.waitSignal(sheet.destroyed):
        QTest.keyClick(sheet, Qt.Key.Key_Question, SHIFT)


def test_raw_image_and_single_channels(desk: Any, canvas: Pad, assay_path: Path) -> None:
    desk.open(assay_path)
    desk.point_at(0)
    layers = desk.viewer.layers
    QTest.keyClick(canvas, Qt.Key.Key_I)
    assert not layers["cells"].visible and layers["target"].visible
    desk.session.selection.step(1)
    desk.qtbot.waitUntil(lambda: desk.view.on_screen == desk.session.selection.site)
    assert not layers["cells"].visible
    QTest.keyClick(canvas, Qt.Key.Key_I)
    assert layers["cells"].visible and layers["annotated"].visible
    assert layers["DNA"].visible and layers["Actin"].visible
    QTest.keyClick(canvas, Qt.Key.Key_F2)
    assert not layers["DNA"].visible and layers["Actin"].visible
    QTest.keyClick(canvas, Qt.Key.Key_F1)
    assert layers["DNA"].visible and not layers["Actin"].visible
    QTest.keyClick(canvas, Qt.Key.Key_F1)
    assert layers["DNA"].visible and layers["Actin"].visible
    QTest.keyClick(canvas, Qt.Key.Key_F8)  # there is no such channel
    assert layers["DNA"].visible and layers["Actin"].visible
