"""The annotations that the model in use doubts, for a second look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.text_columns import rows_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd


@dataclass(frozen=True)
class LabelIssue:
    """An annotation that the others contradict, see `napari_hcs_qc.evaluation.label_issues`."""

    plate: str  # name of the plate
    site: SiteKey  # its site
    y_px: float  # position of the cell
    x_px: float  # position of the cell
    cls: str  # what was annotated
    p_abnormal: float  # what is predicted by heads that were fitted without its well

    def __str__(self) -> str:
        return (
            f"{self.plate} {self.site}: annotated {self.cls}, P(abnormal) {self.p_abnormal:.2f} "
            "by the other wells"
        )


def label_issues(
    manifest: Mapping[str, Any], annotations: pd.DataFrame | None = None
) -> tuple[LabelIssue, ...]:
    """List the annotations that a model's cross-validation contradicts."""
    figures = manifest.get("cross_validation") or {}
    still = None
    if annotations is not None:
        columns = ["plate", "well", "site", "y_px", "x_px", "class"]
        still = {_key(*said) for said in rows_of(annotations, columns)}
    listed = []
    for entry in figures.get("label_issues", []):
        plate, well, site, y_px, x_px, cls, _kind = manifest["training_cells"][entry["cell"]]
        if still is None or _key(plate, well, site, y_px, x_px, cls) in still:
            where = SiteKey(well, int(site))
            listed.append(LabelIssue(plate, where, y_px, x_px, cls, float(entry["p_abnormal"])))
    return tuple(listed)


def _key(
    plate: str, well: str, site: int, y_px: float, x_px: float, cls: str
) -> tuple[str, str, int, float, float, str]:
    # A manifest keeps positions to 0.01 px.
    return plate, well, int(site), round(float(y_px), 2), round(float(x_px), 2), cls
