"""Charts of how well a model does: confusion, reliability, learning curve; and of P(abnormal)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QFont, QPainter, QPen, QPolygonF

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.gui.widgets.chart_axes import (
    CENTRE,
    RIGHT,
    Axis,
    Chart,
    PlotArea,
    Sign,
    even_ticks,
    nearest,
)
from napari_hcs_qc.gui.widgets.histogram_chart import HistogramChart
from napari_hcs_qc.gui.widgets.palette import OKABE_ITO, faint, ink, mixed, paper, readable_on
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from qtpy.QtWidgets import QWidget

    from napari_hcs_qc.evaluation.curves import LearningCurve, Reliability

__all__ = ["ConfusionChart", "HistogramChart", "LearningCurveChart", "ReliabilityChart"]

_BLUE = OKABE_ITO[0]
_SKY = OKABE_ITO[5]  # the one of the two that is seen on a dark theme
_CLASSES = ("normal", "abnormal")
_SHARE_TICKS = tuple((tenths / 10, f"{tenths / 10:.1f}") for tenths in range(0, 11, 2))
_NOT_YET = "Not yet cross-validated."
_GAP = 6.0
_LOWER = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignBottom
_UPPER = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop


class ConfusionChart(Chart):
    """Annotated against predicted class: how many cells, and their share of the annotated."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Annotated against predicted class of held-out cells", _NOT_YET, parent)
        self._counts: NDArray[np.float64] | None = None

    def value(self) -> NDArray[np.float64] | None:
        """Give the counts shown, (2, 2); None for none."""
        return None if self._counts is None else self._counts.copy()

    def set_value(self, counts: ArrayLike | None) -> None:
        """Show counts."""
        array = None if counts is None else np.array(counts, np.float64)
        if array is not None and array.shape != (2, 2):
            raise HcsQcError(
                f"Counts of shape {array.shape} were given; expected 2 rows (annotated normal, "
                "abnormal) of 2 columns (predicted)."
            )
        self._counts = array
        self.update()

    def has_data(self) -> bool:
        """Whether there are counts of any cells."""
        return self._counts is not None and bool(self._counts.sum() > 0)

    def describe_at(self, point: QPointF) -> str:
        """Describe a field: how many cells."""
        for row in range(2):
            for column in range(2):
                if self._counts is not None and self._field(row, column).contains(point):
                    count, total = self._counts[row, column], self._counts[row].sum()
                    return (
                        f"{_counted(count)} of {_counted(total)} cells annotated {_CLASSES[row]} "
                        f"are predicted {_CLASSES[column]} ({_percent(count, total)});\n"
                        "each was held out, mean over the repeats"
                    )
        return ""

    def draw(self, painter: QPainter) -> None:
        """Draw the four fields with their counts."""
        assert self._counts is not None
        line = self.metrics().height()
        first, last = self._field(0, 0), self._field(1, 1)
        across = QRectF(first.left(), 0, last.right() - first.left(), line + 4)
        painter.setPen(ink(self))
        painter.drawText(across, int(CENTRE), "predicted")
        painter.save()
        painter.translate(line / 2 + 2, (first.top() + last.bottom()) / 2)
        painter.rotate(-90)
        painter.drawText(QRectF(-100, -line / 2, 200, line), int(CENTRE), "annotated")
        painter.restore()
        large = self.font()
        large.setBold(True)
        if large.pointSizeF() > 0:
            large.setPointSizeF(1.5 * large.pointSizeF())
        else:
            large.setPixelSize(round(1.5 * large.pixelSize()))
        for row, annotated in enumerate(_CLASSES):
            left = self._field(row, 0)
            top = self._field(0, row)
            painter.setPen(ink(self))
            room = QRectF(line + 2, left.top(), left.left() - line - 2 - _GAP, left.height())
            painter.drawText(room, int(RIGHT), annotated)
            painter.drawText(
                QRectF(top.left(), top.top() - line - 2, top.width(), line), int(CENTRE), annotated
            )
            for column in range(2):
                self._draw_field(painter, large, row, column)

    def _draw_field(self, painter: QPainter, large: QFont, row: int, column: int) -> None:
        assert self._counts is not None
        field = self._field(row, column)
        count, total = self._counts[row, column], self._counts[row].sum()
        share = count / total if total else 0.0
        ground = mixed(mixed(paper(self), ink(self), 0.06), QColor(_BLUE), share)
        painter.setPen(QPen(faint(self, 0.5), 1))
        painter.setBrush(ground)
        painter.drawRect(field)
        painter.setPen(readable_on(ground))
        painter.setFont(large)
        half = field.height() / 2
        upper = QRectF(field.left(), field.top(), field.width(), half)
        painter.drawText(upper.translated(0, 3), int(_LOWER), f"{count:,.0f}")
        painter.setFont(self.font())
        lower = upper.translated(0, half + 3)
        verdict = "right" if row == column else "wrong"
        painter.drawText(lower, int(_UPPER), f"{_percent(count, total)} {verdict}")

    def _field(self, row: int, column: int) -> QRectF:
        metrics = self.metrics()
        line = metrics.height()
        left = line + 2 + metrics.horizontalAdvance("abnormal") + _GAP
        top = 2 * line + 8
        width, height = (self.width() - left - _GAP) / 2, (self.height() - top - _GAP) / 2
        return QRectF(left + column * width, top + row * height, width - 2, height - 2)


class ReliabilityChart(Chart):
    """Share of abnormal cells over the P(abnormal) that the model gives them."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Share of abnormal cells among those with this score", _NOT_YET, parent)
        self._bins: Reliability | None = None

    def value(self) -> Reliability | None:
        """Give the figures shown; None for none."""
        return self._bins

    def set_value(self, bins: Reliability | None) -> None:
        """Show figures; None for none."""
        self._bins = bins
        self.update()

    def has_data(self) -> bool:
        """Whether any bin has cells."""
        return self._bins is not None and bool(self._bins.n)

    def describe_at(self, point: QPointF) -> str:
        """Describe the bin nearest across."""
        assert self._bins is not None
        bins, area = self._bins, self.area()
        place = nearest((area.at(p, 0.0) for p in bins.mean_p), point)
        low, high = bins.low[place], bins.high[place]
        return (
            f"Score {bins.bin_low[place]:.2f} to {bins.bin_high[place]:.2f}, on average "
            f"{bins.mean_p[place]:.2f}:\nof {count_of(bins.n[place], 'cell')}, "
            f"{bins.share[place]:.0%} are abnormal (95 % interval {low:.0%} to {high:.0%})"
        )

    def draw(self, painter: QPainter) -> None:
        """Draw the bins beside the line on which all would lie."""
        assert self._bins is not None
        bins, area = self._bins, self.area()
        self.draw_axes(painter, area)
        painter.setPen(QPen(faint(self, 0.7), 1.5, Qt.PenStyle.DashLine))
        painter.drawLine(area.at(0, 0), area.at(1, 1))
        signs = [
            Sign("dot", line_colour(self), "observed, 95 % interval"),
            Sign("dash", faint(self, 0.7), "ideal"),
            Sign("none", ink(self), f"calibration error {bins.ece:.3f}"),
        ]
        self.draw_legend(painter, signs)
        points = [area.at(p, share) for p, share in zip(bins.mean_p, bins.share, strict=True)]
        colour = line_colour(self)
        painter.setPen(QPen(colour, 1.5))
        for point, low, high in zip(points, bins.low, bins.high, strict=True):
            ends = [QPointF(point.x(), area.at(0, end).y()) for end in (low, high)]
            painter.drawLine(*ends)
            for end in ends:
                painter.drawLine(end - QPointF(3, 0), end + QPointF(3, 0))
        painter.setPen(QPen(paper(self), 1))
        painter.setBrush(colour)
        most = max(bins.n)
        for point, n in zip(points, bins.n, strict=True):
            radius = 3.0 + 5.0 * math.sqrt(n / most)
            painter.drawEllipse(point, radius, radius)

    def area(self) -> PlotArea:
        """Give where the data are drawn."""
        x, y = (
            Axis(title=title, low=-0.03, high=1.03, ticks=_SHARE_TICKS)  # room for 0 and 1
            for title in ("abnormal score", "share annotated abnormal")
        )
        return self.plot_area(x, y, header_px=self.metrics().height())


class LearningCurveChart(Chart):
    """Weighted F1 over the number of annotated cells."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(
            "Weighted F1 over the number of annotated cells: would more annotations help?",
            "The learning curve is not yet measured.",
            parent,
        )
        self._curve: LearningCurve | None = None

    def value(self) -> LearningCurve | None:
        """Give the curve shown; None for none."""
        return self._curve

    def set_value(self, curve: LearningCurve | None) -> None:
        """Show a curve; None for none."""
        self._curve = curve
        self.update()

    def has_data(self) -> bool:
        """Whether the curve has points."""
        return self._curve is not None and bool(self._curve.sizes)

    def describe_at(self, point: QPointF) -> str:
        """Describe the size nearest across."""
        assert self._curve is not None
        curve, area = self._curve, self.area()
        place = nearest((area.at(size, area.y.low) for size in curve.sizes), point)
        low, high = curve.low[place], curve.high[place]
        interval = (
            "interval unknown" if math.isnan(low) else f"95 % interval {low:.3f} to {high:.3f}"
        )
        return (
            f"Fitted on {count_of(curve.sizes[place], 'cell')}: "
            f"weighted F1 {curve.mean[place]:.3f}\n"
            f"({interval}; sd over repeats {curve.sd[place]:.3f})"
        )

    def draw(self, painter: QPainter) -> None:
        """Draw the interval as a band, and the mean on it."""
        assert self._curve is not None
        curve, area = self._curve, self.area()
        self.draw_axes(painter, area)
        colour = line_colour(self)
        band = mixed(paper(self), colour, 0.3)
        known = [place for place, end in enumerate(curve.low) if not math.isnan(end)]
        if known:
            upper = [area.at(curve.sizes[place], curve.high[place]) for place in known]
            lower = [area.at(curve.sizes[place], curve.low[place]) for place in known]
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(band)
            painter.drawPolygon(QPolygonF([*upper, *reversed(lower)]))
        now = area.at(curve.n_cells, area.y.low).x()
        painter.setPen(QPen(faint(self, 0.7), 1.5, Qt.PenStyle.DashLine))
        painter.drawLine(QPointF(now, area.rect.top()), QPointF(now, area.rect.bottom()))
        signs = [
            Sign("dot", colour, "mean"),
            Sign("box", band, "95 % interval"),
            Sign("dash", faint(self, 0.7), f"trained on now: {curve.n_cells:,}"),
        ]
        self.draw_legend(painter, signs)
        points = [area.at(size, mean) for size, mean in zip(curve.sizes, curve.mean, strict=True)]
        painter.setPen(QPen(colour, 2))
        painter.drawPolyline(QPolygonF(points))
        painter.setPen(QPen(paper(self), 1))
        painter.setBrush(colour)
        for point in points:
            painter.drawEllipse(point, 4.5, 4.5)

    def area(self) -> PlotArea:
        """Give where the data are drawn."""
        assert self._curve is not None
        curve = self._curve
        ends = [end for end in (*curve.low, *curve.high, *curve.mean) if not math.isnan(end)]
        bottom = max(0.0, math.floor(20 * (min(ends) - 0.01)) / 20)
        top = min(1.0, math.ceil(20 * (max(ends) + 0.01)) / 20)
        ticks = tuple((float(size), f"{size:,}") for size in curve.sizes)
        x = Axis(
            title="annotated cells fitted on (log scale)",
            low=curve.sizes[0] / 1.2,
            high=curve.n_cells * 1.1,
            ticks=ticks,
            is_log=True,
        )
        y = Axis(title="weighted F1, held out", low=bottom, high=top, ticks=even_ticks(bottom, top))
        return self.plot_area(x, y, header_px=self.metrics().height())


def line_colour(widget: QWidget) -> QColor:
    """Okabe and Ito's blue that stands out more from the theme's ground."""
    return QColor(_BLUE if paper(widget).lightnessF() > 0.5 else _SKY)


def _counted(count: float) -> str:
    return f"{count:,.0f}" if abs(count - round(count)) < 1e-9 else f"{count:,.1f}"


def _percent(count: float, total: float) -> str:
    return f"{count / total:.1%}" if total else "–"
