"""The menus of cells, tiles and wells, in a real window with the right mouse button."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QContextMenuEvent, QCursor
from qtpy.QtWidgets import QApplication, QInputDialog, QMenu
from tests.gui.conftest import trained_folder

from napari_hcs_qc.gui.plate.plate_opening import open_assay_folder
from napari_hcs_qc.gui.window.desk import ANNOTATE, PLATE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.window.conftest import Person

pytestmark = [pytest.mark.window, pytest.mark.timeout(600)]
_RIGHT = Qt.MouseButton.RightButton


def menu_of(person: Person) -> QMenu:
    person.until(lambda: isinstance(QApplication.activePopupWidget(), QMenu))
    menu = QApplication.activePopupWidget()
    assert isinstance(menu, QMenu)
    return menu


def choose(person: Person, title: str) -> None:
    """Click an entry of the menu that is open."""
    menu = menu_of(person)
    [action] = [a for a in menu.actions() if a.text().split("\t")[0] == title]
    assert action.isEnabled(), title
    person.qtbot.mouseClick(
        menu, Qt.MouseButton.LeftButton, pos=menu.actionGeometry(action).center()
    )
    person.until(lambda: QApplication.activePopupWidget() is None)


def open_on(person: Person, widget: Any, place: QPoint) -> None:
    """Press the right button on a widget, as Qt does where the platform sends no menu event."""
    person.qtbot.mousePress(widget, _RIGHT, pos=place)
    reason = QContextMenuEvent.Reason.Mouse
    QApplication.postEvent(widget, QContextMenuEvent(reason, place, widget.mapToGlobal(place)))
    person.qtbot.mouseRelease(widget, _RIGHT, pos=place)


def test_cells_tiles_and_wells_have_menus(
    sit_down: Callable[[], Person],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(trained_folder(tmp_path_factory) / "assay", tmp_path / "assay")
    person = sit_down()
    open_assay_folder(person.session, tmp_path / "assay")
    person.until(lambda: person.view.cells is not None)
    person.idle()
    session = person.session

    # On the image: of the cell under the mouse, with the right button that has not moved.
    cells = person.view.cells
    index = next(i for i, cls in enumerate(cells.annotated_class) if cls is None)
    y_px, x_px = (float(value) for value in cells.yx_px[index])
    person.point_at(y_px, x_px)
    QCursor.setPos(person.canvas.mapToGlobal(person.at(y_px, x_px)))
    person.qtbot.mouseClick(person.canvas, _RIGHT, pos=person.at(y_px, x_px))
    person.picture("cell-menu")
    choose(person, "Abnormal")
    person.idle()
    assert person.view.cells.annotated_class[index] == "abnormal"
    person.point_at(y_px, x_px)
    monkeypatch.setattr(QInputDialog, "getText", lambda *_: ("smeared", True))
    person.qtbot.mouseClick(person.canvas, _RIGHT, pos=person.at(y_px, x_px))
    choose(person, "Note…")
    newest = session.annotations.cache.journal.annotations().iloc[-1]
    assert (newest["class"], newest["note"]) == ("abnormal", "smeared")
    person.point_at(y_px, x_px)
    person.qtbot.mouseClick(person.canvas, _RIGHT, pos=person.at(y_px, x_px))
    choose(person, "Select all cells of the site")
    assert len(session.target.cells) == len(person.view.cells)

    person.press("Escape")

    # In the gallery: of the tile that is pressed, and what is most similar to it.
    gallery = person.panel(ANNOTATE).gallery
    view = gallery.view
    person.until(lambda: len(view.cells()) > 10)
    is_cut = session.selection.state.is_cut
    place = next(place for place in range(10) if not is_cut[view.cells()[place]])
    tile = view.tile_rect(place).center()
    pressed = int(view.cells()[place])
    open_on(person, view.viewport(), QPoint(tile))
    choose(person, "Similar cells in the gallery")
    person.until(lambda: gallery.value().order == "similar")
    person.idle()
    assert int(view.cells()[0]) == pressed

    # On the plate map: a verdict on a well, flagged or not.
    plate_map = person.panel(PLATE).plate_map
    well = next(w for w in sorted(plate_map.imaged) if w != session.selection.site.well)
    place = plate_map.grid().fields[well].center().toPoint()
    open_on(person, plate_map, place)
    choose(person, "Exclude")
    verdicts = session.annotations.cache.journal.verdicts()
    assert verdicts[["well", "verdict"]].to_numpy().tolist() == [[well, "exclude"]]
    open_on(person, plate_map, place)
    choose(person, f"Go to {well}")
    person.idle()
    assert session.selection.site.well == well
    assert person.errors() == []
