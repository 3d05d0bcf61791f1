"""A model as its report shows it: where it comes from, its figures, and where it is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_hcs_qc.assay.views.held_out_errors import held_out_errors, held_out_scores
from napari_hcs_qc.assay.views.label_issues_list import label_issues
from napari_hcs_qc.qc.reports.plate_report import Calls, CrossValidated, ModelCard

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_hcs_qc.assay.store.figures import Figures
    from napari_hcs_qc.assay.store.model_manifest import ModelManifest
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.assay.store.saved_model import Model


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
    errors = held_out_errors(model, threshold, states or {})
    annotations = pd.concat([state.annotations for state in states.values()]) if states else None
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
        errors=errors.examples,
        label_issues=[
            (
                f"{issue.plate} {issue.site}, x {issue.x_px:.0f}, y {issue.y_px:.0f} px",
                issue.cls,
                issue.p_abnormal,
            )
            for issue in label_issues(manifest, annotations)
        ],
        annotated_map=errors.map,
        versions=manifest.versions,
        facts=facts,
    )


def _calls(manifest: ModelManifest, figures: Figures) -> list[Calls]:
    """Count what is called abnormal while held out, by class and kind, of cells that count."""
    held_out = figures.held_out
    if held_out is None or held_out_scores(manifest) is None:
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
