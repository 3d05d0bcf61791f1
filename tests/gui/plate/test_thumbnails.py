from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QColor, QHelpEvent
from qtpy.QtWidgets import QApplication, QToolTip, QVBoxLayout, QWidget

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.gui.plate.thumbnails import LEAST_TILE_PX, SiteStrip
from napari_hcs_qc.gui.widgets.palette import FLAG_COLOUR
from napari_hcs_qc.plates.plate import SiteKey

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

LEFT = Qt.MouseButton.LeftButton
NONE = Qt.KeyboardModifier.NoModifier
KEY = Qt.Key
SITES = [SiteKey("C07", number) for number in range(1, 10)]


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
def strip(qtbot: QtBot, parent: Parent) -> SiteStrip:
    """Nine sites, seven to a row; the second flagged, the last unreadable."""
    shown = SiteStrip()
    layout = QVBoxLayout(parent)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(shown)
    shown.set_sites(SITES, {SITES[1]: "out of focus"}, {SITES[8]: "cut <short>"})
    parent.resize(400, shown.heightForWidth(400))
    with qtbot.waitExposed(parent):
        parent.show()
    parent.activateWindow()
    shown.setFocus()
    qtbot.waitUntil(shown.hasFocus)
    return shown


def plain(colour: tuple[int, int, int], shape: tuple[int, int] = (40, 40)) -> NDArray[np.uint8]:
    picture = np.empty((*shape, 3), np.uint8)
    picture[:] = colour
    return picture


def middle(strip: SiteStrip, site: SiteKey) -> QPoint:
    return strip.tiles()[site].center().toPoint()


def colour_at(strip: SiteStrip, point: QPoint) -> QColor:
    return strip.grab().toImage().pixelColor(point)


def test_a_click_chooses_a_site_and_tells_once(qtbot: QtBot, strip: SiteStrip) -> None:
    emitted: list[Any] = []
    strip.value_changed.connect(emitted.append)
    for _ in range(2):
        qtbot.mouseClick(strip, LEFT, NONE, middle(strip, SITES[3]))
    qtbot.mouseClick(strip, LEFT, NONE, QPoint(strip.width() - 1, strip.height() - 1))
    assert emitted == [SITES[3]]
    assert strip.value() == SITES[3]


def test_keys_choose_a_site(qtbot: QtBot, strip: SiteStrip) -> None:
    tops = [tile.top() for tile in strip.tiles().values()]
    columns = tops.count(tops[0])
    assert columns == 7
    emitted: list[Any] = []
    strip.value_changed.connect(lambda site: emitted.append(site.site))
    for key in (
        KEY.Key_Right,  # nothing is chosen: the first
        KEY.Key_Left,  # stays
        KEY.Key_Right,
        KEY.Key_Down,
        KEY.Key_Down,  # stays: no third row
        KEY.Key_Up,
        KEY.Key_End,
        KEY.Key_Right,  # stays
        KEY.Key_Home,
    ):
        qtbot.keyClick(strip, key)
    assert emitted == [1, 2, 9, 2, 9, 1]


def test_other_keys_reach_the_parent(qtbot: QtBot, strip: SiteStrip, parent: Parent) -> None:
    for key in (KEY.Key_N, KEY.Key_Space):
        qtbot.keyClick(strip, key)
    strip.set_sites([])
    qtbot.keyClick(strip, KEY.Key_Right)
    assert parent.keys == [KEY.Key_N, KEY.Key_Space, KEY.Key_Right]
    strip.grab()


def test_pictures_are_shown_where_they_belong(strip: SiteStrip) -> None:
    for index, colour in ((0, (250, 10, 20)), (4, (10, 240, 30))):
        strip.set_picture(SITES[index], plain(colour))
    assert colour_at(strip, middle(strip, SITES[0])).getRgb()[:3] == (250, 10, 20)
    assert colour_at(strip, middle(strip, SITES[4])).getRgb()[:3] == (10, 240, 30)
    strip.set_picture(SiteKey("D01", 1), plain((1, 2, 3)))
    strip.set_sites(SITES[4:], {}, {})
    assert colour_at(strip, middle(strip, SITES[4])).getRgb()[:3] == (10, 240, 30)
    strip.clear_pictures()
    assert colour_at(strip, middle(strip, SITES[4])).getRgb()[:3] != (10, 240, 30)


def test_a_picture_may_be_a_view_of_another(
    strip: SiteStrip,
) -> None:
    whole = np.zeros((40, 80, 3), np.uint8)
    whole[:, ::2] = (200, 100, 50)
    strip.set_picture(SITES[0], whole[:, ::2])
    assert colour_at(strip, middle(strip, SITES[0])).getRgb()[:3] == (200, 100, 50)


def test_tiles_have_the_shape_of_the_pictures(qtbot: QtBot, strip: SiteStrip) -> None:
    before = strip.tiles()[SITES[0]]
    assert before.width() == before.height()
    strip.set_picture(SITES[0], plain((9, 9, 9), (30, 60)))
    tile = strip.tiles()[SITES[0]]
    assert tile.height() == round(tile.width() / 2)
    assert tile.width() >= before.width()


@pytest.mark.parametrize(
    "picture", [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 4), np.uint8), np.zeros((5, 5, 3))]
)
def test_what_is_no_picture_is_refused(strip: SiteStrip, picture: Any) -> None:
    with pytest.raises(HcsQcError, match=r"C07 s1 .* expected"):
        strip.set_picture(SITES[0], picture)


def test_flagged_and_unreadable_are_marked(strip: SiteStrip) -> None:
    image = strip.grab().toImage()
    tiles = strip.tiles()

    def corner(site: SiteKey) -> str:
        tile = tiles[site]
        return str(image.pixelColor(round(tile.right()) - 3, round(tile.top()) + 2).name())

    assert corner(SITES[1]) == FLAG_COLOUR
    assert corner(SITES[2]) != FLAG_COLOUR
    waiting, broken = (image.copy(tiles[site].toRect()) for site in (SITES[7], SITES[8]))
    assert waiting != broken


def test_the_chosen_site_and_the_focus_are_seen(
    qtbot: QtBot, strip: SiteStrip, parent: Parent
) -> None:
    before = strip.grab().toImage()
    strip.set_value(SITES[5])
    chosen = strip.grab().toImage()
    assert chosen != before
    parent.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    parent.setFocus()
    qtbot.waitUntil(lambda: not strip.hasFocus())
    assert strip.grab().toImage() != chosen


def test_other_sites_keep_the_choice_where_they_can(strip: SiteStrip) -> None:
    emitted: list[Any] = []
    strip.set_value(SITES[5])
    strip.value_changed.connect(emitted.append)
    strip.set_sites(SITES[3:])
    assert strip.value() == SITES[5]
    strip.set_value(SiteKey("A01", 1))
    assert strip.value() == SITES[5]
    strip.set_sites(SITES[:3])
    assert strip.value() is None
    assert emitted == [None]


def test_a_tooltip_says_what_is_wrong(strip: SiteStrip) -> None:
    assert strip.describe(SITES[0]) == "C07 s1"
    assert strip.describe(SITES[1]) == "C07 s2\nFlagged: out of focus"
    point = middle(strip, SITES[8])
    help_event = QHelpEvent(QHelpEvent.Type.ToolTip, point, strip.mapToGlobal(point))
    assert QApplication.sendEvent(strip, help_event)
    assert "Unreadable: cut &lt;short&gt;" in QToolTip.text()
    QToolTip.hideText()


@pytest.mark.parametrize("n_sites", [1, 2, 4, 9, 16, 25, 36])
@pytest.mark.parametrize("width", [260, 400, 700])
def test_all_tiles_are_within_the_strip(qtbot: QtBot, n_sites: int, width: int) -> None:
    strip = SiteStrip()
    qtbot.addWidget(strip)
    strip.set_sites([SiteKey("A01", number) for number in range(n_sites)])
    height = strip.heightForWidth(width)
    strip.resize(width, height)
    tiles = list(strip.tiles().values())
    assert len(tiles) == n_sites
    for tile in tiles:
        assert tile.width() >= LEAST_TILE_PX
        assert 0 <= tile.left() < tile.right() <= width
        assert 0 <= tile.top() < tile.bottom() <= height
    assert all(not one.intersects(other) for i, one in enumerate(tiles) for other in tiles[i + 1 :])
