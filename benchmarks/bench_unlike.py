"""How well cells are told that are unlike anything annotated, and honest probabilities.

On BBBC022's labelled nuclei with the default encoder and recipe: one kind is taken out of the
annotations, and its cells are told from cells drawn at random from the plate; and how many cells
count as unlike on plates that are like the annotated one, spoilt, or of another screen. Beside it
the expected calibration error of the default head, cross-validated by well.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from benchmarks.bench_clicks import SHARED
from scipy.ndimage import gaussian_filter
from skimage.io import imread
from sklearn.metrics import roc_auc_score

from napari_hcs_qc.assay import loop
from napari_hcs_qc.assay.annotated_cells import collect
from napari_hcs_qc.assay.embedding import fill_store
from napari_hcs_qc.assay.plate_state import load_plate
from napari_hcs_qc.assay.training import TrainOptions, asked_recipe
from napari_hcs_qc.encoders.registry import load_encoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.annotated_cells import Annotated
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.encoder import Encoder

_BLUR_PX = 3.0
_N_BLURRED = 20  # fields


@dataclass(frozen=True, eq=False)
class Measured:
    """Annotated cells of one plate, and the embeddings of the cells of several."""

    annotated: Annotated
    plates: dict[str, NDArray[np.float32]]
    wells: NDArray[np.str_]


def load(folder: Path) -> Measured:
    """Embed all plates, or find what was embedded."""
    data = SHARED / "data" / "bbbc039"
    assay, (plate, *_) = loop.new(folder / "assay", [loop.PlateSource(data / "20585")])
    if not len(assay.journal().annotations()):
        loop.annotate(assay, data / "labels.csv", "readers")
    loop.cells(assay)
    state = load_plate(assay, plate.name)
    recipe = asked_recipe(TrainOptions()).with_diameter(state.found.diameter_px)
    encoder = load_encoder(stages=recipe.stages, pooling=recipe.pooling)
    store = fill_store(state, recipe, encoder, assay.embeddings_folder)
    annotated = collect([state], recipe, encoder, assay.embeddings_folder)
    plates = {"the same plate": np.asarray(store.embeddings, dtype=np.float32)}
    for name, made in (
        (f"the same, blurred by {_BLUR_PX:g} px", blurred(folder / "blurred")),
        ("BBBC006, in focus", bbbc006(folder / "focus", "in_focus")),
        ("BBBC006, 32 µm out of focus", bbbc006(folder / "defocused", "defocused")),
    ):
        plates[name] = embedded(made, recipe, encoder)
    wells = state.groups(state.found.cells["well"])
    return Measured(annotated, plates, wells)


def embedded(source: Path, recipe: CropRecipe, encoder: Encoder) -> NDArray[np.float32]:
    """Embed the cells of another plate as a model of the first plate would."""
    assay, (plate, *_) = loop.new(source.parent / "assay", [loop.PlateSource(source)])
    loop.cells(assay)
    state = load_plate(assay, plate.name)
    store = fill_store(state, recipe, encoder, assay.embeddings_folder)
    return np.asarray(store.embeddings, dtype=np.float32)


def blurred(folder: Path) -> Path:
    """Blur some fields of the plate."""
    plate = folder / "20585b"
    plate.mkdir(parents=True, exist_ok=True)
    paths = sorted((SHARED / "data" / "bbbc039" / "20585").glob("*.tif"))
    for path in paths[:: len(paths) // _N_BLURRED]:
        if not (plate / path.name).exists():
            image = gaussian_filter(imread(path).astype(np.float32), _BLUR_PX)
            tifffile.imwrite(plate / path.name, np.rint(image).astype(np.uint16))
    return plate


def bbbc006(folder: Path, focus: str) -> Path:
    """Bring fields of another screen into a plate."""
    plate = folder / "BBBC006"
    plate.mkdir(parents=True, exist_ok=True)
    for path in sorted((SHARED / "data" / "bbbc006_focus" / focus).glob("*.*")):
        match = re.search(r"_([a-p]\d\d)_s(\d)", path.name)
        assert match is not None, path
        target = plate / f"BBBC006_{match[1].upper()}_s{match[2]}_w1.tif"
        if not target.exists():
            tifffile.imwrite(target, imread(path))
    return plate
