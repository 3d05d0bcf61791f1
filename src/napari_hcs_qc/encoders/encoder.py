"""The encoder: crops in, one vector a crop out."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from napari_hcs_qc.encoders.backends.choice import (
    AUTO,
    TORCH,
    BackendName,
    backend_version,
    choose_backend,
)
from napari_hcs_qc.encoders.backends.compiled import CROPS_AT_ONCE, CompiledNetwork
from napari_hcs_qc.encoders.embed.crop_workers import MAX_WORKERS, CropWorkers
from napari_hcs_qc.encoders.fusion import fuse_batch_norms
from napari_hcs_qc.encoders.normalise import Normaliser
from napari_hcs_qc.encoders.stages import StageNetwork
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import fingerprint
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_hcs_qc.cells.recipe import Pooling, Stages
    from napari_hcs_qc.encoders.architecture import Architecture

# Goes up whenever the same crops give other vectors; old embeddings are then made anew.
_ENCODE_VERSION = 1
# Relative to the largest feature: what two orders of the same float32 sums may differ by.
_FUSION_TOLERANCE = 1e-5
_MAX_BATCH = 512
# Crops that go through PyTorch's layers on the CPU together: the maps between the layers then
# stay in its cache, which is a quarter faster than the whole batch.
_TORCH_CROPS_AT_ONCE = 8


class Encoder:
    """A frozen network that turns crops into vectors.

    Made by `load_encoder`, which fills the architecture with weights.
    """

    def __init__(
        self,
        name: str,
        architecture: Architecture,
        weights_sha256: str,
        *,
        stages: Stages = "last",
        pooling: Pooling = "mean",
        device: str | torch.device = "auto",
        backend: str = AUTO,
    ) -> None:
        chosen = choose_backend(backend)  # a wrong name is refused before any work
        self.name = name
        self.architecture = str(architecture)
        self.weights_sha256 = weights_sha256
        self.stages: Stages = stages
        self.pooling: Pooling = pooling
        self.mean, self.std = architecture.mean, architecture.std
        self.device = choose_device(device)
        self._normalised = Normaliser(architecture, self.device)
        architecture.module.requires_grad_(False)
        self._network, self.n_fused = _fused_network(architecture, stages, pooling)
        self._network.module.to(self.device).to(memory_format=torch.channels_last)
        self.n_features = self._network.n_features
        self._max_batch = _MAX_BATCH
        self._compiled: CompiledNetwork | None = None
        self.backend: BackendName = TORCH  # what the network's own fingerprint is taken with
        self.backend, self.backend_note = self._compile(chosen)
        # Python's own lock holds up more than a few threads of PyTorch, whose every layer is called
        # under it; the other backends are called once for the whole network.
        most = MAX_WORKERS if self.backend == TORCH else None
        self._workers = CropWorkers(most) if self.device.type == "cpu" else None

    def _compile(self, backend: BackendName) -> tuple[BackendName, str]:
        """Make the network ready for a backend; give what runs it, and why if it is another."""
        if backend == TORCH:
            return TORCH, ""
        if self.device.type != "cpu":
            return TORCH, f"{backend} is for the CPU; on {self.device.type} PyTorch runs it"
        try:
            self._compiled = CompiledNetwork(
                backend, self._network, self._normalised, self.network_fingerprint
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, PyTorch can do without
            reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
            return TORCH, f"PyTorch runs {self.name}, since {backend} cannot: {reason}"
        return backend, ""

    def encode(self, crops: Tensor, *, job: Job = NO_JOB) -> Tensor:
        """Encode crops.

        When memory runs out the batch is halved, for this call and those to come.
        """
        if crops.ndim != 4 or crops.shape[1] not in (1, 3):
            raise HcsQcError(
                f"Crops of shape {tuple(crops.shape)} cannot be encoded; (n, 1 or 3, height, "
                "width) was expected."
            )
        features = torch.empty((len(crops), self.n_features))
        start = 0
        while start < len(crops):
            piece = crops[start : start + self._max_batch]
            encoded = self._encode_or_halve(piece, job)
            if encoded is not None:
                features[start : start + len(piece)] = encoded
                start += len(piece)
        return features

    def _encode_or_halve(self, crops: Tensor, job: Job) -> Tensor | None:
        """Encode one batch; None when it did not fit into memory and the batch was halved."""
        try:
            if self._workers is not None:
                return self._workers.run(self._encode, crops, job.silent())
            return self._encode(crops, job)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(crops) == 1:
                raise HcsQcError(
                    f"There is not enough memory on {self.device} to encode a single crop of "
                    f"{crops.shape[-2]} × {crops.shape[-1]} px with {self.name}; close other "
                    "programs, or use a smaller encoder or another device."
                ) from error
        # Out of the except clause, so that the failed pass's tensors are free before the next.
        self._max_batch = (len(crops) + 1) // 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _encode(self, crops: Tensor, job: Job) -> Tensor:
        parts = []
        at_once = self._crops_at_once(len(crops))
        with torch.inference_mode():
            for start in range(0, len(crops), at_once):
                job.check()
                piece = crops[start : start + at_once]
                if self._compiled is not None:
                    parts.append(self._compiled(piece))
                else:
                    features = self._network(self._normalised(piece), job)
                    parts.append(features.float().cpu())
        return torch.cat(parts)

    def _crops_at_once(self, n_crops: int) -> int:
        if self._compiled is not None:
            return CROPS_AT_ONCE
        return _TORCH_CROPS_AT_ONCE if self.device.type == "cpu" else n_crops

    def maps(self, image: Tensor, *, job: Job = NO_JOB) -> list[NDArray[np.float32]]:
        """Give the maps of the stages that are pooled, ``(n_features, rows, columns)`` each.

        They are of one image ``(1 or 3, height, width)`` of any size; PyTorch makes them, whatever
        the backend.
        """
        if self._normalised.input_px is not None:
            raise HcsQcError(
                f"{self.name} takes images of {self._normalised.input_px} px only, so it cannot "
                "show where in a site an artefact lies; use a convolutional encoder."
            )
        maps = self._network.maps(self._normalised(image[None]), job)
        return [values[0].float().cpu().numpy() for values in maps]

    def measure_speed(self, input_px: int, n: int = 64, *, seed: int = 0) -> float:
        """Measure how many crops a second are encoded, after a warm-up."""
        generator = torch.Generator().manual_seed(seed)
        crops = torch.rand((min(n, 32), 1, input_px, input_px), generator=generator)
        self.encode(crops)
        started, done = time.perf_counter(), 0
        while done < n:
            done += len(self.encode(crops[: n - done]))
        return done / (time.perf_counter() - started)

    @property
    def fingerprint(self) -> str:
        """Content address of everything that changes the vectors, the backend included."""
        parts = self._network_parts()
        # PyTorch was there before the others, and so were its stores.
        return fingerprint(parts if self.backend == TORCH else {**parts, "backend": self.backend})

    @property
    def network_fingerprint(self) -> str:
        """Content address of the network and what it pools, whatever runs it.

        Encoders that share it give the same vectors but for the rounding of float32 sums, or of
        bfloat16 numbers.
        """
        return fingerprint(self._network_parts())

    def _network_parts(self) -> dict[str, Any]:
        # What is pooled counts, not how it was asked for.
        left_out = ("name", "stages", "backend", "backend_version")
        return {key: value for key, value in self.describe().items() if key not in left_out}

    def describe(self) -> dict[str, Any]:
        """Plain data for the manifest of a store or a model, enough to load it again."""
        return {
            "name": self.name,
            "architecture": self.architecture,
            "weights_sha256": self.weights_sha256,
            "stages": list(self.stages) if isinstance(self.stages, tuple) else self.stages,
            "pooled": list(self._network.chosen),
            "pooling": self.pooling,
            "n_features": self.n_features,
            "mean": list(self.mean),
            "std": list(self.std),
            "input_px": self._normalised.input_px,
            "interpolation": self._normalised.interpolation,
            "encode_version": _ENCODE_VERSION,
            "backend": self.backend,
            "backend_version": backend_version(self.backend),
        }

    def __repr__(self) -> str:
        return (
            f"Encoder({self.name}, stages={self.stages}, {self.n_features} features, "
            f"{self.backend})"
        )


def choose_device(device: str | torch.device) -> torch.device:
    """Turn ``"auto"`` or a device's name into a device that is there."""
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        first_line = str(error).partition("\n")[0]
        raise HcsQcError(
            f"The device {str(device)!r} cannot be used ({first_line}); "
            "use 'auto', 'cpu', 'cuda' or 'mps'."
        ) from error
    return chosen


def _fused_network(
    architecture: Architecture, stages: Stages, pooling: Pooling
) -> tuple[StageNetwork, int]:
    """Build the network with batch norms folded, unless that changes the features."""
    probe = torch.rand(
        (2, 3, *((architecture.input_px or 128,) * 2)), generator=torch.Generator().manual_seed(1)
    )
    module, n_fused = fuse_batch_norms(architecture.module, probe[:1])
    plain = StageNetwork(architecture, stages, pooling)
    if n_fused == 0:
        return plain, 0
    fused = StageNetwork(replace(architecture, module=module), stages, pooling)
    with torch.inference_mode():
        expected, features = plain(probe), fused(probe)
    largest = max(1.0, float(expected.abs().max()))
    if float((expected - features).abs().max()) > _FUSION_TOLERANCE * largest:
        return plain, 0
    return fused, n_fused


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out, on whatever device."""
    # PyTorch has a class for it on CUDA only; the CPU's and MPS's are plain RuntimeErrors.
    text = str(error).lower()
    return (
        isinstance(error, (torch.OutOfMemoryError, MemoryError))
        or "out of memory" in text
        or "can't allocate memory" in text
        or "not enough memory" in text
    )
