"""The pieces of a training: heads are fitted, and what a model comes from is written down."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc import __version__
from napari_hcs_qc.assay.embeddings.embed_plate import store_name
from napari_hcs_qc.assay.embeddings.plate_sample import are_embedded
from napari_hcs_qc.assay.embeddings.training_set import AnnotatedCells, MoreCells, training_cells
from napari_hcs_qc.assay.models.extra_cells import WithMoreCells, simulated_cells
from napari_hcs_qc.assay.models.train_options import requested_recipe
from napari_hcs_qc.assay.models.versions import versions
from napari_hcs_qc.assay.store.model_manifest import (
    EncoderRecord,
    FineTuning,
    ModelManifest,
    PriorRecord,
    TrainingPlate,
)
from napari_hcs_qc.assay.store.plate_cells import cells_document
from napari_hcs_qc.assay.store.saved_model import new_model_folder
from napari_hcs_qc.encoders.weights import CUSTOM_WEIGHTS
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import fingerprint
from napari_hcs_qc.heads.head_names import FINE_TUNED
from napari_hcs_qc.heads.head_registry import make_head
from napari_hcs_qc.heads.kind_head import MIN_PER_KIND, KindHead
from napari_hcs_qc.heads.linear.linear_head import LinearHead
from napari_hcs_qc.heads.linear.scoring import ABNORMAL, NORMAL
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_hcs_qc.assay.embeddings.plate_priors import PlatePriors
    from napari_hcs_qc.assay.models.train_options import TrainOptions
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.encoder import Encoder
    from napari_hcs_qc.heads.finetune import FineTuned
    from napari_hcs_qc.heads.head_registry import Head


@contextmanager
def model_being_made(assay: AssayFolder) -> Iterator[Path]:
    """Give the folder of a new model; when the block fails nothing is left of it."""
    folder = new_model_folder(assay.models_folder)
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def use_latest(assay: AssayFolder) -> None:
    """Use the latest model again, where an older one had been restored."""
    assay.reload()
    if assay.settings.model is not None:
        assay.update_settings(model=None)


def check_simulated(options: TrainOptions) -> None:
    """Refuse simulated cells that there are not, or with a head that cannot use them."""
    if not options.simulated:
        return
    simulated_cells().check(options.simulated)
    if options.head in FINE_TUNED:
        raise HcsQcError(
            f"The head {options.head} cannot be trained on simulated cells; choose another head, "
            "or train without them."
        )


def simulated_for(
    options: TrainOptions,
    states: Sequence[PlateState],
    annotated: AnnotatedCells,
    recipe: CropRecipe,
    encoder: Encoder,
    job: Job = NO_JOB,
) -> MoreCells | None:
    """Make the simulated cells that some options ask for; None where they ask for none."""
    if not options.simulated:
        return None
    return simulated_cells().make(
        states, annotated, recipe, encoder, options.simulated, options.seed, job
    )


def fit_heads(
    annotated: AnnotatedCells,
    options: TrainOptions,
    tuned: FineTuned | None = None,
    simulated: MoreCells | None = None,
) -> tuple[Head, KindHead | None]:
    """Fit the head, and beside it the one for kinds (None with too few of any kind)."""
    if tuned is not None:
        return tuned.head, fit_kinds(annotated, options.seed)
    if not len(annotated.classes):
        n_features = annotated.embeddings.shape[1]
        return LinearHead.before_annotations(n_features, (ABNORMAL, NORMAL)), None
    head = make_head(options.head, options.seed, annotated.plate)
    more, groups = annotated.found + simulated, annotated.groups
    with_more = WithMoreCells(head, more, groups)
    # Not side by side: both are many small steps, between which two threads would only wait.
    with_more.fit(annotated.embeddings, annotated.classes, groups, annotated.offset)
    return head, fit_kinds(annotated, options.seed)


def fit_kinds(annotated: AnnotatedCells, seed: int) -> KindHead | None:
    """Fit the head for kinds on the abnormal cells with a kind; None with too few."""
    has_kind = np.array([kind is not None for kind in annotated.kinds], dtype=bool)
    kinds = annotated.kinds[has_kind].astype(str)
    if not any(count >= MIN_PER_KIND for count in Counter(kinds.tolist()).values()):
        return None
    head = KindHead(random_state=seed)
    head.fit(annotated.embeddings[has_kind], kinds, groups=annotated.groups[has_kind])
    return head


def inputs_of(
    options: TrainOptions,
    recipe: CropRecipe,
    encoder: Encoder,
    states: Sequence[PlateState],
    stores: Path,
    prior: PriorRecord | None,
) -> str:
    """Content address of everything that a model depends on."""
    return fingerprint(
        {
            "encoder": encoder.fingerprint,
            "recipe": recipe.fingerprint,
            "head": options.head,
            "seeds": [options.seed, options.n_seeds],
            "plates": [
                [state.plate.fingerprint, state.plate_cells.ranges.fingerprint] for state in states
            ],
            "cells": training_cells(states),
            "found": [store_name(state, recipe, encoder) for state in states],
            "knows_plates": options.head not in FINE_TUNED
            and are_embedded(states, recipe, encoder, stores),
            "version": __version__,
            "prior": None if prior is None else prior.model_dump(),
            **({"simulated": list(options.simulated)} if options.simulated else {}),
        }
    )


def manifest_of(
    options: TrainOptions,
    recipe: CropRecipe,
    encoder: Encoder,
    states: Sequence[PlateState],
    annotated: AnnotatedCells,
    tuned: FineTuned | None = None,
    *,
    note: str,
    inputs: str,
    has_kinds: bool,
    no_novelty: str,
) -> ModelManifest:
    """Say where a model comes from; without its figures, which follow."""
    started_from = None if options.weights is None else str(options.weights.resolve())
    kinds = Counter(kind for kind in annotated.kinds.tolist() if kind is not None)
    description = {
        **encoder.describe(),
        "fingerprint": encoder.fingerprint,
        "network_fingerprint": encoder.network_fingerprint,
        "weights": started_from if tuned is None else CUSTOM_WEIGHTS,
    }
    fine_tuning = None
    if tuned is not None:
        history = {**tuned.history, "started_from_weights": started_from}
        fine_tuning = FineTuning.model_validate_json(json.dumps(history))
    return ModelManifest(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        note=note.strip(),
        encoder=EncoderRecord.model_validate(description, strict=False),
        fine_tuning=fine_tuning,
        recipe=recipe,
        head=options.head,
        seed=options.seed,
        simulated=options.simulated,
        n_annotated=dict(Counter(annotated.classes.tolist())),
        n_kinds=dict(kinds),
        n_unreadable=annotated.n_unreadable,
        n_conflicts=sum(len(state.matched.conflicts) for state in states),
        n_cut=sum(state.n_cut_annotated for state in states),
        n_wells=len(set(annotated.groups.tolist())),
        uses_plate_directions=annotated.plate is not None and tuned is None,
        prior=prior_record(annotated.priors),
        training_plates=tuple(
            TrainingPlate(name=state.plate.name, fingerprint=state.plate.fingerprint)
            for state in states
        ),
        training_cells=training_cells(states),
        versions=versions(),
        inputs=inputs,
        has_kinds=has_kinds,
        no_novelty=no_novelty,
    )


def sized_recipe(
    assay: AssayFolder, options: TrainOptions, states: Sequence[PlateState]
) -> CropRecipe:
    """Give the recipe of some options for the nuclei of the assay's first plate.

    Annotated, open or not: so the recipe, and with it every embedding, does not change with the
    plate that somebody happens to annotate next.
    """
    diameter = first_diameter(assay) or states[0].plate_cells.diameter_px
    return requested_recipe(options).with_diameter(diameter)


def first_diameter(assay: AssayFolder) -> float | None:
    """Nucleus diameter of the first plate whose cells are known."""
    for entry in assay.plates:
        document = cells_document(assay.plate_folder(entry.name))
        if document is not None:
            return document.diameter_px
    return None


def prior_record(priors: PlatePriors | None) -> PriorRecord | None:
    """Describe the prior that a model has, for its manifest."""
    if priors is None:
        return None
    sha256 = "" if priors.linear is None else priors.linear.document.weights_sha256
    return PriorRecord(name=priors.name, weights_sha256=sha256)
