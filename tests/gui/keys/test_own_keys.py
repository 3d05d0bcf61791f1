"""Keys can be changed: they are kept, a clash is reported, and the defaults come back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QKeyEvent, QKeySequence
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QDialogButtonBox, QKeySequenceEdit, QLabel, QPushButton, QWidget

from napari_hcs_qc.assay.annotations.kinds import BUILT_IN_KINDS
from napari_hcs_qc.gui.annotate.annotate_dock import AnnotateDock
from napari_hcs_qc.gui.keys import own_keys
from napari_hcs_qc.gui.keys.cheat_sheet import CheatSheet, sections
from napari_hcs_qc.gui.keys.key_actions import KeyActions
from napari_hcs_qc.gui.keys.key_dialog import KeyDialog
from napari_hcs_qc.gui.keys.key_names import key_name, name_of
from napari_hcs_qc.gui.review.review_dock import ReviewDock
from napari_hcs_qc.gui.window.guide_dock import GuideDock

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot


@pytest.fixture
def dialog(qtbot: QtBot) -> KeyDialog:
    made = KeyDialog(BUILT_IN_KINDS)
    qtbot.addWidget(made)
    made.show()
    return made


def type_key(dialog: QWidget, default: str, key: Any, held: Any = None) -> None:
    """Click the line of an action and press a key there."""
    edit = dialog.findChild(QKeySequenceEdit, f"key {default}")
    edit.setFocus()
    QTest.keyClick(edit, key, held or Qt.KeyboardModifier.NoModifier)


def ok(dialog: QWidget) -> QPushButton:
    return dialog.findChild(QDialogButtonBox).button(QDialogButtonBox.StandardButton.Ok)


def problem(dialog: QWidget) -> str:
    return dialog.findChild(QLabel, "problem").text()


def test_every_action_has_a_line_with_the_key_that_the_sheet_shows(dialog: KeyDialog) -> None:
    assert dialog.value() == {default: default for default in own_keys.TITLES}
    assert ok(dialog).isEnabled() and not problem(dialog)
    listed = ", ".join(key for _, lines in sections(BUILT_IN_KINDS) for key, _ in lines)
    for default in own_keys.TITLES:
        assert default in listed or default in ("F2", "F3", "F4", "F5", "F6", "F7", "?")


@pytest.mark.parametrize(
    ("key", "held", "clash"),
    [
        (Qt.Key.Key_A, None, "abnormal"),  # of another action
        (Qt.Key.Key_1, None, "blur"),  # of a kind
        (Qt.Key.Key_Space, None, "napari"),
        (Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier, "select all"),
    ],
)
def test_a_clash_is_reported_and_refused(
    dialog: KeyDialog, key: Any, held: Any, clash: str
) -> None:
    type_key(dialog, "N", key, held)
    assert clash in problem(dialog) and not ok(dialog).isEnabled()
    type_key(dialog, "N", Qt.Key.Key_J)
    assert not problem(dialog) and ok(dialog).isEnabled()
    assert dialog.value()["N"] == "J"


def test_the_defaults_come_back_by_one_button(dialog: KeyDialog) -> None:
    type_key(dialog, "N", Qt.Key.Key_J)
    type_key(dialog, ".", Qt.Key.Key_A)
    assert problem(dialog)
    dialog.findChild(QDialogButtonBox).button(
        QDialogButtonBox.StandardButton.RestoreDefaults
    ).click()
    assert dialog.value() == {default: default for default in own_keys.TITLES}
    assert ok(dialog).isEnabled()


def test_changed_keys_act_are_shown_and_are_kept(qtbot: QtBot, desk: Any, assay_path: Path) -> None:
    desk.open(assay_path)
    desk.session.annotations.annotator = "anna"
    panels = [kind(desk.viewer) for kind in (AnnotateDock, ReviewDock, GuideDock)]
    for made in panels:
        qtbot.addWidget(made)
        made.show()
    annotate, review, guide = panels
    canvas = QWidget()
    qtbot.addWidget(canvas)
    keys = KeyActions.of(desk.workspace)
    keys.watch_canvas(canvas)
    keys.set_keys({"N": "J", "A": "N", "K": "M"})
    desk.point_at(0)
    QTest.keyClick(canvas, Qt.Key.Key_N)
    assert desk.annotation_of(0) == "abnormal"
    QTest.keyClick(canvas, Qt.Key.Key_J)
    assert desk.annotation_of(0) == "normal"
    QTest.keyClick(canvas, Qt.Key.Key_A)  # nobody's now
    assert desk.annotation_of(0) == "normal"
    assert "J normal, N abnormal" in desk.viewer.help
    texts = [button.text() for button in annotate.findChildren(QPushButton)]
    assert any(text.startswith("J normal") for text in texts)
    assert any(text.startswith("N abnormal") for text in texts)
    assert review.findChild(QPushButton, "keep").text() == "Keep (M)"
    assert guide.findChild(QPushButton, "show_keys").text() == "Keys ?"
    own_keys.read_keys()  # as at the next start
    assert own_keys.shown("N") == "J" and own_keys.meaning("A") == ""
    own_keys.keys_file().write_text("{")
    own_keys.read_keys()
    assert own_keys.shown("N") == "N", "a damaged file is none"


def test_the_sheet_leads_to_the_dialog(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    sheet = CheatSheet(BUILT_IN_KINDS)
    sheet.show()

    def accept(dialog: KeyDialog) -> bool:
        type_key(dialog, "N", Qt.Key.Key_J)
        return True

    monkeypatch.setattr(KeyDialog, "exec", accept)
    with qtbot.waitSignal(sheet.keys_chosen) as chosen:
        sheet.findChild(QPushButton).click()
    assert chosen.args[0]["N"] == "J"


@pytest.mark.parametrize(
    ("key", "held", "text"),
    [
        (Qt.Key.Key_A, Qt.KeyboardModifier.NoModifier, "a"),
        (Qt.Key.Key_A, Qt.KeyboardModifier.ShiftModifier, "A"),
        (Qt.Key.Key_Period, Qt.KeyboardModifier.NoModifier, "."),
        (Qt.Key.Key_Question, Qt.KeyboardModifier.ShiftModifier, "?"),
        (Qt.Key.Key_Comma, Qt.KeyboardModifier.NoModifier, ","),
        (Qt.Key.Key_Plus, Qt.KeyboardModifier.ControlModifier, "+"),
        (Qt.Key.Key_F7, Qt.KeyboardModifier.NoModifier, ""),
        (Qt.Key.Key_Delete, Qt.KeyboardModifier.NoModifier, "\x7f"),
        (Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier, "\x1a"),
    ],
)
def test_a_sequence_has_the_name_of_its_key(key: Any, held: Any, text: str) -> None:
    pressed = key_name(QKeyEvent(QEvent.Type.KeyPress, key, held, text))
    edit = QKeySequenceEdit()
    edit.setMaximumSequenceLength(1)
    QTest.keyClick(edit, key, held)
    assert name_of(edit.keySequence()) == pressed
    assert name_of(QKeySequence()) == ""
