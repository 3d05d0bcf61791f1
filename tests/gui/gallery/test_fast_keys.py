"""Ten keys a second: none is lost, whatever the window and its jobs are doing."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QCoreApplication, QEvent, Qt
from qtpy.QtGui import QKeyEvent

from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.gui.gallery.gallery_panel import GalleryPanel

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot

N_KEYS, PERIOD_S = 30, 0.1
HELD = Qt.KeyboardModifier.NoModifier


def test_no_key_is_lost_while_a_model_is_trained_and_predictions_follow(
    qtbot: QtBot, desk: Any, assay_path: Path
) -> None:
    desk.open(assay_path)
    desk.session.annotations.annotator = "fast"
    gallery = GalleryPanel(desk.workspace)
    qtbot.addWidget(gallery)
    gallery.resize(500, 500)
    gallery.show()
    desk.idle()
    assert gallery.select_next_open()
    view = gallery.view
    keys = [(Qt.Key.Key_N, "n"), (Qt.Key.Key_A, "a")]
    is_over = threading.Event()

    def type_keys() -> None:
        """As a keyboard does: it does not wait until the last key was handled."""
        for turn in range(N_KEYS):
            key, text = keys[turn % 2]
            for kind in (QEvent.Type.KeyPress, QEvent.Type.KeyRelease):
                QCoreApplication.postEvent(view, QKeyEvent(kind, key, HELD, text))
            is_over.wait(PERIOD_S)
        is_over.set()

    desk.training.retrain()
    hand = threading.Thread(target=type_keys)
    hand.start()
    qtbot.waitUntil(is_over.is_set, timeout=120_000)
    hand.join()
    desk.idle()
    table = AssayFolder.open(assay_path).journal().annotations()
    mine = table[table["annotator"] == "fast"].sort_values("at", kind="stable")
    assert len(mine) == N_KEYS
    assert not mine.duplicated(["well", "site", "y_px", "x_px"]).any(), "each on a cell of its own"
    assert mine["class"].tolist() == ["normal", "abnormal"] * (N_KEYS // 2)
    assert not desk.errors()
