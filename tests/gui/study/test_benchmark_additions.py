"""What is added to the benchmark at the desk: labelled cells, and encoders with a file."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.torch
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QLineEdit,
    QListWidget,
    QPushButton,
    QToolButton,
)
from skimage.io import imsave

from napari_hcs_qc.encoders.architecture import build_architecture
from napari_hcs_qc.encoders.custom_encoder import save_custom_encoder
from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel
from napari_hcs_qc.study.benchmark.benchmark_spec import EncoderSpec, SourceSpec
from napari_hcs_qc.study.gui.added_sources import AddedSources
from napari_hcs_qc.study.gui.benchmark_choice import BenchmarkChoice
from napari_hcs_qc.study.gui.benchmark_dialogs import CropsDialog, EncoderDialog
from napari_hcs_qc.study.gui.benchmark_dock import BenchmarkDock

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot
    from tests.gui.conftest import Desk

CLASSES = ("blurred", "dead", "fine")
NAME = "timm:test_resnet"


@pytest.fixture
def dock(desk: Desk, assay_path: Path, qtbot: QtBot) -> BenchmarkDock:
    made = BenchmarkDock(desk.viewer)
    qtbot.addWidget(made)
    desk.open(assay_path)
    return made


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """Crops of three classes on two plates, in a folder."""
    rng = np.random.default_rng(0)
    for cls in CLASSES:
        (tmp_path / "screen" / cls).mkdir(parents=True)
        for number in range(6):
            path = tmp_path / "screen" / cls / f"p{number % 2}--{number}.png"
            imsave(path, rng.integers(0, 255, (16, 16)).astype(np.uint8), check_contrast=False)
    return tmp_path / "screen"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    state = build_architecture("timm", "test_resnet").module.state_dict()
    safetensors.torch.save_file(state, tmp_path / "mine.safetensors")
    return tmp_path / "mine.safetensors"


def button(dock: BenchmarkDock, words: str) -> QPushButton:
    [found] = [one for one in dock.findChildren(QPushButton) if one.text().startswith(words)]
    return found


def lines(widget: Any) -> list[str]:
    return [one.text() for one in widget.findChildren(WrappedLabel)]


def encoders(dock: BenchmarkDock) -> list[str]:
    shown = dock.findChild(BenchmarkChoice).findChildren(QListWidget)[0]
    return [shown.item(row).text() for row in range(shown.count())]


def can_be_added(dialog: QDialog) -> bool:
    box = dialog.findChild(QDialogButtonBox)
    return bool(box.button(QDialogButtonBox.StandardButton.Ok).isEnabled())


def tick(dialog: CropsDialog, *names: str) -> None:
    shown = dialog.findChild(QListWidget)
    for row in range(shown.count()):
        is_on = shown.item(row).text() in names
        state = Qt.CheckState.Checked if is_on else Qt.CheckState.Unchecked
        shown.item(row).setCheckState(state)


def answered(monkeypatch: pytest.MonkeyPatch, kind: type[QDialog], fill: Any) -> None:
    """Let a person fill in the dialog and press OK, as far as that can be pressed."""

    def act(dialog: Any) -> bool:
        fill(dialog)
        return can_be_added(dialog)

    monkeypatch.setattr(kind, "exec", act)


def test_labelled_cells_are_asked_for_shown_compared_and_left_out_again(
    dock: BenchmarkDock, desk: Desk, crops: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(dialog: CropsDialog) -> None:
        dialog.set_value(crops)
        tick(dialog, "blurred", "dead")

    answered(monkeypatch, CropsDialog, fill)
    button(dock, "Add labelled cells").click()
    desk.idle()
    assert desk.errors() == []
    shown = dock.findChild(AddedSources)
    source = SourceSpec(name="screen", kind="folder", path=crops, abnormal=("blurred", "dead"))
    assert shown.value() == (source,)
    assert lines(shown) == ["And on screen; abnormal: blurred, dead."]
    spec, _ = dock.requested()
    assert [one.name for one in spec.sources] == ["assay", "screen"]
    assert spec.transfers == (("assay", "screen"),)
    # The same once more is refused in the dialog.
    button(dock, "Add labelled cells").click()
    desk.idle()
    assert shown.value() == (source,)
    [out] = shown.findChildren(QToolButton)
    out.click()
    assert shown.value() == () and shown.isHidden()
    assert [one.name for one in dock.requested()[0].sources] == ["assay"]


def test_labelled_cells_that_cannot_be_used_are_told_and_not_added(
    dock: BenchmarkDock, desk: Desk, crops: Path
) -> None:
    imsave(crops / "fine" / "p0--9.png", np.zeros((8, 16), np.uint8), check_contrast=False)
    dock.add_source(SourceSpec(name="screen", kind="folder", path=crops, abnormal=("dead",)))
    assert not button(dock, "Add labelled cells").isEnabled()
    desk.idle()
    assert "screen was not added" in desk.errors()[-1] and "p0--9.png" in desk.errors()[-1]
    assert dock.findChild(AddedSources).value() == ()
    assert button(dock, "Add labelled cells").isEnabled()


def test_the_dialog_lists_the_classes_and_says_what_is_missing(
    qtbot: QtBot, crops: Path, tmp_path: Path
) -> None:
    dialog = CropsDialog(("assay",))
    qtbot.addWidget(dialog)
    assert not can_be_added(dialog) and "Choose a folder" in lines(dialog)[0]
    dialog.set_value(tmp_path / "nowhere")
    assert not can_be_added(dialog) and "nowhere does not hold" in lines(dialog)[0]
    dialog.set_value(crops)
    assert "18 crops of 2 plates: blurred 6, dead 6, fine 6." in lines(dialog)[0]
    assert not can_be_added(dialog)
    tick(dialog, *CLASSES)
    assert not can_be_added(dialog) and "Not all" in lines(dialog)[0]
    tick(dialog, "dead")
    assert can_be_added(dialog)
    path, group, name = dialog.findChildren(QLineEdit)
    name.setText("assay")
    assert not can_be_added(dialog) and "another name" in lines(dialog)[0]
    name.setText("theirs")
    group.setText("(.*)")
    group.editingFinished.emit()
    assert "18 crops of 6 plates" in lines(dialog)[0] and can_be_added(dialog)
    group.setText("(")
    group.editingFinished.emit()
    assert "not a valid regular expression" in lines(dialog)[0] and not can_be_added(dialog)
    for number, cls in enumerate(("fine", "dead", "fine", "dead")):
        (tmp_path / "alone" / cls).mkdir(parents=True, exist_ok=True)
        shutil.copy(next(crops.glob("*/*.png")), tmp_path / "alone" / cls / f"{number}--.png")
    group.setText("^(.+)--")
    dialog.set_value(tmp_path / "alone")
    tick(dialog, "dead")
    assert not can_be_added(dialog) and "would be its own plate" in lines(dialog)[0]
    # An array with its labels: its classes are listed, its plates need no pattern.
    archive = tmp_path / "arrays.npz"
    np.savez(
        archive,
        crops=np.zeros((4, 8, 8), np.uint8),
        classes=np.array(["normal", "abnormal"] * 2),
        groups=np.array(["a", "a", "b", "b"]),
    )
    path.setText(str(archive))
    path.editingFinished.emit()
    assert can_be_added(dialog) and not group.isVisibleTo(dialog)
    assert dialog.value() == SourceSpec(name="arrays", kind="arrays", path=archive)


def test_an_encoder_is_asked_for_loaded_and_ticked(
    dock: BenchmarkDock, desk: Desk, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(dialog: EncoderDialog) -> None:
        assert not can_be_added(dialog)
        dialog.set_value(weights)
        assert not can_be_added(dialog)
        dialog.findChildren(QLineEdit)[1].setText(NAME)

    answered(monkeypatch, EncoderDialog, fill)
    button(dock, "Add an encoder").click()
    desk.idle()
    assert desk.errors() == []
    assert NAME in encoders(dock)
    assert EncoderSpec(NAME, weights) in dock.requested()[0].encoders


@pytest.mark.parametrize("name", ["vgg16", "timm:no_such_network", "nonsense", ""])
def test_an_encoder_that_cannot_be_loaded_is_told_and_not_added(
    dock: BenchmarkDock, desk: Desk, weights: Path, name: str
) -> None:
    before = encoders(dock)
    dock.add_encoder(EncoderSpec(name, weights))
    desk.idle()
    assert "was not added" in desk.errors()[-1]
    assert encoders(dock) == before


def test_a_pickle_is_refused_and_one_of_the_assays_own_is_not_replaced(
    dock: BenchmarkDock, desk: Desk, weights: Path, assay_path: Path, qtbot: QtBot
) -> None:
    pickle = weights.with_suffix(".pth")
    pickle.write_bytes(b"code")
    dock.add_encoder(EncoderSpec(NAME, pickle))
    desk.idle()
    assert "only .safetensors is read" in desk.errors()[-1]
    entries = {"family": "timm", "architecture": "test_resnet", "mean": [0.5] * 3, "std": [0.2] * 3}
    entries |= {"input_px": 64, "n_features": 96}
    own = save_custom_encoder(assay_path / "encoders" / "swav", weights.read_bytes(), entries)
    dock.add_encoder(EncoderSpec("swav", weights))
    assert "already has an encoder swav" in desk.errors()[-1]
    # That of an assay says itself what it is called.
    dialog = EncoderDialog()
    qtbot.addWidget(dialog)
    dialog.set_value(own.weights)
    assert dialog.value() == EncoderSpec("swav", own.weights) and can_be_added(dialog)


def test_a_spec_file_leaves_nothing_to_add(
    dock: BenchmarkDock, desk: Desk, assay_path: Path, tmp_path: Path
) -> None:
    spec = tmp_path / "SPEC.toml"
    spec.write_text(f'[[source]]\nname = "mine"\nassay = "{assay_path.as_posix()}"\n')
    dock.open_spec(spec)
    assert desk.errors() == []
    assert not button(dock, "Add labelled cells").isEnabled()
    assert not button(dock, "Add an encoder").isEnabled()
