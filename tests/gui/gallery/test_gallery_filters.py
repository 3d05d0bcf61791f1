"""A gallery that fills the window shows cells by class, kind, well, person, P and measurement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QComboBox, QDockWidget, QLineEdit, QMainWindow, QMessageBox, QWidget

from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.gui.gallery.gallery_filters import CellFilter
from napari_hcs_qc.gui.gallery.gallery_panel import N_FETCHED, GalleryPanel
from napari_hcs_qc.gui.gallery.gallery_tiles import ABNORMAL, NORMAL, NOT_ANNOTATED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot


@pytest.fixture
def window(qtbot: QtBot, desk: Any, assay_path: Path) -> Iterator[QMainWindow]:
    """A window with an image in the middle, another panel on the left, and the gallery."""
    desk.open(assay_path)
    desk.session.annotations.annotator = "anna"
    window = QMainWindow()
    qtbot.addWidget(window)
    window.setCentralWidget(QWidget())
    for name, inner, side in (
        ("other", QWidget(), Qt.DockWidgetArea.LeftDockWidgetArea),
        ("gallery", GalleryPanel(desk.workspace), Qt.DockWidgetArea.RightDockWidgetArea),
    ):
        dock = QDockWidget(name)
        dock.setObjectName(name)
        dock.setWidget(inner)
        window.addDockWidget(side, dock)
    window.resize(900, 600)
    window.show()
    desk.idle()
    yield window
    desk.close()


@pytest.fixture
def gallery(window: QMainWindow) -> GalleryPanel:
    return window.findChild(GalleryPanel)


def shown(desk: Any, gallery: GalleryPanel, value: CellFilter) -> np.ndarray[Any, Any]:
    """Rows of the cells that are shown with a filter."""
    gallery.filters.set_value(value)
    desk.idle()
    return np.sort(gallery.view.cells())


def test_it_fills_the_window_and_gives_the_room_back(
    window: QMainWindow, gallery: GalleryPanel
) -> None:
    other = window.findChild(QDockWidget, "other")
    width = gallery.width()
    gallery.set_filled(True)
    QTest.qWait(20)
    assert gallery.width() > 850 and gallery.filters.isVisible()
    assert not other.isVisible() and not window.centralWidget().isVisible()
    gallery.filters.set_value(CellFilter(wells="A01"))
    gallery.set_filled(False)
    QTest.qWait(20)
    assert other.isVisible() and window.centralWidget().isVisible()
    assert abs(gallery.width() - width) <= 1 and not gallery.filters.isVisible()
    assert gallery.value().only == CellFilter(), "a filter that cannot be seen hides nothing"


def test_each_filter_shows_the_cells_that_have_it(desk: Any, gallery: GalleryPanel) -> None:
    gallery.set_filled(True)
    desk.idle()
    marks, cells = gallery.marks(), desk.session.selection.state.plate_cells.cells
    everything = np.sort(gallery.view.cells())
    np.testing.assert_array_equal(everything, np.arange(len(cells)))
    wells = cells["well"].to_numpy()
    expected = {
        CellFilter(cls="abnormal"): marks.annotated == ABNORMAL,
        CellFilter(cls="predicted abnormal"): marks.p_abnormal >= 0.5,
        CellFilter(cls="predicted normal"): marks.p_abnormal < 0.5,
        CellFilter(wells="a01, B*"): np.isin(wells, ["A01", "B01", "B02"]),
        CellFilter(kind="saturation"): marks.kind == "saturation",
        CellFilter(p_low=0.2, p_high=0.9): (marks.p_abnormal >= 0.2) & (marks.p_abnormal <= 0.9),
        CellFilter(annotator="simulation"): marks.annotated != NOT_ANNOTATED,
        CellFilter(cls="normal", wells="A01"): (marks.annotated == NORMAL) & (wells == "A01"),
    }
    for value, is_shown in expected.items():
        assert 0 < is_shown.sum() < len(cells), value
        np.testing.assert_array_equal(shown(desk, gallery, value), np.flatnonzero(is_shown))
    assert not len(shown(desk, gallery, CellFilter(annotator="anna")))
    line = gallery.findChild(QLineEdit, "wells")
    gallery.filters.set_value(CellFilter())
    line.setText("B02")
    QTest.keyClick(line, Qt.Key.Key_Return)
    desk.idle()
    np.testing.assert_array_equal(np.sort(gallery.view.cells()), np.flatnonzero(wells == "B02"))


def test_cells_are_sorted_by_a_measurement(desk: Any, gallery: GalleryPanel) -> None:
    gallery.set_filled(True)
    desk.idle()
    box = gallery.findChild(QComboBox, "measurement")
    names = [box.itemData(index) for index in range(box.count())]
    assert {"area_px", "diameter_px", "mean_intensity"} <= set(names) and "cell_id" not in names
    box.setCurrentIndex(names.index("area_px"))
    box.activated.emit(box.currentIndex())
    area = desk.session.selection.state.plate_cells.cells["area_px"].to_numpy()
    assert (np.diff(area[gallery.view.cells()]) <= 0).all()
    gallery.findChild(QWidget, "falling").click()
    assert (np.diff(area[gallery.view.cells()]) >= 0).all()


def test_twenty_cells_are_fetched(desk: Any, gallery: GalleryPanel) -> None:
    gallery.set_filled(True)
    marks = gallery.marks()
    for order in ("random", "uncertain", "normal"):
        gallery.fetch(order)
        desk.idle()
        rows = gallery.view.cells()
        assert len(rows) == N_FETCHED and (marks.annotated[rows] == NOT_ANNOTATED).all()
    assert (marks.p_abnormal[rows] < 0.5).all()


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], list[str]]:
    def give(is_yes: bool) -> list[str]:
        asked: list[str] = []
        button = QMessageBox.StandardButton.Yes if is_yes else QMessageBox.StandardButton.No

        def question(_parent: Any, _title: str, text: str) -> Any:
            asked.append(text)
            return button

        monkeypatch.setattr(QMessageBox, "question", question)
        return asked

    return give


def test_tiles_in_sight_are_accepted_as_predicted_in_one_action(
    desk: Any, gallery: GalleryPanel, assay_path: Path, answer: Callable[[bool], list[str]]
) -> None:
    gallery.set_filled(True)
    desk.idle()
    marks, rows = gallery.marks(), gallery.view.in_sight()
    rows = rows[(marks.annotated[rows] == NOT_ANNOTATED) & np.isfinite(marks.p_abnormal[rows])]
    is_abnormal = marks.p_abnormal[rows] >= 0.5
    assert 0 < len(rows) < len(marks.annotated)
    answer(False)
    assert not gallery.accept_in_sight()
    asked = answer(True)
    assert gallery.accept_in_sight()
    assert f"{int(is_abnormal.sum())} abnormal" in asked[0]
    table = AssayFolder.open(assay_path).journal().annotations()
    mine = table[table["annotator"] == "anna"]
    assert len(mine) == len(rows) and mine["action"].nunique() == 1
    codes = gallery.marks().annotated[rows]
    np.testing.assert_array_equal(codes == ABNORMAL, is_abnormal)
    assert desk.session.annotations.undo()
    assert (gallery.marks().annotated[rows] == NOT_ANNOTATED).all()


def test_tiles_look_as_the_image_does(qtbot: QtBot, desk: Any, gallery: GalleryPanel) -> None:
    view = gallery.view
    qtbot.waitUntil(lambda: any(map(view.has_picture, view.in_sight().tolist())), timeout=20_000)
    style, ranges = desk.view.look()
    assert all(max(colour) > 0 for colour in style.colours)
    desk.viewer.layers["Actin"].visible = False
    desk.viewer.layers["DNA"].contrast_limits = (10, 500)
    with qtbot.waitSignal(desk.view.look_changed):
        pass
    style, ranges = desk.view.look()
    assert [max(colour) > 0 for colour in style.colours] == [True, False]
    assert (ranges.channels[0].low, ranges.channels[0].high) == (10, 500)
