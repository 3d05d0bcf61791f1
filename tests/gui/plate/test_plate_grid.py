from __future__ import annotations

from typing import cast

import pytest
from qtpy.QtCore import QPointF, QRectF

from napari_hcs_qc.gui.plate.plate_grid import (
    LEAST_SIDE,
    MOST_SIDE,
    Direction,
    PlateGrid,
    fitting_grid,
    header_texts,
    in_plate_order,
    next_well,
)
from napari_hcs_qc.plates.wells import PLATE_SHAPES


@pytest.mark.parametrize("n_wells", PLATE_SHAPES)
def test_every_well_is_found_where_it_lies_and_none_overlap(n_wells: int) -> None:
    grid = fitting_grid(PLATE_SHAPES[n_wells], 404.0, 1e6, 24.0, 18.0)
    assert len(grid.fields) == n_wells
    for well, square in grid.fields.items():
        assert grid.well_at(square.center()) == well
        assert square.width() >= LEAST_SIDE - 2
        assert square.width() == pytest.approx(square.height(), abs=1)
    one, *_, last = grid.fields.values()
    assert one.x() == 24.0
    assert last.right() <= 404.0
    corners = {(square.x(), square.y()) for square in grid.fields.values()}
    assert len(corners) == n_wells


def test_wells_fit_width_and_height_within_bounds() -> None:
    assert fitting_grid((2, 3), 1000.0, 1000.0, 20.0, 20.0).side == MOST_SIDE
    assert fitting_grid((8, 12), 1000.0, 180.0, 20.0, 20.0).side == 20.0
    assert fitting_grid((32, 48), 100.0, 100.0, 20.0, 20.0).side == LEAST_SIDE


def test_off_the_plate_there_is_no_well() -> None:
    grid = PlateGrid((2, 3), 20.0, 10.0, 30.0)
    for x, y in ((19.0, 11.0), (21.0, 9.0), (111.0, 11.0), (21.0, 71.0)):
        assert grid.well_at(QPointF(x, y)) is None
    assert grid.header_at(QPointF(5.0, 45.0)) == (1, None)
    assert grid.header_at(QPointF(85.0, 5.0)) == (None, 2)
    assert grid.header_at(QPointF(5.0, 5.0)) == (None, None)
    assert grid.header_at(QPointF(85.0, 100.0)) == (None, None)


def test_boxes_and_ranges_take_all_between() -> None:
    grid = PlateGrid((3, 4), 0.0, 0.0, 20.0)
    assert grid.in_box(QRectF(25.0, 5.0, 20.0, 20.0)) == ["A02", "A03", "B02", "B03"]
    assert grid.in_box(QRectF(10.0, 5.0, 20.0, 0.0)) == ["A01", "A02"]
    assert grid.between("B03", "A02") == ["A02", "A03", "B02", "B03"]
    assert grid.between("A01", "A01") == ["A01"]


@pytest.mark.parametrize(
    ("direction", "expected"), [("left", "B01"), ("right", "B04"), ("up", "A02"), ("down", "C02")]
)
def test_an_arrow_goes_to_the_next_imaged_well_in_line(direction: str, expected: str) -> None:
    wells = ("A02", "A03", "B01", "B02", "B04", "C02", "C03")
    assert next_well("B02", cast("Direction", direction), wells) == expected


def test_without_a_well_in_line_an_arrow_goes_to_the_nearest_ahead() -> None:
    wells = ("A01", "C03", "D02", "D10")
    assert next_well("A01", "right", wells) == "D02"
    assert next_well("A01", "down", wells) == "C03"
    assert next_well("D10", "right", wells) == "D10"


def test_labels_stand_where_there_is_room() -> None:
    assert PlateGrid((8, 12), 0.0, 0.0, 30.0).label_steps(9.0, 14.0) == (1, 1)
    assert PlateGrid((16, 24), 0.0, 0.0, 16.0).label_steps(9.0, 14.0) == (1, 2)
    assert PlateGrid((32, 48), 0.0, 0.0, 8.0).label_steps(9.0, 14.0) == (2, 4)
    letters, numbers = header_texts((32, 48))
    assert (letters[0], letters[-1], numbers[0], numbers[-1]) == ("A", "AF", "1", "48")


def test_plate_order_is_by_row_then_column() -> None:
    assert in_plate_order({"AA01", "B02", "B10", "A12"}) == ("A12", "B02", "B10", "AA01")
