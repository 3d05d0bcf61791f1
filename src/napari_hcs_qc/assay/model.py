"""A model on disk: encoder, crop recipe and fitted head, with where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.cells.recipe import CropRecipe
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import read_json, write_json
from napari_hcs_qc.heads.saved import load_head, save_head

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MODEL_VERSION = 1
_MANIFEST = "model.json"


@dataclass(frozen=True, eq=False)
class Model:
    """A fitted model.

    Parameters
    ----------
    id
        Number in the assay, as text: ``"0001"``.
    head
        Fitted head; classes ``abnormal`` and ``normal``.
    kind_head
        Fitted head for the kinds of abnormal cells; None where no kind has enough annotations.
    recipe
        Crop recipe with its nucleus diameter set.
    encoder
        What `Encoder.describe` says, with ``fingerprint`` and ``weights`` (path of a local file,
        or None).
    manifest
        Everything as plain data: the above and the training: annotations, cross-validation,
        seed, versions, plates.
    """

    id: str
    head: Any
    kind_head: Any | None
    recipe: CropRecipe
    encoder: Mapping[str, Any]
    manifest: Mapping[str, Any]


def save_model(folder: Path, head: Any, kind_head: Any | None, manifest: Mapping[str, Any]) -> Path:
    """Write a model; its manifest last, so that a folder without one is no model.

    Raises
    ------
    WriteError
        When it cannot be written.
    """
    save_head(head, folder / "head")
    if kind_head is not None:
        save_head(kind_head, folder / "kinds")
    write_json(folder / _MANIFEST, {"model_version": MODEL_VERSION, **manifest})
    return folder


def load_model(folder: Path) -> Model:
    """Read a model.

    Raises
    ------
    HcsQcError
        When there is none, it is damaged, or a newer version wrote it.
    """
    manifest = read_json(folder / _MANIFEST)
    version = manifest.get("model_version")
    if not isinstance(version, int) or version > MODEL_VERSION:
        raise HcsQcError(
            f"The model {folder} has version {version!r}; this program reads up to "
            f"{MODEL_VERSION}. Update napari-hcs-qc or train again."
        )
    try:
        recipe = CropRecipe.from_dict(manifest["recipe"])
        encoder = manifest["encoder"]
        has_kinds = bool(manifest["has_kinds"])
    except (KeyError, TypeError) as error:
        raise HcsQcError(f"The model {folder} is damaged ({error}); train again.") from error
    kind_head = load_head(folder / "kinds") if has_kinds else None
    return Model(folder.name, load_head(folder / "head"), kind_head, recipe, encoder, manifest)


def model_folders(models: Path) -> list[Path]:
    """List the complete models in the folder `models`, oldest first."""
    if not models.is_dir():
        return []
    return sorted(path for path in models.iterdir() if (path / _MANIFEST).is_file())


def new_model_folder(models: Path) -> Path:
    """Give the folder of the next model; the number of an incomplete one is not used again."""
    numbers = [int(path.name) for path in models.iterdir() if path.name.isdigit()]
    return models / f"{max(numbers, default=0) + 1:04d}"
