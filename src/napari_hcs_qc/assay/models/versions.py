"""Versions of the software that figures depend on."""

from __future__ import annotations

import platform
import runpy
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from napari_hcs_qc import __version__


def versions() -> dict[str, str]:
    """Versions of what the figures depend on."""
    return {
        "napari-hcs-qc": __version__,
        "python": platform.python_version(),
        "torch": _torch_version(),
        "numpy": np.__version__,
    }


def _torch_version() -> str:
    """Give ``torch.__version__`` without the seconds and the memory that importing it takes.

    That of the installed package lacks what a build adds, such as ``+cu130``.
    """
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")
    return str(runpy.run_path(str(Path(spec.origin).with_name("version.py")))["__version__"])
