"""A panel whose dock was closed is not called any more, whatever goes on in its viewer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

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


def test_what_closed_panels_have_begun_ends_without_them(desk: Any, assay_path: Path) -> None:
    session = desk.session
    desk.open(assay_path)
    panels = {kind: kind(desk.viewer) for kind in _PANELS}
    for panel in panels.values():
        panel.show()
    session.selection.step(1)
    desk.training.retrain()
    panels[EncoderDock].measure()
    gallery = panels[AnnotateDock].gallery
    gallery.sort()
    gallery.select_next_open()  # goes on to the next after a key
    for panel in panels.values():
        delete(panel)
    # Exceptions in slots fail the test: pytest-qt looks for them.
    desk.idle()
    session.message.emit("info", "Something.")
    session.target.annotate("abnormal")
    session.target.select(())
    desk.point_at(0)
    assert session.target.annotate("abnormal")
    session.options.set_value(replace(session.options.value(), head="knn"))
    session.annotations.is_blind = True
    session.annotations.is_blind = False
    session.models.set_threshold(0.4)
    desk.view.look_changed.emit()
    keys = KeyActions.of(desk.workspace)
    keys.similar_requested.emit()
    keys.site_requested.emit()
    keys.changed.emit()
    desk.idle()
    assert not desk.errors()
