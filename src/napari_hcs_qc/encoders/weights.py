"""Weights files: read without running anything in them, checked, loaded strictly."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import sha256_of
from napari_hcs_qc.text import a_few

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

CUSTOM_WEIGHTS = "encoder.safetensors"
"""Weights of an encoder that was trained here, beside its manifest."""

_LARGEST_BYTES = 16 << 30  # the largest of timm have 8
# Of the file as it was published: by it models and embeddings know these weights. Ours has the same
# numbers as safetensors (benchmarks/convert_default_weights.py).
DEFAULT_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
DEFAULT_FILE = Path(__file__).parent / "default_weights" / "efficientnet-lite0.safetensors"
_DEFAULT_FILE_SHA256 = "9458b1280ff1e7cc3d5958e3a0b5a62276435c8d530a9a5a89174624ecae5efb"


def cache_folder() -> Path:
    """Folder for what can be made or downloaded again; ``HCS_QC_CACHE`` moves it."""
    import platformdirs

    root = os.environ.get("HCS_QC_CACHE")
    return Path(root) if root else platformdirs.user_cache_path("napari-hcs-qc")


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a ``.safetensors`` file of weights; a pickle is refused unread."""
    if not path.is_file():
        raise HcsQcError(f"The weights file {path} does not exist; a .safetensors file is needed.")
    if path.suffix.lower() != ".safetensors":
        raise HcsQcError(
            f"The weights file {path} is a {path.suffix or 'file without a suffix'}; only "
            ".safetensors is read, because loading a pickle (.pth, .pt, .bin) can run code hidden "
            "in it. Convert it: safetensors.torch.save_file(torch.load(FILE, weights_only=True), "
            "'FILE.safetensors')."
        )
    size = path.stat().st_size
    if size > _LARGEST_BYTES:
        raise HcsQcError(
            f"The weights file {path} has {size:,} bytes; at most {_LARGEST_BYTES:,} are read."
        )
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path, device="cpu"))
    except (SafetensorError, OSError, ValueError) as error:
        raise HcsQcError(
            f"The weights file {path} cannot be read as safetensors ({error}); it may be cut off. "
            "Delete it and fetch it again."
        ) from error


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a ``.pth`` file of tensors and nothing else, as PyTorch's own model zoo has them.

    Only for files whose hash is known beforehand; a user's file goes through `read_safetensors`.
    """
    import torch

    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises pickle, zip, runtime and type errors here
        raise HcsQcError(
            f"The weights file {path} cannot be read ({error}); delete it and fetch it again."
        ) from error


def read_default_weights() -> dict[str, Tensor]:
    """Read the default encoder's weights, which are part of this package."""
    again = "Install it again: pip install --force-reinstall --no-deps napari-hcs-qc."
    if not DEFAULT_FILE.is_file():
        raise HcsQcError(f"{DEFAULT_FILE} is missing; it is part of napari-hcs-qc. {again}")
    sha256 = sha256_of(DEFAULT_FILE)
    if sha256 != _DEFAULT_FILE_SHA256:
        raise HcsQcError(
            f"{DEFAULT_FILE} has SHA-256 {sha256}; {_DEFAULT_FILE_SHA256} was expected of this "
            f"part of napari-hcs-qc. {again}"
        )
    return read_safetensors(DEFAULT_FILE)


def load_strictly(
    module: nn.Module, state: Mapping[str, Tensor], classifier: Sequence[str], source: str
) -> None:
    """Load weights so that every tensor the features need comes from the file."""
    expected = module.state_dict()

    def behind(name: str) -> bool:
        return any(name == part or name.startswith(f"{part}.") for part in classifier)

    missing = [
        name
        for name in expected
        if name not in state and not behind(name) and not name.endswith("num_batches_tracked")
    ]
    unexpected = [name for name in state if name not in expected and not behind(name)]
    misshapen = [
        f"{name} {tuple(tensor.shape)} instead of {tuple(expected[name].shape)}"
        for name, tensor in state.items()
        if name in expected and tensor.shape != expected[name].shape and not behind(name)
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    parts = [f"{len(names)} {kind} ({a_few(names)})" for kind, names in kinds.items() if names]
    if parts:
        raise HcsQcError(
            f"{source} does not fit the architecture {type(module).__name__}: of its "
            f"{len(expected)} tensors, {'; '.join(parts)}. Give the weights of exactly this "
            "architecture."
        )
    infinite = [name for name, tensor in state.items() if not bool(tensor.isfinite().all())]
    if infinite:
        raise HcsQcError(
            f"{source} holds numbers that are not finite, in {a_few(infinite)}: its training "
            "failed, or it is damaged. Take another file."
        )
    fitting = {
        name: tensor
        for name, tensor in state.items()
        if name in expected and tensor.shape == expected[name].shape
    }
    module.load_state_dict(fitting, strict=False)
