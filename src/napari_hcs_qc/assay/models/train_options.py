"""What is trained: encoder, recipe and head, as a person chose them; remembered by the assay."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from napari_hcs_qc.cells.recipe import DEFAULT_RECIPE, CropRecipe, get_recipe
from napari_hcs_qc.encoders.backends.choice import as_trained
from napari_hcs_qc.encoders.custom_encoder import find_custom_encoder
from napari_hcs_qc.encoders.registry import DEFAULT_ENCODER, cached_encoder, encoder_names
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.model_manifest import ModelManifest
    from napari_hcs_qc.encoders.encoder import Encoder


@dataclass(frozen=True, kw_only=True)
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

    @property
    def encoder_name(self) -> str:
        """Name of the encoder, which may be the default."""
        return self.encoder or DEFAULT_ENCODER


_OPTIONS = TypeAdapter(TrainOptions)


def chosen_options(assay: AssayFolder) -> TrainOptions:
    """Give what was chosen for an assay, the defaults where nothing was."""
    saved = assay.settings.train_options
    try:
        if saved is None:
            return TrainOptions()
        return _OPTIONS.validate_json(json.dumps(saved), strict=True)
    except ValidationError as error:
        raise HcsQcError(
            f"The options saved with the assay {assay.path} are {saved!r}, which is not valid "
            f"({error.errors()[0]['msg']}); choose encoder, recipe and head again."
        ) from error


def save_options(assay: AssayFolder, options: TrainOptions) -> None:
    """Remember what was chosen for an assay."""
    assay.update_settings(train_options=_OPTIONS.dump_python(options, mode="json"))


def with_custom_weights(assay: AssayFolder, options: TrainOptions) -> TrainOptions:
    """Give the options with the weights of an encoder of the assay, where its name was given."""
    name = options.encoder
    if name is None or options.weights is not None or name in encoder_names():
        return options
    custom = find_custom_encoder(assay.encoders_folder, name)
    return options if custom is None else replace(options, weights=custom.weights)


def requested_recipe(options: TrainOptions) -> CropRecipe:
    """Give the crop recipe of some options, its nucleus diameter not yet set."""
    recipe = get_recipe(options.recipe or DEFAULT_RECIPE)
    return replace(recipe, channels="rgb", rgb=options.rgb) if options.rgb else recipe


def requested_encoder(
    options: TrainOptions, *, load: Callable[..., Encoder] = cached_encoder, job: Job = NO_JOB
) -> Encoder:
    """Load the encoder of some options as their recipe needs it, or give the one in memory."""
    recipe = requested_recipe(options)
    return load(
        options.encoder_name,
        stages=recipe.stages,
        pooling=recipe.pooling,
        weights=options.weights,
        device=options.device,
        backend=options.backend,
        job=job,
    )


def model_encoder(manifest: ModelManifest, *, device: str = "auto", job: Job = NO_JOB) -> Encoder:
    """Load the encoder that a model was trained with, or give the one in memory.

    With the backend that its embeddings were made by, where that is installed; see
    `napari_hcs_qc.assay.scoring.prediction.check_encoder` for when it is not.
    """
    encoder = manifest.encoder
    return cached_encoder(
        encoder.name,
        stages=encoder.stages,
        pooling=encoder.pooling,
        weights=None if encoder.weights is None else Path(encoder.weights),
        device=device,
        backend=as_trained(encoder.backend),
        job=job,
    )
