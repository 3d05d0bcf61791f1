from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.qc.export.export_tables import (
    CELL_TABLE,
    ExportOptions,
    ExportPlate,
    cell_table,
    site_outliers,
    site_table,
    well_outliers,
    well_table,
)

UNREVIEWED = ExportOptions(exclude_unreviewed=True)


def said(scored: ExportPlate, *verdicts: tuple[str, int | None, str | None]) -> ExportPlate:
    table = pd.DataFrame(
        {
            "well": [well for well, _, _ in verdicts],
            "site": pd.array([site for _, site, _ in verdicts], dtype="Int64"),
            "verdict": [verdict for _, _, verdict in verdicts],
            "note": None,
        }
    )
    return replace(scored, verdicts=table)


def out(found: dict[Any, bool]) -> list[Any]:
    return [key for key, is_out in found.items() if is_out]


def test_the_columns_are_those_promised(scored: ExportPlate) -> None:
    assert list(cell_table(scored, ExportOptions()).columns) == [
        "Metadata_Plate",
        "Metadata_Well",
        "Metadata_Site",
        "Metadata_ObjectNumber",
        "cell_id",
        "y_px",
        "x_px",
        "is_cut",
        "p_abnormal",
        "predicted_class",
        "predicted_kind",
        "novelty",
        "annotated_class",
        "annotated_kind",
        "Metadata_cqc_cell_is_outlier",
        "Metadata_cqc_site_is_outlier",
        "Metadata_cqc_well_is_outlier",
    ]
    estimated = ["share_estimated", "share_estimated_low", "share_estimated_high"]
    ends = ["is_flagged", "flag_reason", "compared_with", "verdict"]
    assert list(well_table(scored).columns) == [
        "Metadata_Plate",
        "Metadata_Well",
        "n_sites",
        "n_cells",
        "n_cut",
        "share_abnormal",
        *estimated,
        *ends,
        "Metadata_cqc_well_is_outlier",
    ]
    assert list(site_table(scored).columns) == [
        "Metadata_Plate",
        "Metadata_Well",
        "Metadata_Site",
        "n_cells",
        "n_cut",
        "share_abnormal",
        *ends,
        "Metadata_cqc_site_is_outlier",
        "Metadata_cqc_well_is_outlier",
    ]


def test_only_flags_never_scores_go_under_the_prefix_that_drops_rows(scored: ExportPlate) -> None:
    table = cell_table(scored, ExportOptions())
    prefixed = [name for name in table if name.startswith("Metadata_cqc")]
    assert len(prefixed) == 3
    assert all(table[name].dtype == bool for name in prefixed)


def test_a_cell_is_out_when_abnormal_and_the_annotation_decides(scored: ExportPlate) -> None:
    scored.predictions.loc[0, "annotated_class"] = "abnormal"
    b01 = scored.cells.index[scored.cells["well"] == "B01"]
    scored.predictions.loc[b01[0], "annotated_class"] = "normal"
    scored.predictions.loc[b01[1], "annotated_class"] = "unsure"
    scored.predictions.loc[b01[2], ["p_abnormal", "predicted_class"]] = [np.nan, None]
    table = cell_table(scored, ExportOptions())
    is_out = table["Metadata_cqc_cell_is_outlier"]
    assert is_out[0]
    assert not is_out[b01[0]]
    assert is_out[b01[1]]
    assert not is_out[b01[2]]
    assert is_out.sum() == 1 + 60 - 2
    kept = cell_table(scored, ExportOptions(keep_kinds=("dead",)))
    assert list(np.flatnonzero(kept["Metadata_cqc_cell_is_outlier"])) == [0]


def test_a_cut_cell_is_out_only_when_a_person_says_so(scored: ExportPlate) -> None:
    b01 = scored.cells.index[scored.cells["well"] == "B01"]
    scored.cells.loc[b01[:3], "is_cut"] = True
    scored.predictions.loc[b01[0], "annotated_class"] = "abnormal"
    scored.predictions.loc[b01[1], "annotated_class"] = "unsure"
    is_out = cell_table(scored, ExportOptions())["Metadata_cqc_cell_is_outlier"]
    assert is_out[b01[:4]].tolist() == [True, False, False, True]
    included = cell_table(replace(scored, include_cut=True), ExportOptions())
    assert included["Metadata_cqc_cell_is_outlier"][b01[:4]].all()


def test_a_flag_alone_excludes_nothing(scored: ExportPlate) -> None:
    assert scored.wells["is_flagged"].sum() == 3
    table = cell_table(scored, ExportOptions())
    assert not table["Metadata_cqc_well_is_outlier"].any()
    assert not table["Metadata_cqc_site_is_outlier"].any()


def test_an_unreviewed_flag_excludes_when_asked_to(scored: ExportPlate) -> None:
    assert out(well_outliers(scored, UNREVIEWED)) == ["A01", "B01", "B04"]
    assert out(site_outliers(scored, UNREVIEWED)) == [
        ("A01", 2),
        ("B01", 1),
        ("B01", 2),
        ("B04", 1),
    ]


@pytest.mark.parametrize("options", [ExportOptions(), UNREVIEWED])
def test_a_kept_well_is_never_out_nor_are_its_sites(
    scored: ExportPlate, options: ExportOptions
) -> None:
    kept = said(scored, ("A01", None, "keep"), ("B01", None, "keep"), ("B04", None, "keep"))
    assert out(well_outliers(kept, options)) == []
    assert out(site_outliers(kept, options)) == []


def test_an_exclude_verdict_excludes_flagged_or_not(scored: ExportPlate) -> None:
    scored = said(scored, ("A02", None, "exclude"), ("A03", 2, "exclude"))
    assert out(well_outliers(scored, ExportOptions())) == ["A02"]
    assert out(site_outliers(scored, ExportOptions())) == [("A03", 2)]
    table = cell_table(scored, ExportOptions())
    well = table.loc[table["Metadata_cqc_well_is_outlier"]]
    assert set(well["Metadata_Well"]) == {"A02"}
    assert len(well) == 80
    site = table.loc[table["Metadata_cqc_site_is_outlier"]]
    assert set(zip(site["Metadata_Well"], site["Metadata_Site"], strict=True)) == {("A03", 2)}


def test_look_again_decides_nothing(scored: ExportPlate) -> None:
    scored = said(scored, ("B01", None, "look again"))
    assert "B01" not in out(well_outliers(scored, ExportOptions()))
    assert "B01" in out(well_outliers(scored, UNREVIEWED))


def test_a_well_flagged_by_a_site_is_reviewed_with_that_site(scored: ExportPlate) -> None:
    excluded = said(scored, ("A01", 2, "exclude"))
    assert "A01" not in out(well_outliers(excluded, UNREVIEWED))
    assert ("A01", 2) in out(site_outliers(excluded, UNREVIEWED))
    kept = said(scored, ("A01", 2, "keep"), ("B01", 1, "keep"), ("B01", 2, "keep"))
    assert ("A01", 2) not in out(site_outliers(kept, UNREVIEWED))
    # B01 is flagged for its cells together: the word on its sites is not one on the well.
    assert out(well_outliers(kept, UNREVIEWED)) == ["B01", "B04"]


def test_the_last_verdict_counts_and_can_be_taken_back(scored: ExportPlate) -> None:
    changed = said(scored, ("A02", None, "exclude"), ("A02", None, "keep"))
    assert out(well_outliers(changed, ExportOptions())) == []
    taken_back = said(scored, ("A02", None, "exclude"), ("A02", None, None))
    assert out(well_outliers(taken_back, ExportOptions())) == []


def test_verdicts_of_other_plates_do_not_count(scored: ExportPlate) -> None:
    scored = said(scored, ("A02", None, "exclude"), ("A03", None, "exclude"))
    table = scored.verdicts.assign(plate=["another", scored.name])
    assert out(well_outliers(replace(scored, verdicts=table), ExportOptions())) == ["A03"]


def test_a_verdict_of_another_word_is_refused(scored: ExportPlate) -> None:
    with pytest.raises(HcsQcError, match="'drop'"):
        well_table(said(scored, ("A02", None, "drop")))


def test_verdicts_stand_in_the_tables(scored: ExportPlate) -> None:
    scored = said(scored, ("A02", None, "exclude"), ("A03", 2, "keep"))
    wells = well_table(scored).set_index("Metadata_Well")["verdict"]
    assert wells.dropna().to_dict() == {"A02": "exclude"}
    sites = site_table(scored).set_index(["Metadata_Well", "Metadata_Site"])["verdict"]
    assert sites.dropna().to_dict() == {("A03", 2): "keep"}


def test_the_number_of_an_imported_cell_is_its_object_number_only(scored: ExportPlate) -> None:
    scored.cells.loc[5, "object_number"] = 77
    table = cell_table(scored, ExportOptions())
    assert table["Metadata_ObjectNumber"].dropna().to_dict() == {5: 77}
    assert table["cell_id"].isna().sum() == 1
    assert table["cell_id"][6] == 6
    assert {name: str(table[name].dtype) for name in ("cell_id", "Metadata_ObjectNumber")} == {
        "cell_id": "Int64",
        "Metadata_ObjectNumber": "Int64",
    }


def test_a_slice_is_that_part_of_the_table(scored: ExportPlate) -> None:
    whole = cell_table(scored, UNREVIEWED)
    part = cell_table(scored, UNREVIEWED, slice(100, 140))
    pd.testing.assert_frame_equal(part, whole.iloc[100:140].reset_index(drop=True))


def test_an_unreadable_site_has_no_number_of_cells(scored: ExportPlate) -> None:
    sites = site_table(scored).set_index(["Metadata_Well", "Metadata_Site"])
    assert pd.isna(sites.loc[("B04", 1), "n_cells"])
    assert sites.loc[("A01", 2), "n_cells"] == 0
    assert sites.loc[("B04", 1), "flag_reason"].startswith("could not be read")


def test_parts_of_different_length_are_refused(scored: ExportPlate) -> None:
    with pytest.raises(HcsQcError, match="3 predictions"):
        replace(scored, predictions=scored.predictions.iloc[:3])
    assert scored.embeddings is not None
    with pytest.raises(HcsQcError, match="4 embeddings"):
        replace(scored, embeddings=scored.embeddings[:4])


def test_dtypes(scored: ExportPlate) -> None:
    table = cell_table(scored, ExportOptions())
    expected = {name: {"str": "object"}.get(dtype, dtype) for name, dtype in CELL_TABLE.items()}
    assert {name: str(dtype) for name, dtype in table.dtypes.items()} == expected
