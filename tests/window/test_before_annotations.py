"""A plate in a real window before its first annotation, and ten suggested ones later."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from qtpy.QtWidgets import QPushButton
from tests.gui.session.test_first_classification import SPEC
from tests.window.test_workflow import Truth, colours

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
    first = person.session.models
    assert first.model.manifest.is_before_annotations
    assert "Before any annotation" in person.panel(TRAIN).figures.text()
    p_abnormal = first.scored.prediction.table["p_abnormal"].to_numpy()
    assert np.isfinite(p_abnormal).all()
    before = colours(person).copy()

    # The gallery shows what has the highest scores, which are the abnormal cells.
    gallery = person.panel(ANNOTATE).gallery
    assert gallery.view.cells()[0] == int(np.argmax(p_abnormal))

    person.panel(ANNOTATE)
    person.press(SUGGEST)
    for _ in range(10):
        person.idle()
        [target] = person.session.target.cells
        row = target.cell
        cells = person.session.selection.state.plate_cells.cells
        cls = truth.of(cells.iloc[[row]])[0] or "abnormal"
        person.press("N" if cls == "normal" else "A")
    annotated = person.session.annotations.cache.table
    assert len(annotated) == 10
    assert set(annotated["class"]) == {"normal", "abnormal"}
    person.session.tasks
    del before
