"""Features of labelled cells, computed once for each source, encoder and recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc import __version__
from napari_hcs_qc.cells.recipe import get_recipe
from napari_hcs_qc.encoders.backends.choice import TORCH, choose_backend
from napari_hcs_qc.encoders.registry import kept_encoder
from napari_hcs_qc.evaluation.baseline import hand_features
from napari_hcs_qc.evaluation.benchmark.spec import BASELINE
from napari_hcs_qc.files import atomic_path, fingerprint, sha256_of
from napari_hcs_qc.jobs import OnProgress, ShouldStop, check_stop

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.evaluation.benchmark.labelled import LabelledCells
    from napari_hcs_qc.evaluation.benchmark.spec import EncoderSpec

_CELLS_AT_ONCE = 64
_VERSION = 1


def features_of(
    cells: LabelledCells,
    encoder: EncoderSpec,
    recipe_name: str,
    folder: Path,
    on_progress: OnProgress,
    should_stop: ShouldStop,
) -> NDArray[np.float32]:
    """Give ``(n_cells, n_features)``, from the folder where they were computed before.

    Raises
    ------
    HcsQcError
        When the encoder cannot be loaded or a crop not be read.
    Cancelled
        When `should_stop` answers true.
    """
    recipe = get_recipe(recipe_name)
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
    path = folder / "features" / f"{fingerprint(told)}.npy"
    if path.is_file():
        kept: NDArray[np.float32] = np.load(path, allow_pickle=False)
        return kept
    network = None
    if encoder.name != BASELINE:
        network = kept_encoder(
            encoder.name, stages=recipe.stages, pooling=recipe.pooling, weights=encoder.weights
        )
    parts = []
    n_cells = len(cells.classes)
    for start in range(0, n_cells, _CELLS_AT_ONCE):
        check_stop(should_stop)
        on_progress(start, n_cells, f"features of {encoder.name}, {recipe.name}")
        crops = cells.crops(recipe, np.arange(start, min(start + _CELLS_AT_ONCE, n_cells)))
        if network is None:
            # Colour crops of one grey channel hold it three times.
            parts.append(hand_features(crops[:, :, :1].numpy())[0])
        else:
            encoded = network.encode(crops.flatten(0, 1), should_stop=should_stop)
            parts.append(encoded.reshape(len(crops), -1).numpy())
    features = np.concatenate(parts)
    with atomic_path(path) as temporary:
        np.save(temporary, features)
    return features
