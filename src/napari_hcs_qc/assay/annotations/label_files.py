"""Files of annotated cells that are no plain table: GeoJSON, training sets of CPA, folders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.read_table import file_start
from napari_hcs_qc.tables.coco import CocoObject, coco_objects
from napari_hcs_qc.tables.geojson import class_of_feature, outlines_of, read_features
from napari_hcs_qc.tables.profiles import TextTable, open_profiles, tables_in, with_images

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.tables.profiles import Profiles


def label_files(source: Path) -> list[Path]:
    """List the files to be read: one, or those of a folder with a file for each image."""
    if not source.is_dir():
        return [source]
    files = [
        *tables_in(source),
        *sorted(source.rglob("*.geojson")),
        *sorted(source.rglob("*.json")),
    ]
    if not files:
        raise HcsQcError(
            f"{source} holds no tables; CSV, Parquet, GeoJSON or COCO files of annotated cells "
            "were expected. Give the folder that has them, or the file itself."
        )
    return files


def open_labels(path: Path, image_table: Path | None) -> Profiles:
    """Open a file of annotated cells."""
    if path.name.lower().endswith((".geojson", ".json")):
        coco = coco_objects(path)
        return TextTable(_of_features(path) if coco is None else _of_coco(coco))
    if file_start(path).lstrip()[:6].lower() in (b"label ", b"# trai"):
        return with_images(TextTable(_training_set(path)), path, image_table)
    return open_profiles(path, image_table=image_table)


def _of_coco(objects: list[CocoObject]) -> pd.DataFrame:
    rows = [(thing.file, str(thing.y_px), str(thing.x_px), thing.category) for thing in objects]
    table = pd.DataFrame(rows, columns=["file_name", "y_px", "x_px", "class"], dtype=str)
    return table.set_axis(pd.RangeIndex(1, len(table) + 1), axis="index")


def _of_features(path: Path) -> pd.DataFrame:
    rows = [
        (*np.round(outline.mean(axis=0), 3).astype(str), class_of_feature(feature))
        for feature in read_features(path)
        for outline in outlines_of(path, feature)
    ]
    table = pd.DataFrame(rows, columns=["y_px", "x_px", "classification"], dtype=str)
    return table.set_axis(pd.RangeIndex(1, len(table) + 1), axis="index")


def _training_set(path: Path) -> pd.DataFrame:
    """Read what CellProfiler Analyst saves: ``class ImageNumber ObjectNumber x y`` by blanks."""
    rows, lines = [], []
    for line, text in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        values = text.split()
        if values and values[0] != "label" and not text.startswith("#"):
            rows.append([*values, "", "", "", "", ""][:5])
            lines.append(line)
    names = ["Class", "ImageNumber", "ObjectNumber", "x", "y"]
    return pd.DataFrame(rows, columns=names, index=lines, dtype=str)
