"""The errors of a model in the Train panel: the report's, and a click that goes to the cell."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QListWidget, QPushButton, QWidget

from napari_hcs_qc.assay.views.held_out_errors import held_out_scores
from napari_hcs_qc.assay.views.model_card import model_card
from napari_hcs_qc.gui.train import model_errors
from napari_hcs_qc.gui.train.train_dock import TrainDock
from napari_hcs_qc.plates.plate import SiteKey

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.gui.conftest import Desk

    from napari_hcs_qc.gui.train.error_pictures import ErrorPictures

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def dock(desk: Desk, assay_path: Path) -> TrainDock:
    """The Train panel of an open assay, on show."""
    dock = TrainDock(desk.viewer)
    desk.qtbot.addWidget(dock)
    dock.resize(400, 640)
    dock.show()
    desk.open(assay_path)
    desk.session.target.add_sight(lambda cells: cells)  # as the image, which is not there
    return dock


@pytest.fixture
def show_at(desk: Desk, dock: TrainDock) -> Callable[[float], None]:
    """Show the errors at a threshold, by the button."""

    def show(threshold: float) -> None:
        desk.session.models.set_threshold(threshold)
        button(desk, dock).click()
        desk.idle()

    return show


def button(desk: Desk, dock: TrainDock) -> Any:
    found: Any = dock.figures.findChild(QPushButton, "errors")
    assert found.isVisible()
    return found


def pictures(part: ErrorPictures) -> Any:
    return part.findChild(QListWidget)


def captions(part: ErrorPictures) -> list[str]:
    shown = pictures(part)
    return [shown.item(place).text() for place in range(shown.count())]


def click(desk: Desk, part: ErrorPictures, place: int) -> None:
    shown = pictures(part)
    desk.qtbot.waitUntil(lambda: shown.viewport().height() >= shown.gridSize().height())
    shown.scrollToItem(shown.item(place))
    middle = shown.visualItemRect(shown.item(place)).center()
    desk.qtbot.mouseClick(shown.viewport(), LEFT, pos=middle)
    desk.idle()


def moved_to(chart: QWidget, place: QPointF) -> Qt.CursorShape:
    """Move the mouse to a place of a chart; gives the shape of the cursor there."""
    none, held = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier
    where = place, chart.mapToGlobal(place)
    QApplication.sendEvent(chart, QMouseEvent(QEvent.Type.MouseMove, *where, none, none, held))
    return chart.cursor().shape()


def is_selected(desk: Desk, row: int) -> bool:
    """Whether a training cell is on screen and what a key acts on."""
    cell = desk.session.models.model.manifest.training_cells[row]
    target, cells = desk.session.target, desk.view.cells
    if desk.view.on_screen != SiteKey(cell.well, cell.site) or cells is None:
        return False
    [(_, index)] = target.here(target.cells).items()
    return bool(np.hypot(*(cells.yx_px[index] - (cell.y_px, cell.x_px))) < 10)


@pytest.mark.parametrize("threshold", [0.02, 0.98])
def test_errors_are_those_of_the_report_and_a_click_goes_to_the_cell(
    desk: Desk, dock: TrainDock, show_at: Callable[[float], None], threshold: float
) -> None:
    show_at(threshold)
    states = {"SIM": desk.session.selection.state}
    card = model_card(desk.session.models.model, threshold, states)
    n_clicked = 0
    for part, errors in zip((dock.errors.alarms, dock.errors.misses), card.errors, strict=True):
        assert part.findChild(QWidget, "title").text() == errors.title
        assert captions(part) == [picture.caption for picture in errors.pictures]
        for place, row in list(enumerate(errors.rows))[-2:]:
            click(desk, part, place)
            assert is_selected(desk, row)
            n_clicked += 1
    assert n_clicked >= 2
    assert np.array_equal(dock.errors.map.value().places, card.annotated_map.places)
    assert np.array_equal(dock.errors.map.value().is_wrong, card.annotated_map.is_wrong)


def test_a_class_key_annotates_the_cell_that_was_clicked(
    desk: Desk, dock: TrainDock, show_at: Callable[[float], None]
) -> None:
    desk.session.annotations.annotator = "simulation"  # who annotated it
    show_at(0.98)
    part = dock.errors.misses
    click(desk, part, 0)
    [index] = desk.session.target.here(desk.session.target.cells).values()
    assert desk.annotation_of(index) == "abnormal"
    desk.qtbot.keyClick(pictures(part), Qt.Key.Key_N)
    desk.idle()
    assert desk.annotation_of(index) == "normal"
    assert "1 new annotation" in dock.findChild(QWidget, "clicks").text()
    # The keys of a list stay the list's.
    desk.qtbot.keyClick(pictures(part), Qt.Key.Key_Right)
    desk.qtbot.keyClick(pictures(part), Qt.Key.Key_Return)
    desk.idle()
    assert is_selected(desk, part.value().rows[1])


def test_a_click_on_the_map_goes_to_the_cell_and_beside_one_nowhere(
    desk: Desk, dock: TrainDock, show_at: Callable[[float], None]
) -> None:
    show_at(0.5)
    chart = dock.errors.map
    n_cells = len(chart.value().rows)
    places = [chart.place_of(index) for index in range(n_cells)]
    px = np.array([(place.x(), place.y()) for place in places])
    away = np.hypot(*(px[:, np.newaxis] - px[np.newaxis]).T)
    alone = int((away + np.diag(np.full(n_cells, np.inf))).min(axis=1).argmax())
    assert moved_to(chart, places[alone]) == Qt.CursorShape.PointingHandCursor
    assert chart.describe_at(places[alone]) == chart.value().texts[alone]
    assert "annotated" in chart.value().texts[alone]
    desk.qtbot.mouseClick(chart, LEFT, pos=places[alone].toPoint())
    desk.idle()
    assert is_selected(desk, int(chart.value().rows[alone]))
    desk.qtbot.keyClick(chart, Qt.Key.Key_U)
    desk.idle()
    assert "1 new annotation" in dock.findChild(QWidget, "clicks").text()
    before = desk.session.target.cells
    assert moved_to(chart, QPointF(0, 0)) == Qt.CursorShape.ArrowCursor
    desk.qtbot.mouseClick(chart, LEFT, pos=QPoint(0, 0))
    assert desk.session.target.cells == before


def test_blind_mode_hides_them_at_once_and_what_is_on_its_way(
    desk: Desk, dock: TrainDock, show_at: Callable[[float], None]
) -> None:
    show_at(0.98)
    errors, annotations = dock.errors, desk.session.annotations
    assert errors.map.has_data() and errors.misses.isVisible()
    desk.session.models.set_threshold(0.97)  # others are on their way
    annotations.is_blind = True
    for _ in range(2):
        assert not errors.map.has_data()
        assert not errors.alarms.isVisible() and not errors.misses.isVisible()
        assert captions(errors.misses) == []
        desk.idle()
    annotations.is_blind = False
    desk.idle()
    assert errors.map.has_data() and errors.misses.isVisible()


def test_they_follow_the_threshold_and_the_model(
    desk: Desk, dock: TrainDock, show_at: Callable[[float], None]
) -> None:
    show_at(0.98)
    for threshold in (0.9, 0.6, 0.02):
        desk.session.models.set_threshold(threshold)
    desk.idle()
    manifest = desk.session.models.model.manifest
    is_abnormal = np.array([cell.cls == "abnormal" for cell in manifest.training_cells])
    n_alarms = int((~is_abnormal & (held_out_scores(manifest) >= 0.02)).sum())
    assert f"called abnormal: {n_alarms} cell" in dock.errors.alarms.value().title
    title = dock.figures.findChild(QWidget, "title")
    assert title.text() == "Errors of model 0001"
    dock.findChild(QWidget, "retrain").click()
    desk.idle()
    desk.idle()
    assert title.text() == "Errors of model 0002"
    assert dock.errors.map.has_data()
    desk.session.close_assay()
    assert not dock.errors.map.has_data() and not dock.errors.alarms.isVisible()
    assert not desk.errors()


def test_they_are_computed_in_the_background_and_only_while_in_sight(
    desk: Desk, dock: TrainDock, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    compute = model_errors.held_out_errors

    def recorded(*args: Any, **kwargs: Any) -> Any:
        threads.append(threading.current_thread())
        return compute(*args, **kwargs)

    monkeypatch.setattr(model_errors, "held_out_errors", recorded)
    desk.session.models.set_threshold(0.6)
    desk.idle()
    assert threads == []
    button(desk, dock).click()
    desk.idle()
    assert len(threads) == 1 and threads[0] is not threading.main_thread()
    assert dock.errors.isVisible() and not dock.findChild(QWidget, "charts").isVisible()
    button(desk, dock).click()
    assert not dock.errors.isVisible() and dock.findChild(QWidget, "charts").isVisible()
    desk.session.models.set_threshold(0.7)
    desk.idle()
    assert len(threads) == 1
    button(desk, dock).click()
    desk.idle()
    assert len(threads) == 2
