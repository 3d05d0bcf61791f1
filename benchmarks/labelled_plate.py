"""The real plate whose nuclei two readers have labelled, as an assay: what most benchmarks use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.assay import loop
from napari_hcs_qc.assay.annotated_cells import collect
from napari_hcs_qc.assay.embedding import fill_store
from napari_hcs_qc.assay.plate_state import load_plate
from napari_hcs_qc.assay.training import TrainOptions, asked_recipe
from napari_hcs_qc.encoders.registry import load_encoder

if TYPE_CHECKING:
    from napari_hcs_qc.assay.annotated_cells import Annotated
    from napari_hcs_qc.assay.folder import AssayFolder
    from napari_hcs_qc.assay.plate_state import PlateState
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.encoder import Encoder
    from napari_hcs_qc.encoders.store import EmbeddingStore

SHARED = Path(__file__).resolve().parents[2] / "shared"
BBBC039 = SHARED / "data" / "bbbc039"
REAL_PLATE = BBBC039 / "20585"


@dataclass(frozen=True, eq=False)
class Embedded:
    """The labelled plate, embedded by the default encoder with the default recipe."""

    state: PlateState
    recipe: CropRecipe
    encoder: Encoder
    store: EmbeddingStore
    annotated: Annotated


def labelled_assay(folder: Path) -> tuple[AssayFolder, PlateState]:
    """Make the assay with its cells and annotations, or open the one that is there."""
    assay, (plate, *_) = loop.new(folder, [loop.PlateSource(REAL_PLATE)])
    if not len(assay.journal().annotations()):
        loop.annotate(assay, BBBC039 / "labels.csv", "readers")
    loop.cells(assay)
    return assay, load_plate(assay, plate.name)


def embedded_plate(folder: Path) -> Embedded:
    """Embed all its cells, or find what was embedded."""
    assay, state = labelled_assay(folder)
    recipe = asked_recipe(TrainOptions()).with_diameter(state.found.diameter_px)
    encoder = load_encoder(stages=recipe.stages, pooling=recipe.pooling)
    store = fill_store(state, recipe, encoder, assay.embeddings_folder)
    annotated = collect([state], recipe, encoder, assay.embeddings_folder)
    return Embedded(state, recipe, encoder, store, annotated)
