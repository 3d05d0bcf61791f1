"""Scored cells as GeoJSON, which QuPath opens over the image: a file for each site."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.cells.by_site import CellsBySite
from napari_hcs_qc.files import atomic_path
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.qc.export.export_tables import ExportOptions, ExportPlate, cell_table
from napari_hcs_qc.tables.geojson import BY_MODEL, BY_PERSON, CLASSIFIED_BY
from napari_hcs_qc.text_columns import rows_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_CORNERS = 24  # of the polygon that stands for a circle
CLASS_COLOURS = {"normal": [0, 158, 115], "abnormal": [213, 94, 0], "unsure": [150, 150, 150]}
_COLUMNS = (
    "y_px", "x_px", "diameter_px", "p_abnormal", "novelty", "predicted_class", "predicted_kind",
    "annotated_class", "annotated_kind",
)  # fmt: skip


def write_geojson(
    plates: Iterable[ExportPlate], folder: Path, *, options: ExportOptions, job: Job = NO_JOB
) -> tuple[Path, ...]:
    """Write the cells of each site as circles of their size, with class, kind, score and novelty.

    What a person annotated goes before what was predicted.
    """
    files: list[Path] = []
    for plate in plates:
        files.extend(_write_sites(plate, folder, options, job))
        del plate  # before the next one is made
    return tuple(files)


def _write_sites(
    plate: ExportPlate, folder: Path, options: ExportOptions, job: Job
) -> Iterator[Path]:
    angle = np.linspace(0, 2 * np.pi, _CORNERS + 1)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    table = cell_table(plate, options).assign(diameter_px=plate.cells["diameter_px"].to_numpy())
    by_site = CellsBySite.of(plate.cells)
    for site in sorted(by_site.sites):
        job.check()
        path = folder / f"{plate.name}_{site.well}_s{site.site}.geojson"
        job.report(0, 0, f"Writing {path.name}")
        rows = rows_of(table.iloc[by_site.rows(site)], _COLUMNS)
        features = [_feature(circle, dict(zip(_COLUMNS, row, strict=True))) for row in rows]
        text = json.dumps({"type": "FeatureCollection", "features": features})
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        yield path


def _feature(circle: np.ndarray[Any, Any], cell: dict[str, Any]) -> dict[str, Any]:
    middle = np.array([cell["x_px"], cell["y_px"]], np.float64) + 0.5  # from the corner of a pixel
    ring = np.round(middle + circle * float(cell["diameter_px"] or 1) / 2, 2).tolist()
    source = "annotated" if cell["annotated_class"] else "predicted"
    name, kind = cell[f"{source}_class"], cell[f"{source}_kind"]
    properties: dict[str, Any] = {
        "objectType": "detection",
        "measurements": {
            measure: round(float(cell[measure]), 4)
            for measure in ("p_abnormal", "novelty")
            if cell[measure] is not None
        },
    }
    if name:
        label = f"{name}: {kind}" if kind else name
        properties["metadata"] = {CLASSIFIED_BY: BY_PERSON if source == "annotated" else BY_MODEL}
        properties["classification"] = {"name": label, "color": CLASS_COLOURS.get(name)}
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "geometry": geometry, "properties": properties}
