"""Features of labelled cells, computed once for each source, encoder and recipe."""

from __future__ import annotations

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
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.encoder import Encoder
    from napari_hcs_qc.job import Job
    from napari_hcs_qc.study.benchmark.benchmark_spec import EncoderSpec
    from napari_hcs_qc.study.benchmark.labelled import LabelledCells

_CELLS_AT_ONCE = 64
_VERSION = 2


def feature_file(
    cells: LabelledCells,
    encoder: EncoderSpec,
    recipe_name: str,
    folder: Path,
    job: Job,
) -> Path:
    """Give the file with ``(n_cells, n_features)`` float32, computed where it is not there yet."""
    recipe = get_recipe(recipe_name)
    path = folder / "features" / f"{_address(cells, encoder, recipe)}.npy"
    if path.is_file():
        return path
    network = None if encoder.name == BASELINE else _loaded(encoder, recipe)
    channels = list(cells.distinct_channels(recipe))
    parts = []
    n_cells = len(cells.classes)
    for start in range(0, n_cells, _CELLS_AT_ONCE):
        job.check()
        job.report(start, n_cells, f"features of {encoder.name}, {recipe.name}")
        crops = cells.crops(recipe, np.arange(start, min(start + _CELLS_AT_ONCE, n_cells)))
        if network is None:
            parts.append(hand_features(crops[:, :, channels].numpy())[0])
        else:
            encoded = network.encode(crops.flatten(0, 1), job=job)
            parts.append(encoded.reshape(len(crops), -1).numpy())
    with atomic_path(path) as temporary:
        np.save(temporary, np.concatenate(parts))
    return path


def features_of(
    cells: LabelledCells,
    encoder: EncoderSpec,
    recipe_name: str,
    folder: Path,
    job: Job,
) -> NDArray[np.float32]:
    """Give the rows of `feature_file`, see there."""
    path = feature_file(cells, encoder, recipe_name, folder, job)
    features: NDArray[np.float32] = np.load(path, allow_pickle=False)
    return features


def directions_file(
    cells: LabelledCells,
    encoder: EncoderSpec,
    recipe_name: str,
    folder: Path,
    job: Job,
) -> Path:
    """Give the file with the main directions of the plates the cells are of.

    From a sample of the cells that nobody annotated, as the product's own training takes it; the
    sample is embedded where the file is not there yet.
    """
    recipe = get_recipe(recipe_name)
    path = folder / "directions" / f"{_address(cells, encoder, recipe)}.npz"
    if path.is_file():
        return path
    sampled = cells.sample(recipe, _loaded(encoder, recipe), folder, job)
    found = plate_directions(sampled)
    if found is None:
        raise HcsQcError(
            f"{len(sampled)} cells of the plates were sampled, but too few of them can be read to "
            "compute the plates' main directions; set plate_directions = false "
            "(--no-plate-directions) to do without."
        )
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, **found._asdict())
    return path


def _loaded(encoder: EncoderSpec, recipe: CropRecipe) -> Encoder:
    return cached_encoder(
        encoder.name, stages=recipe.stages, pooling=recipe.pooling, weights=encoder.weights
    )


def _address(cells: LabelledCells, encoder: EncoderSpec, recipe: CropRecipe) -> str:
    told = {
        "version": _VERSION,
        "package": __version__,  # which says what weights of its own an encoder has
        "source": cells.fingerprint,
        "encoder": encoder.name,
        "weights": "" if encoder.weights is None else sha256_of(encoder.weights),
        "recipe": recipe.fingerprint,
    }
    backend = choose_backend()
    if encoder.name != BASELINE and backend != TORCH:
        told["backend"] = backend
    return fingerprint(told)
