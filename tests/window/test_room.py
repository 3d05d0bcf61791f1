"""Room to work: what there is to see and press in windows of several sizes."""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING, Any

import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QDockWidget, QLabel, QProgressBar, QPushButton
from tests.gui.conftest import trained_folder

from napari_hcs_qc.gui.annotate.annotate_dock import AnnotateDock
from napari_hcs_qc.gui.keys.cheat_sheet import CheatSheet
from napari_hcs_qc.gui.train.train_dock import TrainDock
from napari_hcs_qc.gui.window.desk import (
    ANNOTATE,
    ENCODER,
    GUIDE,
    OVERLAY,
    PLATE,
    REVIEW,
    TRAIN,
    open_desk,
)
from napari_hcs_qc.gui.window.furniture import dock_with, layer_docks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.window.conftest import Person

pytestmark = [pytest.mark.window, pytest.mark.timeout(900)]

_MAIN: dict[str, tuple[str, ...]] = {
    PLATE: ("plates", "measure", "map", "sites"),
    GUIDE: ("layers", "gallery", "show_keys", "advice"),
    ANNOTATE: ("undo", "add_kind", "again", "fill"),
    TRAIN: ("retrain",),
    OVERLAY: ("threshold", "colour by class", "opacity"),
    REVIEW: ("keep", "exclude", "look again", "exclude site", "remove", "undo", "export"),
    ENCODER: ("compute", "train"),
    "HCS benchmark": ("run", "export"),
}


@pytest.fixture
def assay_path(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A trained assay that a test may change."""
    shutil.copytree(trained_folder(tmp_path_factory) / "assay", tmp_path / "assay")
    return tmp_path / "assay"


def is_in_sight(widget: Any) -> bool:
    """Whether all of a widget can be seen, without scrolling."""
    window = widget.window()
    corners = (QPoint(0, 0), QPoint(widget.width() - 1, widget.height() - 1))
    inside = all(window.rect().contains(widget.mapTo(window, corner)) for corner in corners)
    seen = widget.visibleRegion().boundingRect()
    return inside and widget.isVisible() and seen.size() == widget.size()


def test_nothing_that_is_needed_is_below_the_fold(
    sit_down: Callable[[], Person], assay_path: Path, subtests: Any
) -> None:
    person = sit_down()
    person.window.resize(1280, 720)
    person.qtbot.wait(100)
    assert is_in_sight(person.button(person.panel(GUIDE), QPushButton, "Try the sample"))
    person.session.open(assay_path)
    person.until(lambda: person.view.cells is not None, 120)
    person.idle(240)
    person.panel(REVIEW).set_value("SIM", "B02")
    person.idle()
    about = person.panel(REVIEW).findChild(QLabel, "about")
    about.setText((about.text() * 20)[:520])  # as long as the reasons of a really bad well
    for width, height in ((1280, 720), (2560, 1440)):
        person.window.resize(width, height)
        person.qtbot.wait(100)
        assert (person.window.width(), person.window.height()) == (width, height)
        for name, parts in _MAIN.items():
            panel = person.panel(name)
            for part in parts:
                with subtests.test(f"{name}: {part} at {width} × {height}"):
                    assert is_in_sight(panel.findChild(object, part))
        train = person.panel(TRAIN)
        person.click(person.button(train, QPushButton, "Map and errors"))
        person.session.models.set_threshold(0.98)
        person.until(lambda: train.errors.misses.value())  # noqa: B023 - at once
        person.idle()
        for part in ("retrain", "errors", "map", "alarms", "misses"):
            with subtests.test(f"errors: {part} at {width} × {height}"):
                assert is_in_sight(train.findChild(object, part))
        person.click(person.button(train, QPushButton, "Back to figures"))
    person.window.resize(1280, 720)
    end = threading.Event()
    plate = person.panel(PLATE)
    with subtests.test("while work runs at 1280 × 720"):
        person.session.start("Finding the cells", lambda job: end.wait(60), slot="cells")
        bar = person.panel(GUIDE).findChild(QProgressBar)
        person.until(lambda: is_in_sight(bar))
        assert all(is_in_sight(plate.findChild(object, part)) for part in _MAIN[PLATE])
        assert (person.window.width(), person.window.height()) == (1280, 720)
        end.set()
        person.idle()
    view = person.panel(ANNOTATE).gallery.view
    person.qtbot.wait(100)
    assert view.viewport().height() >= 3 * view.grid().pitch
    assert person.canvas.width() >= 500
    person.session.message.emit("error", "The disk is full.")
    line = person.panel(GUIDE).findChild(object, "messages")
    person.qtbot.wait(50)
    assert is_in_sight(line) and "disk" in line.text()


def test_panels_come_back_where_they_were_and_there_is_one_of_each(
    sit_down: Callable[[], Person], assay_path: Path
) -> None:
    person = sit_down()
    train = dock_with(person.viewer, TrainDock)
    annotate = dock_with(person.viewer, AnnotateDock)
    beside = person.window.tabifiedDockWidgets(annotate)
    assert train in beside
    for button in ("QTitleBarCloseButton", "QTitleBarHideButton"):
        train.raise_()
        person.click(train.titleBarWidget().findChild(QPushButton, button))
        assert not train.isVisible()
        train.toggleViewAction().trigger()
        person.qtbot.wait(50)
        assert train in person.window.tabifiedDockWidgets(annotate)
        assert not train.visibleRegion().isEmpty(), "in front of its tabs"
    open_desk(person.viewer)
    docks = person.window.findChildren(QDockWidget)
    assert len([dock for dock in docks if dock.windowTitle() == "Annotate"]) == 1


def test_layers_are_folded_away_until_they_are_wanted(sit_down: Callable[[], Person]) -> None:
    person = sit_down()
    docks = layer_docks(person.viewer)
    button = person.panel(GUIDE).findChild(QPushButton, "layers")
    assert not any(dock.isVisible() for dock in docks) and not button.isChecked()
    person.click(button)
    assert docks[0].isVisible() and button.isChecked()
    person.click(button)
    assert not any(dock.isVisible() for dock in docks) and not button.isChecked()


def test_the_sign_of_work_of_napari_does_not_repaint_the_window_all_the_time(
    sit_down: Callable[[], Person],
) -> None:
    bar = sit_down().viewer.window._qt_window.statusBar()
    movies = [movie for label in bar.findChildren(QLabel) if (movie := label.movie()) is not None]
    assert movies
    for movie in movies:
        movie.start()
        assert movie.nextFrameDelay() >= 1000  # ms
        movie.stop()


def test_the_gallery_takes_the_window_by_its_key_and_nothing_unseen_is_annotated(
    sit_down: Callable[[], Person], assay_path: Path
) -> None:
    person = sit_down()
    person.session.open(assay_path)
    person.until(lambda: person.view.cells is not None, 120)
    person.idle(240)
    gallery = person.panel(ANNOTATE).gallery
    y_px, x_px = person.view.cells.yx_px[len(person.view.cells) // 2]
    person.click_at(y_px, x_px)
    order = list(gallery.view.cells())
    person.press("F9")
    person.qtbot.wait(50)
    assert gallery.is_filled and not person.canvas.isVisible()
    assert gallery.view.viewport().width() > 1000
    seen = person.session.target.in_sight(person.session.target.selection)
    assert len(seen) == sum(cell.cell in gallery.view.in_sight() for cell in seen)
    person.press("F9", gallery.view)
    person.qtbot.wait(50)
    assert not gallery.is_filled and person.canvas.isVisible()
    person.idle()
    assert list(gallery.view.cells()) == order, "not shuffled anew"


def test_the_key_of_the_sheet_and_errors_among_the_notifications(
    sit_down: Callable[[], Person],
) -> None:
    from napari.utils.notifications import notification_manager

    person = sit_down()
    QTest.keyClick(person.canvas, Qt.Key.Key_Question, Qt.KeyboardModifier.ShiftModifier)
    (sheet,) = person.window.findChildren(CheatSheet)
    assert sheet.isVisible()
    sheet.close()
    n_before = len(notification_manager.records)
    person.session.message.emit("error", "The disk is full.")
    person.session.message.emit("info", "All is well.")
    assert [str(one.message) for one in notification_manager.records[n_before:]] == [
        "The disk is full."
    ]
