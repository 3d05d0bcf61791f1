"""Published weights of timm and torchvision, and of timm models on the hub: found or downloaded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from napari_hcs_qc.download import download
from napari_hcs_qc.encoders.architecture import (
    Architecture,
    build_architecture,
    timm_repository,
    torchvision_url,
)
from napari_hcs_qc.encoders.hub import WEIGHTS, hub_file, hub_model
from napari_hcs_qc.encoders.weights import (
    cache_folder,
    load_strictly,
    read_safetensors,
    read_state_dict,
)
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from napari_hcs_qc.job import Job


def pretrained_timm(encoder: str, name: str, job: Job) -> tuple[Architecture, str]:
    """Build a timm architecture with the weights that timm publishes; gives their SHA-256 too."""
    repository = timm_repository(name)
    if repository is None:
        raise HcsQcError(
            f"timm publishes no weights of {name} as safetensors; give a local file: "
            "--weights FILE.safetensors."
        )
    return _from_hub(repository, encoder, name, {}, job)


def pretrained_hub(encoder: str, repository: str, job: Job) -> tuple[Architecture, str]:
    """Build the timm model of a repository on the hub, with its weights and normalisation."""
    model = hub_model(repository, encoder, job)
    architecture, digest = _from_hub(repository, encoder, model.architecture, model.overlay, job)
    plain = build_architecture("timm", model.architecture)
    if architecture.input_px != plain.input_px:
        raise HcsQcError(
            f"{repository} is a {model.architecture} for images of {architecture.input_px} px; "
            f"that architecture takes {plain.input_px} px. Take the model of another repository."
        )
    return architecture, digest


def _from_hub(
    repository: str, encoder: str, name: str, overlay: Mapping[str, Any], job: Job
) -> tuple[Architecture, str]:
    path = hub_file(repository, WEIGHTS, encoder, job)
    digest = sha256_of(path)
    # The hub names a large file by its SHA-256, and so does its cache.
    stored = path.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", stored.name) and stored.name != digest:
        raise HcsQcError(
            f"{stored} is damaged: it is {WEIGHTS} of {repository} and has SHA-256 {digest}. "
            "Delete it and run the same command again."
        )
    read_safetensors(path)  # a damaged file is reported here, before timm reads it
    return build_architecture("timm", name, {"file": str(path), **overlay}), digest


def pretrained_torchvision(encoder: str, name: str, job: Job) -> tuple[Architecture, str]:
    """Build a torchvision architecture with its published weights; gives their SHA-256 too."""
    built = build_architecture("torchvision", name)
    url = torchvision_url(name)
    file_name = url.rpartition("/")[2]
    # PyTorch's model zoo puts the first digits of the SHA-256 into the name.
    digits = re.search(r"-([0-9a-f]{8,})\.pth$", file_name)
    if digits is None:
        raise HcsQcError(
            f"The weights that torchvision publishes for {name} cannot be checked ({url}); "
            "give a local file: --weights FILE.safetensors."
        )
    # Where torchvision itself keeps them, or where 0.1.0 did.
    path = Path(torch.hub.get_dir()) / "checkpoints" / file_name
    old = cache_folder() / "weights" / "torchvision" / file_name
    path = old if old.is_file() and not path.is_file() else path
    is_new = not path.is_file()
    if is_new:
        download(
            url,
            path,
            message=f"Downloading the weights of {encoder}",
            otherwise="or give a local file of this architecture: --weights FILE.safetensors (the "
            "encoder efficientnet-lite0 needs neither)",
            job=job,
        )
    digest = sha256_of(path)
    if not digest.startswith(digits[1]):
        if is_new:
            path.unlink()
        advice = "Nothing was kept; try again later." if is_new else f"Delete {path} and try again."
        raise HcsQcError(
            f"The weights of {encoder} from {url} have SHA-256 {digest}; one that begins with "
            f"{digits[1]} was expected. {advice}"
        )
    load_strictly(built.module, read_state_dict(path), built.classifier, f"The weights file {path}")
    return built, digest
