"""Train a model: embed, fit a head on the annotated cells, cross-validate, save."""

from __future__ import annotations

import platform
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_hcs_qc import __version__
from napari_hcs_qc.assay.join import cells_at
from napari_hcs_qc.assay.model import (
    Model,
    load_model,
    model_folders,
    new_model_folder,
    save_model,
)
from napari_hcs_qc.assay.plate_state import PlateState, chosen_plates, load_plate
from napari_hcs_qc.cells.recipe import DEFAULT_RECIPE, CropRecipe, get_recipe
from napari_hcs_qc.encoders.pipeline import embed_cells
from napari_hcs_qc.encoders.registry import DEFAULT_ENCODER, load_encoder
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.crossval import cross_validate
from napari_hcs_qc.files import explained_writes, fingerprint
from napari_hcs_qc.heads.kind import MIN_PER_KIND, KindHead
from napari_hcs_qc.heads.registry import make_head
from napari_hcs_qc.jobs import OnProgress, ShouldStop, never_stop, no_progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.folder import AssayFolder
    from napari_hcs_qc.encoders.encoder import Encoder


FIGURES = {
    "f1_weighted": "weighted F1",
    "auc": "AUC",
    "accuracy": "accuracy",
    "f1_abnormal": "F1 of the abnormal class",
    "precision_abnormal": "precision of the abnormal class",
    "recall_abnormal": "recall of the abnormal class",
}
"""Cross-validated figures and what they are called to a person."""


@dataclass(frozen=True)
class TrainOptions:
    """What is trained.

    Parameters
    ----------
    encoder
        Name in the registry; None takes the default.
    weights
        Local weights file of the encoder, .safetensors.
    recipe
        Name of a crop recipe; None takes the default.
    rgb
        Channel names of a colour recipe, red, green, blue.
    head
        Name of the head.
    seed
        Of the fit.
    n_seeds
        Repeats of cross-validation, each with another seed.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    """

    encoder: str | None = None
    weights: Path | None = None
    recipe: str | None = None
    rgb: tuple[str, ...] = ()
    head: str = "linear"
    seed: int = 0
    n_seeds: int = 5
    device: str = "auto"


@dataclass(frozen=True, eq=False)
class Annotated:
    """The annotated cells of an assay with their embeddings.

    Parameters
    ----------
    embeddings
        (n_cells, n_features) float32.
    classes
        ``normal`` or ``abnormal``.
    kinds
        Kind of each abnormal cell, None where not said.
    groups
        Well of each cell, as ``plate/A01``.
    n_unreadable
        Annotated cells left out because their site cannot be read.
    """

    embeddings: NDArray[np.float32]
    classes: NDArray[np.str_]
    kinds: NDArray[np.object_]
    groups: NDArray[np.str_]
    n_unreadable: int


def train(
    assay: AssayFolder,
    options: TrainOptions | None = None,
    *,
    reuse: bool = False,
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> Model:
    """Train a model on all annotations of an assay and save it there.

    Cross-validated figures come from folds grouped by well. The older models stay.

    Parameters
    ----------
    assay
        With cells found and annotations made.
    options
        What is trained; defaults when None.
    reuse
        Give the latest model as it is when it was trained on just this, so that a run that is
        started again does not train again.
    on_progress, should_stop
        See `napari_hcs_qc.jobs`.

    Returns
    -------
    Model
        As `napari_hcs_qc.assay.model.load_model` gives it.

    Raises
    ------
    HcsQcError
        When there are no annotations of both classes, or encoder, recipe or head cannot be used.
    WriteError
        When the disk is full or read-only.
    Cancelled
        When `should_stop` said so; embeddings that were finished stay.
    """
    options = options or TrainOptions()
    head = make_head(options.head, options.seed)  # a wrong name is told before hours of work
    recipe = get_recipe(options.recipe or DEFAULT_RECIPE)
    if options.rgb:
        recipe = replace(recipe, channels="rgb", rgb=options.rgb)
    annotations = assay.journal().annotations()
    # A plate that nobody annotated has no part in it: it may have vanished, or wait for its cells.
    said = set(annotations["plate"])
    names = [name for name in chosen_plates(assay, None) if name in said]
    states = [load_plate(assay, name, annotations) for name in names]
    states = [state for state in states if len(state.training)]
    _check_classes(states)
    recipe = recipe.with_diameter(states[0].found.diameter_px)
    encoder = load_encoder(
        options.encoder or DEFAULT_ENCODER,
        stages=recipe.stages,
        pooling=recipe.pooling,
        weights=options.weights,
        device=options.device,
        on_progress=on_progress,
        should_stop=should_stop,
    )
    inputs = _inputs(options, recipe, encoder, states)
    with assay.lock():
        older = model_folders(assay.models_folder)
        if reuse and older and (latest := load_model(older[-1])).manifest.get("inputs") == inputs:
            return latest
        annotated = collect(
            states, recipe, encoder, assay.embeddings_folder, on_progress, should_stop
        )
        validation = validate(annotated, options, on_progress, should_stop)
        head.fit(annotated.embeddings, annotated.classes, groups=annotated.groups)
        kind_head = fit_kinds(annotated, options.seed)
        manifest = _manifest(options, recipe, encoder, states, annotated, validation)
        manifest |= {"inputs": inputs, "has_kinds": kind_head is not None}
        with explained_writes(assay.models_folder):
            assay.models_folder.mkdir(exist_ok=True)
        folder = new_model_folder(assay.models_folder)
        save_model(folder, head, kind_head, manifest)
    return load_model(folder)


def collect(
    states: list[PlateState],
    recipe: CropRecipe,
    encoder: Encoder,
    stores: Path,
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> Annotated:
    """Embed the annotated cells, each where the person clicked it.

    Not where the nearest found nucleus has its centre: of touching dead nuclei or debris beside a
    nucleus that is another object, and the word is about the one that was clicked. So no plate has
    to be embedded before a model can be trained.

    Raises
    ------
    HcsQcError
        When none of the annotated cells can be read.
    """
    rows, classes, kinds, groups = [], [], [], []
    for state in states:
        said = state.training
        store = embed_cells(
            state.plate,
            cells_at(said, 0, state.found.diameter_px),
            state.found.ranges,
            recipe,
            encoder,
            stores,
            projection=state.found.projection,
            on_progress=on_progress,
            should_stop=should_stop,
        )
        rows.append(np.asarray(store.embeddings, dtype=np.float32))
        classes.append(said["class"].to_numpy(dtype=str))
        kinds.append(said["kind"].to_numpy(dtype=object))
        groups.append(state.groups(said["well"]))
    embeddings = np.concatenate(rows)
    usable = np.asarray(np.isfinite(embeddings).all(axis=1))
    if not usable.any():
        raise HcsQcError(
            f"None of the {len(usable)} annotated cells can be read; see 'hcs-qc status'."
        )
    return Annotated(
        embeddings[usable],
        np.concatenate(classes)[usable],
        np.concatenate(kinds)[usable],
        np.concatenate(groups)[usable],
        int((~usable).sum()),
    )


def validate(
    annotated: Annotated,
    options: TrainOptions,
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> dict[str, Any]:
    """Cross-validate a head on the annotated cells, grouped by well.

    Returns
    -------
    Plain data: what `CrossValidation.to_dict` gives, with ``sentence`` (how it was done) and
    ``figures`` (name, mean, sd, 95 % interval, in the order of `FIGURES`). Without figures where
    a class has a single cell.
    """
    fewest = min(Counter(annotated.classes.tolist()).values())
    if fewest < 2:
        return {
            "sentence": "not possible with a single annotated cell of a class",
            "figures": [],
        }
    found = cross_validate(
        annotated.embeddings,
        annotated.classes,
        annotated.groups,
        options.head,
        seeds=tuple(range(options.seed, options.seed + options.n_seeds)),
        on_progress=on_progress,
        should_stop=should_stop,
    )
    data = found.to_dict()
    by = "grouped by well" if found.by == "well" else "by cell, not by well"
    sentence = (
        f"{found.n_splits} folds {by}, {len(found.seeds)} seeds, {found.n_cells} cells in "
        f"{found.n_wells} wells"
    )
    return {
        **data,
        "sentence": f"{sentence}. {found.note}" if found.note else sentence,
        "figures": [
            {
                "name": shown,
                "mean": data["mean"][name],
                "sd": data["sd"][name],
                "ci95": data["ci95"][name],
            }
            for name, shown in FIGURES.items()
        ],
    }


def fit_kinds(annotated: Annotated, seed: int) -> KindHead | None:
    """Fit the head for kinds on the abnormal cells whose kind was said; None with too few."""
    said = np.array([kind is not None for kind in annotated.kinds], dtype=bool)
    kinds = annotated.kinds[said].astype(str)
    if not any(count >= MIN_PER_KIND for count in Counter(kinds.tolist()).values()):
        return None
    head = KindHead(random_state=seed)
    head.fit(annotated.embeddings[said], kinds, groups=annotated.groups[said])
    return head


def _check_classes(states: list[PlateState]) -> None:
    counts = Counter(word for state in states for word in state.training["class"].tolist())
    missing = [word for word in ("normal", "abnormal") if not counts[word]]
    if missing:
        have = ", ".join(f"{counts[word]} {word}" for word in ("normal", "abnormal"))
        raise HcsQcError(
            f"The assay has {have} cells annotated; both classes are needed. Annotate some "
            f"{' and '.join(missing)} cells first."
        )


def _training_cells(states: list[PlateState]) -> list[list[Any]]:
    """Give plate, well, site, position, class and kind (or None) of each annotated cell."""
    names = ["well", "site", "y_px", "x_px", "class", "kind"]
    return [
        [
            state.plate.name,
            well,
            int(site),
            round(float(y), 2),
            round(float(x), 2),
            word,
            kind or None,
        ]
        for state in states
        for well, site, y, x, word, kind in state.training[names].itertuples(index=False, name=None)
    ]


def _inputs(
    options: TrainOptions, recipe: CropRecipe, encoder: Encoder, states: list[PlateState]
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
            "cells": _training_cells(states),
            "version": __version__,
        }
    )


def _manifest(
    options: TrainOptions,
    recipe: CropRecipe,
    encoder: Encoder,
    states: list[PlateState],
    annotated: Annotated,
    validation: dict[str, Any],
) -> dict[str, Any]:
    classes = Counter(annotated.classes.tolist())
    kinds = Counter(kind for kind in annotated.kinds.tolist() if kind is not None)
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "encoder": {
            **encoder.describe(),
            "fingerprint": encoder.fingerprint,
            "weights": None if options.weights is None else str(options.weights.resolve()),
        },
        "recipe": recipe.to_dict(),
        "head": options.head,
        "seed": options.seed,
        "n_annotated": dict(classes),
        "n_kinds": dict(kinds),
        "n_unreadable": annotated.n_unreadable,
        "n_conflicts": sum(len(state.matched.conflicts) for state in states),
        "n_wells": len(set(annotated.groups.tolist())),
        "training_plates": [
            {"name": state.plate.name, "fingerprint": state.plate.fingerprint} for state in states
        ],
        "training_cells": _training_cells(states),
        "cross_validation": validation,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of what the figures depend on."""
    return {
        "napari-hcs-qc": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


def trained_with(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that load the encoder of a model again (`load_encoder`)."""
    encoder = manifest["encoder"]
    stages = encoder["stages"]
    return {
        "name": encoder["name"],
        "stages": tuple(stages) if isinstance(stages, list) else stages,
        "pooling": encoder["pooling"],
        "weights": None if encoder["weights"] is None else Path(encoder["weights"]),
    }
