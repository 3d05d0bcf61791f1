"""The main job on a real plate of BBBC022, with cells that two people labelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest

from napari_hcs_qc.workflow import steps
from napari_hcs_qc.workflow.training import train

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.realdata


def test_the_defaults_find_the_labelled_artefacts_in_wells_never_seen(
    shared_data: Path, tmp_path: Path
) -> None:
    """As good as asked for: F1 0.945 and AUC 0.98, mean over 5 seeds, grouped by well."""
    plate = steps.PlateSource(shared_data / "bbbc039" / "20585")
    assay, _ = steps.new(tmp_path / "assay", [plate])
    added = steps.annotate(assay, shared_data / "bbbc039" / "labels.csv", "readers")
    assert added.n_new == 300
    steps.cells(assay)
    validation = train(assay).model.manifest.cross_validation
    assert (validation.by, validation.n_cells, len(validation.seeds)) == ("well", 288, 5)
    assert validation.mean["f1_weighted"] >= 0.945
    assert validation.mean["auc"] >= 0.98


@pytest.mark.slow
def test_the_wells_known_to_be_bad_are_flagged_and_few_others(
    shared_data: Path, tmp_path: Path
) -> None:
    steps.run(
        tmp_path / "assay",
        steps.PlateSource(shared_data / "bbbc039" / "20585"),
        shared_data / "bbbc039" / "labels.csv",
        tmp_path / "out",
        annotator="readers",
    )
    wells = pd.read_parquet(tmp_path / "out" / "wells.parquet").set_index("Metadata_Well")
    flagged = wells[wells["is_flagged"]]
    assert {"L10", "E05", "L11", "A12"} <= set(flagged.index)
    assert len(wells) == 91
    assert len(flagged) <= 25
    assert "no nuclei" in flagged.loc["L10", "flag_reason"]
    assert "bright structure" in flagged.loc["E05", "flag_reason"]
    assert "saturated" in flagged.loc["L11", "flag_reason"]
    assert "abnormal" in flagged.loc["A12", "flag_reason"]
