"""Scored cells as GeoJSON, which `annotate` reads back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from napari_hcs_qc.assay.annotations.labels_csv import read_labels
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.qc.export.export_tables import ExportOptions, ExportPlate, cell_table
from napari_hcs_qc.qc.export.write_geojson import write_geojson
from napari_hcs_qc.tables.plate_sites import PlateSites

if TYPE_CHECKING:
    from pathlib import Path


def test_cells_go_out_and_come_back(scored: ExportPlate, tmp_path: Path) -> None:
    # A person has said the same of all: what a model says comes back as no annotation.
    said = scored.predictions.assign(
        annotated_class=scored.predictions["predicted_class"],
        annotated_kind=scored.predictions["predicted_kind"],
    )
    scored = replace(scored, predictions=said)
    files = write_geojson([scored], tmp_path / "geojson", options=ExportOptions())
    cells = cell_table(scored, ExportOptions())
    keys = cells[["Metadata_Well", "Metadata_Site"]].drop_duplicates()
    sites = tuple(SiteKey(str(w), int(s)) for w, s in keys.itertuples(index=False))
    assert len(files) == len(sites)
    features = [f for path in files for f in json.loads(path.read_text())["features"]]
    assert len(features) == len(cells)
    assert all(f["geometry"]["coordinates"][0][0] == f["geometry"]["coordinates"][0][-1]
               for f in features)  # fmt: skip
    plates = {scored.name: PlateSites(name=scored.name, sites=sites)}
    labels = read_labels(tmp_path / "geojson", plates, annotator="anna", kinds=None).table
    named = cells["annotated_class"].fillna(cells["predicted_class"])
    there = cells[named.notna()].assign(cls=named).drop_duplicates(
        ["Metadata_Well", "Metadata_Site", "y_px", "x_px"]
    )  # fmt: skip
    assert len(labels) == len(there) > 0
    merged = pd.DataFrame(
        {
            "well": there["Metadata_Well"],
            "site": there["Metadata_Site"],
            "y_px": there["y_px"].astype(float).round(1),
            "x_px": there["x_px"].astype(float).round(1),
            "cls": there["cls"],
        }
    ).merge(labels.round({"y_px": 1, "x_px": 1}), on=["well", "site"])
    near = (merged["y_px_x"] - merged["y_px_y"]).abs() + (merged["x_px_x"] - merged["x_px_y"]).abs()
    close = merged[near < 0.5]
    assert len(close) >= len(there)
    assert (close["cls"] == close["class"]).all()
