"""Events that PyQt gives in the wrapper of another are taken for what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import qtpy
from qtpy.QtCore import QEvent, QObject, QPoint, Qt
from qtpy.QtGui import QHelpEvent, QKeyEvent
from qtpy.QtWidgets import QToolTip, QWidget

from napari_hcs_qc.gui.canvas.overlay_dock import _Keys
from napari_hcs_qc.gui.canvas.overlay_dock import _slider as decimal_slider
from napari_hcs_qc.gui.gallery.gallery_panel import GalleryPanel
from napari_hcs_qc.gui.gallery.gallery_view import GalleryView
from napari_hcs_qc.gui.keys.key_actions import KeyActions, _CanvasKeys
from napari_hcs_qc.gui.widgets.charts import HistogramChart
from napari_hcs_qc.gui.widgets.events import as_event

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not qtpy.PYQT6, reason="what PyQt does")


def in_wrapper_of_another(event: QEvent) -> Any:
    """Give an event as PyQt does while what was at its address before is kept."""
    from qtpy import sip

    wrapper = sip.cast(event, QEvent)
    assert not hasattr(wrapper, "text") and not hasattr(wrapper, "pos")
    return wrapper


def key(name: str) -> QKeyEvent:
    held, text = Qt.KeyboardModifier.NoModifier, name.lower() if len(name) == 1 else ""
    return QKeyEvent(QEvent.Type.KeyPress, getattr(Qt.Key, f"Key_{name}"), held, text)


def given(filters: type[QObject], owner: QObject, watched: QWidget, event: QEvent) -> bool:
    """Whether an event filter that an object has installed takes an event."""
    (ours,) = owner.findChildren(filters)
    return bool(ours.eventFilter(watched, in_wrapper_of_another(event)))


def test_a_key_is_one_in_any_wrapper() -> None:
    event = key("N")
    assert as_event(event, QKeyEvent) is event
    assert as_event(in_wrapper_of_another(event), QKeyEvent).text() == "n"


def test_a_key_on_the_canvas_annotates(desk: Any, assay_path: Path) -> None:
    desk.open(assay_path)
    desk.point_at(0)
    actions = KeyActions.of(desk.workspace)
    canvas = QWidget()
    desk.qtbot.addWidget(canvas)
    actions.watch_canvas(canvas)
    before = desk.annotation_of(0)
    assert given(_CanvasKeys, actions, canvas, key("A" if before != "abnormal" else "N"))
    assert desk.annotation_of(0) not in (None, before)


def test_a_key_in_the_gallery_panel_is_taken(desk: Any, assay_path: Path) -> None:
    desk.open(assay_path)
    panel = GalleryPanel(desk.workspace)
    desk.qtbot.addWidget(panel)
    assert panel.eventFilter(panel.view, in_wrapper_of_another(key("A")))
    assert not panel.eventFilter(panel.view, in_wrapper_of_another(key("Z")))


def test_a_key_on_a_slider_moves_it(qtbot: Any) -> None:
    slider = decimal_slider(0.0, 1.0, "")
    qtbot.addWidget(slider)
    slider.setValue(0.5)
    assert given(_Keys, slider, slider, key("Right"))
    assert slider.value() == pytest.approx(0.51)


def test_keys_of_the_gallery(qtbot: Any) -> None:
    view = GalleryView()
    qtbot.addWidget(view)
    view.set_cells(np.arange(5))
    held = Qt.KeyboardModifier.ControlModifier
    override = QKeyEvent(QEvent.Type.ShortcutOverride, Qt.Key.Key_A, held)
    override.setAccepted(False)
    assert view.event(in_wrapper_of_another(override))
    assert override.isAccepted()


def test_a_tooltip(qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    emitted: list[str] = []
    monkeypatch.setattr(QToolTip, "showText", lambda _at, text, *_: emitted.append(text))
    chart = HistogramChart()
    qtbot.addWidget(chart)
    chart.resize(400, 300)
    chart.set_value(np.linspace(0, 1, 100))
    point = QPoint(200, 150)
    event = QHelpEvent(QEvent.Type.ToolTip, point, chart.mapToGlobal(point))
    assert chart.event(in_wrapper_of_another(event))
    assert len(emitted) == 1
