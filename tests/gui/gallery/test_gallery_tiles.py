from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from qtpy.QtGui import QColor

from napari_hcs_qc.gui.gallery.gallery_tiles import MARGIN, Grid, Marks, Pictures

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

GRIDS = [
    Grid(n, px, width) for n, px, width in itertools.product((1, 7, 8, 40), (32, 64), (30, 410))
]


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
def test_every_tile_is_found_at_its_own_place_and_no_two_overlap(grid: Grid) -> None:
    corners = {grid.corner(position) for position in range(grid.n)}
    assert len(corners) == grid.n
    for position in range(grid.n):
        x, y = grid.corner(position)
        last = grid.pitch - 1
        found = {grid.at(x + dx, y + dy) for dx, dy in itertools.product((0, last), repeat=2)}
        assert found == {position}
        assert y + grid.pitch <= grid.height


def test_as_many_columns_as_fit_but_at_least_one() -> None:
    pitch = 64 + 2 * MARGIN
    assert Grid(10, 64, 3 * pitch).columns == 3
    assert Grid(10, 64, 3 * pitch - 1).columns == 2
    assert Grid(10, 64, 5).columns == 1
    assert Grid(0, 64, 300).height == 0


def test_nothing_is_found_beside_the_tiles() -> None:
    grid = Grid(4, 64, 3 * 80 + 20)  # one tile in the second row
    assert grid.left == 10
    assert grid.at(grid.left - 1, 5) is None
    assert grid.at(grid.left + 3 * 80, 5) is None
    assert grid.at(grid.left + 80, 85) is None
    assert grid.at(grid.left, -1) is None
    assert grid.at(grid.left, 85) == 3


def test_stripe_and_box_find_the_tiles_they_touch() -> None:
    grid = Grid(11, 64, 320)  # 4 columns of 80 px, the last row of 3
    assert grid.between(0, 1) == range(4)
    assert grid.between(79, 81) == range(8)
    assert grid.between(80, 160) == range(4, 8)
    assert grid.between(-200, 0) == range(0)
    assert grid.between(240, 900) == range(11, 11)
    assert grid.inside(0, 0, 0, 0).tolist() == [0]
    assert grid.inside(79, 79, 80, 80).tolist() == [0, 1, 4, 5]
    assert grid.inside(-50, 170, 5000, 5000).tolist() == [8, 9, 10]
    assert grid.inside(-9, -9, -1, -1).tolist() == []


def test_box_finds_what_a_search_of_all_tiles_finds() -> None:
    grid = Grid(57, 40, 350)
    rng = np.random.default_rng(3)
    for _ in range(200):
        left, right = sorted(rng.integers(-50, 400, 2).tolist())
        top, bottom = sorted(rng.integers(-50, grid.height + 50, 2).tolist())
        expected = [
            position
            for position in range(grid.n)
            for x, y in [grid.corner(position)]
            if x <= right and x + grid.pitch > left and y <= bottom and y + grid.pitch > top
        ]
        assert grid.inside(left, top, right, bottom).tolist() == expected


def test_marks_of_one_cell() -> None:
    kinds = np.array([None, "blur"], dtype=object)
    marks = Marks(np.array([np.nan, 0.9]), np.array([1, 0]), kinds)
    assert not marks.of(0).is_scored
    assert (marks.of(0).annotated, marks.of(0).kind) == (1, "")
    assert marks.of(1).is_scored
    assert (marks.of(1).p_abnormal, marks.of(1).kind) == (0.9, "blur")


@pytest.mark.parametrize("cell", [-1, 2])
def test_nothing_is_said_of_a_cell_that_is_not_there(cell: int) -> None:
    marks = Marks(np.array([0.1, 0.9]), np.array([1, 2]), np.array([None, "blur"], dtype=object))
    found = marks.of(cell)
    assert (found.is_scored, found.annotated, found.kind) == (False, 0, "")


def test_marks_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="3 probabilities, 2 annotations and 3 kinds"):
        Marks(np.zeros(3), np.zeros(2, dtype=int), np.empty(3, dtype=object))


def flat(red: int, shape: tuple[int, int] = (8, 8)) -> NDArray[np.uint8]:
    image = np.zeros((*shape, 3), dtype=np.uint8)
    image[..., 0] = red
    return image


def colour_of(pictures: Pictures, cell: int, side_px: int = 8) -> tuple[int, int, int]:
    pixmap = pictures.scaled(cell, side_px, 1.0)
    assert pixmap is not None
    colour = QColor(pixmap.toImage().pixel(side_px // 2, side_px // 2))
    return (colour.red(), colour.green(), colour.blue())


def test_picture_is_a_copy_with_its_own_colours(qtbot: QtBot) -> None:
    pictures = Pictures()
    image = np.zeros((9, 9, 3), dtype=np.uint8)
    image[:] = (200, 100, 50)
    pictures.add(4, image[:, :8])  # rows that are not one after the other in memory
    image[:] = 0
    assert colour_of(pictures, 4, 9) == (200, 100, 50)


def test_newer_picture_takes_the_place_of_the_older(qtbot: QtBot) -> None:
    pictures = Pictures()
    pictures.add(1, flat(10))
    assert colour_of(pictures, 1)[0] == 10
    pictures.add(1, flat(99))
    assert colour_of(pictures, 1)[0] == 99
    assert pictures.n_bytes == 8 * 8 * 4


def test_pictures_used_longest_ago_go_first_but_none_in_use(qtbot: QtBot) -> None:
    one = 8 * 8 * 4
    pictures = Pictures(max_bytes=3 * one)
    for cell in range(3):
        pictures.add(cell, flat(cell))
    pictures.use(0)
    pictures.add(3, flat(3))
    pictures.trim(set())
    assert [cell in pictures for cell in range(4)] == [True, False, True, True]
    assert pictures.n_bytes == 3 * one
    pictures.add(4, flat(4))
    pictures.add(5, flat(5))
    pictures.trim({0, 2, 4, 5})
    assert [cell in pictures for cell in range(6)] == [True, False, True, False, True, True]
    assert pictures.scaled(1, 8, 1.0) is None


def test_scaled_pictures_are_limited_too(qtbot: QtBot) -> None:
    pictures = Pictures(max_scaled_bytes=2 * 4 * 16 * 16)
    for cell in range(5):
        pictures.add(cell, flat(40 * cell))
    shown = [colour_of(pictures, cell, 16)[0] for cell in (*range(5), *range(5))]
    assert shown == [0, 40, 80, 120, 160] * 2
    assert len(pictures._scaled) == 2


def test_scaled_to_size_and_sharpness_without_distortion(qtbot: QtBot) -> None:
    pictures = Pictures()
    pictures.add(0, flat(50, (20, 10)))
    for side, ratio in ((40, 1.0), (40, 2.0), (8, 1.5), (20, 1.0)):
        pixmap = pictures.scaled(0, side, ratio)
        assert pixmap is not None
        assert (pixmap.width(), pixmap.height()) == (round(side * ratio / 2), round(side * ratio))
        assert pixmap.devicePixelRatio() == ratio
    assert pictures.scaled(1, 8, 1.0) is None
    pictures.clear()
    assert pictures.scaled(0, 20, 1.0) is None
    assert (len(pictures), pictures.n_bytes) == (0, 0)
