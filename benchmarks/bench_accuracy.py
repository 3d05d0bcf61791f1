"""Accuracy on the real labelled cells: encoders x recipes x heads, cross-validated by well."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from benchmarks.labelled_plate import BBBC039, SHARED, labelled_assay

from napari_hcs_qc.assay.annotations.matching import cells_at
from napari_hcs_qc.assay.embeddings.training_set import AnnotatedCells, collect
from napari_hcs_qc.cells.crops import cut_crops
from napari_hcs_qc.cells.recipe import CropRecipe, get_recipe
from napari_hcs_qc.encoders.registry import load_encoder
from napari_hcs_qc.evaluation.baseline import hand_features
from napari_hcs_qc.evaluation.crossval import cross_validate
from napari_hcs_qc.plates.plate import SiteKey

if TYPE_CHECKING:
    from napari_hcs_qc.assay.store.plate_state import PlateState

HEADS = ("linear", "linear-paper", "knn")
ENCODERS = {
    "efficientnet-lite0": None,
    "torchvision:squeezenet1_1": SHARED / "weights" / "squeezenet1_1_imagenet.safetensors",
}


def recipes() -> dict[str, CropRecipe]:
    """Give the recipes compared: the presets, and the steps between them."""
    default = get_recipe("nucleus")
    return {
        "nucleus (default)": default,
        "nucleus, mean pooling": replace(default, pooling="mean"),
        "nucleus, last stage": replace(default, stages="last", pooling="mean"),
        "nucleus-mean (1.1, 2.2 d)": get_recipe("nucleus-mean"),
        "paper-128px": get_recipe("paper-128px"),
    }


def hand_made(state: PlateState, recipe: CropRecipe) -> np.ndarray:
    """Hand-made features of the annotated cells, (n_cells, n_features)."""
    said = cells_at(state.training, 0, state.plate_cells.diameter_px)
    groups = recipe.channel_groups([channel.name for channel in state.plate.channels])
    parts = []
    for (well, site), here in said.groupby(["well", "site"], sort=False):
        raw = state.plate.read_site(SiteKey(well, site))
        pixels = state.plate_cells.ranges.scale(raw, range(len(raw)))
        crops = cut_crops(pixels, here["y_px"], here["x_px"], recipe, groups)
        parts.append(hand_features(crops.numpy())[0])
    return np.concatenate(parts)


def row(name: str, annotated: AnnotatedCells, head: str) -> str:
    """Cross-validate one row over 5 seeds."""
    found = cross_validate(annotated.embeddings, annotated.classes, annotated.groups, head)
    figures = " | ".join(
        f"{found.figures.mean[metric]:.4f} ± {found.figures.sd[metric]:.4f}"
        for metric in ("f1_weighted", "auc", "accuracy", "f1_abnormal")
    )
    return f"| {name} | {head} | {annotated.embeddings.shape[1]} | {figures} |"


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assay", type=Path, help="keep the assay here")
    options = parser.parse_args(arguments)
    if not BBBC039.is_dir():
        print(f"The real images are not at {BBBC039}; nothing was measured.")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        path = options.assay or Path(folder) / "assay"
        assay, state = labelled_assay(path)
        print("| encoder, recipe | head | features | weighted F1 | AUC | accuracy | F1 abnormal |")
        print("|---|---|---|---|---|---|---|")
        for name, plain in recipes().items():
            recipe = plain.with_diameter(state.plate_cells.diameter_px)
            for encoder_name, weights in ENCODERS.items():
                encoder = load_encoder(
                    encoder_name, stages=recipe.stages, pooling=recipe.pooling, weights=weights
                )
                annotated = collect([state], recipe, encoder, assay.embeddings_folder)
                for head in HEADS:
                    print(row(f"{encoder_name}, {name}", annotated, head), flush=True)
        for name in ("nucleus", "paper-128px"):
            recipe = get_recipe(name).with_diameter(state.plate_cells.diameter_px)
            features = replace(annotated, embeddings=hand_made(state, recipe))
            print(row(f"hand-made features, {name}", features, "forest"), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
