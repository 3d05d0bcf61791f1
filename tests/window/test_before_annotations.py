"""A plate in a real window before its first annotation, and ten suggested ones later."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from qtpy.QtWidgets import QLabel, QPushButton
from tests.gui.session.test_first_classification import SPEC
from tests.window.test_workflow import Truth

from napari_hcs_qc.gui.keys.key_names import RETRAIN
from napari_hcs_qc.gui.plate.plate_opening import open_assay_folder
from napari_hcs_qc.gui.window.desk import ANNOTATE, ENCODER, TRAIN
from napari_hcs_qc.study.simulation.synthetic import simulate_plate
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.window.conftest import Person

pytestmark = [pytest.mark.window, pytest.mark.timeout(900)]


def test_a_plate_is_judged_without_a_click_and_follows_ten(
    sit_down: Callable[[], Person], tmp_path: Path
) -> None:
    made = simulate_plate(tmp_path / "made", SPEC)
    assay, _ = steps.new(tmp_path / "assay", [steps.PlateSource(made.plate_dir)])
    steps.cells(assay)
    truth = Truth(pd.read_parquet(made.plate_dir.parent / "truth_cells.parquet"))
    person = sit_down()
    open_assay_folder(person.session, assay.path)
    person.until(lambda: person.view.cells is not None)
    person.click(person.button(person.panel(ENCODER), QPushButton, "Compute"))
    person.until(lambda: person.session.models.model is not None, 300)
    person.idle()
    first = SimpleNamespace(model=person.session.models.model, scored=person.session.models.scored)
    assert first.model.manifest.is_before_annotations
    shown = [label.text() for label in person.panel(TRAIN).figures.findChildren(QLabel)]
    assert any(text.startswith("Before any annotation") for text in shown)
    p_abnormal = first.scored.prediction.table["p_abnormal"].to_numpy()
    assert np.isfinite(p_abnormal).all()

    # The gallery begins with the highest scores, and the image shows what they are.
    view = person.panel(ANNOTATE).gallery.view
    person.until(lambda: len(view.cells()) == len(p_abnormal))
    assert view.cells()[0] == int(np.argmax(p_abnormal))
    rows = person.view.cells.rows
    np.testing.assert_allclose(person.view.cells.p_abnormal, p_abnormal[rows])
    person.picture("before-annotations")

    # Ten suggested cells, each by the key of what it is; predictions on screen follow.
    person.press("Period")  # `NEXT`
    for _ in range(10):
        person.idle()
        [target] = person.session.target.cells
        cell = person.session.selection.state.plate_cells.cells.iloc[[target.cell]]
        # What was found where no cell was drawn is debris.
        person.press("N" if truth.of(cell)[0] == "normal" else "A")
    person.idle()
    annotated = person.session.annotations.cache.table
    assert len(annotated) == 10
    assert set(annotated["class"]) == {"normal", "abnormal"}
    assert person.session.live.is_active
    rows = person.view.cells.rows
    assert not np.allclose(person.view.cells.p_abnormal, p_abnormal[rows], atol=0.01)

    # And a model is fitted to them beside what was known before.
    person.press(RETRAIN)
    person.until(lambda: person.session.models.model.id == "0002", 240)
    person.idle()
    second = person.session.models
    assert second.model.manifest.prior == first.model.manifest.prior
    assert not second.model.manifest.is_before_annotations
    cells = person.session.selection.state.plate_cells.cells
    known = truth.of(cells)
    p_abnormal = second.scored.prediction.table["p_abnormal"].to_numpy()
    is_right = (p_abnormal >= 0.5) == (known == "abnormal")
    assert is_right[known != ""].mean() > 0.9
    assert person.errors() == []
