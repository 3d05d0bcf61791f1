"""GeoJSON as QuPath writes it: outlines or points of objects, and what people call them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

CLASSIFIED_BY, BY_PERSON, BY_MODEL = "classified by", "person", "model"
"""Key of the metadata of our own features, and whose class a feature may have."""


def read_features(path: Path) -> list[dict[str, Any]]:
    """Read the features of a file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise HcsQcError(
            f"{path} cannot be read as GeoJSON: {error}. Export it again from QuPath (File > "
            "Export objects as GeoJSON)."
        ) from error
    features = content.get("features") if isinstance(content, dict) else content
    if isinstance(content, dict) and content.get("type") == "Feature":
        features = [content]
    if not isinstance(features, list) or not all(isinstance(entry, dict) for entry in features):
        raise HcsQcError(
            f"{path} is neither GeoJSON (a list of features) nor COCO (images and annotations). "
            "Export the objects from QuPath (File > Export objects as GeoJSON), or a table."
        )
    return features


def outlines_of(path: Path, feature: dict[str, Any]) -> Iterator[NDArray[np.float64]]:
    """Give the outlines (y, x) of a feature in px; of QuPath's cells that of the nucleus.

    GeoJSON counts from the corner of the first pixel, we from its middle.
    """
    geometry: dict[str, Any] = feature.get("nucleusGeometry") or feature.get("geometry") or {}
    kind: str | None = geometry.get("type")
    coordinates: Any = geometry.get("coordinates")
    try:
        rings: list[Any] = []
        if kind == "Polygon":
            rings = [coordinates[0]]
        elif kind == "MultiPolygon":
            rings = [max((part[0] for part in coordinates), key=len)]
        elif kind == "Point":
            rings = [[coordinates]]
        elif kind == "MultiPoint":
            rings = [[point] for point in coordinates]
        for ring in rings:
            yield np.array([[point[1], point[0]] for point in ring], np.float64) - 0.5
    except (TypeError, IndexError, ValueError) as error:
        raise HcsQcError(
            f"{path} has a {kind} that cannot be read: {error}. Export it again."
        ) from error


def class_of_feature(feature: dict[str, Any]) -> str:
    """Name of the class that a person gave a feature, empty where there is none."""
    properties = feature.get("properties") or {}
    if (properties.get("metadata") or {}).get(CLASSIFIED_BY) == BY_MODEL:
        return ""  # our own prediction, which nobody has looked at
    named = properties.get("classification") or {}
    if isinstance(named, dict):
        return str(named.get("name") or ": ".join(map(str, named.get("names") or ())))
    return str(named)
