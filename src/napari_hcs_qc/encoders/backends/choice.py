"""Which backend runs an encoder: what is installed, what was asked for, and what is chosen."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

from napari_hcs_qc.errors import HcsQcError

BackendName: TypeAlias = Literal["torch", "onnxruntime", "openvino"]
"""What can run an encoder on the CPU."""

AUTO = "auto"
TORCH: BackendName = "torch"
VARIABLE = "HCS_QC_BACKEND"
"""Environment variable that stands for ``"auto"``."""

_EXTRAS: dict[BackendName, str] = {"onnxruntime": "onnx", "openvino": "openvino"}
# The quickest first, as measured with the default encoder (benchmarks/README.md); a fixed order,
# so that a computer keeps to one and finds its embeddings again.
_ORDER: tuple[BackendName, ...] = ("onnxruntime", "openvino")


@dataclass(frozen=True)
class BackendInfo:
    """One backend, as it is on this computer."""

    name: BackendName  # what `load_encoder` takes as its backend
    version: str  # of the package; empty when it is not installed

    @property
    def needs(self) -> str:
        """What is missing; empty when it is ready."""
        return "" if self.version else f"pip install 'napari-hcs-qc[{_EXTRAS[self.name]}]'"


def list_backends() -> list[BackendInfo]:
    """List the backends of the CPU, PyTorch first."""
    return [BackendInfo(name, backend_version(name)) for name in get_args(BackendName)]


def backend_version(name: BackendName) -> str:
    """Give the version of a backend's package; empty when it is not installed."""
    if importlib.util.find_spec(name) is None:
        return ""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"  # such as a build of onnxruntime under another name


def choose_backend(requested: str = AUTO) -> BackendName:
    """Turn what was asked for into a backend that is installed."""
    source = "The backend"
    if requested == AUTO:
        requested = os.environ.get(VARIABLE, "").strip() or AUTO
        source = f"{VARIABLE}: the backend"
    if requested == AUTO:
        return next((name for name in _ORDER if backend_version(name)), TORCH)
    if requested not in get_args(BackendName):
        raise HcsQcError(
            f"{source} {requested!r} is not known; use 'auto' or "
            f"{', '.join(get_args(BackendName))}."
        )
    name = cast("BackendName", requested)
    needs = BackendInfo(name, backend_version(name)).needs
    if needs:
        raise HcsQcError(f"{source} {name} is not installed: {needs}, or use 'auto'.")
    return name


def as_trained(name: object) -> BackendName:
    """Give the backend of a model where it is here, else PyTorch, which is everywhere."""
    return next((known for known in _ORDER if known == name and backend_version(known)), TORCH)
