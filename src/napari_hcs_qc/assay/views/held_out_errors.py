"""Where a model is wrong: annotated cells as models that were trained without them call them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.assay.views.report_pictures import annotated_picture
from napari_hcs_qc.evaluation.novelty import compared_with
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.qc.reports.plate_charts import AnnotatedMap
from napari_hcs_qc.qc.reports.plate_report import ErrorExamples
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.store.model_manifest import ModelManifest
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.assay.store.saved_model import Model

_SHOWN_ERRORS = 12  # of each kind


@dataclass(frozen=True, eq=False)
class HeldOutErrors:
    """The errors of a model on a map and as pictures, as far as they are known."""

    map: AnnotatedMap | None = None
    examples: tuple[ErrorExamples, ...] = ()  # false alarms and misses; none where not known


def held_out_errors(
    model: Model, threshold: float, states: Mapping[str, PlateState], *, job: Job = NO_JOB
) -> HeldOutErrors:
    """Find the held-out cells that a model calls otherwise than people at a threshold.

    Their pictures come from `states`, the plates by their own names.
    """
    scores = held_out_scores(model.manifest)
    if scores is None:
        return HeldOutErrors()
    cells = model.manifest.training_cells
    is_abnormal = np.array([cell.cls == "abnormal" for cell in cells], dtype=bool)
    is_called = scores.astype(np.float32) >= np.float32(threshold)

    def examples(title: str, rows: NDArray[np.int64]) -> ErrorExamples:
        shown, pictures = [], []
        for row in rows[:_SHOWN_ERRORS].tolist():
            job.check()
            cell = cells[row]
            caption = f"{cell.well} {scores[row]:.2f} {cell.kind or ''}".strip()
            picture = annotated_picture(states, cell, caption)
            if picture is not None:
                shown.append(row)
                pictures.append(picture)
        return ErrorExamples(
            title=f"{title}: {count_of(len(rows), 'cell')}", pictures=pictures, rows=shown
        )

    order = np.argsort(scores, kind="stable")
    alarms = order[::-1][(~is_abnormal & is_called)[order[::-1]]]
    misses = order[(is_abnormal & ~is_called)[order]]
    return HeldOutErrors(
        _annotated_map(model, scores, is_abnormal, is_abnormal != is_called),
        (
            examples("Annotated normal, called abnormal", alarms),
            examples("Annotated abnormal, called normal", misses),
        ),
    )


def held_out_scores(manifest: ModelManifest) -> NDArray[np.float64] | None:
    """Held-out score of each training cell; None where it is not known which is whose."""
    figures = manifest.cross_validation
    held_out = None if figures is None else figures.held_out
    cells = manifest.training_cells
    if held_out is None or held_out.is_abnormal != tuple(c.cls == "abnormal" for c in cells):
        return None  # of an earlier version, or some could not be read
    scores: NDArray[np.float64] = np.array(held_out.p_abnormal, np.float64).mean(axis=0)
    return scores


def _annotated_map(
    model: Model,
    scores: NDArray[np.float64],
    is_abnormal: NDArray[np.bool_],
    is_wrong: NDArray[np.bool_],
) -> AnnotatedMap | None:
    """Lay the annotated cells out by the two directions in which they differ most."""
    cells, novelty, rows = model.manifest.training_cells, model.novelty, compared_with(len(scores))
    if novelty is None or len(rows) != len(novelty.annotated):
        return None
    from sklearn.decomposition import PCA  # slow to import

    pca = PCA(n_components=2, svd_solver="arpack", random_state=0)
    places = pca.fit_transform(novelty.annotated.astype(np.float64))
    first, second = pca.explained_variance_ratio_.tolist()
    return AnnotatedMap(
        places=places,
        is_abnormal=is_abnormal[rows],
        is_wrong=is_wrong[rows],
        texts=[
            f"{cells[row].plate} {cells[row].well}: annotated "
            f"{cells[row].kind or cells[row].cls}, held-out score {scores[row]:.2f}"
            for row in rows
        ],
        rows=rows,
        explained=(first, second),
        n_annotated=len(scores),
    )
