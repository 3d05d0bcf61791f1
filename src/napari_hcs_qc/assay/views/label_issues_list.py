"""The annotations that the model in use contradicts, for a second look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.text_columns import rows_of

if TYPE_CHECKING:
    import pandas as pd

    from napari_hcs_qc.assay.store.model_manifest import ModelManifest


@dataclass(frozen=True, kw_only=True)
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
            f"{self.plate} {self.site}: annotated {self.cls}, abnormal score {self.p_abnormal:.2f} "
            "by the other wells"
        )


def label_issues(
    manifest: ModelManifest, annotations: pd.DataFrame | None = None
) -> tuple[LabelIssue, ...]:
    """List the annotations that a model's cross-validation contradicts."""
    figures = manifest.cross_validation
    if figures is None:
        return ()
    current = None
    if annotations is not None:
        columns = ["plate", "well", "site", "y_px", "x_px", "class"]
        current = {_key(*row) for row in rows_of(annotations, columns)}
    issues = []
    for record in figures.label_issues:
        plate, well, site, y_px, x_px, cls, *_ = manifest.training_cells[record.cell]
        if current is None or _key(plate, well, site, y_px, x_px, cls) in current:
            issues.append(
                LabelIssue(
                    plate=plate,
                    site=SiteKey(well, site),
                    y_px=y_px,
                    x_px=x_px,
                    cls=cls,
                    p_abnormal=record.p_abnormal,
                )
            )
    return tuple(issues)


def _key(
    plate: str, well: str, site: int, y_px: float, x_px: float, cls: str
) -> tuple[str, str, int, float, float, str]:
    # A manifest keeps positions to 0.01 px.
    return plate, well, int(site), round(float(y_px), 2), round(float(x_px), 2), cls
