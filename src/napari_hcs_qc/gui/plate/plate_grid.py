"""Where the wells of a plate lie on a map, and which comes next; no widget needed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Literal, TypeAlias

from qtpy.QtCore import QPointF, QRectF

from napari_hcs_qc.plates.wells import parse_well, row_letters, well_name

if TYPE_CHECKING:
    from collections.abc import Collection

Direction: TypeAlias = Literal["left", "right", "up", "down"]

LEAST_SIDE, MOST_SIDE = 6.0, 56.0
_STEPS: dict[Direction, tuple[int, int]] = {
    "left": (0, -1),
    "right": (0, 1),
    "up": (-1, 0),
    "down": (1, 0),
}


@dataclass(frozen=True)
class PlateGrid:
    """Squares of the wells of a plate, with room for letters on the left and numbers above."""

    shape: tuple[int, int]  # rows and columns
    left: float  # corner of the first well, px
    top: float  # corner of the first well, px
    side: float  # from one well to the next, px

    @property
    def gap(self) -> float:
        """Free room between two wells, px."""
        return 1.0 if self.side < 14 else 2.0

    @property
    def area(self) -> QRectF:
        """Where the wells are."""
        rows, columns = self.shape
        return QRectF(self.left, self.top, columns * self.side, rows * self.side)

    @cached_property
    def fields(self) -> dict[str, QRectF]:
        """Square of each well by name, without the gap, on whole px; by row and column."""
        rows, columns = self.shape
        x = [round(self.left + column * self.side) for column in range(columns + 1)]
        y = [round(self.top + row * self.side) for row in range(rows + 1)]
        return {
            well_name(row, column): QRectF(
                x[column],
                y[row],
                x[column + 1] - x[column] - self.gap,
                y[row + 1] - y[row] - self.gap,
            )
            for row in range(rows)
            for column in range(columns)
        }

    def well_at(self, point: QPointF) -> str | None:
        """Name of the well at a point; the gap belongs to the well before it."""
        if not self.area.contains(point):
            return None
        rows, columns = self.shape
        row = min(int((point.y() - self.top) / self.side), rows - 1)
        column = min(int((point.x() - self.left) / self.side), columns - 1)
        return well_name(row, column)

    def header_at(self, point: QPointF) -> tuple[int | None, int | None]:
        """Row and column whose letter or number is at a point; both None in the corner or off."""
        rows, columns = self.shape
        row = int((point.y() - self.top) // self.side)
        column = int((point.x() - self.left) // self.side)
        is_in_rows, is_in_columns = 0 <= row < rows, 0 <= column < columns
        if point.x() < self.left and is_in_rows:
            return row, None
        if point.y() < self.top and is_in_columns:
            return None, column
        return None, None

    def in_box(self, box: QRectF) -> list[str]:
        """Wells that a rectangle touches, by row and column."""
        # A box without width or height, as of a level drag, meets nothing.
        box = box.normalized().adjusted(-0.5, -0.5, 0.5, 0.5)
        return [name for name, field in self.fields.items() if box.intersects(field)]

    def between(self, first: str, last: str) -> list[str]:
        """Wells of the rectangle that two wells span, by row and column."""
        corners = parse_well(first), parse_well(last)
        rows, columns = ({corner.row for corner in corners}, {corner.column for corner in corners})
        return [
            well_name(row, column)
            for row in range(min(rows), max(rows) + 1)
            for column in range(min(columns), max(columns) + 1)
        ]

    def label_steps(self, letter_px: float, number_px: float) -> tuple[int, int]:
        """Every how many rows and columns there is room for a label of this height and width."""
        row_step = next(step for step in (1, 2, 4, 8, 64) if step * self.side >= letter_px + 1)
        column_step = next(step for step in (1, 2, 4, 8, 64) if step * self.side >= number_px + 3)
        return row_step, column_step


@lru_cache(maxsize=8)
def fitting_grid(
    shape: tuple[int, int], width: float, height: float, left: float, top: float
) -> PlateGrid:
    """Lay a plate out in the room there is, px; wells are at least `LEAST_SIDE` apart."""
    rows, columns = shape
    side = min((width - left - 2) / columns, (height - top) / rows, MOST_SIDE)
    return PlateGrid(shape, left, top, max(side, LEAST_SIDE))


def next_well(current: str, direction: Direction, wells: Collection[str]) -> str:
    """Give the well to go to with an arrow key."""
    here = parse_well(current)
    down, right = _STEPS[direction]

    def distance(name: str) -> tuple[bool, int, int]:
        there = parse_well(name)
        rows, columns = there.row - here.row, there.column - here.column
        along, beside = rows * down + columns * right, rows * right + columns * down
        return (beside != 0, along, abs(beside))

    ahead = [name for name in wells if distance(name)[1] > 0]
    return min(ahead, key=distance, default=current)


def in_plate_order(wells: Collection[str]) -> tuple[str, ...]:
    """Sort wells by row, then column."""
    return tuple(sorted(wells, key=parse_well))


def header_texts(shape: tuple[int, int]) -> tuple[list[str], list[str]]:
    """Letters of the rows and numbers of the columns."""
    rows, columns = shape
    return [row_letters(row) for row in range(rows)], [str(i + 1) for i in range(columns)]
