from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from qtpy.QtGui import QColor, QFont, QImage, QPainter, QPixmap
from tests.gui.conftest import image_bytes

from napari_hcs_qc.gui.gallery import gallery_painter
from napari_hcs_qc.gui.gallery.gallery_painter import Tile, TilePainter
from napari_hcs_qc.gui.gallery.gallery_tiles import MARGIN, CellMark
from napari_hcs_qc.gui.widgets.palette import ABNORMAL_COLOUR, NORMAL_COLOUR

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

pytestmark = pytest.mark.usefixtures("qtbot")
THEMES = {"dark": ("#262930", "#f0f1f2"), "light": ("#efebe9", "#3b3a39")}
NAN = float("nan")


def painter_of(tile_px: int = 64, theme: str = "dark", ratio: float = 1.0) -> TilePainter:
    paper, ink = map(QColor, THEMES[theme])
    return TilePainter(tile_px, paper, ink, QFont(), ratio)


def drawn(
    tiles: TilePainter,
    mark: CellMark,
    *,
    has_picture: bool = True,
    has_failed: bool = False,
    is_target: bool = False,
    is_chosen: bool = False,
    is_current: bool = False,
) -> NDArray[np.uint8]:
    side = tiles.tile_px + 2 * MARGIN
    image = QImage(side, side, QImage.Format.Format_RGB32)
    image.fill(tiles.paper)
    picture = None
    if has_picture:
        picture = QPixmap(tiles.tile_px, tiles.tile_px)
        picture.fill(QColor(30, 90, 30))
    painter = QPainter(image)
    tiles.draw(painter, 0, 0, Tile(mark, picture, has_failed, is_target, is_chosen, is_current))
    painter.end()
    return np.frombuffer(image_bytes(image), np.uint8).reshape(side, side, 4)[..., 2::-1].copy()


def count(image: NDArray[np.uint8], colour: str) -> int:
    wanted = QColor(colour)
    return int((image == (wanted.red(), wanted.green(), wanted.blue())).all(axis=2).sum())


SAID = {code: CellMark(NAN, code, "") for code in range(5)}


def test_annotated_cells_have_a_thick_border_and_predicted_ones_a_thin() -> None:
    tiles = painter_of()
    row = MARGIN + 32
    said = drawn(tiles, SAID[1])[row, :MARGIN]
    predicted = drawn(tiles, CellMark(0.1, 0, ""))[row, :MARGIN]
    blue = QColor(NORMAL_COLOUR)
    colour = (blue.red(), blue.green(), blue.blue())
    assert (said == colour).all(axis=1).tolist() == [False] * 5 + [True] * 3
    assert (predicted == colour).all(axis=1).tolist() == [False] * 7 + [True]


@pytest.mark.parametrize("tile_px", [32, 64, 128])
def test_class_is_told_without_its_colour(tile_px: int, monkeypatch: pytest.MonkeyPatch) -> None:
    grey = dict.fromkeys(range(5), "#a0a0a0")
    monkeypatch.setattr(gallery_painter, "_COLOURS", grey)
    tiles = painter_of(tile_px)
    marks = [*SAID.values(), CellMark(0.2, 0, ""), CellMark(0.8, 0, "")]
    looks = [drawn(tiles, mark) for mark in marks]
    for one, other in itertools.combinations(looks, 2):
        assert not np.array_equal(one, other)


def test_threshold_decides_the_predicted_class() -> None:
    tiles = painter_of()
    mark = CellMark(0.3, 0, "")
    assert count(drawn(tiles, mark), NORMAL_COLOUR) > 200
    tiles.threshold = 0.3
    assert count(drawn(tiles, mark), NORMAL_COLOUR) == 0
    assert count(drawn(tiles, mark), ABNORMAL_COLOUR) > 200


def test_blind_hides_every_trace_of_a_prediction_and_no_annotation() -> None:
    tiles = painter_of(128)
    seen = {p: drawn(tiles, CellMark(p, 0, "blur")) for p in (0.1, 0.9)}
    assert not np.array_equal(seen[0.1], seen[0.9])
    tiles.is_blind = True
    not_scored = drawn(tiles, CellMark(NAN, 0, ""))
    for p in (0.1, 0.9):
        assert np.array_equal(drawn(tiles, CellMark(p, 0, "blur")), not_scored)
        hidden = drawn(tiles, CellMark(p, 2, "blur"))
        assert np.array_equal(hidden, drawn(tiles, CellMark(NAN, 2, "blur")))
        assert not np.array_equal(hidden, not_scored)


def test_probability_and_kind_are_written_where_there_is_room() -> None:
    def differ(tile_px: int, one: CellMark, other: CellMark) -> bool:
        tiles = painter_of(tile_px)
        return not np.array_equal(drawn(tiles, one), drawn(tiles, other))

    assert differ(64, CellMark(0.61, 0, ""), CellMark(0.62, 0, ""))
    assert not differ(32, CellMark(0.61, 0, ""), CellMark(0.62, 0, ""))
    assert differ(160, CellMark(0.6, 0, "blur"), CellMark(0.6, 0, "debris"))
    assert differ(160, CellMark(0.6, 2, "blur"), CellMark(0.6, 2, "debris"))
    assert not differ(160, CellMark(0.1, 0, "blur"), CellMark(0.1, 0, ""))


@pytest.mark.parametrize("tile_px", [32, 33, 47, 48, 64, 100, 256])
@pytest.mark.parametrize("ratio", [1.0, 1.5, 2.0])
def test_texts_never_leave_their_tile(tile_px: int, ratio: float) -> None:
    tiles = painter_of(tile_px, ratio=ratio)
    for p, said, kind in itertools.product((0.0, 0.999, NAN), range(5), ("", "saturation")):
        drawn(tiles, CellMark(p, said, kind))
    assert tiles._labels
    for label in tiles._labels.values():
        assert label.deviceIndependentSize().width() <= tile_px


@pytest.mark.parametrize("theme", THEMES)
def test_target_and_current_are_seen_in_both_themes_and_told_apart(theme: str) -> None:
    tiles = painter_of(theme=theme)
    looks = [
        drawn(tiles, SAID[0], is_target=target, is_current=current)
        for target, current in itertools.product((False, True), repeat=2)
    ]
    ink = THEMES[theme][1]
    plain, current, target, both = (count(look, ink) for look in looks)
    assert plain == 0
    assert target > both > current > 200


@pytest.mark.parametrize("theme", THEMES)
def test_what_is_only_selected_has_a_dim_ring_and_the_target_a_bright_one(theme: str) -> None:
    tiles = painter_of(theme=theme)
    ink = THEMES[theme][1]
    selected = drawn(tiles, SAID[0], is_chosen=True)
    assert count(selected, ink) == 0
    assert not np.array_equal(selected, drawn(tiles, SAID[0]))
    both = drawn(tiles, SAID[0], is_chosen=True, is_target=True)
    assert np.array_equal(both, drawn(tiles, SAID[0], is_target=True))


@pytest.mark.parametrize("theme", THEMES)
def test_cell_without_a_picture_waits_or_is_hatched(theme: str) -> None:
    tiles = painter_of(theme=theme)
    inner = slice(MARGIN + 1, -MARGIN - 1)
    waiting = drawn(tiles, SAID[0], has_picture=False)[inner, inner]
    failed = drawn(tiles, SAID[0], has_picture=False, has_failed=True)[inner, inner]
    assert len(np.unique(waiting.reshape(-1, 3), axis=0)) == 1
    assert len(np.unique(failed.reshape(-1, 3), axis=0)) > 1


def test_picture_that_is_not_square_is_centred(qtbot: QtBot) -> None:
    tiles = painter_of()
    image = QImage(80, 80, QImage.Format.Format_RGB32)
    image.fill(tiles.paper)
    picture = QPixmap(64, 20)
    picture.fill(QColor("red"))
    painter = QPainter(image)
    tiles.draw(painter, 0, 0, Tile(SAID[0], picture, False, False, False, False))
    painter.end()
    red = [y for y in range(80) if QColor(image.pixel(40, y)) == QColor("red")]
    assert red == list(range(MARGIN + 22, MARGIN + 42))
