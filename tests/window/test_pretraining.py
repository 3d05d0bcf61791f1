"""An encoder is trained on the plate's own cells in a real window, from start to overlay."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QPushButton, QSpinBox

from napari_hcs_qc.gui.train.encoder_table import EncoderTable
from napari_hcs_qc.gui.widgets.palette import ABNORMAL_COLOUR, NORMAL_COLOUR, rgba
from napari_hcs_qc.gui.window.desk import ENCODER, OVERLAY
from napari_hcs_qc.study.gui.training_view import LossChart
from napari_hcs_qc.study.simulation.synthetic import sample_spec, simulate_plate
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.window.conftest import Person

pytestmark = [pytest.mark.window, pytest.mark.timeout(900)]

PICTURES = os.environ.get("HCS_QC_PICTURES")
_WELLS = ("B04", "B07", "C06", "D06", "E07")


def test_from_unlabelled_cells_to_the_overlay(
    sit_down: Callable[[], Person], tmp_path: Path
) -> None:
    few = sample_spec().with_changes(wells=_WELLS, sites_per_well=1, channels=("DNA", "Actin"))
    made = simulate_plate(tmp_path / "made", few)
    assay, _ = steps.new(tmp_path / "assay", [steps.PlateSource(made.plate_dir)])
    steps.annotate(assay, made.labels, "simulation")
    steps.cells(assay)
    person = sit_down()
    person.session.open(assay.path)
    person.until(lambda: person.view.cells is not None, 300)
    person.idle()

    dock = person.panel(ENCODER)
    panel = dock.pretraining
    person.scroll_to(panel)
    person.choose(panel.findChildren(QComboBox)[0], "VICReg")
    epochs, _cells, side = panel.findChildren(QSpinBox)
    epochs.setValue(6 if PICTURES else 3)
    side.setValue(48 if PICTURES else 32)
    person.click(person.button(panel, QPushButton, "Train encoder"))
    person.until(lambda: (assay.path / "encoders" / "vicreg" / "encoder.json").is_file(), 800)
    person.idle()
    assert person.errors() == []
    assert panel.findChild(LossChart).has_data()
    person.scroll_to(panel.findChild(LossChart))
    person.picture("desk-encoder")

    table = dock.findChild(EncoderTable)
    person.scroll_to(table)
    (line,) = table.findItems("vicreg", Qt.MatchFlag.MatchExactly | Qt.MatchFlag.MatchRecursive, 0)
    person.click(table.viewport(), table.visualItemRect(line).center())
    assert table.value() == "vicreg"
    person.press("Ctrl+Shift+R")
    person.until(lambda: person.session.models.scored is not None, 240)
    person.idle()
    assert person.errors() == []
    assert person.session.models.model.encoder.name == "vicreg"
    person.panel(OVERLAY)
    person.go_to("B07", 1)
    cells = person.view.cells
    is_abnormal = cells.p_abnormal >= person.session.models.threshold
    shown = np.asarray(person.view.cell_layer.border_color)
    for chosen, colour in ((is_abnormal, ABNORMAL_COLOUR), (~is_abnormal, NORMAL_COLOUR)):
        # Cells that the border cuts are dimmed: the colour counts.
        np.testing.assert_allclose(shown[chosen, :3], np.tile(rgba(colour)[:3], (chosen.sum(), 1)))
