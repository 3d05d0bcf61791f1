"""A model on disk: encoder, crop recipe and fitted head, with where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.assay.store.model_manifest import EncoderRecord, ModelManifest
from napari_hcs_qc.encoders.weights import CUSTOM_WEIGHTS
from napari_hcs_qc.errors import DamagedError, HcsQcError
from napari_hcs_qc.files import (
    atomic_path,
    explained_writes,
    read_checked,
    sha256_of,
    write_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.evaluation.novelty import Novelty
    from napari_hcs_qc.heads.finetune import FineTuned
    from napari_hcs_qc.heads.prior.linear_prior import LinearPrior

_MANIFEST = "model.json"
NOVELTY = "annotated.safetensors"
"""What the annotated cells look like, in the folder of the model."""
PRIOR = "prior"
"""Folder of what its prior learned of artefacts, in that of the model."""


_REMEDY = "Train again: hcs-qc train; this folder can then be deleted."


@dataclass(frozen=True, eq=False, kw_only=True)
class Model:
    """A fitted model."""

    id: str  # number in the assay, as text: ``"0001"``
    head: Any  # fitted head; classes ``abnormal`` and ``normal``
    kind_head: Any | None  # fitted head for the kinds of abnormal cells
    manifest: ModelManifest  # weights that lie in the assay are named by their full path
    novelty: Novelty | None = None  # which cells are unlike those it was trained on
    # What its prior learned of artefacts; None where it has none, see `ModelManifest.prior`
    linear_prior: LinearPrior | None = None

    @property
    def recipe(self) -> CropRecipe:
        """Crop recipe with its nucleus diameter set."""
        return self.manifest.recipe

    @property
    def encoder(self) -> EncoderRecord:
        """What is known of its encoder."""
        return self.manifest.encoder


def save_heads(
    folder: Path,
    head: Any,
    kind_head: Any | None,
    tuned: FineTuned | None = None,
    novelty: Novelty | None = None,
    linear_prior: LinearPrior | None = None,
) -> None:
    """Write the heads of a model; a folder is a model only with a manifest, `publish_model`."""
    from napari_hcs_qc.heads.saved_head import save_head

    save_head(head, folder / "head")
    if kind_head is not None:
        save_head(kind_head, folder / "kinds")
    if tuned is not None:
        from napari_hcs_qc.encoders.custom_encoder import MANIFEST, custom_encoder_manifest

        with atomic_path(folder / CUSTOM_WEIGHTS) as temporary:
            temporary.write_bytes(tuned.weights)
        description = tuned.encoder.describe()
        family, _, architecture = description["architecture"].partition(":")
        described = {**description, "family": family, "architecture": architecture}
        manifest = custom_encoder_manifest(tuned.encoder.weights_sha256, described)
        write_json(folder / MANIFEST, manifest)
    if novelty is not None:
        with atomic_path(folder / NOVELTY) as temporary:
            temporary.write_bytes(novelty.to_bytes())
    if linear_prior is not None:
        from napari_hcs_qc.heads.prior.linear_prior import save_prior

        save_prior(folder / PRIOR, linear_prior)


def publish_model(folder: Path, manifest: ModelManifest) -> ModelManifest:
    """Write the manifest of a model whose heads are there; from then on it is one."""
    if not manifest.novelty_sha256 and (folder / NOVELTY).is_file():
        sha256 = sha256_of(folder / NOVELTY)
        manifest = manifest.model_copy(update={"novelty_sha256": sha256})
    _with_weights(manifest, lambda weights: _portable(weights, folder)).save(folder / _MANIFEST)
    return read_manifest(folder)


def read_manifest(folder: Path) -> ModelManifest:
    """Read what is known of a model, without its heads."""
    manifest = ModelManifest.load(folder / _MANIFEST)
    return _with_weights(manifest, lambda weights: _placed(weights, folder))


def change_manifest(folder: Path, **changes: object) -> ModelManifest:
    """Change entries of a model's manifest; the caller holds the assay's lock."""
    return publish_model(folder, read_manifest(folder).model_copy(update=changes))


def load_model(folder: Path) -> Model:
    """Read a model."""
    # A list of models needs no head, and scikit-learn takes longer to import than that.
    from napari_hcs_qc.heads.saved_head import load_head

    manifest = read_manifest(folder)
    return Model(
        id=folder.name,
        head=load_head(folder / "head"),
        kind_head=load_head(folder / "kinds") if manifest.has_kinds else None,
        manifest=manifest,
        novelty=_novelty(folder, manifest.novelty_sha256),
        linear_prior=_linear_prior(manifest, folder),
    )


def _linear_prior(manifest: ModelManifest, folder: Path) -> LinearPrior | None:
    record = manifest.prior
    if record is None or not record.weights_sha256:
        return None
    from napari_hcs_qc.heads.prior.linear_prior import PriorDocument, load_prior

    try:
        prior = load_prior(folder / PRIOR / f"{record.name}.json")
    except HcsQcError as error:
        # Those that are installed are mended otherwise.
        reason = str(error).removesuffix(PriorDocument.remedy).rstrip()
        raise DamagedError(f"{reason} {_REMEDY}") from error
    if prior.document.weights_sha256 != record.weights_sha256:
        raise HcsQcError(
            f"The prior in {folder / PRIOR} is not the one that the model was made with. Train "
            "again, or restore the folder from a copy."
        )
    return prior


def _novelty(folder: Path, sha256: str) -> Novelty | None:
    """Read what `save_heads` wrote; None where the model has none."""
    from napari_hcs_qc.evaluation.novelty import Novelty

    path = folder / NOVELTY
    if not sha256 and not path.is_file():
        return None
    content = read_checked(path, sha256, _REMEDY)
    try:
        return Novelty.from_bytes(content)
    except HcsQcError as error:
        raise HcsQcError(f"{path}: {error} {_REMEDY}") from error


def _with_weights(
    manifest: ModelManifest, place: Callable[[str | None], str | None]
) -> ModelManifest:
    """Give the manifest with other places of weights files."""
    encoder, tuning = manifest.encoder, manifest.fine_tuning
    changes: dict[str, object] = {
        "encoder": encoder.model_copy(update={"weights": place(encoder.weights)})
    }
    if tuning is not None:
        started_from = place(tuning.started_from_weights)
        changes["fine_tuning"] = tuning.model_copy(update={"started_from_weights": started_from})
    return manifest.model_copy(update=changes)


def _placed(weights: str | None, folder: Path) -> str | None:
    if weights is None or Path(weights).is_absolute():
        return weights
    if weights == CUSTOM_WEIGHTS:
        return str(folder.resolve() / CUSTOM_WEIGHTS)
    return str(folder.resolve().parents[1] / weights)


def _portable(weights: str | None, folder: Path) -> str | None:
    """Name weights that lie in the assay from there, so that the assay can be moved."""
    if weights is None or not Path(weights).is_absolute():
        return weights
    path, assay = Path(weights), folder.resolve().parents[1]
    if path == folder.resolve() / CUSTOM_WEIGHTS:
        return CUSTOM_WEIGHTS
    return path.relative_to(assay).as_posix() if path.is_relative_to(assay) else weights


def model_folders(models: Path) -> list[Path]:
    """List the complete models in the folder `models`, oldest first."""
    if not models.is_dir():
        return []
    return sorted(path for path in models.iterdir() if (path / _MANIFEST).is_file())


def new_model_folder(models: Path) -> Path:
    """Make the folder of the next model; the number of an incomplete one is not used again."""
    with explained_writes(models):
        models.mkdir(exist_ok=True)
        numbers = [int(path.name) for path in models.iterdir() if path.name.isdigit()]
        number = max(numbers, default=0) + 1
        while True:
            folder = models / f"{number:04d}"
            try:
                folder.mkdir()
            except FileExistsError:  # another window was quicker
                number += 1
            else:
                return folder
