from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QComboBox, QLineEdit, QTreeWidgetItem, QWidget

from napari_hcs_qc.assay.models.train_options import TrainOptions, chosen_options
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.encoders.encoder import Encoder, choose_device
from napari_hcs_qc.encoders.registry import EncoderInfo, list_encoders
from napari_hcs_qc.gui.canvas.workspace import workspace_of
from napari_hcs_qc.gui.train.encoder_dock import EncoderDock
from napari_hcs_qc.gui.train.encoder_table import EncoderTable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot

    from napari_hcs_qc.gui.canvas.workspace import Workspace


@pytest.fixture
def workspace(qtbot: QtBot) -> Iterator[Workspace]:
    made = workspace_of(ViewerModel())
    yield made
    made.close()


@pytest.fixture
def dock(qtbot: QtBot, workspace: Workspace) -> EncoderDock:
    made = EncoderDock(workspace.viewer)
    qtbot.addWidget(made)
    return made


def encoder_item(dock: EncoderDock, name: str) -> QTreeWidgetItem:
    flags = Qt.MatchFlag.MatchExactly | Qt.MatchFlag.MatchRecursive
    (item,) = dock.findChild(EncoderTable).findItems(name, flags, 0)
    return item


def opened(qtbot: QtBot, workspace: Workspace, path: Path) -> None:
    workspace.session.open(path)
    qtbot.waitUntil(lambda: workspace.session.selection.state is not None, timeout=30_000)
    idle(qtbot, workspace)


def idle(qtbot: QtBot, workspace: Workspace) -> None:
    qtbot.waitUntil(lambda: not workspace.session.jobs.running, timeout=60_000)


def lines(table: EncoderTable) -> dict[str, list[str]]:
    found = {}
    for row in range(table.topLevelItemCount()):
        group = table.topLevelItem(row)
        found[group.text(0)] = [group.child(i).text(0) for i in range(group.childCount())]
    return found


def test_without_an_assay_it_lists_the_encoders_and_says_what_to_do(dock: EncoderDock) -> None:
    found = lines(dock.findChild(QWidget, "table"))
    assert found["Transfer-learned"] == [info.name for info in list_encoders()]
    (sentence,) = found["Self-supervised"]
    assert sentence.startswith("None yet")
    assert "Open" in dock.findChild(QWidget, "state").text()
    assert not dock.findChild(QWidget, "compute").isEnabled()
    assert dock.value() == TrainOptions()


def test_an_encoder_of_the_list_is_chosen_with_a_click_and_kept_with_the_assay(
    qtbot: QtBot, workspace: Workspace, dock: EncoderDock, assay_path: Path
) -> None:
    opened(qtbot, workspace, assay_path)
    dock.resize(400, 700)
    dock.show()
    item = encoder_item(dock, "resnet18")
    with qtbot.waitSignal(dock.value_changed) as caught:
        qtbot.mouseClick(
            dock.findChild(QWidget, "table").viewport(),
            Qt.MouseButton.LeftButton,
            pos=dock.findChild(QWidget, "table").visualItemRect(item).center(),
        )
    assert caught.args[0].encoder == "resnet18"
    assert workspace.session.options.value().encoder == "resnet18"
    assert chosen_options(AssayFolder.open(assay_path)).encoder == "resnet18"
    assert "resnet18" in dock.findChild(QWidget, "about").text()
    if not {info.name: info.ready for info in list_encoders()}["resnet18"]:
        assert "Needs internet" in dock.findChild(QWidget, "about").text()
    # It was embedded with another one, which is said.
    assert "not yet with the current choice" in dock.findChild(QWidget, "state").text()


def test_another_architecture_takes_the_place_of_the_list(
    qtbot: QtBot, workspace: Workspace, dock: EncoderDock, assay_path: Path, tmp_path: Path
) -> None:
    opened(qtbot, workspace, assay_path)
    dock.findChild(QWidget, "custom").setText("torchvision:resnet34")
    dock.findChild(QWidget, "custom").editingFinished.emit()
    assert dock.findChild(QWidget, "table").value() == ""
    assert workspace.session.options.value().encoder == "torchvision:resnet34"
    weights = tmp_path / "mine.safetensors"
    dock.findChild(QWidget, "weights").setText(str(weights))
    dock.findChild(QWidget, "weights").editingFinished.emit()
    assert workspace.session.options.value().weights == weights
    assert "mine.safetensors" in dock.findChild(QWidget, "about").text()
    # Back to the list: weights of another architecture do not fit it.
    dock.findChild(QWidget, "table").set_value("vgg16")
    dock.findChild(QWidget, "table").value_changed.emit("vgg16")
    assert dock.findChild(QWidget, "custom").text() == ""
    assert workspace.session.options.value() == TrainOptions(encoder="vgg16")
    dock.findChild(QWidget, "custom").setText("efficientnet-lite0")  # a name of the list, typed
    dock.findChild(QWidget, "custom").editingFinished.emit()
    assert dock.findChild(QWidget, "table").value() == "efficientnet-lite0"
    assert workspace.session.options.value().encoder is None


def test_what_cannot_be_loaded_is_told_in_its_own_words(
    qtbot: QtBot, workspace: Workspace, dock: EncoderDock, assay_path: Path, tmp_path: Path
) -> None:
    opened(qtbot, workspace, assay_path)
    rows = workspace.session.models.embeddings
    messages: list[str] = []
    workspace.session.message.connect(lambda _level, text: messages.append(text))
    dock.findChild(QWidget, "custom").setText("resnet-18")
    dock.findChild(QWidget, "custom").editingFinished.emit()
    dock.findChild(QWidget, "compute").click()
    idle(qtbot, workspace)
    assert "There is no encoder 'resnet-18'" in messages[-1]
    assert "There is no encoder 'resnet-18'" in dock.findChild(QWidget, "jobs").value()
    assert workspace.session.models.embeddings is rows  # nothing changed


def test_recipes_are_told_in_pixels_of_this_plate(
    qtbot: QtBot, workspace: Workspace, dock: EncoderDock, assay_path: Path
) -> None:
    assert "nucleus diameters" in dock.findChild(QWidget, "recipe_text").text()
    opened(qtbot, workspace, assay_path)
    diameter = workspace.session.selection.state.plate_cells.diameter_px
    assert (
        f"{round(diameter)} and {round(2 * diameter)} px"
        in dock.findChild(QWidget, "recipe_text").text()
    )
    assert "DNA and Actin" in dock.findChild(QWidget, "recipe_text").text()
    assert "4 views" in dock.findChild(QWidget, "recipe_text").text()
    assert not dock.findChild(QWidget, "colours").isVisibleTo(dock)
    pick(dock.findChild(QWidget, "recipe"), "paper-128px")
    assert workspace.session.options.value().recipe == "paper-128px"
    assert dock.findChild(QWidget, "colours").isVisibleTo(dock)
    # Two of the paper's three stains: what is missing is said, and colours can be named.
    assert (
        "No channel among DNA, Actin is recognised" in dock.findChild(QWidget, "recipe_text").text()
    )
    pick(dock.findChild(QWidget, "red"), "Actin")
    assert workspace.session.options.value().rgb == ("Actin", "DNA", "DNA")
    assert "red Actin, green DNA, blue DNA" in dock.findChild(QWidget, "recipe_text").text()
    pick(dock.findChild(QWidget, "blue"), "")
    assert workspace.session.options.value().rgb == ()
    pick(dock.findChild(QWidget, "red"), "Actin")
    pick(
        dock.findChild(QWidget, "recipe"), "nucleus"
    )  # one that is not coloured takes no colours along
    assert workspace.session.options.value() == TrainOptions()


def pick(box: QComboBox, data: str) -> None:
    box.setCurrentIndex(box.findData(data))
    box.activated.emit(box.currentIndex())


def test_the_state_follows_the_embeddings_and_computing_resumes(
    qtbot: QtBot, workspace: Workspace, dock: EncoderDock, assay_path: Path
) -> None:
    opened(qtbot, workspace, assay_path)  # what is on disk is found by itself
    n = len(workspace.session.selection.state.plate_cells.cells)
    rows = workspace.session.models.embeddings
    assert rows is not None
    assert f"Embedded {n:,} cells" in dock.findChild(QWidget, "state").text()
    assert f"{rows.shape[1]:,} features" in dock.findChild(QWidget, "state").text()
    pick(dock.findChild(QWidget, "recipe"), "nucleus-mean")
    assert "not yet with the current choice" in dock.findChild(QWidget, "state").text()
    with qtbot.waitSignal(workspace.session.models.embeddings_changed, timeout=60_000):
        dock.findChild(QWidget, "compute").click()
    assert f"Embedded {n:,} cells" in dock.findChild(QWidget, "state").text()
    assert workspace.session.models.embeddings is not rows
    assert workspace.tasks.embedded_with.recipe == "nucleus-mean"
    workspace.session.close_assay()
    assert "Open" in dock.findChild(QWidget, "state").text()


def test_computing_can_be_cancelled_and_goes_on_where_it_was(
    qtbot: QtBot,
    workspace: Workspace,
    dock: EncoderDock,
    assay_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened(qtbot, workspace, assay_path)
    pick(dock.findChild(QWidget, "recipe"), "nucleus-mean")
    encode, n_encoded = Encoder.encode, []

    def slow(self: Encoder, crops: object, **kwargs: object) -> object:
        n_encoded.append(len(crops))
        time.sleep(0.2)
        return encode(self, crops, **kwargs)

    monkeypatch.setattr(Encoder, "encode", slow)
    dock.findChild(QWidget, "compute").click()
    qtbot.waitUntil(lambda: bool(n_encoded), timeout=30_000)
    cancel = next(
        b
        for b in dock.findChild(QWidget, "jobs").findChildren(QAbstractButton)
        if b.text() == "Cancel"
    )
    cancel.click()
    idle(qtbot, workspace)
    assert sum(n_encoded) < len(workspace.session.selection.state.plate_cells.cells)
    assert "cancelled" in dock.findChild(QWidget, "jobs").value()
    assert "not yet with the current choice" in dock.findChild(QWidget, "state").text()
    monkeypatch.setattr(Encoder, "encode", encode)
    dock.findChild(QWidget, "compute").click()
    idle(qtbot, workspace)
    assert "Embedded" in dock.findChild(QWidget, "state").text()


def test_speed_is_measured_on_demand(
    qtbot: QtBot, workspace: Workspace, dock: EncoderDock, assay_path: Path
) -> None:
    opened(qtbot, workspace, assay_path)
    item = encoder_item(dock, "efficientnet-lite0")
    assert item.text(3) == "–"
    dock.findChild(QWidget, "measure").click()
    idle(qtbot, workspace)
    assert float(item_text(dock, "efficientnet-lite0").replace(",", "")) > 0
    assert "crops/s on" in dock.findChild(QWidget, "about").text()
    pick(dock.findChild(QWidget, "recipe"), "nucleus-mean")
    assert ", about " in dock.findChild(QWidget, "state").text()
    pick(dock.findChild(QWidget, "device"), "cpu")  # not measured on this choice
    assert item_text(dock, "efficientnet-lite0") == "–"


def item_text(dock: EncoderDock, name: str) -> str:
    return encoder_item(dock, name).text(3)


def test_a_choice_from_elsewhere_is_shown_and_not_chosen_again(
    qtbot: QtBot, workspace: Workspace, dock: EncoderDock, assay_path: Path
) -> None:
    opened(qtbot, workspace, assay_path)
    emitted: list[object] = []
    dock.value_changed.connect(emitted.append)
    asked = replace(TrainOptions(), encoder="vgg16", recipe="nucleus-mean", device="cpu")
    workspace.session.options.set_value(asked)
    assert dock.value() == asked
    assert emitted == []
    # The head belongs to another panel and is left alone.
    workspace.session.options.set_value(replace(asked, head="knn"))
    pick(dock.findChild(QWidget, "device"), "auto")
    assert workspace.session.options.value().head == "knn"


def test_the_table_shows_self_supervised_encoders_when_there_are_some(qtbot: QtBot) -> None:
    table = EncoderTable()
    qtbot.addWidget(table)
    mine = EncoderInfo(
        name="simclr-1",
        architecture="ssl:resnet18",
        needs="",
        n_features=512,
        licence="own",
        source="this assay",
    )
    table.set_encoders([("Transfer-learned", list_encoders(), ""), ("Self-supervised", [mine], "")])
    assert lines(table)["Self-supervised"] == ["simclr-1"]
    table.set_value("simclr-1")
    assert table.value() == "simclr-1"
    table.set_value("of another machine")
    assert table.value() == ""


def test_every_control_has_a_tooltip_and_nothing_is_cut_off_at_400_px(
    qtbot: QtBot, workspace: Workspace, dock: EncoderDock, assay_path: Path
) -> None:
    opened(qtbot, workspace, assay_path)
    for kind in (QAbstractButton, QComboBox, QLineEdit):
        for control in dock.findChildren(kind):
            assert control.toolTip(), control
    assert dock.minimumSizeHint().width() <= 400


def test_devices_are_looked_for_when_the_panel_is_seen_and_the_choice_stays(
    qtbot: QtBot, workspace: Workspace, dock: EncoderDock
) -> None:
    box = dock.findChild(QComboBox, "device")
    assert [box.itemData(index) for index in range(box.count())] == ["auto", "cpu"]
    dock.set_value(replace(dock.value(), device="cpu"))
    dock.show()
    qtbot.waitUntil(lambda: "(" in box.itemText(0), timeout=30_000)
    idle(qtbot, workspace)
    assert box.itemText(0) == f"auto ({choose_device('auto').type})"
    assert dock.value().device == "cpu"
    with qtbot.assertNotEmitted(workspace.session.jobs.started, wait=50):
        dock.hide()
        dock.show()
