"""How the wells of a plate are drawn; what is chosen of them is drawn over it by the map."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QPointF, QRectF
from qtpy.QtGui import QColor, QFont, QFontMetricsF

from napari_hcs_qc.gui.plate.plate_grid import PlateGrid, header_texts
from napari_hcs_qc.gui.plate.plate_legend import PlateLegend
from napari_hcs_qc.gui.plate.well_marks import SITE_EXCLUDED
from napari_hcs_qc.gui.widgets.palette import (
    category_colours,
    mixed,
    quiet_colour,
    readable_on,
    sequential_rgba,
)

if TYPE_CHECKING:
    from qtpy.QtGui import QPainter

    from napari_hcs_qc.assay.scoring.well_values import WellValues
    from napari_hcs_qc.gui.plate.well_marks import Stamps

_VERDICTS = ("keep", "exclude", "look again", SITE_EXCLUDED)
_LATTICE = 0.22  # share of ink between the wells: dark and light wells both stand out from it


@dataclass(frozen=True, kw_only=True)
class PlateLook:
    """What a map shows."""

    shape: tuple[int, int]  # rows and columns
    imaged: frozenset[str]  # names of the imaged wells
    # Wells whose images cannot be read, and why
    unreadable: dict[str, str] = field(default_factory=dict)
    values: WellValues | None = None  # what the wells are coloured by
    flagged: dict[str, str] = field(default_factory=dict)  # flagged wells, and why
    verdicts: dict[str, str] = field(default_factory=dict)  # verdict on each well that has one

    def legend(self) -> PlateLegend:
        """Give the legend of what occurs."""
        rows, columns = self.shape
        has_value = set() if self.values is None else set(self.values.values)
        given = set(self.verdicts.values())
        occurs = {
            "flag": bool(self.flagged),
            **{verdict: verdict in given for verdict in _VERDICTS},
            "not imaged": len(self.imaged) < rows * columns,
            "unreadable": bool(self.unreadable),
            "no value": bool(self.imaged - has_value - set(self.unreadable)),
        }
        return PlateLegend(
            self.values, tuple(mark for mark, is_there in occurs.items() if is_there)
        )

    def colours(self, quiet: QColor) -> dict[str, QColor]:
        """Colour of each well that has a value; `quiet` is for categories without importance."""
        values = self.values
        if values is None:
            return {}
        if values.categories is not None:
            of_name = category_colours(values.categories, quiet)
            ordered = [of_name[name] for name in values.categories]
            return {well: ordered[int(index)] for well, index in values.values.items()}
        positions = values.positions()
        ramp = sequential_rgba(np.array([*positions.values()], dtype=np.float64), begin=0.0)
        return {
            well: QColor.fromRgbF(*colour)
            for well, colour in zip(positions, ramp.tolist(), strict=True)
        }

    def describe(self, well: str) -> list[str]:
        """Describe a well, a line for each fact."""
        if well not in self.imaged:
            return ["not imaged"]
        lines = []
        if well in self.unreadable:
            lines.append(f"unreadable: {self.unreadable[well]}")
        if self.values is not None and (well in self.values.values or not lines):
            lines.append(f"{self.values.title}: {self.values.text(well)}")
        if well in self.flagged:
            lines.append(f"Flagged: {self.flagged[well]}" if self.flagged[well] else "Flagged")
        if well in self.verdicts:
            lines.append(f"Verdict: {self.verdicts[well]}")
        return lines


def draw_plate(
    painter: QPainter, look: PlateLook, grid: PlateGrid, font: QFont, stamps: Stamps
) -> None:
    """Draw letters, numbers and wells."""
    paper, ink = stamps.paper, stamps.ink
    _draw_headers(painter, grid, font, ink)
    painter.fillRect(grid.area, mixed(paper, ink, _LATTICE))
    colours = look.colours(quiet_colour(paper, ink))
    for well, square in grid.fields.items():
        if well not in look.imaged:
            stamps.put(painter, square, "not imaged")
            continue
        colour = colours.get(well)
        if colour is not None:
            painter.fillRect(square, colour)
        else:
            stamps.put(painter, square, "unreadable" if well in look.unreadable else "no value")
        if well in look.verdicts:
            sign = readable_on(paper if colour is None else colour)
            stamps.put(painter, square, look.verdicts[well], sign)
        if well in look.flagged:
            stamps.put(painter, square, "flag")


def header_fields(grid: PlateGrid) -> tuple[list[QRectF], list[QRectF]]:
    """Room of the letter of each row, and of the number of each column."""
    rows, columns = grid.shape
    return (
        [QRectF(0, grid.top + i * grid.side, grid.left - 3, grid.side) for i in range(rows)],
        [QRectF(grid.left + i * grid.side, 0, grid.side, grid.top - 2) for i in range(columns)],
    )


def centred(painter: QPainter, room: QRectF, text: str) -> None:
    """Write a text about the middle of a room, which it may be larger than."""
    metrics = QFontMetricsF(painter.font(), painter.device())
    x = room.center().x() - metrics.horizontalAdvance(text) / 2
    y = room.center().y() + (metrics.ascent() - metrics.descent()) / 2
    painter.drawText(QPointF(x, y), text)


def _draw_headers(painter: QPainter, grid: PlateGrid, font: QFont, ink: QColor) -> None:
    painter.setFont(font)
    painter.setPen(ink)
    metrics = QFontMetricsF(font)
    letters, numbers = header_texts(grid.shape)
    rows, columns = header_fields(grid)
    row_step, column_step = grid.label_steps(
        metrics.ascent(), metrics.horizontalAdvance(numbers[-1])
    )
    for room, text in list(zip(rows, letters, strict=True))[::row_step]:
        centred(painter, room, text)
    for room, text in list(zip(columns, numbers, strict=True))[::column_step]:
        centred(painter, room, text)
