"""From a path a person gives to an open assay."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from qtpy.QtWidgets import QComboBox, QDialogButtonBox, QMessageBox, QWidget

from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.cells.nuclei import find_nuclei
from napari_hcs_qc.gui.plate import plate_opening
from napari_hcs_qc.gui.plate.new_assay_dialog import NewAssayDialog, proposed_folder
from napari_hcs_qc.gui.plate.plate_opening import ask_for_assay, make_assay, open_path
from napari_hcs_qc.gui.plate.recent import recent_assays
from napari_hcs_qc.gui.window.message_line import MessageLine
from napari_hcs_qc.plugins import DETECTORS

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot


def ok(dialog: NewAssayDialog) -> Any:
    return dialog.findChild(QDialogButtonBox).button(QDialogButtonBox.StandardButton.Ok)


def test_the_dialog_proposes_a_folder_and_wants_both(qtbot: QtBot, tmp_path: Path) -> None:
    dialog = NewAssayDialog()
    qtbot.addWidget(dialog)
    assert not ok(dialog).isEnabled()
    dialog.set_value(tmp_path / "plate 1")
    assert ok(dialog).isEnabled()
    source, folder = dialog.value()
    assert (source.path, source.pattern) == (tmp_path / "plate 1", None)
    assert folder == tmp_path / "plate 1-qc"
    dialog.findChild(QWidget, "pattern").setText(r" (?P<well>[A-P]\d\d) ")
    assert dialog.value()[0].pattern == r"(?P<well>[A-P]\d\d)"
    dialog.findChild(QWidget, "folder").setText(" ")
    assert not ok(dialog).isEnabled()


def test_a_plate_is_added_to_the_assay_it_is_asked_for(qtbot: QtBot, tmp_path: Path) -> None:
    dialog = NewAssayDialog(None, tmp_path / "mine")
    qtbot.addWidget(dialog)
    dialog.set_value(tmp_path / "other")
    assert dialog.value()[1] == tmp_path / "mine"
    assert not dialog.findChild(QWidget, "folder").isEnabled()
    assert dialog.findChild(QWidget, "detector") is None  # the assay has one
    assert dialog.detector() is None


@pytest.mark.parametrize("name", ["load_data.csv", "plate.d"])
def test_a_folder_keeps_its_whole_name_and_a_table_loses_its_ending(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    if name.endswith(".csv"):
        path.write_text("")
        assert proposed_folder(path) == tmp_path / "load_data-qc"
    else:
        path.mkdir()
        assert proposed_folder(path) == tmp_path / "plate.d-qc"


def test_beside_a_plate_that_is_read_only_nothing_is_proposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert proposed_folder(tmp_path / "plate") == Path.home() / "plate-qc"


def test_an_assay_is_opened_and_remembered(desk: Any, assay_path: Path) -> None:
    open_path(desk.session, assay_path)
    desk.idle()
    assert desk.session.assay.folder.path == assay_path
    assert recent_assays()[0] == assay_path


def test_a_plate_becomes_an_assay_or_says_why_not(
    desk: Any, plate_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = MessageLine(desk.session)
    desk.qtbot.addWidget(line)
    assert line.value() == ()
    monkeypatch.setattr(NewAssayDialog, "exec", lambda _dialog: True)
    open_path(desk.session, plate_path)
    desk.idle()
    assert desk.session.assay.folder.path == tmp_path / "SIM-qc"
    assert desk.session.selection.plate.name == "SIM"
    assert desk.errors() == []
    empty = tmp_path / "nothing"
    empty.mkdir()
    make_assay(desk.session, NewAssayDialog(empty).value()[0], tmp_path / "new")
    desk.idle()
    (said,) = desk.errors()
    assert str(empty) in said
    assert line.value()[-1] == f"✖ {said}"
    assert f"✖ {said}".startswith(line.text().removesuffix("…").rstrip())
    assert desk.session.assay.folder.path == tmp_path / "SIM-qc"  # what was open still is


@pytest.mark.parametrize("answer", ["Yes", "No"])
def test_servers_that_a_table_names_are_contacted_after_a_yes(
    desk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    table = tmp_path / "load_data.csv"
    table.write_text("Metadata_Well,Metadata_Site,URL_DNA\nA01,1,https://127.0.0.1:1/a.tif\n")
    questions: list[str] = []

    def question(_parent: object, _title: str, text: str) -> QMessageBox.StandardButton:
        questions.append(text)
        return getattr(QMessageBox.StandardButton, answer)

    monkeypatch.setattr(QMessageBox, "question", question)
    make_assay(desk.session, NewAssayDialog(table).value()[0], tmp_path / "new")
    desk.idle()
    (text,) = questions
    assert f"{table} names images on https://127.0.0.1:1." in text
    assert (tmp_path / "new" / "assay.json").is_file() is (answer == "Yes")
    if answer == "Yes":
        (entry,) = AssayFolder.open(tmp_path / "new").plates
        assert entry.allow_remote


def test_another_detector_is_kept_in_the_new_assay(
    desk: Any, plate_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"{find_nuclei.__module__}:{find_nuclei.__name__}"  # any function that can be loaded
    monkeypatch.setitem(DETECTORS, "ours-again", ("napari-hcs-qc", place))
    monkeypatch.setitem(DETECTORS, "absent", ("no-such-package", "no_such_module:find"))

    def choose(name: str) -> None:
        def accept(dialog: NewAssayDialog) -> bool:
            assert dialog.detector() is None  # ours by default
            box = dialog.findChild(QComboBox, "detector")
            assert "pip install" in box.toolTip()
            box.setCurrentText(name)
            assert dialog.detector() == name
            return True

        monkeypatch.setattr(NewAssayDialog, "exec", accept)

    choose("absent")
    open_path(desk.session, plate_path)
    desk.idle()
    (message,) = desk.errors()
    assert "no-such-package" in message
    assert desk.session.assay.folder is None
    choose("ours-again")
    open_path(desk.session, plate_path)
    desk.idle()
    assert desk.session.assay.folder.detector == "ours-again"


def test_a_folder_that_is_no_assay_is_told(
    desk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([str(tmp_path), ""])
    monkeypatch.setattr(plate_opening.QFileDialog, "getExistingDirectory", lambda *_: next(answers))
    ask_for_assay(desk.session, None)
    ((level, said),) = desk.messages
    assert level == "warning"
    assert str(tmp_path) in said
    assert "New assay" in said
    ask_for_assay(desk.session, None)  # the person has thought better of it
    assert len(desk.messages) == 1
    assert desk.session.assay.folder is None


def test_earlier_messages_are_in_the_tooltip(desk: Any) -> None:
    line = MessageLine(desk.session)
    desk.qtbot.addWidget(line)
    for number in range(30):
        desk.session.message.emit("warning" if number % 2 else "info", f"message {number}")
    assert line.text() == "⚠ message 29"
    assert line.toolTip().splitlines()[:2] == ["⚠ message 29", "message 28"]
    assert len(line.value()) == 20
