"""Encoders that were trained here: a folder each, weights beside a manifest, found by name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from napari_hcs_qc.documents import problems_text
from napari_hcs_qc.encoders.architecture import Architecture, Family, build_architecture
from napari_hcs_qc.encoders.weights import CUSTOM_WEIGHTS, load_strictly, read_safetensors
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import (
    atomic_path,
    explained_writes,
    read_json,
    sha256_of,
    write_json,
)

if TYPE_CHECKING:
    from collections.abc import Collection

MANIFEST = "encoder.json"
_FORMAT = "napari-hcs-qc encoder"
_VERSION = 1
_REMEDY = (
    "Train the encoder again, or import it again; that of a fine-tuned model is trained again by: "
    "hcs-qc train."
)
# A folder of this name can be made on every file system, and no other encoder is called so.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")

_Mean = Annotated[float, Field(ge=0, le=1)]
_Std = Annotated[float, Field(gt=0, le=10)]


class CustomEncoder(BaseModel, frozen=True, extra="allow", allow_inf_nan=False):
    """An encoder in a folder of its own, by its manifest; how it was trained is in the extras."""

    folder: Path = Field(exclude=True)
    format: Literal["napari-hcs-qc encoder"]
    version: int
    family: Family
    architecture: Annotated[str, Field(pattern=r"^\w[\w./:@-]*$", max_length=200)]
    mean: tuple[_Mean, _Mean, _Mean]  # normalisation of its input, red, green, blue
    std: tuple[_Std, _Std, _Std]
    # side of the crops that it was trained on, to which all are brought
    input_px: Annotated[int, Field(ge=1, le=4096)] | None
    n_features: Annotated[
        int, Field(ge=1, le=1_000_000)
    ]  # length of a crop's vector with the stages ``"last"``
    weights_sha256: Annotated[
        str, Field(pattern=r"^[0-9a-f]{64}$")
    ]  # of its weights' file when it was written
    warnings: tuple[str, ...] = ()  # what a person should know before using it
    origin: str = "trained here"
    recipe: Mapping[str, Any] | None = None  # of the crops that it was trained on
    comparison: Mapping[str, Any] | None = None  # with untrained networks

    @property
    def name(self) -> str:
        """What it is called in its assay."""
        return self.folder.name

    @property
    def weights(self) -> Path:
        """File of its weights."""
        return self.folder / CUSTOM_WEIGHTS

    @property
    def manifest(self) -> Mapping[str, Any]:
        """Everything that is known of it, plain data."""
        return self.model_dump(mode="json", exclude_unset=True)

    def load(self) -> Architecture:
        """Build its network with its weights, in evaluation mode."""
        if not self.weights.is_file():
            raise HcsQcError(f"{self.weights} does not exist. Import the encoder again.")
        sha256 = sha256_of(self.weights)
        if sha256 != self.weights_sha256:
            raise HcsQcError(
                f"{self.weights} has SHA-256 {sha256}; {self.weights_sha256} was expected from "
                f"{MANIFEST} beside it. Import the encoder again, or train it again."
            )
        state = read_safetensors(self.weights)
        built = build_architecture(self.family, self.architecture)
        load_strictly(built.module, state, built.classifier, f"{self.weights}")
        input_px = self.input_px or built.input_px
        return replace(built, mean=self.mean, std=self.std, input_px=input_px)


def check_name(name: str, taken: Collection[str] = ()) -> str:
    """Give the name of an encoder back, if it can be one."""
    if not _NAME.fullmatch(name):
        raise HcsQcError(
            f"{name!r} cannot name an encoder; use 1 to 64 letters, digits, - and _, beginning "
            "with a letter or digit."
        )
    if name.casefold() in {other.casefold() for other in taken}:
        raise HcsQcError(f"{name!r} is the name of another encoder; choose another one (--name).")
    return name


def save_custom_encoder(folder: Path, weights: bytes, manifest: Mapping[str, Any]) -> CustomEncoder:
    """Write an encoder; it is one from the moment its manifest is there."""
    check_name(folder.name)
    manifest = custom_encoder_manifest(hashlib.sha256(weights).hexdigest(), manifest)
    _validated(folder, manifest)
    with explained_writes(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Without a manifest it is no encoder: never an old manifest on new weights.
        (folder / MANIFEST).unlink(missing_ok=True)
    with atomic_path(folder / CUSTOM_WEIGHTS) as temporary:
        temporary.write_bytes(weights)
    write_json(folder / MANIFEST, manifest)
    return read_custom_encoder(folder)


def custom_encoder_manifest(weights_sha256: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Give the manifest that belongs beside a weights file, see `save_custom_encoder`."""
    return {"format": _FORMAT, "version": _VERSION, **facts, "weights_sha256": weights_sha256}


def update_custom_encoder(folder: Path, **changes: Any) -> CustomEncoder:
    """Change what is known of an encoder, such as how it compares."""
    write_json(folder / MANIFEST, {**read_custom_encoder(folder).manifest, **changes})
    return read_custom_encoder(folder)


def read_custom_encoder(folder: Path) -> CustomEncoder:
    """Read what is known of an encoder, without its weights."""
    path = folder / MANIFEST
    if not path.is_file():
        raise HcsQcError(f"{folder} is no encoder: it has no {MANIFEST}. {_REMEDY}")
    return _validated(folder, read_json(path, remedy=_REMEDY))


def _validated(folder: Path, manifest: Mapping[str, Any]) -> CustomEncoder:
    path = folder / MANIFEST
    version = manifest.get("version")
    if manifest.get("format") != _FORMAT or not isinstance(version, int):
        raise HcsQcError(
            f"{path} is not that of an encoder: its format is {manifest.get('format')!r}. {_REMEDY}"
        )
    if version > _VERSION:
        raise HcsQcError(
            f"The encoder {folder} has version {version}; this program reads up to {_VERSION}. "
            "Update napari-hcs-qc."
        )
    try:
        return CustomEncoder.model_validate({**manifest, "folder": folder})
    except ValidationError as error:
        raise HcsQcError(
            f"{path} is damaged ({problems_text(error, CustomEncoder)}). {_REMEDY}"
        ) from error


def custom_encoder_beside(weights: Path | None) -> CustomEncoder | None:
    """Find the encoder that a weights file belongs to; None for a file without a manifest."""
    if weights is None or weights.name != CUSTOM_WEIGHTS:
        return None
    if not (weights.parent / MANIFEST).is_file():
        return None
    return read_custom_encoder(weights.parent)


def custom_encoder_folders(root: Path) -> list[Path]:
    """List the folders of encoders below `root`, by name; damaged ones too."""
    return sorted(path.parent for path in root.glob(f"*/{MANIFEST}")) if root.is_dir() else []


def find_custom_encoder(root: Path, name: str) -> CustomEncoder | None:
    """Find an encoder by its name; None where there is none."""
    if not _NAME.fullmatch(name) or not (root / name / MANIFEST).is_file():
        return None
    return read_custom_encoder(root / name)


def import_custom_encoder(
    source: Path, root: Path, name: str, taken: Collection[str] = ()
) -> CustomEncoder:
    """Copy an encoder from elsewhere, another assay or another computer."""
    folder = source.parent if source.is_file() else source
    encoder = read_custom_encoder(folder)
    encoder.load()
    target = root / check_name(name or encoder.name, taken)
    if (target / MANIFEST).is_file():
        present = read_custom_encoder(target)
        if present.weights_sha256 == encoder.weights_sha256:
            return present
        raise HcsQcError(
            f"There is an encoder {target.name} in {root} already; give this one another name "
            "(--name)."
        )
    manifest = {**encoder.manifest, "imported_from": str(folder.resolve())}
    return save_custom_encoder(target, encoder.weights.read_bytes(), manifest)
