"""What a self-supervised training starts from: chance, or an encoder that was trained before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.encoders.architecture import build_architecture, random_architecture
from napari_hcs_qc.encoders.custom_encoder import (
    MANIFEST,
    custom_encoder_beside,
    read_custom_encoder,
)
from napari_hcs_qc.encoders.registry import load_architecture
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from napari_hcs_qc.encoders.architecture import Architecture, Family

SCRATCH: tuple[Family, str] = ("torchvision", "resnet18")
"""Library and architecture of an encoder that starts from chance: the paper's, 512 features."""


@dataclass(frozen=True, eq=False)
class Start:
    """A network to train, and where its weights come from."""

    architecture: Architecture  # in evaluation mode, taking crops of any side where it can
    origin: str  # as text: ``random weights``, the name of an encoder, or a file
    digest: str  # SHA-256 of the weights' file; empty for random ones


def start_from(
    name: str | None,
    custom_folder: Path | None = None,
    *,
    weights: Path | None = None,
    seed: int = 0,
    job: Job = NO_JOB,
) -> Start:
    """Build the network that a training starts from."""
    if name is None:
        return Start(random_architecture(*SCRATCH, seed), "random weights", "")
    folder = _folder_of(name, custom_folder)
    if folder is not None:
        trained = read_custom_encoder(folder)
        built = trained.load()
        plain = build_architecture(trained.family, trained.architecture)
        # It may be trained on at another size than before.
        return Start(replace(built, input_px=plain.input_px), f"{folder}", trained.weights_sha256)
    path = Path(name)
    if path.suffix == ".safetensors" and weights is None:
        if not path.is_file():
            raise HcsQcError(f"The weights file {path} to start from does not exist.")
        architecture, digest = load_architecture("resnet18", weights=path)
        return Start(architecture, str(path), digest)
    architecture, digest = load_architecture(name, weights=weights, job=job)
    return Start(architecture, name, digest)


def _folder_of(name: str, custom_folder: Path | None) -> Path | None:
    """Find the folder of an encoder that was trained here, by its name or its path."""
    if (
        custom_folder is not None
        and "/" not in name
        and (custom_folder / name / MANIFEST).is_file()
    ):
        return custom_folder / name
    path = Path(name)
    if (path / MANIFEST).is_file():
        return path
    beside = custom_encoder_beside(path)
    return None if beside is None else beside.folder
