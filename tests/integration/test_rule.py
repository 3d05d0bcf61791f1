"""What coSMicQC's rules say in a table is shown as predictions, overruled, and handed back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from napari_hcs_qc import Assay
from napari_hcs_qc.assay.annotations.annotation import Annotation
from napari_hcs_qc.assay.models.model_in_use import chosen_model
from napari_hcs_qc.assay.scoring.plate_scores import score
from napari_hcs_qc.assay.store.assay_folder import AssayFolder
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.cli import main
from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from pathlib import Path

LARGE, LOW = "cqc.large_nuclei.is_outlier", "cqc.low_formfactor.is_outlier"


def labelled(assay: AssayFolder, path: Path, names: tuple[str, str] = (LARGE, LOW)) -> pd.DataFrame:
    """Table of the found nuclei but the last three, as ``cosmicqc.label_outliers`` gives it."""
    cells = load_plate(assay, "SIM").plate_cells.cells.iloc[:-3]
    area = cells["area_px"].to_numpy(np.float64)
    z_score = (area - area.mean()) / area.std()
    table = pd.DataFrame(
        {
            "Image_Metadata_Plate": "SIM",
            "Image_Metadata_Well": cells["well"],
            "Image_Metadata_Site": cells["site"],
            "Nuclei_Location_Center_X": cells["x_px"] + 0.4,
            "Nuclei_Location_Center_Y": cells["y_px"],
            "Nuclei_AreaShape_Area": area,
            "cqc.large_nuclei.Z_Score.Nuclei_AreaShape_Area": z_score,
            names[0]: z_score > 1.2,
            names[1]: np.arange(len(cells)) % 11 == 0,
        }
    )
    table.to_parquet(path) if path.suffix == ".parquet" else table.to_csv(path, index=False)
    return table


def annotate(assay: AssayFolder, cells: pd.DataFrame, cls: str) -> None:
    assay.journal().annotate_many(
        [
            Annotation(plate="SIM", well=c.well, site=c.site, y_px=c.y_px, x_px=c.x_px, cls=cls)
            for c in cells.itertuples()
        ],
        "tester",
    )


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("cqc.parquet", (LARGE, LOW)),
        ("cqc.csv", ("Metadata_cqc_large_nuclei_is_outlier", "Metadata_cqc_low_formfactor")),
    ],
)
def test_rules_are_predictions_that_people_overrule(
    assay_copy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    columns: tuple[str, str],
) -> None:
    folder = AssayFolder.open(assay_copy)
    path = tmp_path / name
    table = labelled(folder, path, columns)
    is_out = table[columns[0]] | table[columns[1]]
    assert main(["predict", str(assay_copy), "--rule", str(path), "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert f"Cells are classified by {columns[0]} and {columns[1]} of {name}" in printed
    assert re.search(r"Positions: [\d,]+ of [\d,]+ positions on a nucleus", printed)

    folder.reload()
    [scored] = score(folder)
    n_found = len(table)
    predicted = scored.prediction.table
    np.testing.assert_array_equal(predicted["p_abnormal"][:n_found], is_out.astype(float))
    assert predicted["p_abnormal"][n_found:].isna().all()  # what no rule has judged
    kinds = set(predicted["predicted_kind"].dropna())
    assert {"large_nuclei", "low_formfactor"} <= kinds
    assert scored.prediction.model == chosen_model(folder).id  # in use, at the desk, too
    again = Assay.open(assay_copy).predict()[0].table
    pd.testing.assert_series_equal(again["p_abnormal"], predicted["p_abnormal"])

    assert main(["check", str(assay_copy), "--quiet"]) == 0
    assert f": the rules in {name}" in capsys.readouterr().out

    cells = scored.state.cells.iloc[:n_found]
    is_open = scored.predictions["annotated_class"][:n_found].isna()
    wrong, missed = cells[is_open & is_out][:4], cells[is_open & ~is_out & ~cells["is_cut"]][:2]
    annotate(folder, wrong, "normal")
    annotate(folder, missed, "abnormal")
    onto = ["export", str(assay_copy), str(tmp_path / "out"), "--onto", str(path), "--quiet"]
    assert main(onto) == 0
    assert (
        "annotated normal: no outlier by the rules in the table either" in capsys.readouterr().out
    )
    joined = pd.read_parquet(tmp_path / "out" / "cqc_qc.parquet")
    annotated = joined["annotated_class"]
    assert not joined.loc[wrong.index, [*columns, "Metadata_cqc_cell_is_outlier"]].any(axis=None)
    assert joined.loc[missed.index, "Metadata_cqc_cell_is_outlier"].all()
    untouched = annotated.isna().to_numpy()
    for column in columns:
        assert joined[column].dtype == bool
        np.testing.assert_array_equal(joined[column][untouched], table[column][untouched])


@pytest.mark.parametrize("as_annotations", [False, True])
def test_tables_of_cosmicqc_itself(assay_copy: Path, tmp_path: Path, as_annotations: bool) -> None:
    cosmicqc = pytest.importorskip("cosmicqc", reason="it is in the environment `tools` of tox")
    path = tmp_path / "cqc.parquet"
    measured = labelled(AssayFolder.open(assay_copy), path).drop(columns=[LARGE, LOW])
    cosmicqc.label_outliers(
        measured.filter(regex="^(Image|Nuclei)_"),
        feature_thresholds={"large_nuclei": {"Nuclei_AreaShape_Area": 1.2}},
        include_threshold_scores=True,
        export_path=str(path),
        export_as_annotations=as_annotations,
        annotation_metadata_columns=[
            name for name in measured.columns if name.startswith(("Image_", "Nuclei_Location"))
        ] if as_annotations else None,
    )  # fmt: skip
    [predicted] = Assay.open(assay_copy).predict(rule=path)
    area = measured["Nuclei_AreaShape_Area"]
    is_large = (area - area.mean()) / area.std(ddof=0) > 1.2
    np.testing.assert_array_equal(
        predicted.table["p_abnormal"][: len(measured)], is_large.astype(float)
    )
    assert 0 < is_large.sum() < len(measured)


def test_what_is_no_table_of_rules(assay_copy: Path, tmp_path: Path) -> None:
    folder = AssayFolder.open(assay_copy)
    n_models = len(list(folder.models_folder.iterdir()))
    path = tmp_path / "cqc.csv"
    table = labelled(folder, path)
    table.drop(columns=[LARGE, LOW]).to_csv(path, index=False)
    assay = Assay.open(assay_copy)
    with pytest.raises(HcsQcError, match=r"cqc.csv has no column of a rule.*label_outliers"):
        assay.predict(rule=path)
    table.assign(**{LARGE: 0.5}).to_csv(path, index=False)
    with pytest.raises(HcsQcError, match=r"large_nuclei.is_outlier of a rule holds other values"):
        assay.predict(rule=path)
    table.assign(Nuclei_Location_Center_X=table["Nuclei_Location_Center_X"] * 0.65,
                 Nuclei_Location_Center_Y=table["Nuclei_Location_Center_Y"] * 0.65,
                 ).to_csv(path, index=False)  # fmt: skip
    with pytest.raises(HcsQcError, match="--positions-are um"):
        assay.predict(rule=path)
    assert assay.predict(rule=path, positions_are=["um:0.65"])[0].table["p_abnormal"].notna().any()
    with pytest.raises(HcsQcError, match="neither a plate nor a model"):
        assay.predict(rule=path, model="0001")
    assert len(list(folder.models_folder.iterdir())) == n_models + 1  # nothing of what failed
