"""Annotations as other programs write them: small files with their headers and their right values.

The headers are those of files in public repositories; the numbers are ours.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from skimage.measure import regionprops_table

from napari_hcs_qc.assay.annotations.labels_csv import LabelOptions, read_labels
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.tables.plate_sites import PlateSites

if TYPE_CHECKING:
    from pathlib import Path

PLATE = PlateSites(
    name="p1",
    sites=(SiteKey("A01", 1), SiteKey("A01", 2), SiteKey("B02", 1)),
    shape=(100, 200),
    pixel_size_um=0.5,
)
EXPECTED = [("A01", 2, 20.0, 30.0, "normal"), ("A01", 2, 60.0, 150.0, "abnormal")]

ILASTIK = (
    "object_id,timestep,labelimage_oid,User Label,Predicted Class,Probability of good,"
    "Probability of bad,Size in pixels,Bounding Box Minimum_0,Bounding Box Minimum_1,"
    "Center of the object_0,Center of the object_1"
)


def regionprops() -> str:
    labels = np.zeros((100, 200), int)
    labels[19:22, 29:32], labels[58:63, 148:153] = 1, 2
    table = pd.DataFrame(regionprops_table(labels, properties=("label", "area", "centroid")))
    return table.assign(**{"class": ["good", "bad"]}).to_csv(index=False)


def read(path: Path, **classes: str) -> list[tuple[Any, ...]]:
    options = LabelOptions(classes=classes)
    table = read_labels(path, {"p1": PLATE}, annotator="anna", options=options).table
    columns = ["well", "site", "y_px", "x_px", "class"]
    return sorted(table[columns].itertuples(index=False, name=None), key=lambda row: row[2])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        # skimage.measure.regionprops_table: `label` is the number of the object
        ("A01_s2.csv", regionprops()),
        # ilastik's object classification: _0 is x; what nobody labelled is 0
        (
            "A01_s2_table.csv",
            f"{ILASTIK}\n0,0,1,good,good,.9,.1,9,29,19,30,20\n1,0,2,bad,good,.6,.4,9,148,58,150,60\n"
            "2,0,3,0,good,.6,.4,9,1,1,2,2\n",
        ),
        # Harmony's objects with a class that somebody added
        (
            "Objects_Population - Nuclei.txt",
            "Database Name\tX\n\n[Data]\nRow\tColumn\tPlane\tTimepoint\tField\tObject No\tX\tY\t"
            "Bounding Box\tPosition X [µm]\tPosition Y [µm]\tClass\n"
            "1\t1\t1\t0\t2\t1\t30\t20\t[1,2]\t-35\t15\tnormal\n"
            "1\t1\t1\t0\t2\t2\t150\t60\t[1,2]\t25\t-5\tabnormal\n",
        ),
        # MetaXpress
        (
            "metaxpress.csv",
            "Plate ID,MEASUREMENT SET ID,Well Name,Site ID,Cell ID,Cell: Centroid X,"
            "Cell: Centroid Y,Class\n7,1,A01,2,1,30,20,normal\n7,1,A01,2,2,150,60,abnormal\n",
        ),
        # a table of napari's features beside the points
        (
            "napari/A01_s2.csv",
            "index,axis-0,axis-1,class\n0,20,30,normal\n1,60,150,abnormal\n",
        ),
        # QuPath's measurements, in µm
        (
            "A01_s2.tsv",
            "Image\tObject type\tClassification\tParent\tCentroid X µm\tCentroid Y µm\n"
            "A01_s2.tif\tDetection\tnormal\tRoot\t15\t10\n"
            "A01_s2.tif\tDetection\tabnormal\tRoot\t75\t30\n",
        ),
    ],
)
def test_tables_of_other_programs(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    assert read(path) == EXPECTED


def coco(**changes: Any) -> dict[str, Any]:
    corners = [149.5, 59.5, 151.5, 59.5, 151.5, 61.5, 149.5, 61.5]
    return {
        "info": {"description": "Piximi"},
        "images": [{"id": 3, "file_name": "p1_A01_s2_w1.tif", "width": 200, "height": 100}],
        "categories": [{"id": 0, "name": "Unknown"}, {"id": 1, "name": "good"},
                       {"id": 2, "name": "bad"}],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 1, "bbox": [28.5, 18.5, 4, 4], "area": 16},
            {"id": 2, "image_id": 3, "category_id": 2, "segmentation": [corners],
             "bbox": [0, 0, 1, 1]},
        ],
        **changes,
    }  # fmt: skip


def test_coco_of_piximi_and_others(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(coco()))
    assert read(path) == [*EXPECTED[:1], ("A01", 2, 60.0, 150.0, "abnormal")]
    assert read(tmp_path) == read(path)
    path.write_text(json.dumps(coco(annotations=[{"image_id": 9, "bbox": [1, 2, 3, 4]}])))
    with pytest.raises(HcsQcError, match=r"annotations.json is not COCO .* Export it again"):
        read(path)
    path.write_text("{}")
    with pytest.raises(HcsQcError, match=r"neither GeoJSON .* nor COCO"):
        read(path)


def test_codes_of_a_classifier_are_named_by_the_person(tmp_path: Path) -> None:
    """napari-feature-classifier has numbers of classes, and none where nobody annotated."""
    path = tmp_path / "A01_s2.csv"
    path.write_text("label,axis-0,axis-1,annotations\n1,20,30,2.0\n2,60,150,1.0\n3,5,5,\n")
    with pytest.raises(HcsQcError, match=r"'2.0' \(1 row\), '1.0' \(1 row\)"):
        read(path)
    assert read(path, **{"1.0": "abnormal", "2.0": "normal"}) == EXPECTED
