"""The real plate whose nuclei two readers have labelled, as an assay: what most benchmarks use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.assay.embeddings.embed_plate import fill_store
from napari_hcs_qc.assay.embeddings.plate_priors import find_plate_priors
from napari_hcs_qc.assay.embeddings.training_set import collect
from napari_hcs_qc.assay.models.train_options import TrainOptions, requested_recipe
from napari_hcs_qc.assay.store.plate_state import load_plate
from napari_hcs_qc.encoders.registry import load_encoder
from napari_hcs_qc.heads.prior.linear_prior import find_prior
from napari_hcs_qc.study.benchmark.benchmark_spec import SourceSpec
from napari_hcs_qc.workflow import steps

if TYPE_CHECKING:
    from napari_hcs_qc.assay.embeddings.training_set import AnnotatedCells
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.embed.embedding_store import EmbeddingStore
    from napari_hcs_qc.encoders.encoder import Encoder

SHARED = Path(__file__).resolve().parents[2] / "shared"
BBBC039 = SHARED / "data" / "bbbc039"
REAL_PLATE = BBBC039 / "20585"

MITOCHECK = SourceSpec(
    name="MitoCheck",
    kind="folder",
    path=SHARED / "data" / "mitocheck",
    abnormal=("OutOfFocus", "Apoptosis"),
)
"""Its single nuclei, as published."""


@dataclass(frozen=True, eq=False)
class Embedded:
    """The labelled plate, embedded by the default encoder with the default recipe."""

    state: PlateState
    recipe: CropRecipe
    encoder: Encoder
    stores: Path  # folder of the assay's embeddings
    store: EmbeddingStore
    annotated: AnnotatedCells


def labelled_assay(folder: Path) -> tuple[AssayFolder, PlateState]:
    """Make the assay with its cells and annotations, or open the one that is there."""
    assay, (plate, *_) = steps.new(folder, [steps.PlateSource(REAL_PLATE)])
    if not len(assay.journal().annotations()):
        steps.annotate(assay, BBBC039 / "labels.csv", "readers")
    steps.cells(assay)
    return assay, load_plate(assay, plate.name)


def embedded_plate(folder: Path) -> Embedded:
    """Embed all its cells, or find what was embedded."""
    assay, state = labelled_assay(folder)
    recipe = requested_recipe(TrainOptions()).with_diameter(state.plate_cells.diameter_px)
    encoder = load_encoder(stages=recipe.stages, pooling=recipe.pooling)
    stores = assay.embeddings_folder
    store = fill_store(state, recipe, encoder, stores)
    priors = find_plate_priors([state], recipe, encoder, stores, find_prior(encoder, recipe))
    annotated = collect([state], recipe, encoder, stores, priors)
    return Embedded(state, recipe, encoder, stores, store, annotated)
