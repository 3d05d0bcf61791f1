"""The loop at the desk as the README's animated picture; runs where pictures are asked for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from tests.window.test_workflow import Truth

from napari_hcs_qc.gui.keys.key_names import RETRAIN
from napari_hcs_qc.gui.plate.plate_opening import open_assay_folder
from napari_hcs_qc.gui.review.review_table import ReviewTable
from napari_hcs_qc.gui.window.desk import ANNOTATE, PLATE, REVIEW
from napari_hcs_qc.study.simulation.synthetic import sample_spec, simulate_plate
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.window.conftest import Person

pytestmark = [
    pytest.mark.window,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(
        not os.environ.get("HCS_QC_PICTURES"), reason="draws a picture: HCS_QC_PICTURES=docs"
    ),
]


def test_the_loop_as_an_animated_picture(sit_down: Callable[[], Person], tmp_path: Path) -> None:
    made = simulate_plate(tmp_path / "made", sample_spec())
    truth = Truth(pd.read_parquet(made.plate_dir.parent / "truth_cells.parquet"))
    source = steps.PlateSource(made.plate_dir)
    assay = steps.new(tmp_path / "assay", [source], platemap=made.platemap)[0]
    steps.cells(assay)
    steps.predict_plates(assay)
    film(sit_down(), assay.path, truth)


def film(person: Person, assay: Path, truth: Truth) -> None:
    """Go once round the loop."""
    open_assay_folder(person.session, assay)
    person.until(lambda: person.view.cells is not None, 120)
    person.until(lambda: person.session.models.scored is not None, 600)
    person.idle()
    person.panel(ANNOTATE)
    person.idle()
    person.frame("Open a plate: cells are judged at once. Blue is normal, orange abnormal", 3000)

    person.press("Period")
    for n in range(10):
        person.idle()
        [target] = person.session.target.cells
        cell = person.session.selection.state.plate_cells.cells.iloc[[target.cell]]
        cls = truth.of(cell)[0] or "abnormal"  # what is no simulated cell is debris
        key = cls[0].upper()
        person.frame(f"Click {n + 1} of 10: the program suggests a cell, {key} is {cls}", 1200)
        person.press(key)
    person.idle()
    person.frame("Colours and scores have followed each click", 2400)

    before = person.session.models.model
    person.press(RETRAIN)
    person.until(lambda: person.session.models.model is not before, 600)
    person.idle()
    person.panel(PLATE)
    person.frame("Retrain: the assay's own model classifies every cell, site and well", 2800)

    table = person.panel(REVIEW).findChild(ReviewTable)
    for key, done in (("", ""), ("K", ": kept"), ("X", ": excluded")):
        if key:
            person.press(key, table)
        person.click(table.viewport(), table.visualItemRect(table.item(0, 0)).center())
        person.press("Return", table)
        person.idle()
        person.frame(f"Review the flagged wells, each with its reason{done}", 2400)
    assert person.errors() == []
    person.keep_film("loop")
