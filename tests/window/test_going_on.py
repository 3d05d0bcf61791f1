"""Going from one thing to the next: the hand has left one panel, and the keys still act."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QLabel, QPushButton
from tests.gui.conftest import trained_folder

from napari_hcs_qc.gui.window.desk import ANNOTATE, GUIDE, OVERLAY, REVIEW

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.window.conftest import Person

pytestmark = [pytest.mark.window, pytest.mark.timeout(900)]


def _n_annotated(person: Person) -> int:
    return len(person.session.annotations.cache.table)


def test_what_a_hand_did_before_changes_nothing(
    sit_down: Callable[[], Person],
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    subtests: Any,
) -> None:
    shutil.copytree(trained_folder(tmp_path_factory) / "assay", tmp_path / "assay")
    person = sit_down()
    person.session.open(tmp_path / "assay")
    person.until(lambda: person.view.cells is not None, 120)
    person.idle(240)
    target, cells = person.session.target, person.view.cells
    assert cells is not None

    with subtests.test("a key acts on the framed cell after a click on a tab"):
        for panel in (REVIEW, OVERLAY, ANNOTATE):
            person.panel(panel)
            person.point_at(*cells.yx_px[0])
            assert len(target.cells) == 1
            person.press("U", QApplication.focusWidget())
            person.idle()
            assert person.view.cells.annotated_class[0] == "unsure", panel
            person.press("Ctrl+Z", QApplication.focusWidget())
            person.idle()

    with subtests.test("text is text"):
        line = person.panel(ANNOTATE).findChild(object, "annotator")
        before = _n_annotated(person)
        person.write(line, "n")
        assert line.text().endswith("n") and _n_annotated(person) == before
        person.press("Backspace", line)
        person.canvas.setFocus()

    with subtests.test("what a key did not do is over once one has"):
        said = person.panel(GUIDE).findChild(QLabel, "messages")
        place = next(at for at in cells.yx_px if not _is_annotated(person, at))
        person.point_at(*place)
        person.press("Backspace")
        person.qtbot.wait(30)
        assert said.isVisible() and "has not annotated" in said.text()
        person.press("U")
        person.idle()
        assert not said.isVisible()
        person.press("Ctrl+Z")
        person.idle()

    with subtests.test("a box reaches to where the button is let go, however quick the hand"):
        corners = [person.at(*at) for at in ((2, 2), (20, 20), (218, 258))]
        person.move(person.canvas, corners[0], "Shift")
        held = Qt.KeyboardModifier.ShiftModifier
        person.qtbot.mousePress(person.canvas, Qt.MouseButton.LeftButton, held, corners[0])
        person.move(person.canvas, corners[1], "Shift", Qt.MouseButton.LeftButton)
        person.qtbot.mouseRelease(person.canvas, Qt.MouseButton.LeftButton, held, corners[2])
        assert len(target.selection) > len(cells) / 2

    with subtests.test("a click on empty ground leaves nothing selected"):
        person.click(person.button(person.panel(ANNOTATE), QPushButton, "Abnormal"))
        place = next(
            (float(y), float(x))
            for y in range(20, 200, 5)
            for x in range(20, 240, 5)
            if cells.nearest(y, x) is None
        )
        person.click_at(*place)
        person.idle()
        assert not target.selection


def _is_annotated(person: Person, place: tuple[float, float]) -> bool:
    index = person.view.cells.nearest(*place)
    return index is None or person.view.cells.annotated_class[index] is not None
