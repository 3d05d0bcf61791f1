"""A person adds a kind of their own: its button, its key, its colour, and how it is removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.action_manager import action_manager
from napari.utils.shortcuts import default_shortcuts
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QColorDialog,
    QDialogButtonBox,
    QLabel,
    QLineEdit,
    QWidget,
)

from napari_hcs_qc.assay.annotations.annotation import Annotation
from napari_hcs_qc.assay.annotations.kinds import BUILT_IN_KINDS, TAKEN_KEYS, free_keys, new_kind
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.gui.annotate.annotate_dock import AnnotateDock
from napari_hcs_qc.gui.annotate.class_buttons import ClassButtons
from napari_hcs_qc.gui.annotate.kind_dialog import KindDialog
from napari_hcs_qc.gui.canvas.cell_colours import cell_colours
from napari_hcs_qc.gui.canvas.clicking import Clicking
from napari_hcs_qc.gui.canvas.overlay_dock import OverlayDock
from napari_hcs_qc.gui.canvas.overlay_legend import OverlayLegend
from napari_hcs_qc.gui.keys.key_actions import KeyActions
from napari_hcs_qc.gui.keys.key_names import CLASS_KEYS
from napari_hcs_qc.gui.review.review_dock import ReviewDock
from napari_hcs_qc.gui.widgets.palette import ABNORMAL_COLOUR, rgba

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot

FIBRE = new_kind(BUILT_IN_KINDS, "fibre", key="F")


@pytest.fixture
def dock(qtbot: QtBot, desk: Any, assay_path: Path) -> Iterator[AnnotateDock]:
    """The panel of an open assay, with an annotator."""
    desk.open(assay_path)
    desk.session.annotations.annotator = "anna"
    made = AnnotateDock(desk.viewer)
    qtbot.addWidget(made)
    made.resize(430, 420)
    made.show()
    Clicking.of(desk.viewer)
    yield made
    desk.close()


def press_on_image(desk: Any, key: str) -> None:
    """Press a key as the canvas gets it: our layer of cells is the active one."""
    canvas = QWidget()
    KeyActions.of(desk.workspace).watch_canvas(canvas)
    QTest.keyClick(canvas, getattr(Qt.Key, f"Key_{key}"))


def recorded(path: Path) -> list[tuple[str, str | None]]:
    table = AssayFolder.open(path).journal().annotations()
    mine = table[table["annotator"] == "anna"]
    return list(mine[["class", "kind"]].itertuples(index=False, name=None))


def add_in_the_dialog(monkeypatch: pytest.MonkeyPatch, dock: AnnotateDock, name: str) -> None:
    def fill_in(dialog: KindDialog) -> bool:
        dialog.findChild(QLineEdit, "name").setText(name)
        return True

    monkeypatch.setattr(KindDialog, "exec", fill_in)
    dock.findChild(QAbstractButton, "add_kind").click()


def test_a_kind_that_is_added_has_a_button_and_a_key_at_once(
    desk: Any, dock: AnnotateDock, assay_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_in_the_dialog(monkeypatch, dock, "Fibre")
    (kind,) = AssayFolder.open(assay_path).kinds[len(BUILT_IN_KINDS) :]
    assert (kind.name, kind.key) == ("fibre", "9")
    buttons = dock.findChild(ClassButtons)
    assert buttons.button("abnormal", "fibre").text() == "9 fibre"
    assert buttons.button("abnormal", "blur").text().startswith("1 blur")
    assert "Key 9." in buttons.button("abnormal", "fibre").toolTip()

    first, second, third = np.flatnonzero(desk.view.cells.annotated_class == None)[:3]  # noqa: E711
    desk.select(first)
    press_on_image(desk, "9")
    assert desk.view.cells.annotated_kind[first] == "fibre"
    desk.select(second)
    buttons.button("abnormal", "fibre").click()
    assert recorded(assay_path) == [("abnormal", "fibre")] * 2
    desk.select()

    row = int(desk.view.cells.rows[third])
    dock.gallery.view.set_value([row])
    QTest.keyClick(dock.gallery.view, Qt.Key.Key_9)
    assert recorded(assay_path) == [("abnormal", "fibre")] * 3
    assert dock.gallery.marks().of(row).kind == "fibre"
    assert "annotated abnormal, fibre" in dock.gallery.describe(row)
    desk.qtbot.waitUntil(lambda: buttons.button("abnormal", "fibre").text() == "9 fibre 3")
    QTest.keyClick(dock.gallery.view, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert recorded(assay_path) == [("abnormal", "fibre")] * 2
    assert not dock.gallery.marks().of(row).annotated
    assert desk.errors() == []


def test_it_is_there_when_the_assay_is_opened_again_and_gone_with_another(
    desk: Any, dock: AnnotateDock, assay_path: Path, tmp_path: Path
) -> None:
    desk.session.assay.add_kind(FIBRE)
    buttons = dock.findChild(ClassButtons)
    AssayFolder.create(tmp_path / "other")
    desk.open(tmp_path / "other")
    assert desk.session.assay.kinds == BUILT_IN_KINDS
    with pytest.raises(KeyError):
        buttons.button("abnormal", "fibre")
    desk.open(assay_path)
    assert desk.session.assay.kinds[-1] == FIBRE
    assert buttons.button("abnormal", "fibre").text() == "F fibre"
    desk.session.assay.remove_kind("fibre")
    desk.select(0)
    before = recorded(assay_path)
    press_on_image(desk, "F")
    dock.gallery.view.set_value([0])
    QTest.keyClick(dock.gallery.view, Qt.Key.Key_F)
    assert recorded(assay_path) == before


def test_its_colour_is_in_the_legend_and_on_the_image(
    qtbot: QtBot, desk: Any, assay_path: Path
) -> None:
    desk.open(assay_path)
    overlay = OverlayDock(desk.viewer)
    qtbot.addWidget(overlay)
    legend = overlay.findChild(OverlayLegend)
    legend.set_value("kind")
    assert "fibre" not in legend.text()
    desk.session.assay.add_kind(FIBRE)
    assert f'{FIBRE.colour}">■</span>&nbsp;fibre' in legend.text()
    assert legend.value() == "kind"

    cells = desk.view.cells
    at = np.flatnonzero(cells.predicted_class(0.5) == "abnormal")
    assert len(at)
    for kind, colour in (("fibre", FIBRE.colour), ("from elsewhere", ABNORMAL_COLOUR)):
        cells.predicted_kind[:] = kind
        look = cell_colours(cells, 0.5, "kind", kinds=desk.session.assay.kinds)
        np.testing.assert_allclose(look.outline[at, :3], np.tile(rgba(colour)[:3], (len(at), 1)))


def test_a_kind_is_removed_unless_annotations_have_it(
    desk: Any, dock: AnnotateDock, assay_path: Path
) -> None:
    desk.session.assay.add_kind(FIBRE)
    buttons = dock.findChild(ClassButtons)
    assert not buttons.button("abnormal", "blur").actions()
    desk.select(0)
    press_on_image(desk, "F")
    [remove] = buttons.button("abnormal", "fibre").actions()
    remove.trigger()
    assert "cannot be removed: 1 annotation has it" in desk.messages[-1][1]
    assert desk.session.assay.kinds[-1] == FIBRE
    desk.session.annotations.undo()
    remove.trigger()
    assert AssayFolder.open(assay_path).kinds == desk.session.assay.kinds == BUILT_IN_KINDS


def test_a_kind_that_the_assay_does_not_list_is_not_recorded(
    desk: Any, dock: AnnotateDock, assay_path: Path
) -> None:
    site = desk.session.selection.site
    assert not desk.session.annotations.annotate(site, [desk.cell()], "abnormal", "fibre")
    assert "'fibre' is not one of" in desk.errors()[-1]
    assert "+ in the Annotate panel" in desk.errors()[-1]
    assert recorded(assay_path) == []


def test_a_kind_that_another_window_adds_and_uses_is_shown(
    desk: Any, dock: AnnotateDock, assay_path: Path
) -> None:
    other = AssayFolder.open(assay_path)
    other.add_kind("fibre", key="F")
    y_px, x_px = desk.cell()
    site = desk.session.selection.site
    row = (desk.session.selection.plate.name, site.well, site.site, y_px, x_px)
    other.journal().annotate_many([Annotation.of_row((*row, "abnormal", "fibre", None))], "ben")
    desk.session.annotations.read_journal()
    assert desk.session.assay.kinds == other.kinds
    assert dock.findChild(ClassButtons).button("abnormal", "fibre")


def test_an_assay_whose_annotations_have_a_kind_that_it_does_not_list_opens_and_says_so(
    desk: Any, dock: AnnotateDock, assay_path: Path
) -> None:
    site, cell = desk.session.selection.site, desk.cell()
    desk.session.assay.add_kind(FIBRE)
    desk.session.annotations.annotate(site, [cell], "abnormal", "fibre")
    AssayFolder.open(assay_path).update_settings(kinds=None)
    desk.open(assay_path)
    assert ("warning", "fibre") in [
        (level, text.split(": ")[-1].partition(".")[0]) for level, text in desk.messages
    ]
    assert desk.view.cells.annotated_kind[0] == "fibre"
    assert desk.session.assay.kinds == BUILT_IN_KINDS


# ---- the dialog --------------------------------------------------------------------------


def test_the_dialog_proposes_key_and_colours_and_says_what_is_wrong(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialog = KindDialog([*BUILT_IN_KINDS, FIBRE])
    qtbot.addWidget(dialog)
    name = dialog.findChild(QLineEdit, "name")
    ok = dialog.findChild(QDialogButtonBox).button(QDialogButtonBox.StandardButton.Ok)
    problem = dialog.findChild(QLabel, "problem")
    assert not ok.isEnabled() and not problem.text()
    for text, message in (("blur", "already"), ("a/b", "'a/b'"), ("Fibre", "'fibre' already")):
        name.setText(text)
        assert not ok.isEnabled()
        assert message in problem.text()
    name.setText("neurite")
    assert ok.isEnabled() and not problem.text()
    kind = dialog.value()
    assert (kind.name, kind.key) == ("neurite", "9")
    assert kind.colour not in {other.colour for other in (*BUILT_IN_KINDS, FIBRE)}
    key, colour = dialog.findChild(QWidget, "key"), dialog.findChild(QWidget, "colour")
    assert tuple(key.itemData(i) for i in range(key.count())) == free_keys([*BUILT_IN_KINDS, FIBRE])
    for i in range(colour.count() - 1):  # the last one is any other colour
        colour.setCurrentIndex(i)
        assert ok.isEnabled(), problem.text()
    chosen = QColor("#56b4e9")  # that of normal
    monkeypatch.setattr(QColorDialog, "getColor", lambda **_: chosen)
    colour.setCurrentIndex(colour.count() - 1)
    colour.activated.emit(colour.count() - 1)
    assert not ok.isEnabled() and "'normal'" in problem.text()
    chosen = QColor("#FF00FF")
    colour.activated.emit(colour.count() - 1)
    assert ok.isEnabled() and dialog.value().colour == "#ff00ff"
    chosen = QColor()  # nothing was chosen
    colour.activated.emit(colour.count() - 1)
    assert dialog.value().colour == kind.colour


# ---- keys --------------------------------------------------------------------------------


def test_no_kind_can_have_a_key_that_the_window_has(qtbot: QtBot, desk: Any) -> None:
    offered = set(free_keys([]))
    assert {key for key in CLASS_KEYS if len(key) == 1} <= set(TAKEN_KEYS)
    review = ReviewDock(desk.viewer)
    qtbot.addWidget(review)
    names = {
        button.text().rpartition("(")[2].rstrip(")")
        for button in review.findChildren(QAbstractButton)
    }
    assert {name for name in names if len(name) == 1 and name.isalpha()} == {"K", "X", "L", "S"}
    of_viewer = {
        str(key)
        for name, action in action_manager._actions.items()
        if action.keymapprovider is ViewerModel
        for key in default_shortcuts.get(name, ())
    }
    assert "V" in of_viewer
    assert not offered & (set(TAKEN_KEYS) | of_viewer | {"K", "X", "L", "S"})
