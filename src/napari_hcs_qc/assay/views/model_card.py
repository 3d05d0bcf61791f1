"""A model as its report shows it: where it comes from, its figures, and where it is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.assay.views.report_pictures import annotated_pictures
from napari_hcs_qc.evaluation.novelty import compared_with
from napari_hcs_qc.qc.reports.plate_charts import AnnotatedMap
from napari_hcs_qc.qc.reports.plate_report import (
    Calls,
    CrossValidated,
    ErrorExamples,
    ModelCard,
)
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.store.figures import Figures
    from napari_hcs_qc.assay.store.model_manifest import ModelManifest
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.assay.store.saved_model import Model

_SHOWN_ERRORS = 12  # of each kind


def model_card(
    model: Model, threshold: float, states: Mapping[str, PlateState] | None = None
) -> ModelCard:
    """Describe a model for the report, with its figures at a threshold.

    From `states`, the plates by name, come the pictures of the annotated cells it got wrong.
    """
    manifest, recipe, encoder = model.manifest, model.recipe, model.encoder
    recorded = manifest.cross_validation
    figures = None if recorded is None else recorded.at(threshold)
    sides = " and ".join(str(side) for side in recipe.sides_px)
    diameters = ""
    if recipe.unit == "diameter":
        scales = " and ".join(f"{scale:g}" for scale in recipe.scales)
        diameters = f" ({scales} nucleus diameters)"
    facts = [
        ("Plates", ", ".join(manifest.plate_names)),
        ("Annotated wells", str(manifest.n_wells)),
        ("Made at", manifest.created),
    ]
    if manifest.origin:
        facts.append(("Rests on", manifest.origin))
    if figures is None and not manifest.is_before_annotations:
        facts.append(("Cross-validation", "not yet cross-validated"))
    if manifest.note:
        facts.append(("Note", manifest.note))
    if manifest.n_conflicts:
        facts.append(("Left out: annotators disagree", str(manifest.n_conflicts)))
    if manifest.n_cut:
        facts.append(("Left out: cut by the image border", str(manifest.n_cut)))
    if manifest.n_unreadable:
        facts.append(("Left out: site not readable", str(manifest.n_unreadable)))
    bins = None if figures is None else figures.reliability
    return ModelCard(
        name=model.id,
        encoder=f"{encoder.name} ({encoder.architecture}), stages {', '.join(encoder.pooled)}, "
        f"pooled by {recipe.pooling}",
        weights_sha256=encoder.weights_sha256,
        recipe=f"{recipe.name}: crops of {sides} px{diameters}, shown at {recipe.input_px} px",
        head=manifest.head,
        seed=manifest.seed,
        n_annotated=manifest.n_annotated,
        n_kinds=manifest.n_kinds,
        cross_validation=[
            CrossValidated(
                name=figure.name,
                mean=figure.mean,
                sd=figure.sd,
                interval=figure.interval_text(),
            )
            for figure in (() if figures is None else figures.figures)
            if figure.mean is not None
        ],
        validation="not yet cross-validated" if figures is None else figures.explained(),
        reliability=[]
        if bins is None
        else list(zip(bins.mean_p, bins.share, bins.low, bins.high, bins.n, strict=True)),
        calls=[] if figures is None else _calls(manifest, figures),
        errors=[] if figures is None else _errors(manifest, figures, states or {}),
        annotated_map=_annotated_map(model, figures),
        versions=manifest.versions,
        facts=facts,
    )


def _scores(manifest: ModelManifest, figures: Figures | None) -> NDArray[np.float64] | None:
    """Held-out score of each training cell; None where it is not known which is whose."""
    held_out = None if figures is None else figures.held_out
    cells = manifest.training_cells
    if held_out is None or held_out.is_abnormal != tuple(c.cls == "abnormal" for c in cells):
        return None  # of an earlier version, or some could not be read
    scores: NDArray[np.float64] = np.array(held_out.p_abnormal, np.float64).mean(axis=0)
    return scores


def _calls(manifest: ModelManifest, figures: Figures) -> list[Calls]:
    """Count what is called abnormal while held out, by class and kind, of cells that count."""
    held_out = figures.held_out
    if held_out is None or _scores(manifest, figures) is None:
        return []
    called = held_out.called(figures.threshold).mean(axis=0)
    used = held_out.counted
    is_abnormal = np.array(held_out.is_abnormal, dtype=bool)
    kinds = np.array([cell.kind or "" for cell in manifest.training_cells])
    groups = [("normal", ~is_abnormal), ("abnormal", is_abnormal)]
    groups += [(f"of these {kind}", is_abnormal & (kinds == kind)) for kind in manifest.n_kinds]
    return [
        Calls(name=name, n=int(n), n_called=float(called[used & rows].sum()))
        for name, rows in groups
        if (n := (used & rows).sum())
    ]


def _errors(
    manifest: ModelManifest, figures: Figures, states: Mapping[str, PlateState]
) -> list[ErrorExamples]:
    """Show held-out cells whose annotation and score disagree, the surest first."""
    scores = _scores(manifest, figures)
    if scores is None:
        return []
    cells = manifest.training_cells
    is_abnormal = np.array([cell.cls == "abnormal" for cell in cells], dtype=bool)
    is_called = scores.astype(np.float32) >= np.float32(figures.threshold)

    def examples(title: str, rows: NDArray[np.int64]) -> ErrorExamples:
        shown = [
            (cells[row], f"{cells[row].well} {scores[row]:.2f} {cells[row].kind or ''}".strip())
            for row in rows[:_SHOWN_ERRORS]
        ]
        return ErrorExamples(
            title=f"{title}: {count_of(len(rows), 'cell')}",
            pictures=annotated_pictures(states, shown),
        )

    order = np.argsort(scores, kind="stable")
    alarms = order[::-1][(~is_abnormal & is_called)[order[::-1]]]
    misses = order[(is_abnormal & ~is_called)[order]]
    return [
        examples("Annotated normal, called abnormal", alarms),
        examples("Annotated abnormal, called normal", misses),
    ]


def _annotated_map(model: Model, figures: Figures | None) -> AnnotatedMap | None:
    """Lay the annotated cells out by the two directions in which they differ most."""
    manifest, novelty = model.manifest, model.novelty
    scores = _scores(manifest, figures)
    if novelty is None or scores is None or figures is None:
        return None
    rows = compared_with(len(scores))
    if len(rows) != len(novelty.annotated):
        return None
    from sklearn.decomposition import PCA  # slow to import

    pca = PCA(n_components=2, svd_solver="full")
    places = pca.fit_transform(novelty.annotated.astype(np.float64))
    first, second = pca.explained_variance_ratio_.tolist()
    is_abnormal = np.array([cell.cls == "abnormal" for cell in manifest.training_cells])
    is_called = scores.astype(np.float32) >= np.float32(figures.threshold)
    return AnnotatedMap(
        places=places,
        is_abnormal=is_abnormal[rows],
        is_wrong=(is_abnormal != is_called)[rows],
        texts=_texts(manifest, scores, rows),
        explained=(first, second),
        n_annotated=len(scores),
    )


def _texts(
    manifest: ModelManifest, scores: NDArray[np.float64], rows: NDArray[np.int64]
) -> Sequence[str]:
    cells = manifest.training_cells
    return [
        f"{cells[row].plate} {cells[row].well}: annotated "
        f"{cells[row].kind or cells[row].cls}, held-out score {scores[row]:.2f}"
        for row in rows
    ]
