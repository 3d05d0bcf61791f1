"""Annotating in the gallery: keys, buttons, order, what is shown and what is in the journal."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QEvent, QRegularExpression, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLineEdit,
    QListWidget,
    QMessageBox,
    QPushButton,
    QWidget,
)

from napari_hcs_qc.assay.annotations.annotation import Annotation
from napari_hcs_qc.assay.annotations.kinds import BUILT_IN_KINDS
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.figures import LabelIssueRecord
from napari_hcs_qc.gui.annotate.annotate_dock import AnnotateDock, AnnotateOptions
from napari_hcs_qc.gui.annotate.class_buttons import ClassButtons
from napari_hcs_qc.gui.canvas.clicking import Clicking
from napari_hcs_qc.gui.canvas.workspace import workspace_of
from napari_hcs_qc.gui.gallery.gallery_orders import ORDERS, GalleryOptions
from napari_hcs_qc.gui.gallery.gallery_tiles import ABNORMAL, CONFLICT, NORMAL, NOT_ANNOTATED
from napari_hcs_qc.gui.session.target import cell_id
from napari_hcs_qc.plates.plate import SiteKey

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

    from napari_hcs_qc.gui.canvas.workspace import Workspace


def gallery_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "hcs-qc gallery"]


@pytest.fixture
def workspace(qtbot: QtBot) -> Iterator[Workspace]:
    made = workspace_of(ViewerModel())
    made.session.annotations.annotator = "anna"
    yield made
    made.close()
    # Closed ones end at once, that of a deleted panel when it has nothing more to do.
    qtbot.waitUntil(lambda: not gallery_threads(), timeout=60_000)


@pytest.fixture
def messages(workspace: Workspace) -> list[str]:
    texts: list[str] = []
    workspace.session.message.connect(lambda _level, text: texts.append(text))
    return texts


@pytest.fixture
def dock(qtbot: QtBot, workspace: Workspace) -> AnnotateDock:
    made = AnnotateDock(workspace.viewer)
    qtbot.addWidget(made)
    made.resize(430, 420)
    made.show()
    return made


@pytest.fixture
def annotating(
    qtbot: QtBot, workspace: Workspace, dock: AnnotateDock, assay_path: Path
) -> AnnotateDock:
    """The panel with a trained assay open and the keyboard in the gallery."""
    workspace.session.open(assay_path)
    qtbot.waitUntil(lambda: workspace.session.selection.state is not None, timeout=30_000)
    idle(qtbot, workspace)
    qtbot.waitUntil(lambda: len(dock.gallery.view.cells()) > 0)
    dock.gallery.view.setFocus()
    return dock


def idle(qtbot: QtBot, workspace: Workspace) -> None:
    qtbot.waitUntil(lambda: not workspace.session.jobs.running, timeout=120_000)


CTRL_SHIFT = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier


def press(dock: AnnotateDock, key: Any, held: Any = Qt.KeyboardModifier.NoModifier) -> None:
    QTest.keyClick(dock.gallery.view, key, held)


def open_cells(dock: AnnotateDock, n: int) -> list[int]:
    """Rows of the first cells shown that nobody has annotated, selected."""
    ids = dock.gallery.view.cells()
    rows = ids[dock.gallery.marks().annotated[ids] == NOT_ANNOTATED][:n]
    assert len(rows) == n
    dock.gallery.view.set_value(rows)
    return [int(row) for row in rows]


def recorded(path: Path, annotator: str = "anna") -> pd.DataFrame:
    """What a fresh reader of the journal finds."""
    found = AssayFolder.open(path).journal().annotations()
    return found[found["annotator"] == annotator].reset_index(drop=True)


def order(qtbot: QtBot, dock: AnnotateDock, workspace: Workspace, **options: Any) -> np.ndarray:
    dock.gallery.set_value(GalleryOptions(**options))
    idle(qtbot, workspace)
    return dock.gallery.view.cells()


# ---- saying something --------------------------------------------------------------------


def test_a_key_annotates_all_selected_cells_at_their_centroids_as_one_action(
    annotating: AnnotateDock, workspace: Workspace, assay_path: Path
) -> None:
    rows = open_cells(annotating, 5)
    press(annotating, Qt.Key.Key_A)
    said = recorded(assay_path)
    assert said["class"].tolist() == ["abnormal"] * 5
    assert said["action"].nunique() == 1
    cells = workspace.session.selection.state.plate_cells.cells.iloc[rows]
    expected = {
        (str(c.well), int(c.site), float(c.y_px), float(c.x_px)) for c in cells.itertuples()
    }
    names = ["well", "site", "y_px", "x_px"]
    assert set(said[names].itertuples(index=False, name=None)) == expected
    assert set(said["plate"]) == {workspace.session.selection.plate.name}
    marks = annotating.gallery.marks()
    assert set(marks.annotated[rows]) == {ABNORMAL}
    press(annotating, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not len(recorded(assay_path))
    assert set(marks.annotated[rows]) == {NOT_ANNOTATED}
    press(annotating, Qt.Key.Key_Z, CTRL_SHIFT)
    assert len(recorded(assay_path)) == 5
    assert set(marks.annotated[rows]) == {ABNORMAL}


@pytest.mark.parametrize(
    ("key", "cls", "kind"),
    [
        (Qt.Key.Key_N, "normal", None),
        (Qt.Key.Key_U, "unsure", None),
        *(
            (getattr(Qt.Key, f"Key_{i}"), "abnormal", kind.name)
            for i, kind in enumerate(BUILT_IN_KINDS, 1)
        ),
    ],
)
def test_each_key_says_its_word_and_backspace_takes_it_back(
    annotating: AnnotateDock,
    assay_path: Path,
    messages: list[str],
    key: Any,
    cls: str,
    kind: str | None,
) -> None:
    open_cells(annotating, 1)
    press(annotating, key)
    (row,) = recorded(assay_path)[["class", "kind"]].to_numpy(dtype=object).tolist()
    assert row == [cls, kind]
    press(annotating, Qt.Key.Key_Backspace)
    assert not len(recorded(assay_path))
    press(annotating, Qt.Key.Key_Backspace)
    assert messages[-1] == "anna has not annotated this cell."


def test_words_given_beside_the_centroid_are_taken_back_too(
    annotating: AnnotateDock, workspace: Workspace, assay_path: Path
) -> None:
    session = workspace.session
    (row,) = open_cells(annotating, 1)
    cell = session.selection.state.plate_cells.cells.iloc[row]
    place = (float(cell["y_px"]) + 1.5, float(cell["x_px"]))
    assert session.annotations.annotate(
        SiteKey(str(cell["well"]), int(cell["site"])), [place], "normal"
    )
    assert annotating.gallery.marks().annotated[row] == NORMAL
    press(annotating, Qt.Key.Key_Backspace)
    assert not len(recorded(assay_path))
    assert annotating.gallery.marks().annotated[row] == NOT_ANNOTATED


def test_the_next_key_goes_on_to_the_next_cell_nobody_has_annotated(
    annotating: AnnotateDock, messages: list[str]
) -> None:
    gallery = annotating.gallery
    visited = []
    for _ in range(4):
        press(annotating, Qt.Key.Key_Period)
        (row,) = gallery.view.value().tolist()
        assert gallery.marks().annotated[row] == NOT_ANNOTATED
        visited.append(row)
        press(annotating, Qt.Key.Key_N)
    ids = gallery.view.cells().tolist()
    places = [ids.index(row) for row in visited]
    assert places == sorted(places) and len(set(places)) == 4
    gallery.view.set_current(ids[-1])
    press(annotating, Qt.Key.Key_Period)  # round to the beginning
    assert ids.index(gallery.view.value()[0]) <= max(places) + 60
    gallery.view.set_cells(visited)
    press(annotating, Qt.Key.Key_Period)
    assert messages[-1] == "All cells shown here are annotated."


def test_after_the_next_key_each_class_key_goes_on_by_itself_unless_that_is_switched_off(
    annotating: AnnotateDock, workspace: Workspace, assay_path: Path
) -> None:
    gallery, goes_on = annotating.gallery, annotating.findChild(QAbstractButton, "goes_on")
    press(annotating, Qt.Key.Key_Period)
    rows = []
    for _ in range(3):  # one key a cell
        (row,) = gallery.view.value().tolist()
        assert gallery.view.targets() == {row}
        rows.append(row)
        press(annotating, Qt.Key.Key_N)
    assert len(set(rows)) == 3
    assert gallery.marks().annotated[rows].tolist() == [NORMAL] * 3
    goes_on.click()
    (row,) = gallery.view.value().tolist()
    press(annotating, Qt.Key.Key_N)
    press(annotating, Qt.Key.Key_U)
    assert gallery.view.value().tolist() == [row]
    assert recorded(assay_path)["class"].tolist()[-1] == "unsure"


def test_a_tile_that_is_out_of_view_is_not_annotated(
    qtbot: QtBot,
    annotating: AnnotateDock,
    workspace: Workspace,
    assay_path: Path,
    messages: list[str],
) -> None:
    view = annotating.gallery.view
    on_screen = set(workspace.view.cells.rows.tolist())
    row = next(row for row in view.cells().tolist() if row not in on_screen)
    view.set_current(row)
    view.set_value([row])
    assert view.targets() == {row}
    bar = view.verticalScrollBar()
    bar.setValue(0 if bar.value() > bar.maximum() // 2 else bar.maximum())
    assert row not in view.in_sight() and not view.targets()
    press(annotating, Qt.Key.Key_A)
    assert not len(recorded(assay_path))
    assert "out of view" in messages[-1]
    view.set_current(row)  # scrolls to it
    press(annotating, Qt.Key.Key_A)
    assert len(recorded(assay_path)) == 1


def test_a_key_that_is_held_down_says_its_word_once(
    annotating: AnnotateDock, assay_path: Path, workspace: Workspace
) -> None:
    open_cells(annotating, 1)
    none = Qt.KeyboardModifier.NoModifier
    for is_repeated in (False, True, True):
        event = QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_A, none, "a", is_repeated)
        QApplication.sendEvent(annotating.gallery.view, event)
    assert workspace.session.annotations.undo()
    assert not len(recorded(assay_path))


def test_the_keys_of_the_gallery_are_not_taken_by_shortcuts_of_the_window(
    annotating: AnnotateDock,
) -> None:
    none, ctrl = Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ControlModifier
    for key, held, is_ours in (
        (Qt.Key.Key_N, none, True),
        (Qt.Key.Key_Period, none, True),
        (Qt.Key.Key_R, ctrl | Qt.KeyboardModifier.ShiftModifier, True),
        (Qt.Key.Key_R, ctrl, False),
        (Qt.Key.Key_Y, ctrl, False),
        (Qt.Key.Key_Space, none, False),
        (Qt.Key.Key_N, ctrl, False),
        (Qt.Key.Key_Q, ctrl, False),
    ):
        event = QKeyEvent(QEvent.Type.ShortcutOverride, key, held)
        event.ignore()
        QApplication.sendEvent(annotating.gallery.view, event)
        assert event.isAccepted() is is_ours, key


def test_letters_typed_as_a_name_annotate_nothing(
    annotating: AnnotateDock, workspace: Workspace, assay_path: Path
) -> None:
    open_cells(annotating, 2)
    line = annotating.findChild(QLineEdit)
    line.clear()
    QTest.keyClicks(line, "Nan1")
    QTest.keyClick(line, Qt.Key.Key_Return)
    assert workspace.session.annotations.annotator == "Nan1"
    assert not len(recorded(assay_path))
    assert not len(recorded(assay_path, "Nan1"))
    line.setText("  ")
    QTest.keyClick(line, Qt.Key.Key_Return)
    assert line.text() == workspace.session.annotations.annotator == "Nan1"


def test_nothing_selected_says_so(annotating: AnnotateDock, messages: list[str]) -> None:
    annotating.gallery.view.set_value([])
    press(annotating, Qt.Key.Key_N)
    message = "Point at a cell, or select cells in the image or the gallery, then press the key."
    assert messages == [message]


def test_very_many_cells_are_asked_about_first(
    annotating: AnnotateDock, assay_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    answer = QMessageBox.StandardButton.No

    def question(_parent: object, _title: str, words: str) -> QMessageBox.StandardButton:
        asked.append(words)
        return answer

    monkeypatch.setattr(QMessageBox, "question", question)
    monkeypatch.setattr("napari_hcs_qc.gui.session.target._MANY", 3)
    open_cells(annotating, 4)
    press(annotating, Qt.Key.Key_A)
    assert not len(recorded(assay_path))
    answer = QMessageBox.StandardButton.Yes
    press(annotating, Qt.Key.Key_A)
    assert len(recorded(assay_path)) == 4
    assert asked[0] == "Label 4 cells as abnormal? You can undo this."


def test_the_buttons_act_where_cells_were_chosen_last(
    qtbot: QtBot, annotating: AnnotateDock, workspace: Workspace, assay_path: Path
) -> None:
    session, view = workspace.session, workspace.view
    qtbot.waitUntil(lambda: view.cells is not None and len(view.cells) > 0)
    (row,) = open_cells(annotating, 1)
    on_image = next(
        i
        for i, r in enumerate(view.cells.rows)
        if r != row and view.cells.annotated_class[i] is None
    )
    session.target.select([cell_id(view.cells, on_image)], view.on_screen)
    annotating.findChild(ClassButtons).button("abnormal", "debris").click()
    place = tuple(recorded(assay_path)[["y_px", "x_px"]].iloc[0])
    assert place == tuple(view.cells.yx_px[on_image])
    annotating.gallery.view.set_value([])
    annotating.gallery.view.set_value([row])
    annotating.findChild(ClassButtons).button("normal").click()
    cell = session.selection.state.plate_cells.cells.iloc[row]
    last = recorded(assay_path).iloc[-1]
    assert (last["y_px"], last["class"]) == (float(cell["y_px"]), "normal")
    annotating.findChild(ClassButtons).button(None).click()
    assert recorded(assay_path)["class"].tolist() == ["abnormal"]


def test_counts_follow(
    qtbot: QtBot, annotating: AnnotateDock, workspace: Workspace, assay_path: Path
) -> None:
    before = annotating.counts()
    everything = AssayFolder.open(assay_path).journal().annotations()
    assert sum(before.classes.values()) == len(everything)
    open_cells(annotating, 3)
    press(annotating, Qt.Key.Key_4)
    qtbot.waitUntil(lambda: workspace.session.is_settled)
    after = annotating.counts()
    assert after.classes["abnormal"] == before.classes["abnormal"] + 3
    assert after.kinds["dead"] == before.kinds["dead"] + 3
    text = annotating.findChild(ClassButtons).button("abnormal", "dead").text()
    assert text == f"4 dead {after.kinds['dead']}"
    press(annotating, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: annotating.counts() == before)


def test_conflicts_are_listed_and_lead_to_their_cell(
    qtbot: QtBot, annotating: AnnotateDock, workspace: Workspace
) -> None:
    session = workspace.session
    assert annotating.conflicts() == ()
    (row,) = open_cells(annotating, 1)
    press(annotating, Qt.Key.Key_N)
    session.annotations.annotator = "ben"
    press(annotating, Qt.Key.Key_A)
    qtbot.waitUntil(lambda: len(annotating.conflicts()) == 1)
    assert annotating.gallery.marks().annotated[row] == CONFLICT
    conflicts = annotating.findChild(QWidget, "conflicts")
    listed = conflicts.findChild(QListWidget)
    assert conflicts.isVisible() and not conflicts.isExpanded()
    assert listed.focusPolicy() == Qt.FocusPolicy.NoFocus
    conflicts.toggleButton().click()
    assert conflicts.isExpanded()
    assert listed.focusPolicy() == Qt.FocusPolicy.StrongFocus
    assert "anna: normal, ben: abnormal" in listed.item(0).text()
    cell = session.selection.state.plate_cells.cells.iloc[row]
    with qtbot.waitSignal(session.selection.cell_chosen) as chosen:
        listed.itemClicked.emit(listed.item(0))
    assert chosen.args == [(float(cell["y_px"]), float(cell["x_px"]))]
    assert session.selection.site == SiteKey(str(cell["well"]), int(cell["site"]))
    press(annotating, Qt.Key.Key_N)
    qtbot.waitUntil(lambda: annotating.conflicts() == ())
    assert not conflicts.isVisible()


def test_doubted_annotations_are_listed_until_they_are_changed_or_predictions_hidden(
    qtbot: QtBot, annotating: AnnotateDock, workspace: Workspace
) -> None:
    session = workspace.session
    manifest = session.models.model.manifest
    plate, well, site, y_px, x_px, cls, *_ = manifest.training_cells[3]
    record = LabelIssueRecord(cell=3, p_abnormal=0.93 if cls == "normal" else 0.07)
    figures = manifest.cross_validation.model_copy(update={"label_issues": (record,)})
    changed = manifest.model_copy(update={"cross_validation": figures})
    session.models.set_figures(replace(session.models.model, manifest=changed))
    workspace.training.model_changed.emit()
    (issue,) = annotating.label_issues()
    assert (issue.plate, issue.site, issue.cls) == (plate, SiteKey(well, site), cls)
    assert annotating.findChild(QWidget, "label_issues").isVisible()
    with qtbot.waitSignal(session.selection.cell_chosen) as chosen:
        listed = annotating.findChild(QWidget, "label_issues").findChild(QListWidget)
        listed.itemClicked.emit(listed.item(0))
    assert chosen.args == [(y_px, x_px)]
    session.annotations.is_blind = True
    assert annotating.label_issues() == ()
    session.annotations.is_blind = False
    assert annotating.label_issues() == (issue,)
    live = session.annotations.cache.table
    same = live[(live["well"] == well) & (live["y_px"].round(2) == y_px)]
    session.annotations.annotator = str(same["annotator"].iloc[0])
    other = "abnormal" if cls == "normal" else "normal"
    place = (float(same["y_px"].iloc[0]), float(same["x_px"].iloc[0]))
    assert session.annotations.annotate(SiteKey(well, site), [place], other)
    qtbot.waitUntil(lambda: annotating.label_issues() == ())
    assert not annotating.findChild(QWidget, "label_issues").isVisible()


# ---- what is shown -----------------------------------------------------------------------


def is_sorted(workspace: Workspace, rows: NDArray[np.int64], key: NDArray[np.floating]) -> bool:
    """Tell whether cells ascend in a key, those that the image border cuts after all others."""
    is_cut = workspace.session.selection.state.is_left_out[rows]
    n_counted = int((~is_cut).sum())
    parts = key[rows[:n_counted]], key[rows[n_counted:]]
    is_last = is_cut[n_counted:].all() and 0 < n_counted < len(rows)
    return bool(is_last and all((np.diff(part) >= 0).all() for part in parts))


def test_orders_are_those_of_the_core(
    qtbot: QtBot, annotating: AnnotateDock, workspace: Workspace
) -> None:
    session = workspace.session
    n = len(session.selection.state.plate_cells.cells)
    p = session.models.scored.prediction.table["p_abnormal"].to_numpy()[:n]
    assert sorted(annotating.gallery.view.cells()) == list(range(n))
    uncertain = order(qtbot, annotating, workspace, order="uncertain")
    assert is_sorted(workspace, uncertain, np.abs(p - session.models.threshold))
    likely = order(qtbot, annotating, workspace, order="abnormal")
    assert is_sorted(workspace, likely, -p)
    ratio = session.models.scored.prediction.table["novelty"].to_numpy()[:n]
    far = order(qtbot, annotating, workspace, order="novelty")
    assert is_sorted(workspace, far, -ratio)
    assert f"{ratio[far[0]]:.1f} " in annotating.gallery.describe(far[0])
    annotated = order(qtbot, annotating, workspace, order="disagreement")
    assert set(annotated) == set(
        np.flatnonzero([c is not None for c in session.annotations.rows.classes])
    )
    left = order(qtbot, annotating, workspace, order="random", shown="open")
    assert len(left) + len(annotated) == n
    assert not set(left) & set(annotated)
    qtbot.waitUntil(lambda: session.models.embeddings is not None, timeout=60_000)
    diverse = order(qtbot, annotating, workspace, order="diverse", shown="open")
    assert 0 < len(diverse) <= 500
    annotating.gallery.view.set_value([diverse[0]])
    similar = order(qtbot, annotating, workspace, order="similar")
    assert similar[0] == diverse[0]
    shuffled = order(qtbot, annotating, workspace, order="random")
    annotating.gallery.sort()
    idle(qtbot, workspace)
    assert not np.array_equal(annotating.gallery.view.cells(), shuffled)


def test_similar_without_a_selected_cell_says_what_to_do(
    qtbot: QtBot, annotating: AnnotateDock, workspace: Workspace, messages: list[str]
) -> None:
    qtbot.waitUntil(lambda: workspace.session.models.embeddings is not None, timeout=60_000)
    annotating.gallery.view.set_value([])
    box = annotating.gallery.findChildren(QComboBox)[0]
    box.setCurrentIndex(box.findData("similar"))
    box.activated.emit(box.currentIndex())
    assert messages == ["Select cells first; the gallery is then sorted by similarity to them."]
    assert box.currentData() == "random"


def test_tiles_stay_where_they_are_while_annotating(
    qtbot: QtBot, annotating: AnnotateDock, workspace: Workspace
) -> None:
    before = order(qtbot, annotating, workspace, order="uncertain", shown="open").copy()
    again = next(one for one in annotating.findChildren(QAbstractButton) if "Sort" in one.text())
    assert again.text() == "Sort again"
    rows = open_cells(annotating, 3)
    press(annotating, Qt.Key.Key_N)
    idle(qtbot, workspace)
    np.testing.assert_array_equal(annotating.gallery.view.cells(), before)
    assert again.text() == "● Sort again"
    again.click()
    idle(qtbot, workspace)
    after = annotating.gallery.view.cells()
    assert len(after) == len(before) - 3 and not set(rows) & set(after)
    assert again.text() == "Sort again"


def test_a_new_model_sorts_anew(
    qtbot: QtBot, annotating: AnnotateDock, workspace: Workspace
) -> None:
    order(qtbot, annotating, workspace, order="abnormal")
    open_cells(annotating, 2)
    press(annotating, Qt.Key.Key_1)
    idle(qtbot, workspace)
    was = workspace.session.models.model.id
    press(annotating, Qt.Key.Key_R, CTRL_SHIFT)
    qtbot.waitUntil(lambda: workspace.session.models.model.id != was, timeout=60_000)
    idle(qtbot, workspace)
    p = workspace.session.models.scored.prediction.table["p_abnormal"].to_numpy()
    assert is_sorted(workspace, annotating.gallery.view.cells(), -p)
    n = len(workspace.session.selection.state.plate_cells.cells)
    np.testing.assert_array_equal(annotating.gallery.marks().p_abnormal, p[:n])


def test_a_new_model_keeps_the_order_by_unlikeness_and_sorts_when_it_is_measured(
    qtbot: QtBot, annotating: AnnotateDock, workspace: Workspace, messages: list[str]
) -> None:
    session, gallery = workspace.session, annotating.gallery
    order(qtbot, annotating, workspace, order="novelty")
    open_cells(annotating, 3)
    press(annotating, Qt.Key.Key_1)
    idle(qtbot, workspace)
    was = session.models.model.id
    press(annotating, Qt.Key.Key_R, CTRL_SHIFT)
    qtbot.waitUntil(lambda: session.models.model.id != was, timeout=60_000)
    assert gallery.value().order == "novelty"
    qtbot.waitUntil(lambda: session.models.scored.prediction.is_novelty_measured, timeout=60_000)
    idle(qtbot, workspace)
    assert gallery.value().order == "novelty"
    ratio = session.models.scored.prediction.table["novelty"].to_numpy()
    assert is_sorted(workspace, gallery.view.cells(), -ratio)
    sites = session.annotations.cells_of(session.selection.site)
    np.testing.assert_array_equal(
        sites.novelty[sites.rows >= 0], ratio[sites.rows[sites.rows >= 0]]
    )
    # Judged anew with the annotations of now, by the same model: it is not lost.
    press(annotating, Qt.Key.Key_N)
    idle(qtbot, workspace)
    assert session.models.scored.prediction.is_novelty_measured
    assert not [text for text in messages if "measured" in text]


def test_blind_mode_hides_predictions_and_all_that_is_sorted_by_them(
    qtbot: QtBot, annotating: AnnotateDock, workspace: Workspace, messages: list[str]
) -> None:
    order(qtbot, annotating, workspace, order="abnormal")
    gallery = annotating.gallery
    assert "abnormal score" in gallery.describe(3)
    workspace.session.annotations.is_blind = True
    idle(qtbot, workspace)
    assert gallery.value().order == "random"
    assert gallery.view.is_blind()
    assert "abnormal score" not in gallery.describe(3)
    box = gallery.findChildren(QComboBox)[0]
    offered = {key for i, key in enumerate(ORDERS) if box.model().item(i).isEnabled()}
    assert not offered & {"uncertain", "abnormal", "normal", "disagreement"}
    gallery.set_value(GalleryOptions("uncertain"))
    assert "Blind mode" in messages[-1]
    assert gallery.value().order == "random"


def test_enter_and_double_click_show_the_cell_in_its_site(
    qtbot: QtBot, annotating: AnnotateDock, workspace: Workspace
) -> None:
    session = workspace.session
    row = int(annotating.gallery.view.cells()[5])
    annotating.gallery.view.set_current(row)
    with qtbot.waitSignal(session.selection.cell_chosen) as chosen:
        press(annotating, Qt.Key.Key_Return)
    cell = session.selection.state.plate_cells.cells.iloc[row]
    assert chosen.args == [(float(cell["y_px"]), float(cell["x_px"]))]
    assert session.selection.site == SiteKey(str(cell["well"]), int(cell["site"]))


def test_pictures_of_the_cells_in_view_come(qtbot: QtBot, annotating: AnnotateDock) -> None:
    view = annotating.gallery.view
    first = view.cells()[:8].tolist()
    qtbot.waitUntil(lambda: all(view.has_picture(row) for row in first), timeout=10_000)


def test_another_window_that_annotates_is_followed(
    annotating: AnnotateDock, workspace: Workspace, assay_path: Path
) -> None:
    (row,) = open_cells(annotating, 1)
    cell = workspace.session.selection.state.plate_cells.cells.iloc[row]
    where = (str(cell["well"]), int(cell["site"]), float(cell["y_px"]), float(cell["x_px"]))
    plate = workspace.session.selection.plate.name
    other = Annotation.of_row((plate, *where, "abnormal", "haze", None))
    AssayFolder.open(assay_path).journal().annotate_many([other], "ben")
    workspace.session.annotations.read_journal()
    assert annotating.gallery.marks().annotated[row] == ABNORMAL
    assert "annotated abnormal, haze" in annotating.gallery.describe(row)


# ---- options and the empty panel ---------------------------------------------------------


def test_options_go_round(qtbot: QtBot, annotating: AnnotateDock, workspace: Workspace) -> None:
    options = AnnotateOptions(
        annotator="cleo",
        is_blind=True,
        mode="normal",
        goes_on=False,
        gallery=GalleryOptions("random", "annotated"),
    )
    with qtbot.waitSignal(annotating.value_changed):
        annotating.set_value(options)
    assert annotating.value() == options
    assert workspace.session.annotations.annotator == "cleo"
    assert Clicking.of(workspace.viewer).mode == "normal"
    modes = {
        b.property("mode"): b
        for b in annotating.findChildren(QPushButton, QRegularExpression("^mode "))
    }
    assert modes["normal"].isChecked()
    modes["look"].click()
    assert annotating.value().mode == "look"
    assert Clicking.of(workspace.viewer).mode == "look"


def test_keys_go_on_where_they_act_once_another_panel_was_deleted(
    qtbot: QtBot, annotating: AnnotateDock, workspace: Workspace, assay_path: Path
) -> None:
    second = AnnotateDock(workspace.viewer)
    second.show()
    qtbot.waitUntil(lambda: len(second.gallery.view.cells()) > 0)
    idle(qtbot, workspace)
    rows = open_cells(annotating, 2)
    assert sorted(second.gallery.view.value()) == sorted(rows)  # one selection for all galleries
    with qtbot.waitSignal(second.gallery.destroyed):
        second.deleteLater()
    press(annotating, Qt.Key.Key_A)
    assert len(recorded(assay_path)) == 2


def test_nothing_open_says_what_to_do(dock: AnnotateDock) -> None:
    assert "Open an assay" in dock.gallery.view.message()
    assert not dock.findChild(QWidget, "undo").isEnabled()
    press(dock, Qt.Key.Key_N)
    press(dock, Qt.Key.Key_Period)
    assert not len(dock.gallery.view.cells())


def test_closing_the_assay_empties_the_panel(
    qtbot: QtBot, annotating: AnnotateDock, workspace: Workspace
) -> None:
    workspace.session.close_assay()
    assert not len(annotating.gallery.view.cells())
    assert sum(annotating.counts().classes.values()) == 0
    qtbot.waitUntil(lambda: not gallery_threads())


def test_every_control_has_a_tooltip_and_the_panel_fits(annotating: AnnotateDock) -> None:
    kinds = (QAbstractButton, QComboBox, QLineEdit, QAbstractSpinBox)
    for kind in kinds:
        for control in annotating.findChildren(kind):
            assert control.toolTip(), control
    assert annotating.minimumSizeHint().width() <= 420
    assert annotating.width() == 430
    assert annotating.gallery.view.height() > 0.5 * annotating.height()
