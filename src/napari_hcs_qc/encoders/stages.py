"""Image to vector through any architecture: chosen stages, averaged over the image, joined."""

from __future__ import annotations

import contextlib
import math
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from torch import Tensor

    from napari_hcs_qc.cells.recipe import Pooling, Stages
    from napari_hcs_qc.encoders.architecture import Architecture

_PROBE_PX = 128
# Their output is that of the stage before, smaller or flat: no stage of its own.
_NO_STAGE = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout, nn.Flatten, nn.Identity)
_N_INNER = 3
_CENTRE_SIGMA = 0.125
"""Width of centre pooling: standard deviation of its weights, as a share of the crop's side."""


class _EnoughError(Exception):
    """Ends a forward pass whose remaining stages are not wanted."""


class _Pass(threading.local):
    """What a forward pass has given so far; every thread has its own."""

    def __init__(self) -> None:
        self.pooled: dict[str, Tensor] = {}
        self.job: Job = NO_JOB
        self.ends_early = True
        self.keeps_maps = False


class StageNetwork:
    """The part of a network up to the last stage that is wanted, as one function.

    Forward hooks take the output of each stage, which works alike for every architecture; the
    forward pass is left as soon as the last wanted stage is there. What lies behind is dropped.
    Several threads may use it at once.
    """

    def __init__(
        self, architecture: Architecture, stages: Stages, pooling: Pooling = "mean"
    ) -> None:
        self.module = architecture.module
        self.pooling = pooling
        self._architecture = architecture
        self._probe_px = architecture.input_px or _PROBE_PX
        self._n_prefix = int(getattr(self.module, "num_prefix_tokens", 0))
        self._pass = _Pass()
        with torch.inference_mode():
            shapes = self._stage_shapes(architecture)
            self.stage_names = tuple(shapes)
            self.chosen = self._choose(stages, shapes)
            self._hook_stages()
            self.n_features = self._try_out()
        self._check_stop_at_every_layer()

    def probe(self) -> Tensor:
        """Give one fixed image of random values, to try the network on."""
        generator = torch.Generator().manual_seed(0)
        side = self._probe_px
        return torch.randn((1, 3, side, side), generator=generator)

    def __call__(self, images: Tensor, job: Job = NO_JOB) -> Tensor:
        """Encode normalised images (n, 3, height, width) as (n, n_features)."""
        pooled = self._pass.pooled = {}
        self._pass.job = job
        with contextlib.suppress(_EnoughError):
            self._forward(images)
        parts = [pooled[name] for name in self.chosen]
        pooled.clear()
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]

    def maps(self, images: Tensor, job: Job = NO_JOB) -> list[Tensor]:
        """Give the maps of the chosen stages, (n, n_features, rows, columns), not averaged."""
        with torch.inference_mode():
            # Of an image that need not be square, channels cannot be told from rows.
            probed = self._unpooled(self.probe().to(images), NO_JOB)
            if any(output.ndim != 4 for output in probed):
                raise HcsQcError(
                    f"{self._architecture} has no maps at the stages that are pooled, so it cannot "
                    "show where an artefact lies; use a convolutional encoder, and a recipe with "
                    "the stages 'inner'."
                )
            maps = self._unpooled(images, job)
        return [
            output if _image_axes(like.shape) == (2, 3) else output.movedim(3, 1)
            for output, like in zip(maps, probed, strict=True)
        ]

    def _unpooled(self, images: Tensor, job: Job) -> list[Tensor]:
        outputs = self._pass.pooled = {}
        self._pass.job, self._pass.keeps_maps = job, True
        try:
            with contextlib.suppress(_EnoughError):
                self._forward(images)
        finally:
            self._pass.keeps_maps = False
        return [outputs[name] for name in self.chosen]

    def whole(self) -> nn.Module:
        """Give the same function as a module whose pass ends as passes do: it can be exported.

        What lies behind the last wanted stage is run, and left out of the exported graph, since
        nothing of it reaches the features.
        """
        return _Whole(self)

    def _run_through(self, images: Tensor) -> Tensor:
        self._pass.ends_early = False
        try:
            return self(images)
        finally:
            self._pass.ends_early = True

    def _forward(self, images: Tensor) -> None:
        final = self._architecture.final_features
        if self.chosen == ("features",) and final is not None:
            if self.pooling == "centre" or self._pass.keeps_maps:
                # The map before the model's own pooling, which would lose the places.
                final = cast("Any", self.module).forward_features
            self._pass.pooled["features"] = self._pool(final(images))
        else:
            self.module(images)

    def _pool(self, output: Tensor) -> Tensor:
        """Average over the image, wherever the channels are: NCHW, NHWC or tokens."""
        if self._pass.keeps_maps:
            return output.clone()
        if self.pooling == "centre":
            return self._pool_centre(output)
        if output.ndim == 4:
            return output.mean(dim=_image_axes(output.shape))
        if output.ndim == 3:
            return output[:, self._n_prefix :].mean(dim=1)
        return output

    def _pool_centre(self, output: Tensor) -> Tensor:
        if output.ndim == 3:
            tokens = output[:, self._n_prefix :]
            side = math.isqrt(tokens.shape[1])
            if side * side == tokens.shape[1]:
                return tokens.transpose(1, 2) @ _centre_weights(tokens, side, side).flatten()
        elif output.ndim == 4:
            rows, columns = _image_axes(output.shape)
            weights = _centre_weights(output, output.shape[rows], output.shape[columns])
            subscripts = "nchw,hw->nc" if rows == 2 else "nhwc,hw->nc"
            return torch.einsum(subscripts, output, weights)
        raise HcsQcError(
            f"{self._architecture} gives these stages as one vector, which has no centre to weigh; "
            "use a recipe that pools by mean, or the stages 'inner'."
        )

    def _stage_shapes(self, architecture: Architecture) -> dict[str, torch.Size]:
        """Run the probe and note the output shape of every candidate stage, in order."""
        shapes: dict[str, torch.Size] = {}

        def note(_module: nn.Module, _args: object, output: object, name: str) -> None:
            if isinstance(output, torch.Tensor) and output.ndim in (3, 4):
                shapes.setdefault(name, output.shape)

        with contextlib.ExitStack() as hooks:
            for name in _candidates(architecture):
                module = self.module.get_submodule(name)
                if not isinstance(module, _NO_STAGE):
                    hooks.enter_context(module.register_forward_hook(partial(note, name=name)))
            self.module(self.probe())
        return shapes

    def _choose(self, stages: Stages, shapes: dict[str, torch.Size]) -> tuple[str, ...]:
        names = list(shapes)
        if stages == "last":
            return ("features",)
        if stages == "inner":
            chosen = _inner(shapes)
            if len(chosen) < _N_INNER:
                raise HcsQcError(
                    f"{self._architecture} has no three inner stages to pool; "
                    "use the stages 'last', or a timm architecture."
                )
            return chosen
        wrong = [index for index in stages if not 0 <= index < len(names)]
        if wrong or not stages:
            raise HcsQcError(
                f"{self._architecture} has no stages {list(stages)}; "
                f"0 to {len(names) - 1} can be chosen: {', '.join(names)}."
            )
        return tuple(names[index] for index in dict.fromkeys(stages))

    def _hook_stages(self) -> None:
        for name in self.chosen:
            if name != "features":
                self.module.get_submodule(name).register_forward_hook(
                    lambda _module, _args, output, name=name: self._keep(name, output)
                )
            elif self._architecture.family == "torchvision":
                self._hook_classifier()

    def _hook_classifier(self) -> None:
        if type(self.module).__name__ in ("VGG", "AlexNet"):
            # Their classifier takes the flattened map, so that its input depends on place.
            self.module.get_submodule("features").register_forward_hook(
                lambda _module, _args, output: self._keep("features", output)
            )
            return
        classifier = self.module.get_submodule(self._architecture.classifier[0])
        classifier.register_forward_pre_hook(lambda _module, args: self._keep("features", args[0]))

    def _keep(self, name: str, output: Tensor) -> None:
        # Later layers may work in place on this very tensor; pooled now, it is safe.
        self._pass.pooled[name] = self._pool(output)
        if len(self._pass.pooled) == len(self.chosen) and self._pass.ends_early:
            raise _EnoughError

    def _check_stop_at_every_layer(self) -> None:
        """Make a stop possible within a pass: a batch can take many seconds."""
        for layer in self.module.modules():
            if not any(True for _ in layer.children()):
                layer.register_forward_pre_hook(lambda _module, _args: self._pass.job.check())

    def _try_out(self) -> int:
        """Run once for the number of features; free the children that the run did not enter.

        These are the layers behind the last wanted stage; VGG's dense ones are 480 MB.
        """
        entered: set[str] = set()
        children = list(self.module.named_children())
        with contextlib.ExitStack() as hooks:
            for name, child in children:

                def enter(_module: nn.Module, _args: object, name: str = name) -> None:
                    entered.add(name)

                # Before the hook that ends the pass, so that its child counts as entered.
                hooks.enter_context(child.register_forward_pre_hook(enter, prepend=True))
            n_features = int(self(self.probe()).shape[1])
        for name, _ in children:
            if name not in entered:
                setattr(self.module, name, nn.Identity())
        return n_features


class _Whole(nn.Module):
    def __init__(self, network: StageNetwork) -> None:
        super().__init__()
        self.module = network.module
        self._network = network

    def forward(self, images: Tensor) -> Tensor:
        return self._network._run_through(images)


def _centre_weights(like: Tensor, height: int, width: int) -> Tensor:
    """Gaussian weights around the middle, (height, width), of sum 1."""
    axes = []
    for length in (height, width):
        place = (torch.arange(length, device=like.device) + 0.5) / length - 0.5
        axes.append(torch.exp(-0.5 * (place / _CENTRE_SIGMA) ** 2))
    weights = torch.outer(*axes)
    return (weights / weights.sum()).to(like.dtype)


def _candidates(architecture: Architecture) -> list[str]:
    """Names of the modules that may be stages, in the order of the architecture's definition."""
    module = cast("Any", architecture.module)
    modules = dict(architecture.module.named_modules())
    if architecture.family == "timm":
        blocks = modules.get("blocks")
        if isinstance(blocks, nn.Sequential):
            return [f"blocks.{name}" for name, _ in blocks.named_children()]
        info = getattr(module, "feature_info", None) or []
        return [item["module"] for item in info if item["module"] in modules]
    names = []
    for name, child in module.named_children():
        if name in architecture.classifier:
            continue
        inside = list(child.named_children()) if isinstance(child, nn.Sequential) else []
        names.extend([f"{name}.{inner}" for inner, _ in inside] or [name])
    return names


def _inner(shapes: dict[str, torch.Size]) -> tuple[str, ...]:
    """Pick the last stage at each of the three coarsest resolutions.

    Where the resolution never changes (vision transformers): half way, three quarters, the end.
    """
    names = list(shapes)
    last_at: dict[tuple[int, ...], str] = {}
    for name, shape in shapes.items():
        axes = (1,) if len(shape) == 3 else _image_axes(shape)
        last_at[tuple(shape[axis] for axis in axes)] = name
    if len(last_at) >= _N_INNER:
        kept = set(list(last_at.values())[-_N_INNER:])
        return tuple(name for name in names if name in kept)
    if len(names) < 2 * _N_INNER:
        return ()
    return tuple(names[round(len(names) * part) - 1] for part in (0.5, 0.75, 1.0))


def _image_axes(shape: torch.Size) -> tuple[int, int]:
    """Tell height and width from channels: the image is square, so the odd one out is channels."""
    return (1, 2) if shape[1] == shape[2] != shape[3] else (2, 3)
