"""Which backend runs an encoder: what is installed, what was asked for, and what is chosen."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias, cast, get_args

from napari_hcs_qc.errors import HcsQcError

BackendName: TypeAlias = Literal["torch", "onnxruntime", "openvino", "openvino-bf16"]
"""What can run an encoder on the CPU."""

AUTO = "auto"
TORCH: BackendName = "torch"
BF16: BackendName = "openvino-bf16"
"""OpenVINO with bfloat16, which some processors multiply several times as fast as float32."""
VARIABLE = "HCS_QC_BACKEND"
"""Environment variable that stands for ``"auto"``."""

_EXTRAS: dict[BackendName, str] = {
    "onnxruntime": "onnx",
    "openvino": "openvino",
    BF16: "openvino",
}
# The quickest first, as measured with the default encoder (benchmarks/README.md); a fixed order,
# so that a computer keeps to one and finds its embeddings again. Bfloat16 is only used where it is
# asked for: its numbers are others than those of all other computers.
_ORDER: tuple[BackendName, ...] = ("onnxruntime", "openvino")


@dataclass(frozen=True)
class BackendInfo:
    """One backend, as it is on this computer."""

    name: BackendName  # what `load_encoder` takes as its backend
    version: str  # of the package; empty when it cannot be used

    @property
    def needs(self) -> str:
        """What is missing; empty when it is ready."""
        if self.version:
            return ""
        if self.name == BF16 and backend_version("openvino"):
            return "a processor with AMX or AVX-512 BF16"
        return f"pip install 'napari-hcs-qc[{_EXTRAS[self.name]}]'"


def list_backends() -> list[BackendInfo]:
    """List the backends of the CPU, PyTorch first."""
    return [BackendInfo(name, backend_version(name)) for name in get_args(BackendName)]


def backend_version(name: BackendName) -> str:
    """Give the version of a backend's package; empty when it cannot be used here."""
    package = "openvino" if name == BF16 else name
    if importlib.util.find_spec(package) is None or (name == BF16 and not _has_bfloat16()):
        return ""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"  # such as a build of onnxruntime under another name


@cache
def _has_bfloat16() -> bool:
    try:
        import openvino

        return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except (ImportError, OSError, RuntimeError):  # an installation that is not whole
        return False


def choose_backend(requested: str = AUTO) -> BackendName:
    """Turn what was asked for into a backend that is installed."""
    source = "The backend"
    if requested == AUTO:
        requested = os.environ.get(VARIABLE, "").strip() or AUTO
        source = f"{VARIABLE}: the backend"
    if requested == AUTO:
        return _quickest()
    if requested not in get_args(BackendName):
        raise HcsQcError(
            f"{source} {requested!r} is not known; use 'auto' or "
            f"{', '.join(get_args(BackendName))}."
        )
    name = cast("BackendName", requested)
    needs = BackendInfo(name, backend_version(name)).needs
    if needs:
        raise HcsQcError(f"{source} {name} cannot be used here. It needs {needs}; or use 'auto'.")
    return name


def as_trained(name: object) -> BackendName:
    """Give the backend of a model where it is here, else the quickest one that is.

    A model that names none is of PyTorch.
    """
    if name not in _EXTRAS:
        return TORCH
    return name if backend_version(name) else _quickest()


def _quickest() -> BackendName:
    return next((name for name in _ORDER if backend_version(name)), TORCH)
