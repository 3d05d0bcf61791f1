"""Train a model: embed, fit a head on the annotated cells, cross-validate, save."""

from __future__ import annotations

import platform
import shutil
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_hcs_qc import __version__
from napari_hcs_qc.assay.embeddings.embed_plate import check_pools, fill_store, stored_plate
from napari_hcs_qc.assay.embeddings.plate_sample import are_embedded
from napari_hcs_qc.assay.embeddings.training_set import (
    Annotated,
    check_classes,
    collect,
    training_cells,
)
from napari_hcs_qc.assay.models.extra_cells import Simulated, WithSimulated, simulated_cells
from napari_hcs_qc.assay.models.finetuning import fine_tuned, forget_training
from napari_hcs_qc.assay.models.train_options import TrainOptions, asked_recipe, with_custom_weights
from napari_hcs_qc.assay.models.validation import validate, validate_fine_tuned
from napari_hcs_qc.assay.scoring.novelty_report import fit_novelty
from napari_hcs_qc.assay.store.plate_state import PlateState, chosen_plates, load_plate
from napari_hcs_qc.assay.store.saved_model import (
    OWN_WEIGHTS,
    Model,
    load_model,
    model_folders,
    new_model_folder,
    publish_model,
    save_heads,
)
from napari_hcs_qc.encoders.backends.choice import as_trained
from napari_hcs_qc.encoders.registry import DEFAULT_ENCODER, cached_encoder
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import fingerprint, read_json
from napari_hcs_qc.heads.head_registry import FINE_TUNED, make_head
from napari_hcs_qc.heads.kind_head import MIN_PER_KIND, KindHead
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.encoder import Encoder
    from napari_hcs_qc.heads.finetune import FineTuned
    from napari_hcs_qc.heads.head_registry import Head


def train(
    assay: AssayFolder,
    options: TrainOptions | None = None,
    *,
    reuse: bool = False,
    embed_first: bool = False,
    states: Mapping[str, PlateState] | None = None,
    encoder: Encoder | None = None,
    note: str = "",
    job: Job = NO_JOB,
) -> Model:
    """Train a model on all annotations of an assay, save it there and use it from then on.

    Cross-validated figures come from folds grouped by well. The older models stay.
    """
    options = with_custom_weights(assay, options or TrainOptions())
    make_head(options.head, options.seed)  # a wrong name is told before hours of work
    check_simulated(options)
    recipe = asked_recipe(options)
    annotations = assay.journal().annotations()
    # A plate that nobody annotated has no part in it: it may have vanished, or wait for its cells.
    said = set(annotations["plate"])
    names = [name for name in chosen_plates(assay, None) if name in said]
    loaded = dict(states or {})
    used = [loaded.get(name) or load_plate(assay, name, annotations) for name in names]
    used = [state for state in used if len(state.training)]
    check_classes(used)
    recipe = recipe.with_diameter(first_diameter(assay) or used[0].found.diameter_px)
    if encoder is None:
        encoder = cached_encoder(
            options.encoder or DEFAULT_ENCODER,
            stages=recipe.stages,
            pooling=recipe.pooling,
            weights=options.weights,
            device=options.device,
            backend=options.backend,
            job=job,
        )
    check_pools(recipe, encoder)
    stores = assay.embeddings_folder
    is_tuned = options.head in FINE_TUNED
    if embed_first and not is_tuned:
        for state in used:
            if stored_plate(state, recipe, encoder, stores) is None:
                fill_store(
                    state,
                    recipe,
                    encoder,
                    stores,
                    job=job,
                )
    inputs = inputs_of(options, recipe, encoder, used, stores)
    with assay.lock():
        older = model_folders(assay.models_folder)
        if reuse and older:
            latest = load_model(older[-1])
            is_same = latest.manifest.get("inputs") == inputs
            if is_same and latest.manifest["cross_validation"] is not None:
                use_latest(assay)
                return latest
        positions = [(state, state.training) for state in used]
        tuned: FineTuned | None = None
        if is_tuned:
            tuned = fine_tuned(
                positions,
                recipe,
                options,
                folder=assay.path,
                job=job,
            )
            encoder = tuned.encoder
            validation = validate_fine_tuned(positions, recipe, options, job)
        annotated = collect(used, recipe, encoder, stores, job)
        simulated = simulated_for(options, used, annotated, recipe, encoder, job)
        if not is_tuned:
            validation = validate(annotated, options, job, simulated)
        head, kind_head = fit_heads(annotated, options, tuned, simulated)
        manifest = manifest_of(options, recipe, encoder, used, annotated, tuned)
        manifest |= {"cross_validation": validation, "note": note}
        manifest |= {"inputs": inputs, "has_kinds": kind_head is not None}
        novelty, manifest["no_novelty"] = fit_novelty(annotated)
        job.check()
        with model_being_made(assay) as folder:
            save_heads(folder, head, kind_head, tuned, novelty)
            publish_model(folder, manifest)
        use_latest(assay)
        forget_training(assay.path)
    return load_model(folder)


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
    if "model" in assay.settings:
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
    annotated: Annotated,
    recipe: CropRecipe,
    encoder: Encoder,
    job: Job = NO_JOB,
) -> Simulated | None:
    """Make the simulated cells that some options ask for; None where they ask for none."""
    if not options.simulated:
        return None
    return simulated_cells().make(
        states,
        annotated,
        recipe,
        encoder,
        options.simulated,
        options.seed,
        job,
    )


def fit_heads(
    annotated: Annotated,
    options: TrainOptions,
    tuned: FineTuned | None = None,
    simulated: Simulated | None = None,
) -> tuple[Head, KindHead | None]:
    """Fit the head, and beside it the one for kinds (None with too few of any kind)."""
    if tuned is not None:
        return tuned.head, fit_kinds(annotated, options.seed)
    head = make_head(options.head, options.seed, annotated.plate)
    # Not side by side: both are many small steps, between which two threads would only wait.
    if simulated is None:
        head.fit(annotated.embeddings, annotated.classes, groups=annotated.groups)
    else:
        both = WithSimulated(head, simulated)
        both.fit(annotated.embeddings, annotated.classes, groups=annotated.groups)
    return head, fit_kinds(annotated, options.seed)


def fit_kinds(annotated: Annotated, seed: int) -> KindHead | None:
    """Fit the head for kinds on the abnormal cells whose kind was said; None with too few."""
    said = np.array([kind is not None for kind in annotated.kinds], dtype=bool)
    kinds = annotated.kinds[said].astype(str)
    if not any(count >= MIN_PER_KIND for count in Counter(kinds.tolist()).values()):
        return None
    head = KindHead(random_state=seed)
    head.fit(annotated.embeddings[said], kinds, groups=annotated.groups[said])
    return head


def inputs_of(
    options: TrainOptions,
    recipe: CropRecipe,
    encoder: Encoder,
    states: Sequence[PlateState],
    stores: Path,
) -> str:
    """Content address of everything that a model depends on."""
    return fingerprint(
        {
            "encoder": encoder.fingerprint,
            "recipe": recipe.fingerprint,
            "head": options.head,
            "seeds": [options.seed, options.n_seeds],
            "plates": [
                [state.plate.fingerprint, state.found.ranges.fingerprint] for state in states
            ],
            "cells": training_cells(states),
            "knows_plates": options.head not in FINE_TUNED
            and are_embedded(states, recipe, encoder, stores),
            "version": __version__,
            **({"simulated": list(options.simulated)} if options.simulated else {}),
        }
    )


def manifest_of(
    options: TrainOptions,
    recipe: CropRecipe,
    encoder: Encoder,
    states: Sequence[PlateState],
    annotated: Annotated,
    tuned: FineTuned | None = None,
) -> dict[str, Any]:
    """Say where a model comes from, as plain data; without its figures, which may follow."""
    started_from = None if options.weights is None else str(options.weights.resolve())
    classes = Counter(annotated.classes.tolist())
    kinds = Counter(kind for kind in annotated.kinds.tolist() if kind is not None)
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "note": "",
        "encoder": {
            **encoder.describe(),
            "fingerprint": encoder.fingerprint,
            "network_fingerprint": encoder.network_fingerprint,
            "weights": started_from if tuned is None else OWN_WEIGHTS,
        },
        "fine_tuning": None
        if tuned is None
        else {**tuned.history, "started_from_weights": started_from},
        "recipe": recipe.to_dict(),
        "head": options.head,
        "seed": options.seed,
        "simulated": list(options.simulated),
        "n_annotated": dict(classes),
        "n_kinds": dict(kinds),
        "n_unreadable": annotated.n_unreadable,
        "n_conflicts": sum(len(state.matched.conflicts) for state in states),
        "n_wells": len(set(annotated.groups.tolist())),
        "uses_plate_directions": annotated.plate is not None and tuned is None,
        "training_plates": [
            {"name": state.plate.name, "fingerprint": state.plate.fingerprint} for state in states
        ],
        "training_cells": training_cells(states),
        "cross_validation": None,
        "versions": versions(),
    }


def first_diameter(assay: AssayFolder) -> float | None:
    """Nucleus diameter of the first plate whose cells are known, annotated or not.

    So the recipe, and with it every embedding, does not change with the plate that somebody
    happens to annotate next.
    """
    for entry in assay.plates:
        path = assay.plate_folder(entry.name) / "cells.json"
        if path.is_file():
            return float(read_json(path)["diameter_px"])
    return None


def versions() -> dict[str, str]:
    """Versions of what the figures depend on."""
    return {
        "napari-hcs-qc": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


def trained_with(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that load the encoder of a model again (`load_encoder`).

    With the backend that its embeddings were made by, where that is installed; see
    `napari_hcs_qc.assay.scoring.prediction.check_encoder` for when it is not.
    """
    encoder = manifest["encoder"]
    stages = encoder["stages"]
    return {
        "name": encoder["name"],
        "stages": tuple(stages) if isinstance(stages, list) else stages,
        "pooling": encoder["pooling"],
        "weights": None if encoder["weights"] is None else Path(encoder["weights"]),
        "backend": as_trained(encoder.get("backend")),
    }
