"""``hcs-qc info``: what to paste into a bug report."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.cli.command import Command, Outcome
from napari_hcs_qc.cli.window import why_no_window

if TYPE_CHECKING:
    import argparse

    from napari_hcs_qc.cli.bars import Bars

_PACKAGES = (
    "anndata", "h5py", "ngio", "numpy", "pandas", "pyarrow", "scikit-image", "scikit-learn",
    "scipy", "tifffile", "timm", "torch", "torchvision", "zarr",
)  # fmt: skip
_OPTIONAL = (
    "napari", "PyQt6", "PySide6", "onnxruntime", "openvino", "snakemake", "instanseg-torch",
    "s3fs", "gcsfs", "adlfs",
)  # fmt: skip
_VARIABLES = (
    "HCS_QC_BACKEND", "HCS_QC_CACHE", "HCS_QC_BBBC_URL", "HF_HOME", "HF_ENDPOINT",
    "HF_HUB_OFFLINE", "TORCH_HOME", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip


def _run(_options: argparse.Namespace, _bars: Bars) -> Outcome:
    from napari_hcs_qc.encoders.backends.choice import choose_backend

    data: dict[str, Any] = {
        "napari-hcs-qc": _version("napari-hcs-qc"),
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "optional": {name: _version(name) for name in _OPTIONAL},
        "devices": _devices(),
        "backend": choose_backend(),
        "window": why_no_window().removesuffix(", so napari was not opened.") or "can be opened",
        "caches": _caches(),
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }
    return Outcome(list(_lines(data)), data)


def _lines(data: dict[str, Any]) -> list[str]:
    optional = data["optional"]
    missing = [name for name, found in optional.items() if not found]
    return [
        f"napari-hcs-qc {data['napari-hcs-qc']}, Python {data['python']}",
        f"System: {data['system']}, {data['processors']} processors",
        f"Packages: {_listed(data['packages'])}",
        f"Optional: {_listed({name: found for name, found in optional.items() if found})}",
        f"Not installed: {', '.join(missing) or 'none'}",
        f"Devices: {', '.join(data['devices'])}; encoders on the CPU run on {data['backend']}",
        f"Window: {data['window']}",
        *(f"Cache of {name}: {path}" for name, path in data["caches"].items()),
        f"Variables: {_listed(data['variables'], '=')}",
    ]


def _listed(named: dict[str, str], between: str = " ") -> str:
    return ", ".join(f"{name}{between}{value}" for name, value in named.items()) or "none"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _devices() -> list[str]:
    import torch

    names = ["cpu"]
    if torch.cuda.is_available():
        names += [
            f"cuda:{number} ({torch.cuda.get_device_name(number)})"
            for number in range(torch.cuda.device_count())
        ]
    if torch.backends.mps.is_available():
        names.append("mps")
    return names


def _caches() -> dict[str, str]:
    import torch
    from huggingface_hub.constants import HF_HUB_CACHE

    from napari_hcs_qc.encoders.weights import cache_folder

    return {
        "napari-hcs-qc": str(cache_folder()),
        "the Hugging Face hub": HF_HUB_CACHE,
        "PyTorch": torch.hub.get_dir(),
    }


INFO = Command(
    "info",
    "Show versions, devices, backends and caches, for a bug report.",
    lambda _parser: None,
    _run,
)
