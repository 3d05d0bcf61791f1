"""Features of labelled cells, computed once for each source, encoder and recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc import __version__
from napari_hcs_qc.cells.recipe import get_recipe
from napari_hcs_qc.encoders.backends.choice import TORCH, choose_backend
from napari_hcs_qc.encoders.registry import cached_encoder
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.evaluation.baseline import hand_features
from napari_hcs_qc.files import atomic_path, fingerprint, sha256_of
from napari_hcs_qc.heads.linear.plate_directions import plate_directions
from napari_hcs_qc.study.benchmark.benchmark_spec import BASELINE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.encoder import Encoder
    from napari_hcs_qc.job import Job
    from napari_hcs_qc.study.benchmark.benchmark_spec import EncoderSpec
    from napari_hcs_qc.study.benchmark.labelled import LabelledCells

_CELLS_AT_ONCE = 64
_VERSION = 2
_DIRECTIONS_VERSION = 2  # with those of traits; features stay what they were


@dataclass(frozen=True, eq=False)
class Embedder:
    """Embeds crops ``(n, n_views, channels, side, side)`` as ``(n, n_features)`` float32."""

    embed: Callable[[Tensor], NDArray[np.float32]]
    weights_sha256: str  # empty for hand-made features


def make_embedder(
    cells: LabelledCells, encoder: EncoderSpec, recipe: CropRecipe, job: Job, device: str = "auto"
) -> Embedder:
    """Load an encoder for the crops of a recipe, or take the features made by hand."""
    if encoder.name == BASELINE:
        channels = list(cells.distinct_channels(recipe))
        return Embedder(lambda crops: hand_features(crops[:, :, channels].numpy())[0], "")
    network = _loaded(encoder, recipe, device)

    def embed(crops: Tensor) -> NDArray[np.float32]:
        features: NDArray[np.float32] = (
            network.encode(crops.flatten(0, 1), job=job).reshape(len(crops), -1).numpy()
        )
        return features

    return Embedder(embed, network.weights_sha256)


def write_features(
    path: Path, cells: LabelledCells, recipe: CropRecipe, embedder: Embedder, job: Job, message: str
) -> None:
    """Embed all cells, as ``(n_cells, n_features)`` float32."""
    parts = []
    n_cells = len(cells.classes)
    for start in range(0, n_cells, _CELLS_AT_ONCE):
        job.check()
        job.report(start, n_cells, message)
        rows = np.arange(start, min(start + _CELLS_AT_ONCE, n_cells))
        parts.append(embedder.embed(cells.crops(recipe, rows)))
    with atomic_path(path) as temporary:
        np.save(temporary, np.concatenate(parts))


def feature_file(
    cells: LabelledCells, encoder: EncoderSpec, recipe_name: str, folder: Path, job: Job
) -> Path:
    """Give the file with ``(n_cells, n_features)`` float32, computed where it is not there yet."""
    recipe = get_recipe(recipe_name)
    path = folder / "features" / f"{fingerprint(feature_inputs(cells, encoder, recipe))}.npy"
    if not path.is_file():
        embedder = make_embedder(cells, encoder, recipe, job)
        message = f"features of {encoder.name}, {recipe.name}"
        write_features(path, cells, recipe, embedder, job, message)
    return path


def directions_file(
    cells: LabelledCells, encoder: EncoderSpec, recipe_name: str, folder: Path, job: Job
) -> Path:
    """Give the file with the main directions of the plates the cells are of.

    From a sample of the cells that nobody annotated, as the product's own training takes it; the
    sample is embedded where the file is not there yet.
    """
    recipe = get_recipe(recipe_name)
    inputs = feature_inputs(cells, encoder, recipe) | {"directions": _DIRECTIONS_VERSION}
    path = folder / "directions" / f"{fingerprint(inputs)}.npz"
    if path.is_file():
        return path
    sampled, traits = cells.sample(recipe, _loaded(encoder, recipe), folder, job)
    directions = plate_directions(sampled, traits=traits)
    if directions is None:
        raise HcsQcError(
            f"{len(sampled)} cells of the plates were sampled, but too few of them can be read to "
            "compute the plates' main directions; set plate_directions = false "
            "(--no-plate-directions) to do without."
        )
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, **directions._asdict())
    return path


def feature_inputs(
    cells: LabelledCells, encoder: EncoderSpec, recipe: CropRecipe
) -> dict[str, str | int]:
    """Gather what the features of cells depend on."""
    inputs: dict[str, str | int] = {
        "version": _VERSION,
        "package": __version__,  # which says what weights of its own an encoder has
        "source": cells.fingerprint,
        "encoder": encoder.name,
        "weights": "" if encoder.weights is None else sha256_of(encoder.weights),
        "recipe": recipe.fingerprint,
    }
    backend = choose_backend()
    if encoder.name != BASELINE and backend != TORCH:
        inputs["backend"] = backend
    return inputs


def _loaded(encoder: EncoderSpec, recipe: CropRecipe, device: str = "auto") -> Encoder:
    return cached_encoder(
        encoder.name,
        stages=recipe.stages,
        pooling=recipe.pooling,
        weights=encoder.weights,
        device=device,
    )
