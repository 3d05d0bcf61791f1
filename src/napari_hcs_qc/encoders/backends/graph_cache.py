"""Exported graphs, kept on disk: an export takes seconds of a processor, a load some hundredths."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeVar

import torch

from napari_hcs_qc.encoders.weights import cache_folder
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import atomic_path, fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

# Goes up whenever the same network would be written in another way.
_EXPORT_VERSION = 1
_MOST_KEPT = 12  # of some 12 MB


def kept_graph(key: str, export: Callable[[], bytes], use: Callable[[bytes], T]) -> T:
    """Use a graph that was exported before; export it where there is none, or none that works."""
    told = {"network": key, "export_version": _EXPORT_VERSION, "torch": str(torch.__version__)}
    path = cache_folder() / "graphs" / f"{fingerprint(told)}.onnx"
    with contextlib.suppress(Exception):  # damaged, or half gone: it is made anew
        made = use(path.read_bytes())
        with contextlib.suppress(OSError):
            path.touch()  # those used last are kept
        return made
    graph = export()
    made = use(graph)
    with contextlib.suppress(HcsQcError, OSError):  # a full disk only costs time at the next start
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_bytes(graph)
        _forget_old(path.parent)
    return made


def _forget_old(folder: Path) -> None:
    graphs = sorted(folder.glob("*.onnx"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in graphs[_MOST_KEPT:]:
        path.unlink(missing_ok=True)
