"""Encoders that were trained here: a folder each, weights beside a manifest, found by name."""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast, get_args

from napari_hcs_qc.encoders.architecture import Architecture, Family, build_architecture
from napari_hcs_qc.encoders.weights import load_strictly, read_safetensors
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import atomic_path, explained_writes, read_json, sha256_of, write_json

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

MANIFEST = "encoder.json"
WEIGHTS = "encoder.safetensors"
_FORMAT = "napari-hcs-qc encoder"
_VERSION = 1
# A folder of this name can be made on every file system, and no other encoder is called so.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, eq=False)
class CustomEncoder:
    """An encoder in a folder of its own."""

    name: str  # what it is called in its assay: the name of its folder
    folder: Path  # where it is
    family: Family  # library and architecture
    architecture: str  # library and architecture
    mean: tuple[float, float, float]  # normalisation of its input, red, green, blue
    std: tuple[float, float, float]  # normalisation of its input, red, green, blue
    input_px: int | None  # side of the crops that it was trained on, to which all are brought
    n_features: int  # length of a crop's vector with the stages ``"last"``
    weights_sha256: str  # of its weights' file when it was written
    manifest: Mapping[str, Any]  # everything that is known of it, plain data

    @property
    def weights(self) -> Path:
        """File of its weights."""
        return self.folder / WEIGHTS

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know before using it."""
        return tuple(str(one) for one in self.manifest.get("warnings", ()))

    def load(self) -> Architecture:
        """Build its network with its weights, in evaluation mode."""
        state = read_safetensors(self.weights)
        found = sha256_of(self.weights)
        if found != self.weights_sha256:
            raise HcsQcError(
                f"{self.weights} has SHA-256 {found}; {self.weights_sha256} was expected from "
                f"{MANIFEST} beside it. Import the encoder again, or train it again."
            )
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
    if name.casefold() in {one.casefold() for one in taken}:
        raise HcsQcError(f"{name!r} is the name of another encoder; choose another one (--name).")
    return name


def save_custom_encoder(folder: Path, weights: bytes, manifest: Mapping[str, Any]) -> CustomEncoder:
    """Write an encoder; it is one from the moment its manifest is there."""
    check_name(folder.name)
    told = custom_encoder_manifest(hashlib.sha256(weights).hexdigest(), manifest)
    _of(folder, told)
    with explained_writes(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Without a manifest it is no encoder: never old words on new weights.
        (folder / MANIFEST).unlink(missing_ok=True)
    with atomic_path(folder / WEIGHTS) as temporary:
        temporary.write_bytes(weights)
    write_json(folder / MANIFEST, told)
    return read_custom_encoder(folder)


def custom_encoder_manifest(weights_sha256: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """Give the manifest that belongs beside a weights file, see `save_custom_encoder`."""
    return {"format": _FORMAT, "version": _VERSION, **told, "weights_sha256": weights_sha256}


def update_custom_encoder(folder: Path, **changes: Any) -> CustomEncoder:
    """Change what is said of an encoder, such as how it compares."""
    told = {**read_custom_encoder(folder).manifest, **changes}
    write_json(folder / MANIFEST, told)
    return read_custom_encoder(folder)


def read_custom_encoder(folder: Path) -> CustomEncoder:
    """Read what is known of an encoder, without its weights."""
    path = folder / MANIFEST
    if not path.is_file():
        raise HcsQcError(f"{folder} is no encoder: it has no {MANIFEST}.")
    return _of(folder, read_json(path))


def _of(folder: Path, told: Mapping[str, Any]) -> CustomEncoder:
    path = folder / MANIFEST
    version = told.get("version")
    if told.get("format") != _FORMAT or not isinstance(version, int):
        raise HcsQcError(f"{path} is not that of an encoder: its format is {told.get('format')!r}.")
    if version > _VERSION:
        raise HcsQcError(
            f"The encoder {folder} has version {version}; this program reads up to {_VERSION}. "
            "Update napari-hcs-qc."
        )
    try:
        family = str(told["family"])
        if family not in get_args(Family):
            raise ValueError(f"unknown library {family!r}")
        return CustomEncoder(
            folder.name,
            folder,
            cast("Family", family),
            str(told["architecture"]),
            _triple(told["mean"]),
            _triple(told["std"]),
            None if told["input_px"] is None else int(told["input_px"]),
            int(told["n_features"]),
            str(told["weights_sha256"]),
            dict(told),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise HcsQcError(
            f"{path} is damaged ({type(error).__name__}: {error}); import or train it again."
        ) from error


def custom_encoder_beside(weights: Path | None) -> CustomEncoder | None:
    """Find the encoder that a weights file belongs to; None for a file without a manifest."""
    if weights is None or weights.name != WEIGHTS:
        return None
    if not (weights.parent / MANIFEST).is_file():
        return None
    return read_custom_encoder(weights.parent)


def custom_encoder_folders(root: Path) -> list[Path]:
    """List the folders of encoders below `root`, by name; damaged ones too."""
    if not root.is_dir():
        return []
    return sorted(path.parent for path in root.glob(f"*/{MANIFEST}"))


def find_custom_encoder(root: Path, name: str) -> CustomEncoder | None:
    """Find an encoder by its name; None where there is none."""
    if not _NAME.fullmatch(name):
        return None
    folder = root / name
    return read_custom_encoder(folder) if (folder / MANIFEST).is_file() else None


def import_custom_encoder(
    source: Path, root: Path, name: str, taken: Collection[str] = ()
) -> CustomEncoder:
    """Copy an encoder from elsewhere, another assay or another computer."""
    folder = source.parent if source.is_file() else source
    found = read_custom_encoder(folder)
    found.load()
    target = root / check_name(name or found.name, taken)
    if (target / MANIFEST).is_file():
        if read_custom_encoder(target).weights_sha256 == found.weights_sha256:
            return read_custom_encoder(target)  # the same once more
        raise HcsQcError(
            f"There is an encoder {target.name} in {root} already; give this one another name "
            "(--name)."
        )
    with explained_writes(target):
        target.mkdir(parents=True, exist_ok=True)
    with atomic_path(target / WEIGHTS) as temporary:
        shutil.copyfile(found.weights, temporary)
    write_json(target / MANIFEST, {**found.manifest, "imported_from": str(folder.resolve())})
    return read_custom_encoder(target)


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
