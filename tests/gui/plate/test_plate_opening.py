"""From a path a person gives to an open assay."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from qtpy.QtWidgets import QComboBox, QDialogButtonBox, QMessageBox, QToolButton, QWidget

from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.cells.nuclei import find_nuclei
from napari_hcs_qc.gui.plate import plate_opening
from napari_hcs_qc.gui.plate.new_assay_dialog import NewAssayDialog, proposed_folder
from napari_hcs_qc.gui.plate.plate_opening import (
    ask_for_assay,
    ask_for_cells,
    ask_for_plate,
    open_path,
)
from napari_hcs_qc.gui.plate.recent import recent_assays
from napari_hcs_qc.gui.window.message_line import MessageLine
from napari_hcs_qc.plugins import DETECTORS


def ok(dialog: NewAssayDialog) -> Any:
    return dialog.findChild(QDialogButtonBox).button(QDialogButtonBox.StandardButton.Ok)


def looked(desk: Any, dialog: NewAssayDialog) -> str:
    """Wait until the dialog has read its plate; gives what it says."""
    dialog.look()
    desk.idle()
    return str(dialog.preview().text())


def test_the_dialog_shows_the_plate_before_it_makes_anything(
    desk: Any, plate_path: Path, tmp_path: Path
) -> None:
    dialog = NewAssayDialog(desk.session)
    desk.qtbot.addWidget(dialog)
    assert not ok(dialog).isEnabled()
    dialog.set_value(plate_path)
    assert not ok(dialog).isEnabled()  # nothing was read yet
    desk.qtbot.waitUntil(lambda: ok(dialog).isEnabled(), timeout=60_000)  # by itself
    text = dialog.preview().text()
    assert "4 wells imaged" in text
    assert "8 sites" in text
    assert "DNA, Actin" in text
    pictures = [dialog.findChild(QToolButton, f"channel {name}") for name in ("DNA", "Actin")]
    assert all(not picture.icon().isNull() for picture in pictures)
    assert dialog.preview().value() == "DNA"  # by its name
    pictures[1].click()
    assert dialog.value().nuclear_channel == "Actin"
    assert dialog.value().source.time is None
    # It is proposed at home, never among the raw data.
    assert dialog.value().folder == Path.home() / "hcs-qc" / "SIM-qc"
    dialog.findChild(QWidget, "folder").setText(" ")
    assert not ok(dialog).isEnabled()
    dialog.findChild(QWidget, "folder").setText(str(tmp_path / "mine"))
    dialog.findChild(QWidget, "pattern").setText(r" (?P<well>[A-P]\d\d) ")
    assert dialog.value().source.pattern == r"(?P<well>[A-P]\d\d)"
    assert not ok(dialog).isEnabled()  # to be read anew
    assert "✖" in looked(desk, dialog)
    assert not ok(dialog).isEnabled()
    assert not (tmp_path / "mine").exists()


def test_a_plate_without_a_nuclear_stain_wants_to_be_told_which_channel_it_is(
    desk: Any, plate_path: Path, tmp_path: Path
) -> None:
    (tmp_path / "plain").mkdir()
    for path in plate_path.glob("*.tif"):
        _, well, site, channel = path.stem.split("_")
        stain = {"w1": "GFP", "w2": "RFP"}[channel]
        shutil.copy(path, tmp_path / "plain" / f"{well}_f{site[1:]}_{stain}.tif")
    dialog = ask_for_plate(desk.session, tmp_path / "plain", None)
    dialog.findChild(QWidget, "folder").setText(str(tmp_path / "mine"))
    assert "GFP, RFP" in looked(desk, dialog)
    assert dialog.preview().value() is None
    assert not ok(dialog).isEnabled()
    dialog.findChild(QToolButton, "channel RFP").click()
    assert ok(dialog).isEnabled()
    ok(dialog).click()
    desk.idle()
    assert AssayFolder.open(tmp_path / "mine").settings.nuclear_channel == "RFP"
    assert desk.session.selection.plate.name == "plain"
    desk.tasks.find_cells()
    desk.idle()
    assert desk.session.selection.state.plate_cells.channel == "RFP"


def test_a_plate_is_added_to_the_assay_it_is_asked_for(
    desk: Any, plate_path: Path, tmp_path: Path
) -> None:
    dialog = NewAssayDialog(desk.session, None, tmp_path / "mine")
    desk.qtbot.addWidget(dialog)
    dialog.set_value(plate_path)
    looked(desk, dialog)
    value = dialog.value()
    assert value.folder == tmp_path / "mine"
    assert not dialog.findChild(QWidget, "folder").isEnabled()
    # The assay has these.
    assert (value.detector, value.platemap, value.nuclear_channel) == (None, None, None)
    assert not dialog.findChild(QComboBox, "detector") or value.detector is None


@pytest.mark.parametrize("name", ["load_data.csv", "plate.d"])
def test_a_folder_keeps_its_whole_name_and_a_table_loses_its_ending(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    if name.endswith(".csv"):
        path.write_text("")
        assert proposed_folder(path) == Path.home() / "hcs-qc" / "load_data-qc"
    else:
        path.mkdir()
        assert proposed_folder(path) == Path.home() / "hcs-qc" / "plate.d-qc"


def test_an_assay_is_opened_and_remembered(desk: Any, assay_path: Path) -> None:
    open_path(desk.session, assay_path)
    desk.idle()
    assert desk.session.assay.folder.path == assay_path
    assert recent_assays()[0] == assay_path


def test_a_plate_becomes_an_assay_or_says_why_not(
    desk: Any, plate_path: Path, tmp_path: Path
) -> None:
    line = MessageLine(desk.session)
    desk.qtbot.addWidget(line)
    dialog = ask_for_plate(desk.session, plate_path, None)
    ends: list[int] = []
    dialog.finished.connect(ends.append)
    looked(desk, dialog)
    # A folder that is refused keeps the dialog open with what was typed.
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.txt").write_text("mine")
    folder, platemap = (dialog.findChild(QWidget, name) for name in ("folder", "platemap"))
    folder.setText(str(taken))
    platemap.setText(str(tmp_path / "map.csv"))
    ok(dialog).click()
    desk.idle()
    assert dialog.isVisible()
    assert "map.csv" in dialog.preview().text()
    (tmp_path / "map.csv").write_text("well,treatment,role\nA01,DMSO,control\nA02,x,sample\n")
    ok(dialog).click()
    desk.idle()
    assert dialog.isVisible()
    assert str(taken) in dialog.preview().text()
    assert folder.text() == str(taken)
    assert [str(taken) in text for text in desk.errors()] == [False, True]
    assert line.value()[-1] == f"✖ {desk.errors()[-1]}"
    folder.setText(str(tmp_path / "SIM-qc"))
    ok(dialog).click()
    desk.idle()
    assert ends == [1]
    assert desk.session.assay.folder.path == tmp_path / "SIM-qc"
    assert desk.session.selection.plate.name == "SIM"
    assert desk.session.assay.folder.platemap_path.is_file()
    assert recent_assays()[0] == tmp_path / "SIM-qc"
    assert desk.session.assay.folder.settings.nuclear_channel is None  # DNA, as by default


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
    dialog = ask_for_plate(desk.session, table, None)
    text = looked(desk, dialog)
    (asked,) = questions
    assert f"{table} names images on https://127.0.0.1:1." in asked
    assert dialog.value().source.allow_remote is (answer == "Yes")
    if answer == "Yes":  # nobody answers there, which is said
        assert "none of 1 image can be read" in text
    else:
        assert "--allow-remote" in text
    assert not ok(dialog).isEnabled()
    dialog.set_value(tmp_path)  # a yes is of one table
    assert not dialog.value().source.allow_remote


def test_another_detector_is_kept_in_the_new_assay(
    desk: Any, plate_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"{find_nuclei.__module__}:{find_nuclei.__name__}"  # any function that can be loaded
    monkeypatch.setitem(DETECTORS, "ours-again", ("napari-hcs-qc", place))
    monkeypatch.setitem(DETECTORS, "absent", ("no-such-package", "no_such_module:find"))
    dialog = ask_for_plate(desk.session, plate_path, None)
    dialog.findChild(QWidget, "folder").setText(str(tmp_path / "SIM-qc"))
    looked(desk, dialog)
    assert dialog.value().detector is None  # ours by default
    box = dialog.findChild(QComboBox, "detector")
    assert "pip install" in box.toolTip()
    box.setCurrentText("absent")
    ok(dialog).click()
    desk.idle()
    (message,) = desk.errors()
    assert "no-such-package" in message
    assert desk.session.assay.folder is None
    assert dialog.isVisible()
    box.setCurrentText("ours-again")
    ok(dialog).click()
    desk.idle()
    assert desk.session.assay.folder.detector == "ours-again"


def test_a_dialog_ends_with_the_viewer_and_what_it_began_too(
    desk: Any, plate_path: Path, tmp_path: Path
) -> None:
    ended = []
    dialog = ask_for_plate(desk.session, plate_path, None)  # about to look by itself
    dialog.rejected.connect(lambda: ended.append(True))
    asked = ask_for_plate(desk.session, plate_path, None)
    asked.findChild(QWidget, "folder").setText(str(tmp_path / "SIM-qc"))
    looked(desk, asked)
    ok(asked).click()
    asked.reject()  # in the middle of making
    desk.close()
    assert ended
    desk.qtbot.wait(500)  # longer than a dialog waits for the next letter
    assert desk.errors() == []
    assert desk.session.assay.folder is None


# ---- what an assay knows of its plates -----------------------------------------------------


def test_cells_are_found_again_in_another_channel(desk: Any, assay_path: Path) -> None:
    desk.open(assay_path)
    n_annotated = len(desk.session.annotations.cache.table)
    before = desk.session.selection.state.plate_cells
    assert before.channel == "DNA"
    dialog = ask_for_cells(desk.tasks, desk.session, None)
    desk.idle()
    assert dialog.preview().value() == "DNA"
    dialog.findChild(QToolButton, "channel Actin").click()
    ok(dialog).click()
    desk.idle()
    assert desk.errors() == []
    assert desk.session.selection.state.plate_cells.channel == "Actin"
    assert desk.session.assay.folder.settings.nuclear_channel == "Actin"
    assert len(desk.session.annotations.cache.table) == n_annotated
    assert desk.session.models.embeddings is None or len(desk.session.models.embeddings) == len(
        desk.session.selection.state.plate_cells.cells
    )


def test_masks_of_others_are_imported_from_the_window(
    desk: Any, assay_path: Path, tmp_path: Path
) -> None:
    desk.open(assay_path)
    cells = desk.session.selection.state.plate_cells.cells
    cells[["well", "site", "y_px", "x_px"]].iloc[:20].to_csv(
        tmp_path / "positions.csv", index=False
    )
    dialog = ask_for_cells(desk.tasks, desk.session, None)
    desk.idle()
    dialog.findChild(QWidget, "files").setText(str(tmp_path / "positions.csv"))
    assert not dialog.findChild(QComboBox, "detector").isEnabled()
    ok(dialog).click()
    desk.idle()
    assert desk.errors() == []
    assert len(desk.session.selection.state.plate_cells.cells) == 20


def test_a_plate_map_is_taken_where_it_fits(
    desk: Any, assay_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.open(assay_path)
    columns = "well,treatment,role\n"
    maps = {
        "good": f"{columns}A01,DMSO,control\nA02,x,sample\n",
        "bad": f"{columns}A01,x,emperor\n",
    }
    for name, text in maps.items():
        (tmp_path / f"{name}.csv").write_text(text)
    chosen = [str(tmp_path / "bad.csv"), str(tmp_path / "good.csv")]
    monkeypatch.setattr(
        plate_opening.QFileDialog, "getOpenFileName", lambda *_: (chosen.pop(0), "")
    )
    path = desk.session.assay.folder.platemap_path
    plate_opening.ask_for_platemap(desk.session, None)
    desk.idle()
    assert "emperor" in desk.errors()[0]
    assert not path.exists()
    plate_opening.ask_for_platemap(desk.session, None)
    desk.idle()
    assert path.read_text() == maps["good"]
    assert desk.session.selection.plate_name == "SIM"


def test_a_plate_that_moved_is_located_and_one_is_removed(
    desk: Any, assay_path: Path, plate_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(plate_path, tmp_path / "elsewhere" / "SIM")
    desk.open(assay_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    chosen = [str(empty), str(tmp_path / "elsewhere" / "SIM")]
    monkeypatch.setattr(plate_opening.QFileDialog, "getExistingDirectory", lambda *_: chosen.pop(0))
    plate_opening.ask_where(desk.session, "SIM", None)
    desk.idle()
    assert str(empty) in desk.errors()[0]
    plate_opening.ask_where(desk.session, "SIM", None)
    desk.idle()
    assert len(desk.errors()) == 1
    assert desk.session.assay.folder.plate("SIM").source == tmp_path / "elsewhere" / "SIM"
    assert desk.session.selection.state is not None  # its cells stay
    buttons = QMessageBox.StandardButton
    answers = [buttons.No, buttons.Yes]
    monkeypatch.setattr(plate_opening.QMessageBox, "question", lambda *_: answers.pop(0))
    plate_opening.ask_to_remove(desk.session, "SIM", None)
    assert desk.session.assay.folder.plates
    plate_opening.ask_to_remove(desk.session, "SIM", None)
    desk.idle()
    assert not desk.session.assay.folder.plates
    assert desk.session.selection.plate is None


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
