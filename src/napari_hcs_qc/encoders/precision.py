"""In which precision a network is trained."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def training_precision(device: torch.device, module: nn.Module | None = None) -> torch.dtype:
    """Say in which precision a network's layers are computed while it is trained.

    A graphics card takes half precision. A CPU takes bfloat16 where it multiplies matrices of
    them (AMX: Intel Xeons since 2023), which trains ResNet18 two to three times as fast; without
    such units, and for networks with depthwise convolutions, bfloat16 is slower than single.

    Parameters
    ----------
    device
        Where it is trained.
    module
        The network; without it a CPU keeps to single precision.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "cpu" and module is not None and _cpu_multiplies_bfloat16():
        return torch.float32 if _has_depthwise(module) else torch.bfloat16
    return torch.float32


def in_precision(device: torch.device, precision: torch.dtype) -> AbstractContextManager[Any]:
    """Compute layers in a precision; weights stay in single."""
    if precision == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=precision)


def _cpu_multiplies_bfloat16() -> bool:
    # PyTorch 2.10 and older do not tell, and stay in single precision.
    told: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(told.get("amx_bf16", False))


def _has_depthwise(module: nn.Module) -> bool:
    return any(
        isinstance(part, nn.Conv2d) and 1 < part.groups == part.in_channels
        for part in module.modules()
    )
