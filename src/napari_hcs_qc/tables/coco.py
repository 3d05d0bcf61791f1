"""COCO as Piximi, CVAT and Label Studio write it: objects of images, each with a category."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from pathlib import Path


class CocoObject(NamedTuple):
    """One annotated object."""

    file: str  # name of its image
    y_px: float
    x_px: float
    category: str


def coco_objects(path: Path) -> list[CocoObject] | None:
    """Read the objects of a file; None where it is JSON of another kind."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise HcsQcError(
            f"{path} cannot be read as JSON: {error}. Export it again from the program it is from."
        ) from error
    if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
        return None
    try:
        files = {entry["id"]: str(entry["file_name"]) for entry in content["images"]}
        names = {entry["id"]: str(entry["name"]) for entry in content.get("categories", [])}
        objects = []
        for entry in content["annotations"]:
            y, x = _middle(entry)
            category = names.get(entry.get("category_id"), "")
            objects.append(CocoObject(files[entry["image_id"]], y, x, category))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise HcsQcError(
            f"{path} is not COCO as it should be: {type(error).__name__} {error} in its images, "
            "categories or annotations. Export it again from the program it is from."
        ) from error
    return objects


def _middle(entry: dict[str, Any]) -> tuple[float, float]:
    """Middle (y, x) of an object in px: of its polygon, else of its box.

    COCO counts from the corner of the first pixel, we from its middle.
    """
    polygons = entry.get("segmentation")
    if isinstance(polygons, list) and polygons and len(polygons[0]) >= 6:
        x, y = np.array(max(polygons, key=len), np.float64).reshape(-1, 2).mean(axis=0)
    else:
        left, top, width, height = map(float, entry["bbox"])
        x, y = left + width / 2, top + height / 2
    return round(float(y) - 0.5, 3), round(float(x) - 0.5, 3)
