"""At the desk, what a rule of another program says is shown as that, and overruled cell by cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_hcs_qc import Assay
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.gui.session.target import cell_id
from napari_hcs_qc.gui.window.guide_dock import STEPS, next_step
from napari_hcs_qc.workflow.model_history import list_models

if TYPE_CHECKING:
    from pathlib import Path


def test_a_rule_is_shown_as_a_rule_and_stays_one(
    desk: Any, assay_path: Path, tmp_path: Path
) -> None:
    table = load_plate(AssayFolder.open(assay_path), "SIM").plate_cells.cells.iloc[:-3]
    is_out = np.arange(len(table)) % 5 == 0
    path = tmp_path / "cqc.csv"
    pd.DataFrame(
        {
            "Metadata_Well": table["well"],
            "Metadata_Site": table["site"],
            "Nuclei_Location_Center_X": table["x_px"],
            "Nuclei_Location_Center_Y": table["y_px"],
            "Metadata_cqc_large_nuclei_is_outlier": is_out,
        }
    ).to_csv(path, index=False)
    Assay.open(assay_path).predict(rule=path)
    desk.open(assay_path)
    session = desk.session
    step, advice = next_step(session)
    assert STEPS[step] == "Review"
    assert "classified by a rule, in cqc.csv" in advice and "in general" not in advice
    in_use = [line for line in list_models(session.assay.folder) if line.is_in_use]
    assert [line.head for line in in_use] == ["rule"]

    before = desk.view.cells
    is_open = np.flatnonzero((before.rows >= 0) & pd.isna(before.annotated_class))
    for index, cls in zip(is_open[:6], ["normal", "abnormal"] * 3, strict=True):
        assert session.annotations.annotate_cells([cell_id(before, index)], cls)
    desk.idle()
    assert not session.live.is_active
    np.testing.assert_array_equal(desk.view.cells.p_abnormal, before.p_abnormal)
    assert [desk.annotation_of(index) for index in is_open[:2]] == ["normal", "abnormal"]
    session.suggestions.show_next()
    desk.idle()
    assert not desk.errors(), desk.messages
