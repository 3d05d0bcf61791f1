"""The models of an assay, one after the other: notes, what changed between two, and going back."""

from __future__ import annotations

from dataclasses import dataclass, field
from shlex import quote
from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.assay.embeddings.embed_plate import stored_plate
from napari_hcs_qc.assay.models.model_in_use import chosen_model
from napari_hcs_qc.assay.models.train_options import model_encoder
from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate, score
from napari_hcs_qc.assay.scoring.saved_prediction import load_prediction
from napari_hcs_qc.assay.store.saved_model import change_manifest, model_folders, read_manifest
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.assay.store.saved_model import Model


@dataclass(frozen=True, kw_only=True)
class ModelLine:
    """One model in the history."""

    id: str  # number in the assay, as text: ``"0001"``
    created: str = ""  # when, ISO 8601 in UTC
    encoder: str = ""  # its name
    recipe: str = ""  # its name
    head: str = ""  # its name; "rule" where the rules of another program classify
    n_annotated: dict[str, int] = field(default_factory=dict)  # annotated cells of each class
    f1: float | None = None  # cross-validated weighted F1 at the assay's threshold
    f1_ci: tuple[float, float] | None = None  # its 95 % interval; None where it is not known
    auc: float | None = None  # cross-validated AUC; None as `f1`
    note: str = ""  # a person's
    is_in_use: bool  # whether it scores the assay
    problem: str = ""  # why nothing else is known of it; empty when all is well


@dataclass(frozen=True, kw_only=True)
class PlateChange:
    """What changes on one plate from model `a` to model `b`."""

    plate: str  # its name
    n_cells: int  # cells that both models could score
    n_changed: int  # those of them whose class differs at the assay's threshold
    share_changed: float  # those of them whose class differs at the assay's threshold
    n_to_abnormal: int  # the same by direction
    n_to_normal: int  # the same by direction
    newly_flagged: tuple[str, ...]  # wells
    no_longer_flagged: tuple[str, ...]  # wells


@dataclass(frozen=True)
class Comparison:
    """Two models of an assay side by side; `plates` says what changes from `a` to `b`."""

    a: ModelLine
    b: ModelLine
    threshold: float
    plates: tuple[PlateChange, ...]


def list_models(assay: AssayFolder, *, job: Job = NO_JOB) -> tuple[ModelLine, ...]:
    """List the models of an assay, newest first; with hundreds it takes a moment.

    What is wrong with a single model stands in its line.
    """
    job.check()
    job.report(0, 0, "Reading the models")
    folders = model_folders(assay.models_folder)
    names = [folder.name for folder in folders]
    restored = assay.settings.model
    in_use = restored if restored in names else max(names, default="")
    return tuple(
        _line(folder, assay.threshold, is_in_use=folder.name == in_use)
        for folder in reversed(folders)
    )


def set_note(assay: AssayFolder, model_id: str, text: str, *, job: Job = NO_JOB) -> None:
    """Write a note to a model; an empty one removes it."""
    job.check()
    job.report(0, 0, f"Saving the note of model {model_id}")
    with assay.lock():
        change_manifest(_folder(assay, model_id), note=text.strip())


def restore(assay: AssayFolder, model_id: str) -> None:
    """Let an older model score the assay again, until somebody trains anew."""
    _folder(assay, model_id)
    is_latest = model_id == max(folder.name for folder in model_folders(assay.models_folder))
    assay.update_settings(model=None if is_latest else model_id)


def compare(
    assay: AssayFolder, states: Mapping[str, PlateState], a: str, b: str, *, job: Job = NO_JOB
) -> Comparison:
    """Compare two models cell by cell and well by well.

    A plate that a model scored before its cells changed (by a click that made one) is scored
    again, which takes no pixels but those of new cells.
    """
    models = [chosen_model(assay, name) for name in (a, b)]
    changes = []
    for done, (name, state) in enumerate(states.items()):
        job.check()
        job.report(done, len(states), f"Comparing on plate {name}")
        before, after = (_scored(assay, name, state, model, job) for model in models)
        changes.append(_change(before, after, assay.threshold))
    job.report(len(states), len(states), "Compared")
    lines = {line.id: line for line in list_models(assay)}
    return Comparison(lines[a], lines[b], assay.threshold, tuple(changes))


def _folder(assay: AssayFolder, model_id: str) -> Path:
    folders = {folder.name: folder for folder in model_folders(assay.models_folder)}
    if model_id not in folders:
        raise HcsQcError(
            f"The assay {assay.path} has no model {model_id!r}; it has "
            f"{', '.join(folders) or 'none yet'}."
        )
    return folders[model_id]


def _line(folder: Path, threshold: float, *, is_in_use: bool) -> ModelLine:
    try:
        manifest = read_manifest(folder)
    except HcsQcError as error:
        return ModelLine(id=folder.name, is_in_use=is_in_use, problem=str(error))
    recorded = manifest.cross_validation
    figures = None if recorded is None else recorded.at(threshold)
    low, high = (None, None) if figures is None else figures.ci95.get("f1_weighted", (None, None))
    return ModelLine(
        id=folder.name,
        created=manifest.created,
        encoder=manifest.encoder.name,
        recipe=manifest.recipe.name,
        head=manifest.head if manifest.rule is None else "rule",
        n_annotated=dict(manifest.n_annotated),
        f1=None if figures is None else figures.mean.get("f1_weighted"),
        f1_ci=None if low is None or high is None else (low, high),
        auc=None if figures is None else figures.mean.get("auc"),
        note=manifest.note,
        is_in_use=is_in_use,
    )


def _scored(
    assay: AssayFolder, name: str, state: PlateState, model: Model, job: Job
) -> ScoredPlate:
    states = {name: state}
    if load_prediction(assay, state, model.id) is None:
        encoder = model_encoder(model.manifest, job=job.silent())
        if stored_plate(state, model.recipe, encoder, assay.embeddings_folder) is None:
            raise HcsQcError(
                f"Model {model.id} has not classified plate {name}, and its embeddings are "
                f"missing; run: hcs-qc predict {quote(str(assay.path))} --model {model.id}."
            )
        from napari_hcs_qc.assay.scoring.prediction import predict

        predict(assay, [name], model, states=states, encoder=encoder, job=job.silent())
    return score(assay, [name], model=model, states=states)[0]


def _change(before: ScoredPlate, after: ScoredPlate, threshold: float) -> PlateChange:
    p_before, p_after = before.counted_p, after.counted_p
    is_scored = np.isfinite(p_before) & np.isfinite(p_after)
    was, now = p_before[is_scored] >= threshold, p_after[is_scored] >= threshold
    n_changed = int((was != now).sum())
    flagged_before, flagged_after = (
        scored.scores.wells.loc[scored.scores.wells["is_flagged"], "well"].tolist()
        for scored in (before, after)
    )
    return PlateChange(
        plate=before.state.plate.name,
        n_cells=len(was),
        n_changed=n_changed,
        share_changed=n_changed / len(was) if len(was) else 0.0,
        n_to_abnormal=int((~was & now).sum()),
        n_to_normal=int((was & ~now).sum()),
        newly_flagged=tuple(well for well in flagged_after if well not in flagged_before),
        no_longer_flagged=tuple(well for well in flagged_before if well not in flagged_after),
    )
