"""A panel whose dock was closed is not called any more, whatever goes on in its viewer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication

from napari_hcs_qc.gui.annotate.annotate_dock import AnnotateDock
from napari_hcs_qc.gui.canvas.overlay_dock import OverlayDock
from napari_hcs_qc.gui.keys.key_actions import KeyActions
from napari_hcs_qc.gui.plate.plate_dock import PlateDock
from napari_hcs_qc.gui.review.review_dock import ReviewDock
from napari_hcs_qc.gui.train.encoder_dock import EncoderDock
from napari_hcs_qc.gui.train.train_dock import TrainDock
from napari_hcs_qc.gui.window.guide_dock import GuideDock
from napari_hcs_qc.study.gui.benchmark_dock import BenchmarkDock

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot

_PANELS = (
    AnnotateDock,
    BenchmarkDock,
    EncoderDock,
    GuideDock,
    OverlayDock,
    PlateDock,
    ReviewDock,
    TrainDock,
)


def delete(widget: Any) -> None:
    """Delete a widget, as Qt does with a dock that was closed."""
    widget.close()
    widget.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


@pytest.mark.parametrize("kind", _PANELS, ids=lambda kind: kind.__name__)
def test_what_a_closed_panel_has_begun_ends_without_it(
    qtbot: QtBot, desk: Any, assay_path: Path, kind: type[Any]
) -> None:
    session = desk.session
    desk.open(assay_path)
    panel = kind(desk.viewer)
    panel.show()
    session.selection.step(1)
    desk.training.retrain()
    if kind is EncoderDock:
        panel.measure()
    if kind is AnnotateDock:
        panel.gallery.sort()
        panel.gallery.select_next_open()  # goes on to the next after a key
    delete(panel)
    # Exceptions in slots fail the test: pytest-qt looks for them.
    desk.idle()
    session.message.emit("info", "Something.")
    session.target.annotate("abnormal")
    session.target.select(())
    desk.point_at(0)
    assert session.target.annotate("abnormal")
    desk.idle()
    options = session.options.value()
    session.options.set_value(replace(options, head="knn"))
    session.annotations.is_blind = True
    session.annotations.is_blind = False
    session.models.set_threshold(0.4)
    desk.workspace.view.look_changed.emit()
    keys = KeyActions.of(desk.workspace)
    keys.similar_requested.emit()
    keys.site_requested.emit()
    desk.training.retrain()
    desk.idle()
    assert not desk.errors()
