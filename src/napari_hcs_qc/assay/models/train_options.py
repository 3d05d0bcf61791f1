"""Options of a training, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_hcs_qc.cells.recipe import DEFAULT_RECIPE, CropRecipe, get_recipe
from napari_hcs_qc.encoders.custom_encoder import find_custom_encoder
from napari_hcs_qc.encoders.registry import encoder_names

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.assay.store.assay_folder import AssayFolder


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
    simulated
        Names of simulated artefacts of which cells are trained on as well, see
        ``hcs-qc train --simulated``.
    backend
        What runs the encoder on the CPU, see `napari_hcs_qc.encoders.registry.load_encoder`.
    """

    encoder: str | None = None
    weights: Path | None = None
    recipe: str | None = None
    rgb: tuple[str, ...] = ()
    head: str = "linear"
    seed: int = 0
    n_seeds: int = 5
    device: str = "auto"
    simulated: tuple[str, ...] = ()
    backend: str = "auto"


def with_custom_weights(assay: AssayFolder, options: TrainOptions) -> TrainOptions:
    """Give the options with the weights of an encoder of the assay, where its name was given."""
    name = options.encoder
    if name is None or options.weights is not None or name in encoder_names():
        return options
    own = find_custom_encoder(assay.encoders_folder, name)
    return options if own is None else replace(options, weights=own.weights)


def asked_recipe(options: TrainOptions) -> CropRecipe:
    """Give the crop recipe of some options, its nucleus diameter not yet set."""
    recipe = get_recipe(options.recipe or DEFAULT_RECIPE)
    return replace(recipe, channels="rgb", rgb=options.rgb) if options.rgb else recipe
