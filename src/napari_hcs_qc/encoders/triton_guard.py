"""Import timm and torchvision without letting triton bring down a process that draws with OpenGL.

Mesa's software renderer and triton each carry a copy of LLVM. Loaded after an OpenGL context
exists, triton's library is bound to Mesa's symbols and the process dies with a segmentation
fault. ``import timm`` and ``import torchvision`` import triton; ``import torch`` does not. Loaded
with ``RTLD_DEEPBIND``, a library looks for symbols in itself first, and both copies get along.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import threading
from typing import TYPE_CHECKING

from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from types import ModuleType

_lock = threading.Lock()


def import_vision(name: str) -> ModuleType:
    """Import timm, torchvision or a module of theirs; the only way they are imported here."""
    with _lock:
        _import_triton_apart()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise
    except (ImportError, OSError, RuntimeError) as error:
        from importlib.metadata import version

        raise HcsQcError(
            f"{name} cannot be loaded with torch {version('torch')} and torchvision "
            f"{version('torchvision')}: {error}. Every release of torchvision needs one release of "
            "torch, from the same place: install both with one command, such as "
            "'pip install --force-reinstall torch torchvision' with the --index-url that you chose "
            "before, if any"
        ) from error


def _import_triton_apart() -> None:
    if not sys.platform.startswith("linux") or "triton" in sys.modules:
        return
    if importlib.util.find_spec("triton") is None:
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | os.RTLD_DEEPBIND)
    try:
        # A triton that is installed but broken is torch's business: it does without.
        with contextlib.suppress(ImportError):
            importlib.import_module("triton")
    finally:
        sys.setdlopenflags(flags)
