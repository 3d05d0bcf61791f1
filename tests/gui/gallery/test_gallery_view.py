from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QObject, QPoint, QPointF, QRect, Qt
from qtpy.QtGui import QColor, QFont, QHelpEvent, QKeyEvent, QPalette, QWheelEvent
from qtpy.QtWidgets import QApplication, QToolTip, QVBoxLayout, QWidget
from tests.gui.conftest import image_bytes

from napari_hcs_qc.assay.annotations.kinds import BUILT_IN_KINDS
from napari_hcs_qc.gui.gallery.gallery_sheet import MAX_TILE_PX, MIN_TILE_PX
from napari_hcs_qc.gui.gallery.gallery_tiles import MARGIN, Marks
from napari_hcs_qc.gui.gallery.gallery_view import GalleryView

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton
CTRL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
NONE = Qt.KeyboardModifier.NoModifier
KEY = Qt.Key
N, COLUMNS, PITCH = 1000, 5, 80
IDS = np.random.default_rng(0).permutation(3 * N)[:N]


class Parent(QWidget):
    """Keeps the keys that reach it."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[int] = []

    def keyPressEvent(self, event: Any) -> None:
        self.keys.append(event.key())


@pytest.fixture
def parent(qtbot: QtBot) -> Parent:
    parent = Parent()
    qtbot.addWidget(parent)
    return parent


@pytest.fixture
def view(qtbot: QtBot, parent: Parent) -> Iterator[GalleryView]:
    """Five columns and rows of 80 px of a thousand cells, shown and with the focus."""
    gallery = GalleryView()
    layout = QVBoxLayout(parent)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(gallery)
    bar = gallery.verticalScrollBar().sizeHint().width()
    parent.resize(COLUMNS * PITCH + bar, COLUMNS * PITCH)
    gallery.set_cells(IDS)
    with qtbot.waitExposed(parent):
        parent.show()
    parent.activateWindow()
    gallery.setFocus()
    qtbot.waitUntil(gallery.hasFocus)
    assert (gallery.viewport().width(), gallery.viewport().height()) == (400, 400)
    yield gallery


def middle(view: GalleryView, place: int) -> QPoint:
    """Middle of the tile at a position, in the viewport."""
    x, y = place % COLUMNS * PITCH, place // COLUMNS * PITCH
    return QPoint(x + PITCH // 2, y + PITCH // 2 - view.verticalScrollBar().value())


def click(
    qtbot: QtBot, view: GalleryView, place: int, keys: Any = NONE, button: Any = LEFT
) -> None:
    qtbot.mouseClick(view.viewport(), button, keys, middle(view, place))


def places(view: GalleryView) -> list[int]:
    """Positions of the cells selected."""
    return np.flatnonzero(np.isin(IDS, view.value())).tolist()


def place_of_current(view: GalleryView) -> int | None:
    current = view.current()
    return None if current is None else int(np.flatnonzero(np.isin(IDS, current))[0])


def in_view(view: GalleryView) -> set[int]:
    top = view.verticalScrollBar().value()
    first, last = top // PITCH, -(-(top + 400) // PITCH)
    return set(IDS[first * COLUMNS : last * COLUMNS].tolist())


# ---- mouse ---------------------------------------------------------------------------------


def test_click_selects_one_and_says_so_once(qtbot: QtBot, view: GalleryView) -> None:
    emitted: list[tuple[str, Any]] = []
    view.value_changed.connect(lambda ids: emitted.append(("value", ids.tolist())))
    view.current_changed.connect(lambda cell: emitted.append(("current", cell)))
    click(qtbot, view, 7)
    assert view.value().tolist() == [IDS[7]]
    assert view.current() == IDS[7]
    assert emitted == [("current", IDS[7]), ("value", [IDS[7]])]
    click(qtbot, view, 7)
    assert len(emitted) == 2


def test_ctrl_and_shift_clicks(qtbot: QtBot, view: GalleryView) -> None:
    click(qtbot, view, 3)
    click(qtbot, view, 8, CTRL)
    assert places(view) == [3, 8]
    click(qtbot, view, 3, CTRL)
    assert places(view) == [8]
    click(qtbot, view, 8, CTRL)
    click(qtbot, view, 12, SHIFT)
    assert places(view) == [8, 9, 10, 11, 12]
    click(qtbot, view, 6, SHIFT)
    assert places(view) == [6, 7, 8]
    click(qtbot, view, 20, CTRL)
    click(qtbot, view, 22, CTRL | SHIFT)
    assert places(view) == [6, 7, 8, 20, 21, 22]


def test_click_in_a_scrolled_gallery_hits_what_is_seen(qtbot: QtBot, view: GalleryView) -> None:
    view.verticalScrollBar().setValue(50 * PITCH + 13)
    click(qtbot, view, 258)
    assert places(view) == [258]
    assert view.verticalScrollBar().value() == 50 * PITCH + 13


def test_click_on_empty_ground_selects_none(qtbot: QtBot, view: GalleryView) -> None:
    view.set_cells(IDS[:3])
    click(qtbot, view, 1)
    click(qtbot, view, 4, CTRL)
    assert view.value().tolist() == [IDS[1]]
    click(qtbot, view, 4)
    assert view.value().tolist() == []


def test_double_click_activates_and_the_other_button_does_not(
    qtbot: QtBot, view: GalleryView
) -> None:
    activated: list[int] = []
    view.activated.connect(activated.append)
    click(qtbot, view, 6)
    qtbot.mouseDClick(view.viewport(), LEFT, NONE, middle(view, 6))
    assert activated == [IDS[6]]
    qtbot.mouseDClick(view.viewport(), RIGHT, NONE, middle(view, 6))
    qtbot.mouseDClick(view.viewport(), LEFT, CTRL, middle(view, 6))
    assert activated == [IDS[6]]


def test_other_button_selects_what_it_hits_but_keeps_a_selection(
    qtbot: QtBot, view: GalleryView
) -> None:
    view.set_value(IDS[[2, 3]])
    click(qtbot, view, 3, button=RIGHT)
    assert places(view) == [2, 3]
    click(qtbot, view, 9, button=RIGHT)
    assert places(view) == [9]


def drag(qtbot: QtBot, view: GalleryView, *points: QPoint, keys: Any = NONE) -> None:
    qtbot.mousePress(view.viewport(), LEFT, keys, points[0])
    for point in points[1:]:
        qtbot.mouseMove(view.viewport(), point)
    qtbot.mouseRelease(view.viewport(), LEFT, keys, points[-1])


def test_box_selects_what_it_touches_and_tells_at_its_end(qtbot: QtBot, view: GalleryView) -> None:
    emitted: list[list[int]] = []
    view.value_changed.connect(lambda ids: emitted.append(sorted(ids.tolist())))
    ends = middle(view, 6), middle(view, 8), middle(view, 13)
    drag(qtbot, view, *ends)
    assert places(view) == [6, 7, 8, 11, 12, 13]
    expected = IDS[[6, 7, 8, 11, 12, 13]].tolist()
    assert emitted == [[IDS[6]], sorted(expected)]
    drag(qtbot, view, middle(view, 23), middle(view, 24), keys=CTRL)
    assert places(view) == [6, 7, 8, 11, 12, 13, 23, 24]
    drag(qtbot, view, middle(view, 1), middle(view, 0))
    assert places(view) == [0, 1]


def test_hand_that_trembles_draws_no_box(qtbot: QtBot, view: GalleryView) -> None:
    x, y = PITCH - 1, PITCH - 1
    drag(qtbot, view, QPoint(x, y), QPoint(x + 2, y + 2))
    assert places(view) == [0]


def test_box_beyond_the_edge_scrolls_on(qtbot: QtBot, view: GalleryView) -> None:
    qtbot.mousePress(view.viewport(), LEFT, NONE, middle(view, 0))
    qtbot.mouseMove(view.viewport(), QPoint(200, 300))
    qtbot.mouseMove(view.viewport(), QPoint(200, 440))
    bar = view.verticalScrollBar()
    qtbot.waitUntil(lambda: bar.value() > 3 * PITCH)
    qtbot.mouseMove(view.viewport(), QPoint(200, 200))
    stopped = bar.value()
    qtbot.wait(100)
    assert bar.value() == stopped
    qtbot.mouseRelease(view.viewport(), LEFT, NONE, QPoint(200, 200))
    rows = (stopped + 200) // PITCH + 1
    assert places(view) == [row * COLUMNS + column for row in range(rows) for column in range(3)]


def test_other_cells_in_the_middle_of_a_box(qtbot: QtBot, view: GalleryView) -> None:
    qtbot.mousePress(view.viewport(), LEFT, CTRL, middle(view, 0))
    qtbot.mouseMove(view.viewport(), middle(view, 12))
    view.set_cells(IDS[:4])
    qtbot.mouseMove(view.viewport(), middle(view, 13))
    qtbot.mouseRelease(view.viewport(), LEFT, CTRL, middle(view, 13))
    assert places(view) == [0, 1, 2]
    view.grab()


# ---- keys ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "key", "end"),
    [
        (12, KEY.Key_Left, 11),
        (12, KEY.Key_Right, 13),
        (14, KEY.Key_Right, 15),
        (12, KEY.Key_Up, 7),
        (12, KEY.Key_Down, 17),
        (2, KEY.Key_Up, 2),
        (0, KEY.Key_Left, 0),
        (12, KEY.Key_PageDown, 37),
        (42, KEY.Key_PageUp, 17),
        (12, KEY.Key_PageUp, 2),
        (12, KEY.Key_Home, 0),
        (12, KEY.Key_End, N - 1),
        (N - 1, KEY.Key_Right, N - 1),
        (N - 3, KEY.Key_Down, N - 3),
        (N - 8, KEY.Key_PageDown, N - 3),
    ],
)
def test_keys_move_and_select_and_scroll(
    qtbot: QtBot, view: GalleryView, start: int, key: Any, end: int
) -> None:
    view.set_current(int(IDS[start]))
    qtbot.keyClick(view, key)
    assert place_of_current(view) == end
    assert places(view) == [end]
    y = end // COLUMNS * PITCH - view.verticalScrollBar().value()
    assert 0 <= y <= 400 - PITCH


def test_down_to_a_shorter_last_row_goes_to_its_end(qtbot: QtBot, view: GalleryView) -> None:
    view.set_cells(IDS[:12])
    view.set_current(int(IDS[9]))
    qtbot.keyClick(view, KEY.Key_Down)
    assert place_of_current(view) == 11


def test_shift_and_keys_select_a_range(qtbot: QtBot, view: GalleryView) -> None:
    click(qtbot, view, 6)
    qtbot.keyClick(view, KEY.Key_Right, SHIFT)
    qtbot.keyClick(view, KEY.Key_Down, SHIFT)
    assert places(view) == list(range(6, 13))
    qtbot.keyClick(view, KEY.Key_Home, SHIFT)
    assert places(view) == list(range(7))


def test_first_key_begins_in_view(qtbot: QtBot, view: GalleryView) -> None:
    view.verticalScrollBar().setValue(20 * PITCH - 10)
    qtbot.keyClick(view, KEY.Key_Right)
    assert places(view) == [20 * COLUMNS]


def test_ctrl_a_selects_all_and_enter_activates(qtbot: QtBot, view: GalleryView) -> None:
    activated: list[int] = []
    view.activated.connect(activated.append)
    qtbot.keyClick(view, KEY.Key_Return)
    assert activated == []
    click(qtbot, view, 4)
    qtbot.keyClick(view, KEY.Key_A, CTRL)
    assert np.array_equal(view.value(), IDS)
    qtbot.keyClick(view, KEY.Key_Return)
    qtbot.keyClick(view, KEY.Key_Enter)
    assert activated == [IDS[4], IDS[4]]


def test_step_goes_on_and_stays_within(view: GalleryView) -> None:
    view.step(1)
    assert places(view) == [0]
    view.step(1)
    assert places(view) == [1]
    view.step(-5)
    assert places(view) == [0]
    view.set_cells([])
    view.step(1)
    assert view.current() is None


def test_keys_of_the_parent_reach_it(qtbot: QtBot, view: GalleryView, parent: Parent) -> None:
    click(qtbot, view, 4)
    keys = [KEY.Key_N, KEY.Key_A, KEY.Key_1, KEY.Key_Space, KEY.Key_Delete, KEY.Key_U]
    for key in keys:
        qtbot.keyClick(view, key)
    qtbot.keyClick(view, KEY.Key_Z, CTRL)
    arrived = [*keys, KEY.Key_Control, KEY.Key_Z]
    assert parent.keys == [key.value for key in arrived]
    assert places(view) == [4]
    qtbot.keyClick(view, KEY.Key_Right)
    assert len(parent.keys) == len(arrived)


@pytest.mark.parametrize(
    ("key", "held", "is_ours"),
    [
        (KEY.Key_Left, NONE, True),
        (KEY.Key_PageDown, SHIFT, True),
        (KEY.Key_A, CTRL, True),
        (KEY.Key_Return, NONE, True),
        (KEY.Key_A, NONE, False),
        (KEY.Key_R, CTRL, False),
        (KEY.Key_Left, CTRL, False),
        (KEY.Key_Space, NONE, False),
    ],
)
def test_shortcuts_of_the_window_do_not_take_our_keys(
    view: GalleryView, key: Any, held: Any, is_ours: bool
) -> None:
    event = QKeyEvent(QEvent.Type.ShortcutOverride, key, held)
    event.ignore()
    QApplication.sendEvent(view, event)
    assert event.isAccepted() is is_ours


def test_tab_shows_where_keys_act_without_selecting(view: GalleryView) -> None:
    view.clearFocus()
    view.setFocus(Qt.FocusReason.TabFocusReason)
    assert view.current() == IDS[0]
    assert view.value().tolist() == []


# ---- value and arrangement -----------------------------------------------------------------


def test_set_value_selects_what_is_there(view: GalleryView) -> None:
    emitted: list[list[int]] = []
    view.value_changed.connect(lambda ids: emitted.append(ids.tolist()))
    view.set_value([IDS[5], IDS[2], 10**9])
    assert view.value().tolist() == [IDS[2], IDS[5]]
    view.set_value(view.value())
    assert emitted == [[IDS[2], IDS[5]]]
    view.set_value([])
    assert view.value().tolist() == []


def test_other_order_keeps_the_selected_cells_and_tells_what_is_gone(view: GalleryView) -> None:
    view.set_value(IDS[[5, 900]])
    view.set_current(int(IDS[900]))
    view.set_cells(IDS[::-1])
    assert view.value().tolist() == [IDS[900], IDS[5]]
    assert view.current() == IDS[900]
    emitted: list[Any] = []
    view.value_changed.connect(lambda ids: emitted.append(ids.tolist()))
    view.current_changed.connect(emitted.append)
    view.set_cells(IDS[:100])
    assert view.value().tolist() == [IDS[5]]
    assert emitted == [-1, [IDS[5]]]


def test_other_cells_are_shown_from_the_first_or_where_one_was(view: GalleryView) -> None:
    bar = view.verticalScrollBar()
    bar.setValue(40 * PITCH)
    view.set_cells(IDS[100:], keep_view=True)
    assert bar.value() == 20 * PITCH
    view.set_cells(IDS)
    assert bar.value() == 0


def test_current_cell_is_scrolled_to(view: GalleryView) -> None:
    view.set_current(int(IDS[777]))
    assert IDS[777] in in_view(view)
    before = view.verticalScrollBar().value()
    view.set_current(int(IDS[776]))
    assert view.verticalScrollBar().value() == before
    view.set_current(10**9)
    assert view.current() == IDS[776]


def test_narrower_and_wider_again_shows_the_same_cells(
    qtbot: QtBot, view: GalleryView, parent: Parent
) -> None:
    bar = view.verticalScrollBar()
    bar.setValue(61 * PITCH)
    size = parent.size()
    for width in range(size.width(), 150, -7):
        parent.resize(width, size.height())
        qtbot.wait(1)
    columns = view.viewport().width() // PITCH
    assert columns < COLUMNS
    assert bar.value() == 61 * COLUMNS // columns * PITCH
    parent.resize(size)
    qtbot.waitUntil(lambda: bar.value() == 61 * PITCH)


def test_tile_size_is_kept_in_bounds_and_told(view: GalleryView) -> None:
    emitted: list[int] = []
    view.tile_px_changed.connect(emitted.append)
    for tile_px in (100, 100, 5, 10_000):
        view.set_tile_px(tile_px)
    assert emitted == [100, MIN_TILE_PX, MAX_TILE_PX]
    assert view.tile_px() == MAX_TILE_PX


def turn(view: GalleryView, at: QPoint, angle: int, keys: Any) -> None:
    where = QPointF(at)
    event = QWheelEvent(
        where,
        QPointF(view.viewport().mapToGlobal(at)),
        QPoint(),
        QPoint(0, angle),
        Qt.MouseButton.NoButton,
        keys,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(view.viewport(), event)


def test_ctrl_and_wheel_change_the_size_around_the_mouse(view: GalleryView) -> None:
    bar = view.verticalScrollBar()
    bar.setValue(30 * PITCH)
    at = middle(view, 31 * COLUMNS + 2)
    for angle in (120, 60, 60, 240, -120):
        turn(view, at, angle, CTRL)
    assert view.tile_px() > 80
    pitch = view.tile_px() + 2 * MARGIN
    row = (31 * COLUMNS + 2) // (400 // pitch)
    y = row * pitch - bar.value()
    assert y <= at.y() < y + pitch
    turn(view, at, -120 * 20, CTRL)
    assert view.tile_px() == MIN_TILE_PX


def test_wheel_alone_scrolls(view: GalleryView) -> None:
    turn(view, QPoint(50, 50), -120, NONE)
    assert 0 < view.verticalScrollBar().value() <= 3 * PITCH
    assert view.tile_px() == 64


# ---- pictures ------------------------------------------------------------------------------


def pictures(ids: NDArray[np.int64], red: int = 250) -> NDArray[np.uint8]:
    images = np.zeros((len(ids), 16, 16, 3), dtype=np.uint8)
    images[..., 0] = red
    return images


def colour_at(view: GalleryView, place: int) -> tuple[int, int, int]:
    colour = view.viewport().grab().toImage().pixelColor(middle(view, place))
    return (colour.red(), colour.green(), colour.blue())


class Asked:
    """Keeps what a view has asked for."""

    def __init__(self, view: GalleryView) -> None:
        self.wishes: list[list[int]] = []
        view.pictures_requested.connect(lambda ids: self.wishes.append(ids.tolist()))


def test_pictures_in_view_are_asked_for_first_then_those_near(
    qtbot: QtBot, view: GalleryView
) -> None:
    asked = Asked(view)
    view.verticalScrollBar().setValue(50 * PITCH)
    qtbot.waitUntil(lambda: len(asked.wishes) > 0)
    (wish,) = asked.wishes[-1:]
    assert wish == IDS[[*range(250, 300), *range(225, 250)]].tolist()
    view.add_pictures(np.array(wish[:30]), pictures(np.array(wish[:30])))
    view.set_failed(wish[30:32])
    view.verticalScrollBar().setValue(51 * PITCH)
    qtbot.waitUntil(lambda: len(asked.wishes) > 1)
    known = set(wish[:32])
    near = IDS[[*range(255, 305), *range(230, 255)]].tolist()
    assert asked.wishes[-1] == [cell for cell in near if cell not in known]


def test_wish_that_is_over_is_taken_back(qtbot: QtBot, view: GalleryView) -> None:
    asked = Asked(view)
    view.clear_pictures()
    qtbot.waitUntil(lambda: len(asked.wishes) == 1)
    known = IDS[:50]
    view.add_pictures(known, pictures(known))
    view.verticalScrollBar().setValue(300 * PITCH)
    qtbot.waitUntil(lambda: len(asked.wishes) == 2)
    view.verticalScrollBar().setValue(0)
    qtbot.waitUntil(lambda: len(asked.wishes) == 3)
    assert asked.wishes[-1] == []


def test_scrolling_without_pause_asks_now_and_then(qtbot: QtBot, view: GalleryView) -> None:
    asked = Asked(view)
    bar = view.verticalScrollBar()
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        bar.setValue(bar.value() + 40)
        qtbot.wait(2)
    assert 3 <= len(asked.wishes) <= 15


def test_hidden_gallery_asks_for_nothing_until_shown(
    qtbot: QtBot, view: GalleryView, parent: Parent
) -> None:
    qtbot.wait(80)
    parent.hide()
    asked = Asked(view)
    view.set_cells(IDS[::-1])
    qtbot.wait(120)
    assert asked.wishes == []
    parent.show()
    qtbot.waitUntil(lambda: len(asked.wishes) == 1)
    assert asked.wishes[0][:25] == IDS[::-1][:25].tolist()


def test_pictures_are_drawn_and_forgotten(qtbot: QtBot, view: GalleryView) -> None:
    waiting = colour_at(view, 3)
    view.add_pictures(IDS[[3, 500]], pictures(IDS[[3, 500]]))
    assert colour_at(view, 3) == (250, 0, 0)
    assert colour_at(view, 4) == waiting
    asked = Asked(view)
    view.clear_pictures()
    assert colour_at(view, 3) == waiting
    qtbot.waitUntil(lambda: len(asked.wishes) == 1)
    assert IDS[3] in asked.wishes[0]


class Painted(QObject):
    """Keeps where a widget was drawn anew."""

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self.rects: list[QRect] = []
        widget.installEventFilter(self)

    def eventFilter(self, _widget: Any, event: Any) -> bool:
        if event.type() == QEvent.Type.Paint:
            self.rects.append(event.rect())
        return False


def test_only_tiles_with_news_are_drawn_anew(qtbot: QtBot, view: GalleryView) -> None:
    qtbot.wait(50)
    painted = Painted(view.viewport())
    view.add_pictures(IDS[[500]], pictures(IDS[[500]]))
    qtbot.wait(50)
    assert painted.rects == []
    tile = QRect(3 * PITCH, PITCH, PITCH, PITCH)
    view.add_pictures(IDS[[8]], pictures(IDS[[8]]))
    qtbot.waitUntil(lambda: painted.rects == [tile])
    view.set_failed(IDS[[8]])
    qtbot.waitUntil(lambda: painted.rects == [tile, tile])


def test_picture_that_came_after_all_takes_the_hatch_away(view: GalleryView) -> None:
    view.set_failed(IDS[:1])
    assert "cannot be read" in view.describe_cell(int(IDS[0]))
    view.add_pictures(IDS[:1], pictures(IDS[:1]))
    assert "cannot be read" not in view.describe_cell(int(IDS[0]))
    assert colour_at(view, 0) == (250, 0, 0)


def test_scrolled_picture_is_that_of_a_fresh_one(qtbot: QtBot, view: GalleryView) -> None:
    rng = np.random.default_rng(1)
    near = IDS[:100]
    view.add_pictures(near, rng.integers(0, 255, (100, 16, 16, 3), dtype=np.uint8))
    view.set_value(IDS[::3])
    view.set_current(int(IDS[6]))
    bar = view.verticalScrollBar()
    for by in (7, 40, 40, -13, 200, -80):
        bar.setValue(bar.value() + by)
        qtbot.wait(1)
    screen = view.screen()
    corner = view.viewport().mapToGlobal(QPoint(0, 0))
    scrolled = screen.grabWindow(0, corner.x(), corner.y(), 400, 400).toImage()
    view.viewport().repaint()
    qtbot.wait(20)
    fresh = screen.grabWindow(0, corner.x(), corner.y(), 400, 400).toImage()
    assert scrolled == fresh


# ---- what is said of cells -----------------------------------------------------------------


def marks(p: float, said: int = 0) -> Marks:
    n = 3 * N
    return Marks(np.full(n, p), np.full(n, said), np.full(n, None, dtype=object))


def test_marks_threshold_and_blind_are_seen_at_once(view: GalleryView) -> None:
    def look() -> bytes:
        image = view.viewport().grab().toImage()
        return image_bytes(image)

    nothing = look()
    view.set_marks(marks(0.4))
    normal = look()
    view.set_threshold(0.3)
    abnormal = look()
    view.set_marks(marks(0.4, said=1))
    said = look()
    view.set_blind(True)
    blind = look()
    view.set_marks(marks(0.4))
    assert look() == nothing
    assert len({nothing, normal, abnormal, said, blind}) == 5


def rest_on(view: GalleryView, place: int) -> str:
    at = middle(view, place)
    event = QHelpEvent(QEvent.Type.ToolTip, at, view.viewport().mapToGlobal(at))
    QApplication.sendEvent(view.viewport(), event)
    return QToolTip.text()


def test_tooltip_describes_the_cell_but_not_its_prediction_when_blind(view: GalleryView) -> None:
    view.set_marks(marks(0.75, said=2))
    words = rest_on(view, 2)
    assert "abnormal score 0.75" in words
    assert "annotated abnormal" in words
    view.set_blind(True)
    words = rest_on(view, 3)
    assert "0.75" not in words
    assert "annotated abnormal" in words
    view.describe = lambda cell: f"well A01, cell {cell}"
    assert rest_on(view, 4) == f"well A01, cell {IDS[4]}"
    assert "Ctrl+A" in view.toolTip()


def test_message_where_there_are_no_cells(view: GalleryView) -> None:
    view.set_cells([])
    empty = view.viewport().grab().toImage()
    view.set_message("Find the cells of this plate first.")
    assert view.viewport().grab().toImage() != empty
    assert view.value().tolist() == []


def test_another_theme_or_font_is_taken_over(view: GalleryView) -> None:
    palette = QPalette(view.palette())
    for colour in ("#112233", "#fefefe"):
        palette.setColor(QPalette.ColorRole.Window, QColor(colour))
        view.setPalette(palette)
        assert view.viewport().grab().toImage().pixelColor(0, 0) == QColor(colour)
    view.set_marks(marks(0.4))
    before = view.viewport().grab().toImage()
    view.setFont(QFont("monospace"))
    assert view.viewport().grab().toImage() != before


# ---- many cells ----------------------------------------------------------------------------


def test_a_hundred_thousand_cells_draw_and_ask_only_for_what_is_near(
    qtbot: QtBot, view: GalleryView
) -> None:
    n = 100_000
    rng = np.random.default_rng(0)
    kinds = np.array([None, *(kind.name for kind in BUILT_IN_KINDS)], dtype=object)
    view.set_marks(Marks(rng.random(n), rng.integers(0, 5, n), rng.choice(kinds, n)))
    asked: list[int] = []

    def give(ids: NDArray[np.int64]) -> None:
        asked.append(len(ids))
        view.add_pictures(ids, pictures(ids))

    view.pictures_requested.connect(give)
    view.set_cells(rng.permutation(n))
    bar = view.verticalScrollBar()
    assert bar.maximum() == n // COLUMNS * PITCH - 400
    for where in rng.integers(0, bar.maximum(), 20).tolist():
        bar.setValue(where)
        qtbot.wait(60)
    assert max(asked) <= 90  # three pages of thirty
    view.verticalScrollBar().setValue(bar.maximum())
    taken = []
    for _ in range(20):
        start = time.perf_counter()
        view.viewport().repaint()
        taken.append(time.perf_counter() - start)
    assert np.median(taken) < 0.016
