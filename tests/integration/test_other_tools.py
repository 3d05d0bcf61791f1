"""What we export is opened by the tools that come next, and says how to make it again."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from napari_hcs_qc import Assay

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Ran

KEYS = ["Metadata_Plate", "Metadata_Well", "Metadata_Site", "cell_id"]


@pytest.fixture(scope="module")
def cells(ran: Ran) -> pd.DataFrame:
    return pd.read_parquet(ran.out / "cells.parquet")


def test_annotate_normalize_aggregate_of_pycytominer(
    ran: Ran, cells: pd.DataFrame, tmp_path: Path
) -> None:
    pycytominer = pytest.importorskip("pycytominer")
    profiles = tmp_path / "profiles.parquet"
    pd.DataFrame(
        {
            "Metadata_Plate": cells["Metadata_Plate"],
            "Metadata_Well": cells["Metadata_Well"],
            "Metadata_Site": cells["Metadata_Site"],
            "Nuclei_Location_Center_X": cells["x_px"],
            "Nuclei_Location_Center_Y": cells["y_px"],
            "Nuclei_AreaShape_Area": range(100, 100 + len(cells)),
        }
    ).to_parquet(profiles, index=False)
    exported = Assay.open(ran.result.assay.path).export(tmp_path / "out", onto=profiles)
    platemap = pd.read_csv(ran.made.platemap, keep_default_na=False)
    annotated = pycytominer.annotate(
        str(exported.onto.out),  # type: ignore[union-attr]
        platemap.rename(columns={"well": "well_position"}),
        join_on=["Metadata_well_position", "Metadata_Well"],
    )
    assert len(annotated) == len(cells)
    features = ["Nuclei_AreaShape_Area"]
    normalized = pycytominer.normalize(
        annotated, features=features, meta_features="infer", drop_cosmicqc_rows=True
    )
    kept = cells[~cells.filter(like="Metadata_cqc_").any(axis=1)]
    assert 0 < len(kept) < len(cells)
    assert len(normalized) == len(kept)
    wells = pycytominer.aggregate(
        normalized, strata=["Metadata_Plate", "Metadata_Well"], features=features
    )
    assert sorted(wells["Metadata_Well"]) == sorted(kept["Metadata_Well"].unique())
    assert wells[features].notna().all(axis=None)


def outliers(table: Any) -> int:
    return int(table["Metadata_cqc_cell_is_outlier"].sum())


def test_polars_opens_the_tables(ran: Ran, cells: pd.DataFrame) -> None:
    polars = pytest.importorskip("polars")
    of_parquet = polars.read_parquet(ran.out / "cells.parquet")
    of_csv = polars.read_csv(ran.out / "cells.csv", infer_schema_length=None)
    for table in (of_parquet, of_csv):
        assert table.columns == list(cells.columns)  # no byte order mark in the first
        assert table.height == len(cells)
        assert table["Metadata_cqc_cell_is_outlier"].dtype == polars.Boolean
        assert outliers(table) == outliers(cells)
    assert polars.read_csv(ran.out / "wells.csv")["n_cells"].sum() == len(cells)


def test_duckdb_opens_the_tables(ran: Ran, cells: pd.DataFrame) -> None:
    duckdb = pytest.importorskip("duckdb")
    for name in ("cells.parquet", "cells.csv"):
        query = f"SELECT count(*), count_if(Metadata_cqc_cell_is_outlier) FROM '{ran.out / name}'"
        assert duckdb.sql(query).fetchall() == [(len(cells), outliers(cells))]


@pytest.mark.parametrize("module", ["anndata", "scanpy"])
def test_anndata_and_scanpy_open_the_cells(ran: Ran, cells: pd.DataFrame, module: str) -> None:
    data = pytest.importorskip(module).read_h5ad(ran.out / "cells.h5ad")
    assert data.n_obs == len(cells)
    assert outliers(data.obs) == outliers(cells)
    assert data[~data.obs["Metadata_cqc_cell_is_outlier"].astype(bool)].n_obs < len(cells)


def test_cosmicqc_and_cytodataframe_open_the_cells(ran: Ran, cells: pd.DataFrame) -> None:
    cytodataframe = pytest.importorskip("cytodataframe")
    frame = cytodataframe.CytoDataFrame(data=str(ran.out / "cells.parquet"))
    assert len(frame) == len(cells)
    rule = {"high": {"p_abnormal": 1.0}}
    judged = pytest.importorskip("cosmicqc").label_outliers(frame, feature_thresholds=rule)
    score = cells["p_abnormal"]
    z_score = (score - score.mean()) / score.std(ddof=0)
    assert judged["Metadata_cqc_high_is_outlier"].sum() == (z_score > 1).sum() > 0


def test_provenance_suffices_to_run_again(ran: Ran, cells: pd.DataFrame, tmp_path: Path) -> None:
    positions = tmp_path / "cells.csv"
    mine = cells[["Metadata_Well", "Metadata_Site", "y_px", "x_px"]]
    mine.to_csv(positions, index=False)
    assay = Assay.new(tmp_path / "assay", [ran.made.plate_dir], platemap=ran.made.platemap)
    assay.cells(cells_from=positions)
    assay.annotate(ran.made.labels, annotator="anna")
    assay.predict()
    assay.verdict("A01", "exclude", note="a bubble", annotator="anna")
    assay.export(tmp_path / "out", onto=positions, keep_kinds=["dead"], exclude_unreviewed=True)
    assay.annotations(export=tmp_path / "annotations.csv")
    made = json.loads((tmp_path / "out" / "provenance.json").read_text(encoding="utf-8"))

    def sha256(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()

    [plate] = made["plates"]
    assert plate["cells_file"] == {"path": str(positions), "sha256": sha256(positions)}
    assert (plate["source"], plate["format"]) == (str(ran.made.plate_dir), "imagexpress")
    assert plate["channel"] == "DNA" and plate["fingerprint"] and plate["cells_check"]
    assert made["onto"]["sha256"] == sha256(positions)
    assert made["platemap"]["sha256"] == sha256(ran.made.platemap)
    assert made["annotations_sha256"] == sha256(tmp_path / "annotations.csv")
    assert made["n_annotations"] == len(assay.annotations())
    assert (made["keep_kinds"], made["exclude_unreviewed"], made["include_cut"]) == (
        ["dead"], True, False
    )  # fmt: skip
    [verdict] = made["verdicts"]
    assert (verdict["well"], verdict["verdict"], verdict["note"]) == ("A01", "exclude", "a bubble")
    assert {"napari-hcs-qc", "python", "numpy", "torch"} <= made["versions"].keys()
    assert made["command"] and made["flag_rule"] and made["model_manifest"]["encoder"]
