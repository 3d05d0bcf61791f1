from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd

from napari_hcs_qc.assay.store.figures import Figures, LabelIssueRecord
from napari_hcs_qc.assay.store.model_manifest import TrainingCell
from napari_hcs_qc.assay.views.label_issues_list import label_issues
from napari_hcs_qc.plates.plate import SiteKey

CELLS = (
    TrainingCell("P", "A01", 1, 10.0, 20.0, "normal", None),
    TrainingCell("P", "A02", 2, 11.13, 21.5, "abnormal", "blur"),
    TrainingCell("P", "A03", 1, 12.0, 22.0, "normal", None),
)


def manifest_with(figures: Figures | None) -> Any:
    """Stand in for a manifest: only its cells and figures are used."""
    return SimpleNamespace(training_cells=CELLS, cross_validation=figures)


MANIFEST = manifest_with(
    Figures(
        sentence="",
        label_issues=(
            LabelIssueRecord(cell=1, p_abnormal=0.02),
            LabelIssueRecord(cell=0, p_abnormal=0.7),
        ),
    )
)


def said(*rows: tuple[Any, ...]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["plate", "well", "site", "y_px", "x_px", "class"])


def test_they_are_named_the_most_doubtful_first() -> None:
    first, second = label_issues(MANIFEST)
    assert (first.site, first.y_px, first.x_px, first.cls) == (
        SiteKey("A02", 2),
        11.13,
        21.5,
        "abnormal",
    )
    assert str(second) == "P A01 s1: annotated normal, abnormal score 0.70 by the other wells"


def test_what_was_changed_or_taken_back_since_is_left_out() -> None:
    now = said(("P", "A01", 1, 10.0, 20.0, "abnormal"), ("P", "A02", 2, 11.1251, 21.5, "abnormal"))
    assert [issue.site.well for issue in label_issues(MANIFEST, now)] == ["A02"]
    assert label_issues(MANIFEST, said()) == ()


def test_a_model_without_figures_doubts_nothing() -> None:
    assert label_issues(manifest_with(None)) == ()
    assert label_issues(manifest_with(Figures(sentence=""))) == ()
