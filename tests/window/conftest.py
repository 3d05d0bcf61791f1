"""A person at the desk: real mouse and key events in a real napari window."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QScrollArea, QTabBar, QWidget

from napari_hcs_qc.gui.window.desk import open_desk, panel
from napari_hcs_qc.plates.plate import SiteKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from napari import Viewer
    from pytestqt.qtbot import QtBot

_PICTURES = os.environ.get("HCS_QC_PICTURES")  # where the README's are kept, when asked for
_FILM_PX = (1080, 675)
_CAPTION_PX = 40

_OF_PYTHON = re.compile(r"[A-Za-z.]*(Error|Exception|Warning): ")
_HAND_MS = 12  # between two moves of a mouse; napari looks at one every 5 ms
_LEFT = Qt.MouseButton.LeftButton
_NONE = Qt.MouseButton.NoButton
_HELD = {
    "": Qt.KeyboardModifier.NoModifier,
    "Ctrl": Qt.KeyboardModifier.ControlModifier,
    "Shift": Qt.KeyboardModifier.ShiftModifier,
}


class Person:
    """Sits before a desk in a shown window, and does what a hand does.

    Whatever is clicked has to be in sight; the session is asked to wait, to read what is known,
    and to jump to a site.

    Parameters
    ----------
    viewer
        With a shown window of 1440 × 900.
    qtbot
        Of pytest-qt.
    """

    def __init__(self, viewer: Viewer, qtbot: QtBot) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        self.window: Any = viewer.window._qt_window
        self.window.resize(1440, 900)
        workspace = open_desk(viewer)
        self.session, self.view = workspace.session, workspace.view
        self.messages: list[tuple[str, str]] = []
        self._film: list[tuple[Any, int]] = []
        messages = self.messages  # a signal that held this person would hold the window as well
        self.session.message.connect(lambda *message: messages.append(message))
        qtbot.waitExposed(self.window)
        self.window.activateWindow()
        qtbot.wait(100)

    # ---- waiting -------------------------------------------------------------------------

    def until(self, met: Callable[[], object], timeout_s: float = 20.0) -> None:
        """Wait until something holds."""
        try:
            self.qtbot.waitUntil(lambda: bool(met()), timeout=round(1000 * timeout_s))
        except self.qtbot.TimeoutError:
            jobs = [job.title for job in self.session.jobs.running]
            pytest.fail(f"Waited {timeout_s} s. Running: {jobs}. Messages: {self.messages}")

    def idle(self, timeout_s: float = 240.0) -> None:
        """Wait until no job runs, and all that comes after the last has come."""
        for _ in range(2):
            self.until(lambda: self.session.is_settled and not self.session.jobs.running, timeout_s)
            self.qtbot.wait(50)

    def errors(self) -> list[str]:
        """Give the messages of errors."""
        return [text for level, text in self.messages if level == "error"]

    # ---- the canvas ----------------------------------------------------------------------

    def go_to(self, well: str, site: int) -> None:
        """Jump to a site, and wait for its pixels."""
        key = SiteKey(well, site)
        self.session.selection.go_to(key)
        self.until(lambda: self.view.on_screen == key)
        self.qtbot.wait(20)

    @property
    def canvas(self) -> Any:
        """The widget that gets mouse and keys."""
        return self.window._qt_viewer.canvas.native

    def at(self, y_px: float, x_px: float) -> QPoint:
        """Where a place of the image is on the canvas; it has to be in sight."""
        camera = self.viewer.scene.camera
        offset = np.array([y_px, x_px]) * self.view.scale - np.asarray(camera.center)[-2:]
        y, x = offset * camera.zoom
        place = QPoint(round(self.canvas.width() / 2 + x), round(self.canvas.height() / 2 + y))
        assert self.canvas.rect().contains(place), f"{place} is not on the canvas"
        return place

    def point_at(self, y_px: float, x_px: float) -> None:
        """Rest the mouse on a place of the image."""
        place = self.at(y_px, x_px)
        self.move(self.canvas, place - QPoint(2, 1))
        self.move(self.canvas, place)

    def click_at(self, y_px: float, x_px: float) -> None:
        """Click a place of the image."""
        self.point_at(y_px, x_px)
        self.qtbot.mouseClick(self.canvas, _LEFT, pos=self.at(y_px, x_px))

    def drag(self, places: Iterable[tuple[float, float]], held: str) -> None:
        """Drag along places of the image with a key held."""
        self.drag_on(self.canvas, [self.at(*place) for place in places], held)

    # ---- any widget ----------------------------------------------------------------------

    def click(self, widget: Any, place: QPoint | None = None, held: str = "") -> None:
        """Click a widget in its middle, or at a place."""
        self.scroll_to(widget)
        assert widget.isVisible() and widget.isEnabled(), widget
        place = widget.rect().center() if place is None else place
        self.qtbot.mouseClick(widget, _LEFT, _HELD[held], place)

    def scroll_to(self, widget: Any) -> None:
        """Bring a widget of a panel that scrolls into sight."""
        parent = widget.parentWidget()
        while parent is not None:
            if isinstance(parent, QScrollArea):
                parent.ensureWidgetVisible(widget)
            parent = parent.parentWidget()

    def press(self, keys: str, widget: Any = None) -> None:
        """Press a key, as ``A`` or ``Ctrl+Z``, on the canvas or on a widget."""
        *held, key = keys.split("+")
        modifier = _HELD[""]
        for name in held:
            modifier |= _HELD[name]
        code = getattr(Qt.Key, f"Key_{key}")
        self.qtbot.keyClick(self.canvas if widget is None else widget, code, modifier)

    def move(self, widget: Any, place: QPoint, held: str = "", button: Any = _NONE) -> None:
        """Move the mouse; QTest.mouseMove can hold neither a button nor a key."""
        where = QPointF(place), QPointF(widget.mapToGlobal(place))
        event = QMouseEvent(QEvent.Type.MouseMove, *where, _NONE, button, _HELD[held])
        QApplication.sendEvent(widget, event)
        self.qtbot.wait(_HAND_MS)

    def drag_on(self, widget: Any, points: list[QPoint], held: str = "") -> None:
        """Drag with the left button along points of a widget."""
        self.move(widget, points[0], held)
        self.qtbot.mousePress(widget, _LEFT, _HELD[held], points[0])
        for point in points[1:]:
            self.move(widget, point, held, _LEFT)
        self.qtbot.mouseRelease(widget, _LEFT, _HELD[held], points[-1])

    def choose(self, box: Any, text: str) -> None:
        """Choose an item of a combo box with the keys."""
        index = box.findText(text)
        assert index >= 0, text
        box.setFocus()
        while box.currentIndex() != index:
            before = box.currentIndex()
            self.press("Down" if before < index else "Up", box)
            assert box.currentIndex() != before, f"{text} cannot be chosen"

    def write(self, line: Any, text: str) -> None:
        """Write into a line."""
        self.click(line)
        self.qtbot.keyClicks(line, text)

    # ---- the panels ----------------------------------------------------------------------

    def panel(self, name: str) -> Any:
        """Give a panel, brought to the front by a click on its tab."""
        for bar in self.window.findChildren(QTabBar):
            for index in range(bar.count()):
                is_it = bar.tabText(index) == name.removeprefix("HCS ").capitalize()
                if is_it and bar.currentIndex() != index:
                    self.click(bar, bar.tabRect(index).center())
        found = panel(self.viewer, name)
        self.until(found.isVisible)
        self.qtbot.wait(30)
        return found

    def button(self, parent: QWidget, kind: type[Any], text: str) -> Any:
        """Give a button by the words on it."""
        (found,) = [one for one in parent.findChildren(kind) if one.text().startswith(text)]
        return found

    # ---- looking -------------------------------------------------------------------------

    def picture(self, name: str = "") -> np.ndarray[Any, Any]:
        """Take a picture of the whole window; kept under a name where pictures are asked for."""
        self.qtbot.wait(200)
        picture = self.viewer.screenshot(canvas_only=False, flash=False)
        if _PICTURES and name:
            from PIL import Image

            Image.fromarray(picture).convert("RGB").save(
                Path(_PICTURES) / f"{name}.png", optimize=True
            )
        return picture

    def frame(self, caption: str, shown_ms: int) -> None:
        """Add a picture of the whole window to the film, where pictures are asked for."""
        if not _PICTURES:
            return
        from PIL import Image, ImageDraw, ImageFont

        width, height = _FILM_PX
        frame = Image.new("RGB", (width, height + _CAPTION_PX), "#1c2733")
        picture = Image.fromarray(self.picture()).convert("RGB")
        frame.paste(picture.resize(_FILM_PX, Image.Resampling.LANCZOS), (0, _CAPTION_PX))
        ImageDraw.Draw(frame).text((14, 8), caption, "white", ImageFont.load_default(20))
        self._film.append((frame, shown_ms))

    def keep_film(self, name: str) -> None:
        """Keep the frames as an animated picture."""
        if self._film:
            (first, *others), shown_ms = zip(*self._film, strict=True)
            first.save(
                Path(str(_PICTURES)) / f"{name}.webp",
                save_all=True,
                append_images=others,
                duration=list(shown_ms),
                loop=0,
                quality=70,
                method=6,
            )

    def canvas_picture(self) -> np.ndarray[Any, Any]:
        """Take a picture of the canvas, (height, width, 3) uint8."""
        self.qtbot.wait(50)
        return self.viewer.screenshot(canvas_only=True, flash=False)[..., :3]


@pytest.fixture
def sit_down(
    make_napari_viewer: Callable[..., Viewer],
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[], Person]]:
    """Open napari with the desk for a person whose folders are those of the test.

    Whatever else a test looks at, nothing may have failed that is no error for users.
    """
    for name in ("STATE", "DATA", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    told: list[list[tuple[str, str]]] = []

    def sit() -> Person:
        person = Person(make_napari_viewer(show=True), qtbot)
        told.append(person.messages)
        return person

    yield sit
    failed = [text for messages in told for _, text in messages if _OF_PYTHON.match(text)]
    assert not failed
