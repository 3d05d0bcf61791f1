from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari._qt.qt_resources import get_stylesheet
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QColor, QHelpEvent, QImage, QPalette
from qtpy.QtWidgets import QApplication, QToolTip, QWidget
from tests.gui.conftest import image_bytes

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.curves import LearningCurve
from napari_hcs_qc.evaluation.reliability import reliability
from napari_hcs_qc.gui.widgets.chart_axes import Axis, Chart, even_ticks, power_ticks
from napari_hcs_qc.gui.widgets.charts import (
    ConfusionChart,
    HistogramChart,
    LearningCurveChart,
    ReliabilityChart,
)
from napari_hcs_qc.gui.widgets.palette import ABNORMAL_COLOUR, NORMAL_COLOUR

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytestqt.qtbot import QtBot

KEY = Qt.Key
CURVE = LearningCurve(
    sizes=(10, 20, 50, 100, 228),
    mean=(0.8, 0.91, 0.92, 0.94, 0.967),
    sd=(0.06, 0.01, 0.02, 0.001, 0.005),
    low=(0.73, 0.88, 0.89, 0.92, 0.95),
    high=(0.86, 0.95, 0.95, 0.96, 0.98),
    slope=0.02,
    slope_low=0.01,
    slope_high=0.03,
    n_cells=288,
)
RNG = np.random.default_rng(0)
P = RNG.beta(0.4, 0.8, 400)
BINS = reliability(P, RNG.random(400) < P)
FILLED: dict[type[Chart], Any] = {
    ConfusionChart: [[188.4, 5.6], [4, 90]],
    ReliabilityChart: BINS,
    LearningCurveChart: CURVE,
    HistogramChart: P,
}


def colours(widget: QWidget) -> dict[str, int]:
    """How many pixels have each colour."""
    image = widget.grab().toImage().convertToFormat(QImage.Format.Format_RGB32)
    pixels = np.frombuffer(image_bytes(image), np.uint32)
    names, counts = np.unique(pixels & 0xFFFFFF, return_counts=True)
    return {f"#{name:06x}": int(n) for name, n in zip(names, counts, strict=True)}


@pytest.fixture
def make(qtbot: QtBot) -> Callable[..., Any]:
    """Give a chart of a kind and size, filled and on show."""

    def made(kind: type[Chart], value: Any = None, size: tuple[int, int] = (380, 240)) -> Any:
        chart: Any = kind()  # type: ignore[call-arg]
        qtbot.addWidget(chart)
        chart.resize(*size)
        chart.set_value(FILLED[kind] if value is None else value)
        with qtbot.waitExposed(chart):
            chart.show()
        return chart

    return made


@pytest.mark.parametrize("kind", FILLED)
class TestEveryChart:
    def test_what_is_set_is_given_back(self, make: Any, kind: type[Chart]) -> None:
        chart = make(kind)
        assert np.array_equal(chart.value(), FILLED[kind])
        assert chart.has_data()

    def test_nothing_is_said_in_words(self, make: Any, qtbot: QtBot, kind: type[Chart]) -> None:
        filled = make(kind)
        before = filled.grab().toImage()
        filled.set_value(np.empty(0) if kind is HistogramChart else None)
        assert not filled.has_data()
        assert filled.grab().toImage() != before
        assert len(colours(filled)) > 2  # the words

    @pytest.mark.parametrize("size", [(380, 240), (220, 150), (60, 30), (900, 500)])
    def test_it_draws_in_any_size(
        self, make: Any, kind: type[Chart], size: tuple[int, int]
    ) -> None:
        assert len(colours(make(kind, size=size))) > 3

    def test_it_follows_the_theme(self, qtbot: QtBot, kind: type[Chart]) -> None:
        grounds = {}
        for theme in ("dark", "light"):
            parent = QWidget()
            qtbot.addWidget(parent)
            parent.setStyleSheet(get_stylesheet(theme))
            chart: Any = kind(parent)  # type: ignore[arg-type]
            chart.resize(380, 240)
            chart.set_value(FILLED[kind])
            parent.show()
            ink = chart.palette().color(QPalette.ColorRole.WindowText).name()
            found = colours(chart)
            assert found.get(ink, 0) > 20, "text in the theme's own colour"
            grounds[theme] = QColor(max(found, key=lambda name: found[name])).lightnessF()
        if kind is not ConfusionChart:  # whose fields cover the ground
            assert grounds["dark"] < 0.3
            assert grounds["light"] > 0.7

    def test_a_tooltip_and_a_name(self, make: Any, kind: type[Chart]) -> None:
        chart = make(kind)
        assert chart.toolTip()
        assert chart.accessibleName()
        assert chart.sizeHint().width() <= 400
        hint = chart.minimumSizeHint()
        assert hint.width() <= chart.sizeHint().width()

    def test_the_values_under_the_mouse_are_told(
        self, make: Any, monkeypatch: pytest.MonkeyPatch, kind: type[Chart]
    ) -> None:
        emitted: list[str] = []
        monkeypatch.setattr(QToolTip, "showText", lambda _at, text, *_: emitted.append(text))
        chart = make(kind)
        point = QPoint(200, 150)
        event = QHelpEvent(QEvent.Type.ToolTip, point, chart.mapToGlobal(point))
        QApplication.sendEvent(chart, event)
        assert emitted == [chart.describe_at(QPointF(point))]
        assert any(sign.isdigit() for sign in emitted[0])
        emitted.clear()
        chart.set_value(np.empty(0) if kind is HistogramChart else None)
        QApplication.sendEvent(chart, event)
        assert emitted == [], "left to Qt, which shows the tooltip of the widget"


class TestConfusion:
    def test_fields_say_their_counts(self, make: Any) -> None:
        chart = make(ConfusionChart)
        assert chart.describe_at(QPointF(150, 80)).startswith(
            "188.4 of 194 cells annotated normal are predicted normal (97.1%)"
        )
        assert chart.describe_at(QPointF(300, 200)).startswith(
            "90 of 94 cells annotated abnormal are predicted abnormal (95.7%)"
        )
        assert "annotated normal are predicted abnormal" in chart.describe_at(QPointF(300, 80))
        assert chart.describe_at(QPointF(5, 5)) == ""

    def test_a_fuller_field_is_bluer(self, make: Any) -> None:
        def blue(share: float) -> int:
            chart = make(ConfusionChart, [[100 * share, 100 - 100 * share], [0, 100]])
            colour = chart.grab().toImage().pixelColor(100, 60)
            return int(colour.blue() - colour.red())

        assert blue(0.0) < blue(0.4) < blue(0.9)

    def test_a_class_without_cells_has_no_share(self, make: Any) -> None:
        chart = make(ConfusionChart, [[10, 0], [0, 0]])
        assert "(–)" in chart.describe_at(QPointF(300, 200))
        assert not make(ConfusionChart, [[0, 0], [0, 0]]).has_data()

    def test_another_shape_is_refused(self, make: Any) -> None:
        with pytest.raises(HcsQcError, match=r"shape \(3, 3\)"):
            make(ConfusionChart).set_value(np.eye(3))

    def test_counts_given_are_not_shared(self, make: Any) -> None:
        given = np.eye(2)
        chart = make(ConfusionChart, given)
        given[:] = 7
        chart.value()[:] = 7
        np.testing.assert_array_equal(chart.value(), np.eye(2))


class TestReliability:
    def test_the_nearest_bin_is_told(self, make: Any) -> None:
        chart = make(ReliabilityChart)
        area = chart.area()
        for place, p in enumerate(BINS.mean_p):
            words = chart.describe_at(area.at(p, 0.5))
            assert f"of {BINS.n[place]} cells, {BINS.share[place]:.0%} are abnormal" in words
            assert f"Score {BINS.bin_low[place]:.2f} to {BINS.bin_high[place]:.2f}" in words

    def test_points_lie_where_the_figures_are(self, make: Any) -> None:
        only = reliability([0.9] * 5, [True, False, False, False, False])
        chart = make(ReliabilityChart, only)
        area = chart.area()
        at = area.at(0.9, 0.2)
        assert area.rect.contains(at)
        image = chart.grab().toImage()
        # Beside the line of the interval, within the point and above it.
        drawn, empty = (image.pixelColor((at + QPointF(5, up)).toPoint()) for up in (0, -14))
        assert drawn != empty == image.pixelColor((area.at(0.9, 0.8) + QPointF(5, 2)).toPoint())
        assert "1 cell," in make(ReliabilityChart, reliability([0.3], [True])).describe_at(at)


class TestLearningCurve:
    def test_the_nearest_size_is_told(self, make: Any) -> None:
        chart = make(LearningCurveChart)
        area = chart.area()
        for size, mean in zip(CURVE.sizes, CURVE.mean, strict=True):
            words = chart.describe_at(area.at(size, 0.9))
            assert words.startswith(f"Fitted on {size} cells: weighted F1 {mean:.3f}\n(95 %")

    def test_the_axes_hold_all_of_it(self, make: Any) -> None:
        area = make(LearningCurveChart).area()
        assert area.y.low <= min(CURVE.low)
        assert max(CURVE.high) <= area.y.high <= 1
        for size in (*CURVE.sizes, CURVE.n_cells):
            assert area.rect.contains(area.at(size, 0.9))

    def test_a_curve_without_interval_and_of_one_point(self, make: Any) -> None:
        nan = (math.nan,)
        one = LearningCurve(
            sizes=(9,),
            mean=(0.8,),
            sd=(0.0,),
            low=nan,
            high=nan,
            slope=math.nan,
            slope_low=math.nan,
            slope_high=math.nan,
            n_cells=12,
        )
        chart = make(LearningCurveChart, one)
        assert "interval unknown" in chart.describe_at(QPointF(200, 100))
        assert len(colours(chart)) > 3

    def test_perfect_and_hopeless_curves_stay_on_the_axes(self, make: Any) -> None:
        flat = {"sizes": (10, 20), "sd": (0.0, 0.0), "n_cells": 30}
        for level in (0.0, 1.0):
            both = (level, level)
            curve = LearningCurve(
                mean=both, low=both, high=both, slope=0, slope_low=0, slope_high=0, **flat
            )
            area = make(LearningCurveChart, curve).area()
            assert 0 <= area.y.low < area.y.high <= 1
            assert area.y.low <= level <= area.y.high


class TestHistogram:
    def test_the_mouse_moves_the_line(self, make: Any, qtbot: QtBot) -> None:
        chart = make(HistogramChart)
        emitted: list[float] = []
        chart.threshold_changed.connect(emitted.append)
        area = chart.area()
        point = area.at(0.7, 10).toPoint()
        qtbot.mousePress(chart, Qt.MouseButton.LeftButton, pos=point)
        assert chart.threshold() == pytest.approx(0.7, abs=0.006)
        qtbot.mouseMove(chart, area.at(0.4, 10).toPoint())
        qtbot.waitUntil(lambda: chart.threshold() < 0.45)
        qtbot.mouseRelease(chart, Qt.MouseButton.LeftButton, pos=point)
        assert chart.threshold() == pytest.approx(0.4, abs=0.006)
        assert emitted[0] == pytest.approx(0.7, abs=0.006)
        assert emitted[-1] == chart.threshold()
        n_emitted = len(emitted)
        qtbot.mousePress(chart, Qt.MouseButton.RightButton, pos=point)
        qtbot.mouseMove(chart, area.at(0.2, 10).toPoint())
        qtbot.wait(20)
        assert len(emitted) == n_emitted
        # Let go of what is pressed: Qt's test library remembers it into the next test.
        qtbot.mouseRelease(chart, Qt.MouseButton.RightButton, pos=point)
        qtbot.mousePress(chart, Qt.MouseButton.LeftButton, pos=QPoint(0, 100))
        assert chart.threshold() == 0.01
        qtbot.mouseRelease(chart, Qt.MouseButton.LeftButton, pos=QPoint(0, 100))

    def test_keys_move_it_and_others_are_the_parents(self, qtbot: QtBot) -> None:
        class Parent(QWidget):
            keys: list[int]

            def keyPressEvent(self, event: Any) -> None:
                self.keys.append(event.key())

        parent = Parent()
        parent.keys = []
        qtbot.addWidget(parent)
        chart = HistogramChart(parent)
        chart.set_value(P)
        parent.show()
        expected = {
            KEY.Key_Right: 0.51,
            KEY.Key_Up: 0.52,
            KEY.Key_Left: 0.51,
            KEY.Key_Down: 0.5,
            KEY.Key_PageUp: 0.6,
            KEY.Key_PageDown: 0.5,
            KEY.Key_End: 0.99,
            KEY.Key_Home: 0.01,
        }
        for key, threshold in expected.items():
            qtbot.keyClick(chart, key)
            assert chart.threshold() == threshold
        assert parent.keys == []
        qtbot.keyClick(chart, KEY.Key_N)
        assert parent.keys == [KEY.Key_N]
        chart.set_value(np.empty(0))
        qtbot.keyClick(chart, KEY.Key_End)
        assert chart.threshold() == 0.01
        assert parent.keys[-1] == KEY.Key_End

    def test_setting_tells_only_of_changes(self, make: Any, qtbot: QtBot) -> None:
        chart = make(HistogramChart)
        with qtbot.waitSignal(chart.threshold_changed) as signal:
            chart.set_threshold(0.333)
        assert signal.args == [0.33]
        with qtbot.assertNotEmitted(chart.threshold_changed):
            chart.set_threshold(0.331)
            chart.set_value(P[:100])
        chart.set_threshold(7)
        assert chart.threshold() == 0.99

    def test_bars_count_cells_and_leave_out_those_not_judged(self, make: Any) -> None:
        p = np.array([0.005, 0.01, 0.5, 0.51, 1.0, np.nan], np.float32)
        chart = make(HistogramChart, p)
        area = chart.area()
        assert chart.describe_at(area.at(0.01, 2)).startswith("2 cells with score 0.00")
        assert chart.describe_at(area.at(0.51, 2)).startswith("2 cells with score 0.50")
        assert chart.describe_at(area.at(0.99, 2)).startswith("1 cell with score 0.98")
        assert chart.describe_at(QPointF(1, 1)) == ""
        assert not make(HistogramChart, np.array([np.nan])).has_data()

    def test_each_side_has_its_colour(self, make: Any) -> None:
        chart = make(HistogramChart, np.linspace(0, 1, 1000))
        shares = []
        for threshold in (0.1, 0.9):
            chart.set_threshold(threshold)
            found = colours(chart)
            normal, abnormal = found[NORMAL_COLOUR], found[ABNORMAL_COLOUR]
            shares.append(abnormal / (normal + abnormal))
        assert shares[0] > 0.8
        assert shares[1] < 0.2

    def test_moving_the_threshold_does_not_count_all_cells_into_bins_again(
        self, make: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        chart = make(HistogramChart, np.random.default_rng(0).random(100_000, np.float32))
        monkeypatch.setattr(np, "histogram", pytest.fail)
        for threshold in (0.2, 0.3, 0.4, 0.5, 0.6):
            chart.set_threshold(threshold)
            chart.grab()


class TestAxes:
    def test_ticks_are_round_and_within(self) -> None:
        assert [text for _, text in even_ticks(0.7, 1.0)] == ["0.7", "0.8", "0.9", "1.0"]
        for low, high in ((0.7, 1.0), (0.0, 1.0), (0.93, 1.0), (0.0, 0.05), (3.0, 700.0)):
            ticks = even_ticks(low, high)
            assert 2 <= len(ticks) <= 7
            assert all(low - 1e-9 <= value <= high + 1e-9 for value, _ in ticks)
            assert all(float(text) == pytest.approx(value) for value, text in ticks)
        assert power_ticks(1200) == ((1, "1"), (10, "10"), (100, "100"), (1000, "1,000"))

    @pytest.mark.parametrize("is_log", [False, True])
    def test_value_undoes_share(self, is_log: bool) -> None:
        axis = Axis(title="t", low=2.0, high=50.0, ticks=(), is_log=is_log)
        assert (axis.share(2.0), axis.share(50.0)) == pytest.approx((0, 1))
        assert axis.share(10.0) == pytest.approx(0.5 if is_log else 1 / 6)
        assert axis.value(axis.share(13.0)) == pytest.approx(13.0)
