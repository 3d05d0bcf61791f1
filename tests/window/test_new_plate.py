"""From a folder of images to found cells, in a real window, where no stain's name is known."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from qtpy.QtWidgets import QApplication, QDialogButtonBox, QPushButton, QToolButton, QWidget
from tests.gui.conftest import SPEC, trained_folder

from napari_hcs_qc.gui.plate.new_assay_dialog import NewAssayDialog
from napari_hcs_qc.gui.plate.plate_opening import ask_for_plate
from napari_hcs_qc.gui.window.desk import PLATE
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.window.conftest import Person

pytestmark = [pytest.mark.window, pytest.mark.timeout(600)]


def test_a_plate_of_unknown_stains_is_looked_at_before_its_cells_are_found(
    sit_down: Callable[[], Person], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = trained_folder(tmp_path_factory) / "made" / SPEC.name
    (tmp_path / "plain").mkdir()
    for path in made.glob("*.tif"):
        _, well, site, channel = path.stem.split("_")
        # Nuclei are in the second.
        stain = {"w1": "RFP", "w2": "GFP"}[channel]
        shutil.copy(path, tmp_path / "plain" / f"{well}_f{site[1:]}_{stain}.tif")
    person = sit_down()
    dialog = ask_for_plate(person.session, tmp_path / "plain", person.panel(PLATE))
    ok = dialog.findChild(QDialogButtonBox).button(QDialogButtonBox.StandardButton.Ok)
    person.until(lambda: dialog.findChild(QToolButton, "channel RFP") is not None)
    person.write(dialog.findChild(QWidget, "folder"), str(tmp_path / "assay"))
    assert not ok.isEnabled()
    person.picture("new-assay")
    person.click(dialog.findChild(QToolButton, "channel RFP"))
    assert ok.isEnabled()
    person.click(ok)
    person.until(lambda: person.session.selection.plate is not None)
    person.idle()
    assert not any(isinstance(w, NewAssayDialog) for w in QApplication.topLevelWidgets())
    person.click(person.button(person.panel(PLATE), QPushButton, "Find cells"))
    person.until(lambda: person.view.cells is not None, 120)
    person.idle()
    assert person.session.selection.state.plate_cells.channel == "RFP"
    n_nuclei = len(person.session.selection.state.plate_cells.cells)
    right = steps.new(tmp_path / "right", [steps.PlateSource(made)])[0]
    assert n_nuclei == len(steps.cells(right)[SPEC.name].cells)
    assert person.errors() == []
