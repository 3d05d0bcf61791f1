"""Training an encoder from the encoder panel: started, watched, paused, cancelled, used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from qtpy.QtWidgets import QComboBox, QPushButton, QSpinBox

from napari_hcs_qc.encoders.custom_encoder import read_custom_encoder
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.gui.session.job_bar import JobBar
from napari_hcs_qc.gui.train.encoder_dock import EncoderDock
from napari_hcs_qc.gui.train.encoder_table import EncoderTable
from napari_hcs_qc.gui.widgets.wrapped_label import WrappedLabel
from napari_hcs_qc.study.gui.training_view import LossChart, NeighboursView
from napari_hcs_qc.study.ssl.pretrain_assay import CHECKPOINT
from napari_hcs_qc.study.ssl.pretrain_settings import PretrainOptions
from napari_hcs_qc.study.ssl.training_state import Neighbours

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot
    from tests.gui.conftest import Desk

SMALL = PretrainOptions(method="swav", changes={"epochs": 2}, n_cells=24, input_px=32)


@pytest.fixture
def dock(desk: Desk, assay_path: Path, qtbot: QtBot) -> EncoderDock:
    made = EncoderDock(desk.viewer)
    qtbot.addWidget(made)
    desk.open(assay_path)
    made.pretraining.set_value(SMALL)
    return made


def button(dock: EncoderDock, words: str) -> QPushButton:
    [found] = [one for one in dock.findChildren(QPushButton) if one.text().startswith(words)]
    return found


def texts(dock: EncoderDock) -> str:
    return "\n".join(one.text() for one in dock.pretraining.findChildren(WrappedLabel))


def test_an_encoder_is_trained_listed_and_used(
    dock: EncoderDock, desk: Desk, assay_path: Path, qtbot: QtBot
) -> None:
    assert dock.pretraining.value() == SMALL
    assert "24 of" in texts(dock) and "1 step per epoch" in texts(dock)
    assert "Not better than an untrained network on BBBC022" in texts(dock)  # of swav
    button(dock, "Train encoder").click()
    assert not button(dock, "Train encoder").isEnabled()
    assert not any(box.isEnabled() for box in dock.pretraining.findChildren(QSpinBox))
    desk.idle()
    assert desk.errors() == []
    assert button(dock, "Train encoder").isEnabled()
    own = read_custom_encoder(assay_path / "encoders" / "swav")
    assert own.manifest["method"] == "swav" and own.manifest["input_px"] == 32
    assert len(dock.findChild(LossChart).value()) == 2
    shown = dock.findChild(NeighboursView).value()
    assert shown is not None and shown.crops.shape[-2:] == (32, 32)
    assert "Epoch 2 of 2" in texts(dock)
    # It is in the list now, is chosen there, and embeds the plate.
    table = dock.findChild(EncoderTable)
    table.set_value("swav")
    assert table.value() == "swav"
    table.value_changed.emit("swav")
    assert (
        desk.session.options.value().encoder == "swav"
        and desk.session.options.value().weights is None
    )
    dock.compute()
    desk.idle()
    assert desk.errors() == []
    rows = desk.session.models.embeddings
    assert rows is not None and np.isfinite(rows).all()
    assert any("● Embedded" in one.text() for one in dock.findChildren(WrappedLabel))
    starts = [
        box.itemData(i)
        for box in dock.pretraining.findChildren(QComboBox)
        for i in range(box.count())
    ]
    assert "swav" in starts and "efficientnet-lite0" in starts


def test_a_training_is_paused_cancelled_and_goes_on(
    dock: EncoderDock, desk: Desk, assay_path: Path, qtbot: QtBot
) -> None:
    many = PretrainOptions(method="simclr", changes={"epochs": 500}, n_cells=24, input_px=32)
    dock.pretraining.set_value(many)
    button(dock, "Train encoder").click()
    job = desk.session.jobs.newest("pretrain")
    assert job is not None
    qtbot.waitUntil(lambda: job.last_progress[0] >= 2, timeout=60_000)
    button(dock, "Pause").click()
    assert button(dock, "Resume").isChecked()
    qtbot.wait(300)  # the step that was running
    before = job.last_progress[0]
    qtbot.wait(600)
    assert job.last_progress[0] == before
    button(dock, "Resume").click()
    qtbot.waitUntil(lambda: job.last_progress[0] > before, timeout=60_000)
    job.cancel()
    desk.idle()
    assert "cancelled" in dock.pretraining.findChild(JobBar).value()
    assert button(dock, "Train encoder").isEnabled()
    assert (assay_path / "encoders" / "simclr" / CHECKPOINT).is_file()
    # The same again goes on from there.
    button(dock, "Train encoder").click()
    again = desk.session.jobs.newest("pretrain")
    assert again is not None
    qtbot.waitUntil(lambda: again.last_progress[0] > before, timeout=60_000)
    again.cancel()
    desk.idle()
    assert desk.errors() == []


def test_what_goes_wrong_is_told(dock: EncoderDock, desk: Desk) -> None:
    dock.pretraining.set_value(PretrainOptions(n_cells=24, name="not/a name", input_px=32))
    button(dock, "Train encoder").click()
    desk.idle()
    assert any("not/a name" in text for text in desk.errors())
    assert "failed" in dock.pretraining.findChild(JobBar).value()


def test_few_cells_are_warned_of_before(dock: EncoderDock) -> None:
    assert "▲" in texts(dock)


def test_a_loss_chart_leaves_out_what_is_no_number(qtbot: QtBot) -> None:
    chart = LossChart()
    qtbot.addWidget(chart)
    chart.set_value([[1, 2.0], [2, np.nan], [3, 1.0]], 10)
    assert chart.value().tolist() == [[1, 2.0], [3, 1.0]]
    assert chart.has_data()
    chart.set_value([[1, 2.0]], 10)
    assert not chart.has_data()
    with pytest.raises(HcsQcError, match=r"\(n, 2\)"):
        chart.set_value([1.0, 2.0], 10)


@pytest.mark.parametrize("n_channels", [1, 3])
def test_neighbours_are_shown_row_by_row(qtbot: QtBot, n_channels: int) -> None:
    view = NeighboursView()
    qtbot.addWidget(view)
    crops = np.linspace(0, 1, 2 * 4 * n_channels * 64, dtype=np.float32)
    found = Neighbours(crops.reshape(2, 4, n_channels, 8, 8), np.full((2, 4), 0.5, np.float32))
    view.set_value(found)
    tips = [one.toolTip() for one in view.findChildren(type(view.children()[-1]))]
    assert sum("Rank" in tip for tip in tips) == 2 * 3
    view.set_value(None)
    assert view.value() is None
