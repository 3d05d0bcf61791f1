"""Fold batch normalisation into the convolution before it: the same features, sooner."""

from __future__ import annotations

import copy
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

if TYPE_CHECKING:
    from torch import Tensor


def fuse_batch_norms(module: nn.Module, probe: Tensor) -> tuple[nn.Module, int]:
    """Give a copy of `module` with every batch normalisation folded that can be.

    Which convolution feeds which normalisation is seen on a run, not guessed from names: the
    tensor that leaves the one must be the tensor that enters the other, each once. The caller
    compares the features of both and keeps the copy only when they agree.
    """
    if not any(isinstance(part, nn.BatchNorm2d) for part in module.modules()):
        return module, 0
    fused = copy.deepcopy(module)
    pairs = _pairs(fused, probe)
    for conv_name, norm_name in pairs:
        conv: Any = fused.get_submodule(conv_name)
        norm: Any = fused.get_submodule(norm_name)
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight,
            conv.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
        parent, _, leaf = norm_name.rpartition(".")
        setattr(fused.get_submodule(parent), leaf, _what_remains(norm))
    return fused, len(pairs)


def _pairs(module: nn.Module, probe: Tensor) -> list[tuple[str, str]]:
    """Find (convolution, normalisation) by following tensors through one run."""
    # The tensors are kept, so that no two of them share an identity.
    made: list[tuple[str, Tensor]] = []
    calls: dict[str, int] = {}
    pairs: list[tuple[str, str]] = []

    def after_convolution(name: str, _module: nn.Module, _args: Any, output: Tensor) -> None:
        calls[name] = calls.get(name, 0) + 1
        made.append((name, output))

    def before_norm(name: str, _module: nn.Module, args: Any) -> None:
        calls[name] = calls.get(name, 0) + 1
        pairs.extend((conv, name) for conv, output in made if output is args[0])

    with ExitStack() as hooks, torch.inference_mode():
        for name, part in module.named_modules():
            if isinstance(part, nn.Conv2d):
                hook = part.register_forward_hook(partial(after_convolution, name))
            elif isinstance(part, nn.BatchNorm2d) and part.track_running_stats:
                hook = part.register_forward_pre_hook(partial(before_norm, name))
            else:
                continue
            hooks.enter_context(hook)
        module(probe)
    return [pair for pair in pairs if calls[pair[0]] == calls[pair[1]] == 1]


def _what_remains(norm: nn.Module) -> nn.Module:
    """Give the activation that timm's layers carry inside the normalisation."""
    rest = [part for part in norm.children() if not isinstance(part, nn.Identity)]
    return nn.Sequential(*rest) if rest else nn.Identity()
