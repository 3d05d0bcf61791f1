"""A model on disk: encoder, crop recipe and fitted head, with where it came from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.cells.recipe import CropRecipe
from napari_hcs_qc.encoders.custom_encoder import MANIFEST, WEIGHTS, custom_encoder_manifest
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import atomic_path, explained_writes, read_json, write_json
from napari_hcs_qc.old_names import with_new_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_hcs_qc.evaluation.novelty import Novelty
    from napari_hcs_qc.heads.finetune import FineTuned

MODEL_VERSION = 1
_MANIFEST = "model.json"
OWN_WEIGHTS = WEIGHTS
"""Weights of a fine-tuned encoder, in the folder of its model."""
NOVELTY = "annotated.safetensors"
"""What the annotated cells look like, in the folder of the model."""


@dataclass(frozen=True, eq=False)
class Model:
    """A fitted model."""

    id: str  # number in the assay, as text: ``"0001"``
    head: Any  # fitted head; classes ``abnormal`` and ``normal``
    kind_head: Any | None  # fitted head for the kinds of abnormal cells
    recipe: CropRecipe  # crop recipe with its nucleus diameter set
    encoder: Mapping[str, Any]
    manifest: Mapping[str, Any]
    novelty: Novelty | None = None  # tells which cells are unlike those it was trained on


def save_heads(
    folder: Path,
    head: Any,
    kind_head: Any | None,
    tuned: FineTuned | None = None,
    novelty: Novelty | None = None,
) -> None:
    """Write the heads of a model; a folder is a model only with a manifest, `publish_model`."""
    from napari_hcs_qc.heads.saved_head import save_head

    save_head(head, folder / "head")
    if kind_head is not None:
        save_head(kind_head, folder / "kinds")
    if tuned is not None:
        with atomic_path(folder / OWN_WEIGHTS) as temporary:
            temporary.write_bytes(tuned.weights)
        told = tuned.encoder.describe()
        family, _, architecture = told["architecture"].partition(":")
        described = {**told, "family": family, "architecture": architecture}
        write_json(
            folder / MANIFEST, custom_encoder_manifest(tuned.encoder.weights_sha256, described)
        )
    if novelty is not None:
        with atomic_path(folder / NOVELTY) as temporary:
            temporary.write_bytes(novelty.to_bytes())


def publish_model(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Write the manifest of a model whose heads are there; from then on it is one."""
    plain = json.loads(json.dumps({"model_version": MODEL_VERSION, **manifest}))
    plain["encoder"]["weights"] = _portable(plain["encoder"].get("weights"), folder)
    tuning = plain.get("fine_tuning")
    if tuning:
        tuning["started_from_weights"] = _portable(tuning.get("started_from_weights"), folder)
    write_json(folder / _MANIFEST, plain)
    found: dict[str, Any] = plain
    return found


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read what is known of a model, without its heads."""
    manifest: dict[str, Any] = with_new_names(read_json(folder / _MANIFEST))
    version = manifest.get("model_version")
    if not isinstance(version, int) or version > MODEL_VERSION:
        raise HcsQcError(
            f"The model {folder} has version {version!r}; this program reads up to "
            f"{MODEL_VERSION}. Update napari-hcs-qc or train again."
        )
    return manifest


def change_manifest(folder: Path, **changes: Any) -> dict[str, Any]:
    """Change entries of a model's manifest; the caller holds the assay's lock."""
    manifest = {**read_manifest(folder), **changes}
    return publish_model(folder, manifest)


def load_model(folder: Path) -> Model:
    """Read a model."""
    # A list of models needs no head, and scikit-learn takes longer to import than that.
    from napari_hcs_qc.heads.saved_head import load_head

    manifest = read_manifest(folder)
    try:
        recipe = CropRecipe.from_dict(manifest["recipe"])
        manifest = located(manifest, folder)
        encoder = manifest["encoder"]
        has_kinds = bool(manifest["has_kinds"])
    except (KeyError, TypeError) as error:
        raise HcsQcError(f"The model {folder} is damaged ({error}); train again.") from error
    kind_head = load_head(folder / "kinds") if has_kinds else None
    head = load_head(folder / "head")
    return Model(folder.name, head, kind_head, recipe, encoder, manifest, _novelty(folder))


def _novelty(folder: Path) -> Novelty | None:
    """Read what `save_heads` kept; None where the model has none."""
    from napari_hcs_qc.evaluation.novelty import Novelty

    path = folder / NOVELTY
    if not path.is_file():
        return None
    try:
        return Novelty.from_bytes(path.read_bytes())
    except OSError as error:
        raise HcsQcError(f"{path} cannot be read ({error}); train again.") from error
    except HcsQcError as error:
        raise HcsQcError(f"{path}: {error} Train again.") from error


def located(manifest: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Give a manifest in which the weights that lie in the assay have their folder."""
    encoder = dict(manifest["encoder"])
    weights = encoder["weights"]
    encoder["weights"] = (
        str(folder / OWN_WEIGHTS) if weights == OWN_WEIGHTS else _placed(weights, folder)
    )
    found = {**manifest, "encoder": encoder}
    if found.get("fine_tuning"):
        tuning = dict(found["fine_tuning"])
        tuning["started_from_weights"] = _placed(tuning.get("started_from_weights"), folder)
        found["fine_tuning"] = tuning
    return found


def _placed(weights: str | None, folder: Path) -> str | None:
    if weights is None or Path(weights).is_absolute():
        return weights
    return str(folder.resolve().parents[1] / weights)


def _portable(weights: str | None, folder: Path) -> str | None:
    """Name weights that lie in the assay from there, so that the assay can be moved."""
    if weights is None or not Path(weights).is_absolute():
        return weights
    assay = folder.resolve().parents[1]
    path = Path(weights)
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
