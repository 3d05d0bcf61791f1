"""The cell that a key acts on is the one that is marked on screen: real keys and mouse."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QEnterEvent, QWheelEvent
from qtpy.QtWidgets import QApplication
from tests.gui.conftest import trained_folder

from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.gui.review.review_table import ReviewTable
from napari_hcs_qc.gui.window.desk import ANNOTATE, REVIEW

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.window.conftest import Person

# A slow machine may take minutes.
pytestmark = [pytest.mark.window, pytest.mark.timeout(900)]

_NEXT_SITE = "BracketRight"


@pytest.fixture
def assay_path(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A trained assay that a test may change."""
    shutil.copytree(trained_folder(tmp_path_factory) / "assay", tmp_path / "assay")
    return tmp_path / "assay"


def sit_at(person: Person, assay: Path) -> None:
    """Open an assay, with the pointer over the image."""
    person.session.open(assay)
    person.until(lambda: person.view.cells is not None, 120)
    person.idle(240)
    entering = (QPointF(1, 1), QPointF(1, 1), QPointF(person.canvas.mapToGlobal(QPointF(1, 1))))
    QApplication.sendEvent(person.canvas, QEnterEvent(*entering))


def leave_canvas(person: Person) -> None:
    """Take the pointer off the image."""
    QApplication.sendEvent(person.canvas, QEvent(QEvent.Type.Leave))


def annotated(person: Person, assay: Path) -> dict[tuple[str, int, int, int], str]:
    """What this person has annotated: well, site and place in whole pixels, and the class."""
    table = AssayFolder.open(assay).journal().annotations()
    mine = table[table["annotator"] == person.session.annotations.annotator]
    columns = (mine["well"], mine["site"], mine["y_px"].round(), mine["x_px"].round())
    return {
        (str(well), int(site), int(y), int(x)): cls
        for well, site, y, x, cls in zip(*columns, mine["class"], strict=True)
    }


def key_of(person: Person, index: int) -> tuple[str, int, int, int]:
    """A cell of the site on screen, as `annotated` gives it."""
    cells = person.view.cells
    assert cells is not None
    y_px, x_px = cells.yx_px[index].round()
    return cells.site.well, cells.site.site, int(y_px), int(x_px)


def under(person: Person, place: tuple[float, float]) -> int | None:
    assert person.view.cells is not None
    index: int | None = person.view.cells.nearest(*place)
    return index


def next_site(person: Person) -> None:
    before = person.view.on_screen
    person.press(_NEXT_SITE)
    person.until(lambda: person.view.on_screen not in (None, before))


def inner(person: Person) -> list[int]:
    """Cells of the site on screen that can be pointed at."""
    cells = person.view.cells
    assert cells is not None
    height, width = person.session.selection.plate.layout.shape
    y, x = cells.yx_px.T
    is_inside = (y > 10) & (y < height - 10) & (x > 10) & (x < width - 10)
    return [index for index in range(len(cells)) if is_inside[index]]


def test_the_four_blockers(sit_down: Callable[[], Person], assay_path: Path, subtests: Any) -> None:
    person = sit_down()
    sit_at(person, assay_path)
    with subtests.test("1: another site under a pointer that rests"):
        the_pointer_rests(person, assay_path)
    with subtests.test("1: the pointer off the canvas"):
        the_pointer_leaves(person, assay_path)
    with subtests.test("2: the suggested cell"):
        the_suggested_cell(person, assay_path)
    with subtests.test("3: a clicked cell, then another"):
        one_clicked_then_another(person, assay_path)
    with subtests.test("4: the well on screen"):
        the_well_on_screen(person, assay_path)
    assert not person.errors()
    person.idle()
    person.viewer.close()
    person.qtbot.wait(200)  # what Qt deletes later is gone before napari counts its windows


def the_pointer_rests(person: Person, assay: Path) -> None:
    """Point at cells, go to the next site without moving the mouse, and press a key there."""
    person.go_to("A01", 1)
    n_hit = 0
    for index in inner(person)[:6]:
        person.go_to("A01", 1)
        y_px, x_px = person.view.cells.yx_px[index]
        person.point_at(y_px, x_px)
        next_site(person)
        before, expected = annotated(person, assay), under(person, (y_px, x_px))
        n_hit += expected is not None
        person.press("A")
        new = annotated(person, assay)
        if expected is not None:
            before |= {key_of(person, expected): "abnormal"}
        assert new == before
    assert n_hit > 0


def the_pointer_leaves(person: Person, assay: Path) -> None:
    """A key annotates nothing when the mouse is nowhere on the image."""
    person.go_to("A02", 1)
    person.point_at(*person.view.cells.yx_px[inner(person)[0]])
    leave_canvas(person)
    before = annotated(person, assay)
    person.press("A")
    assert annotated(person, assay) == before


def the_suggested_cell(person: Person, assay: Path) -> None:
    """The next cell, then keys: each annotates the suggested cell, in the middle, and goes on."""
    person.go_to("A01", 1)
    person.point_at(*person.view.cells.yx_px[inner(person)[1]])
    person.press("Period")
    for _ in range(4):
        person.until(lambda: person.view.on_screen == person.session.selection.site)
        person.qtbot.wait(30)
        y_px, x_px = (value / person.view.scale for value in person.viewer.scene.camera.center[-2:])
        suggested = under(person, (y_px, x_px))
        assert suggested is not None
        expected = annotated(person, assay) | {key_of(person, suggested): "normal"}
        person.press("N")
        assert annotated(person, assay) == expected


def one_clicked_then_another(person: Person, assay: Path) -> None:
    """Click a cell, N; point at another, A: either is what was said of it."""
    person.go_to("B01", 1)
    person.viewer.reset_view()  # which was on the suggested cells
    first, second = inner(person)[:2]
    before = annotated(person, assay)
    person.click_at(*person.view.cells.yx_px[first])
    person.press("N")
    person.point_at(*person.view.cells.yx_px[second])
    person.press("A")
    expected = {key_of(person, first): "normal", key_of(person, second): "abnormal"}
    assert annotated(person, assay) == before | expected


def the_well_on_screen(person: Person, assay: Path) -> None:
    """X acts on the well whose picture is shown, which is the row that is marked."""
    person.go_to("A01", 1)
    review = person.panel(REVIEW)
    table = review.findChild(ReviewTable)
    flagged = [entry.well for entry in review.entries]
    assert flagged and "A01" not in flagged
    person.press("X", table)
    assert not len(AssayFolder.open(assay).journal().verdicts())
    person.click(table.viewport(), table.visualItemRect(table.item(0, 0)).center())
    person.until(lambda: person.view.on_screen.well == flagged[0])
    assert table.value().well == flagged[0]
    person.press("X", table)
    verdicts = AssayFolder.open(assay).journal().verdicts()
    assert dict(zip(verdicts["well"], verdicts["verdict"], strict=True)) == {flagged[0]: "exclude"}


# ---- random days -------------------------------------------------------------------------


def framed(person: Person) -> set[tuple[str, int, int, int]]:
    """Cells in a bright frame, on the image as napari draws it and on the tiles in sight."""
    view, gallery = person.view, person.panel(ANNOTATE).gallery.view
    cells: set[tuple[str, int, int, int]] = set()
    layer = next((one for one in person.viewer.layers if one.name == "target"), None)
    if layer is not None and layer.visible and len(layer.data):
        is_bright = (np.asarray(layer.border_color) == 1.0).all(axis=1)
        for y_px, x_px in np.asarray(layer.data)[is_bright].round().astype(int):
            cells.add((view.on_screen.well, view.on_screen.site, int(y_px), int(x_px)))
    table = person.session.selection.state.plate_cells.cells
    for row in gallery.targets() & set(gallery.in_sight().tolist()):
        cell = table.iloc[row]
        place = round(float(cell["y_px"])), round(float(cell["x_px"]))
        cells.add((str(cell["well"]), int(cell["site"]), *place))
    return cells


def newest(person: Person, assay: Path) -> tuple[str, set[tuple[str, int, int, int]]]:
    """The last action of this person, and the cells it annotated."""
    table = AssayFolder.open(assay).journal().annotations()
    mine = table[table["annotator"] == person.session.annotations.annotator]
    if not len(mine):
        return "", set()
    action = str(mine.loc[mine["at"].idxmax(), "action"])
    last = mine[mine["action"] == action]
    columns = (last["well"], last["site"], last["y_px"].round(), last["x_px"].round())
    places = zip(*columns, strict=True)
    return action, {(str(well), int(site), int(y), int(x)) for well, site, y, x in places}


def press_a_class(person: Person, assay: Path, dice: random.Random) -> bool:
    marked, (before, _) = framed(person), newest(person, assay)
    where = dice.choice((person.canvas, person.canvas, person.panel(ANNOTATE).gallery.view))
    person.press(dice.choice("NAU12"), where)
    action, cells = newest(person, assay)
    assert (cells if action != before else set()) == marked
    return bool(marked)


def anywhere(person: Person, dice: random.Random) -> QPoint:
    """A place on the canvas, most often on a cell."""
    cells = person.view.cells
    if cells is not None and len(cells) and dice.random() < 0.8:
        try:
            return person.at(*cells.yx_px[dice.randrange(len(cells))])
        except AssertionError:  # not in sight
            pass
    return QPoint(dice.randrange(person.canvas.width()), dice.randrange(person.canvas.height()))


def turn_wheel(person: Person, dice: random.Random) -> None:
    place = QPointF(anywhere(person, dice))
    angle = QPoint(0, dice.choice((-240, 240)))
    event = QWheelEvent(
        place,
        QPointF(person.canvas.mapToGlobal(place)),
        QPoint(),
        angle,
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(person.canvas, event)


def click_a_tile(person: Person, dice: random.Random) -> None:
    gallery = person.panel(ANNOTATE).gallery.view
    seen = gallery.in_sight()
    if len(seen):
        places = np.flatnonzero(np.isin(gallery.cells(), seen))
        middle = gallery.tile_rect(int(dice.choice(places.tolist()))).center()
        leave_canvas(person)
        person.click(gallery.viewport(), middle)


def judge_again(person: Person, _dice: random.Random) -> None:
    """As after a retrain: the same cells, as a new object."""
    models = person.session.models
    models.set_scored({name: replace(plate) for name, plate in models.by_plate.items()})


def go_anywhere(person: Person, dice: random.Random) -> None:
    person.session.selection.go_to(dice.choice(person.session.selection.plate.sites))
    if dice.random() < 0.8:
        person.until(lambda: person.view.on_screen == person.session.selection.site)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_hundred_random_sequences(sit_down: Callable[[], Person], assay_path: Path) -> None:
    person = sit_down()
    sit_at(person, assay_path)
    bar = person.panel(ANNOTATE).gallery.view.verticalScrollBar()
    events: dict[str, Callable[[random.Random], object]] = {
        "point": lambda dice: person.move(person.canvas, anywhere(person, dice)),
        "click": lambda dice: person.qtbot.mouseClick(
            person.canvas, Qt.MouseButton.LeftButton, pos=anywhere(person, dice)
        ),
        "leave": lambda _: leave_canvas(person),
        "wheel": lambda dice: turn_wheel(person, dice),
        "home": lambda _: person.viewer.reset_view(),
        "next site": lambda dice: person.press(dice.choice(("BracketLeft", "BracketRight"))),
        "map": lambda dice: go_anywhere(person, dice),
        "next": lambda _: person.press("Period"),
        "next in gallery": lambda _: person.press("Period", person.panel(ANNOTATE).gallery.view),
        "escape": lambda _: person.press("Escape"),
        "tile": lambda dice: click_a_tile(person, dice),
        "sort": lambda _: person.panel(ANNOTATE).gallery.sort(),
        "scroll": lambda dice: bar.setValue(dice.randrange(bar.maximum() + 1)),
        "undo": lambda _: person.press("Ctrl+Z"),
        "retrain": lambda dice: judge_again(person, dice),
        "wait": lambda _: person.qtbot.wait(60),
    }
    n_annotated = 0
    for seed in range(100):
        dice = random.Random(seed)
        person.session.target.goes_on = dice.random() < 0.7
        done = []
        for name in dice.choices([*events, "press"], [1] * len(events) + [9], k=10):
            done.append(name)
            try:
                if name == "press":
                    n_annotated += press_a_class(person, assay_path, dice)
                else:
                    events[name](dice)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}: {', '.join(done)}\n{error}") from error
    assert n_annotated > 100
    assert not person.errors()
