"""The encoders of an assay: listed, brought in from elsewhere, and held against untrained ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from napari_hcs_qc.assay.embeddings.training_crops import annotated_crops
from napari_hcs_qc.assay.models.train_options import TrainOptions, requested_recipe
from napari_hcs_qc.assay.models.training import first_diameter
from napari_hcs_qc.assay.store.plate_state import chosen_plates, load_plate
from napari_hcs_qc.encoders.architecture import random_architecture
from napari_hcs_qc.encoders.custom_encoder import (
    CustomEncoder,
    find_custom_encoder,
    import_custom_encoder,
    update_custom_encoder,
)
from napari_hcs_qc.encoders.encoder import Encoder
from napari_hcs_qc.encoders.registry import EncoderInfo, encoder_names, list_encoders
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.crossval import cross_validate
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.assay.embeddings.training_crops import AnnotatedCrops
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.architecture import Architecture

UNTRAINED_SEEDS = (0, 1, 2, 3, 4)
COMPARED_HEADS = ("knn", "linear")
FEWEST_COMPARED = 20
"""Annotated cells of each class below which a comparison says nothing."""

_MARK = "Not better than an untrained network"


def list_assay_encoders(assay: AssayFolder) -> list[EncoderInfo]:
    """List the encoders that an assay can use: those that come with the program, then its own."""
    return list_encoders(assay.encoders_folder)


def assay_encoder(assay: AssayFolder, name: str) -> CustomEncoder:
    """Find an encoder of an assay."""
    encoder = find_custom_encoder(assay.encoders_folder, name)
    if encoder is None:
        known = [
            encoder.name
            for encoder in list_assay_encoders(assay)
            if encoder.name not in encoder_names()
        ]
        raise HcsQcError(
            f"The assay {assay.path} has no encoder {name!r}; its encoders: "
            f"{', '.join(known) or 'none yet'}."
        )
    return encoder


def import_encoder(assay: AssayFolder, source: Path, name: str | None = None) -> CustomEncoder:
    """Bring an encoder into an assay, from another assay or another computer.

    What is said of how it compares is left behind: it was said of other cells.
    """
    encoder = import_custom_encoder(source, assay.encoders_folder, name or "", encoder_names())
    kept = [warning for warning in encoder.warnings if not warning.startswith(_MARK)]
    return update_custom_encoder(encoder.folder, comparison=None, warnings=kept)


def compare_encoder(
    assay: AssayFolder,
    name: str,
    *,
    recipe: str | None = None,
    rgb: tuple[str, ...] = (),
    device: str = "auto",
    job: Job = NO_JOB,
) -> CustomEncoder:
    """Hold an encoder of an assay against untrained networks of its kind, and mark it if need be.

    The annotated cells are cross-validated by well, with frozen embeddings and each of
    `COMPARED_HEADS`, for the encoder and for `UNTRAINED_SEEDS` random starts. It is better when
    its weighted F1 lies above the 95 % interval of a further random start for one head, and
    for none below. What was found goes into its manifest; one that is not better is marked there,
    and so in the list of encoders.
    """
    own = assay_encoder(assay, name)
    requested = recipe or str((own.recipe or {}).get("name") or "") or None
    sized = requested_recipe(TrainOptions(recipe=requested, rgb=rgb)).with_diameter(
        first_diameter(assay) or 1.0
    )
    annotations = assay.journal().annotations()
    states = [load_plate(assay, plate, annotations) for plate in chosen_plates(assay, None)]
    positions = [(state, state.training) for state in states if len(state.training)]
    counts = [
        sum(int((table["class"] == word).sum()) for _, table in positions)
        for word in ("normal", "abnormal")
    ]
    if min(counts, default=0) < FEWEST_COMPARED:
        return update_custom_encoder(own.folder, comparison=None)
    cells = annotated_crops(positions, sized, job=job)

    def figures(architecture: Architecture, step: int) -> dict[str, float]:
        job.report(step, 1 + len(UNTRAINED_SEEDS), f"Comparing {name} with untrained networks")
        job.check()
        return head_figures(architecture, cells, sized, device=device, job=job)

    trained = figures(own.load(), 0)
    untrained = [
        figures(random_architecture(own.family, own.architecture, seed, own.input_px), 1 + seed)
        for seed in UNTRAINED_SEEDS
    ]
    comparison = hold_against(trained, untrained, len(cells.classes), sized)
    return note_comparison(own, comparison)


def note_comparison(encoder: CustomEncoder, comparison: dict[str, Any]) -> CustomEncoder:
    """Write what `hold_against` found into an encoder's manifest, and mark it if need be."""
    warnings = [warning for warning in encoder.warnings if not warning.startswith(_MARK)]
    if not comparison["is_better"]:
        warnings.append(
            f"{_MARK} on {comparison['n_cells']} annotated cells (weighted F1 "
            + ", ".join(
                f"{head} {figures['trained']:.3f} against {figures['untrained']:.3f}"
                for head, figures in comparison["heads"].items()
            )
            + ")."
        )
    return update_custom_encoder(encoder.folder, comparison=comparison, warnings=warnings)


def head_figures(
    architecture: Architecture,
    cells: AnnotatedCrops,
    recipe: CropRecipe,
    *,
    seeds: tuple[int, ...] = (0, 1, 2),
    device: str = "auto",
    job: Job = NO_JOB,
) -> dict[str, float]:
    """Give the weighted F1 of each of `COMPARED_HEADS` on a frozen network's embeddings."""
    encoder = Encoder(
        "compared", architecture, "", stages=recipe.stages, pooling=recipe.pooling, device=device
    )
    features = encoder.encode(cells.crops.flatten(0, 1), job=job)
    rows = features.view(len(cells.classes), -1).numpy()
    return {
        head: float(
            cross_validate(
                rows, cells.classes, cells.groups, head, seeds=seeds, job=job.silent()
            ).figures.mean["f1_weighted"]
        )
        for head in COMPARED_HEADS
    }


def hold_against(
    trained: dict[str, float], untrained: list[dict[str, float]], n_cells: int, recipe: CropRecipe
) -> dict[str, Any]:
    """Compare the figures of a network with those of untrained ones, see `compare_encoder`."""
    heads: dict[str, Any] = {}
    for head in COMPARED_HEADS:
        values = np.array([scores[head] for scores in untrained])
        mean, sd = float(values.mean()), float(values.std(ddof=1))
        # Of one further random start, not of their mean: the encoder is one training as well.
        width = float(stats.t.ppf(0.975, len(values) - 1)) * sd * np.sqrt(1 + 1 / len(values))
        heads[head] = {
            "trained": trained[head],
            "untrained": mean,
            "interval": [mean - float(width), mean + float(width)],
        }
    above = any(figures["trained"] > figures["interval"][1] for figures in heads.values())
    below = any(figures["trained"] < figures["interval"][0] for figures in heads.values())
    return {
        "heads": heads,
        "is_better": bool(above and not below),
        "n_cells": n_cells,
        "recipe": recipe.name,
        "seeds": list(range(len(untrained))),
    }
