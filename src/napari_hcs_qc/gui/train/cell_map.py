"""The annotated cells of a model where they lie in the embedding; a click goes to one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPen

from napari_hcs_qc.gui.widgets.chart_axes import Axis, Chart, PlotArea, Sign, draw_cross
from napari_hcs_qc.gui.widgets.palette import ABNORMAL_COLOUR, NORMAL_COLOUR, ink, paper
from napari_hcs_qc.text import percent

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qtpy.QtWidgets import QWidget

    from napari_hcs_qc.qc.reports.plate_charts import AnnotatedMap

_REACH_PX = 9.0  # of a click, around the middle of a mark
_MARGIN = 0.06  # free around the cells, as a share of the axis


class CellMap(Chart):
    """A mark for each annotated cell: discs normal, squares abnormal, crossed the errors."""

    activated = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(
            "Annotated cells by the two principal components of their embedding. Cells that are "
            "apart here differ; cells that are close need not be alike. Crossed out: called "
            "otherwise by models trained without them. Click a cell to see it in its site.",
            "",
            parent,
        )
        self._map: AnnotatedMap | None = None
        self._current: int | None = None
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)  # a class key is for the cell then

    def value(self) -> AnnotatedMap | None:
        """Give the cells shown."""
        return self._map

    def set_value(self, cells: AnnotatedMap | None, why_none: str = "") -> None:
        """Show cells; None shows why there are none."""
        self._map, self._nothing, self._current = cells, why_none, None
        self.update()

    def set_current(self, row: int) -> None:
        """Ring the cell that was gone to."""
        self._current = row
        self.update()

    def sizeHint(self) -> QSize:
        """Ask for little: what the pictures below it leave is the map's."""
        return self.minimumSizeHint()

    def has_data(self) -> bool:
        """Whether there are cells."""
        return self._map is not None

    def place_of(self, index: int) -> QPointF:
        """Where a cell is drawn, in px of the widget."""
        return QPointF(*self._places()[index])

    def describe_at(self, point: QPointF) -> str:
        """Describe the cell at a place."""
        index = self._index_at(point)
        return "" if self._map is None or index is None else self._map.texts[index]

    def draw(self, painter: QPainter) -> None:
        """Draw the cells, the errors above the others."""
        cells = self._map
        assert cells is not None
        self.draw_axes(painter, self.area())
        normal, abnormal = QColor(NORMAL_COLOUR), QColor(ABNORMAL_COLOUR)
        signs = [
            Sign("dot", normal, "normal"),
            Sign("box", abnormal, "abnormal"),
            Sign("cross", ink(self), "called otherwise"),
        ]
        self.draw_legend(painter, signs)
        places = self._places()
        for is_wrong, half in ((False, 3.5), (True, 5.0)):
            for is_abnormal, colour, draw in (
                (False, normal, painter.drawEllipse),
                (True, abnormal, painter.drawRect),
            ):
                painter.setPen(QPen(paper(self), 1))
                painter.setBrush(colour)
                chosen = (cells.is_wrong == is_wrong) & (cells.is_abnormal == is_abnormal)
                corners = (places[chosen] - half).tolist()
                marks = [QRectF(left, top, 2 * half, 2 * half) for left, top in corners]
                for mark in marks:
                    draw(mark)
                painter.setPen(QPen(ink(self), 2))
                for mark in marks if is_wrong else ():
                    draw_cross(painter, mark.center(), half + 2)
        for index in np.flatnonzero(cells.rows == self._current).tolist():
            painter.setPen(QPen(ink(self), 2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawEllipse(QPointF(*places[index]), 10.0, 10.0)

    def mouseMoveEvent(self, event: Any) -> None:
        """Show where a click goes to a cell."""
        is_on_cell = self._index_at(event.position()) is not None
        shape = Qt.CursorShape.PointingHandCursor if is_on_cell else Qt.CursorShape.ArrowCursor
        self.setCursor(shape)

    def mousePressEvent(self, event: Any) -> None:
        """Go to the cell under the mouse."""
        index = self._index_at(event.position())
        is_left = event.button() == Qt.MouseButton.LeftButton
        if self._map is not None and index is not None and is_left:
            self.activated.emit(int(self._map.rows[index]))

    def area(self) -> PlotArea:
        """Give where the cells are drawn."""
        assert self._map is not None
        first, second = (percent(share) for share in self._map.explained)
        titles = f"first component ({first} of the variance)", f"second ({second})"
        axes = []
        for title, values in zip(titles, self._map.places.T, strict=True):
            low, high = float(values.min()), float(values.max())
            margin = _MARGIN * (high - low) or 1.0
            axes.append(Axis(title=title, low=low - margin, high=high + margin, ticks=()))
        return self.plot_area(*axes, header_px=self.metrics().height())

    def _places(self) -> NDArray[np.float64]:
        """Where the cells are drawn, (n_cells, 2) px."""
        assert self._map is not None
        area, places = self.area(), self._map.places
        x, y = area.x, area.y
        first, last = area.at(x.low, y.low), area.at(x.high, y.high)
        return np.column_stack(
            [
                np.interp(places[:, 0], (x.low, x.high), (first.x(), last.x())),
                np.interp(places[:, 1], (y.low, y.high), (first.y(), last.y())),
            ]
        )

    def _index_at(self, point: QPointF) -> int | None:
        if self._map is None:
            return None
        away = np.hypot(*(self._places() - (point.x(), point.y())).T)
        index = int(away.argmin())
        return index if away[index] <= _REACH_PX else None
