"""One step of a self-supervised training: views in, new weights out; undone when not finished."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from napari_hcs_qc.encoders.encoder import is_out_of_memory
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.study.ssl.collapse_watch import gradient_norms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from torch import Tensor

    from napari_hcs_qc.encoders.trainable import TrainableEncoder
    from napari_hcs_qc.study.ssl.distributed import World
    from napari_hcs_qc.study.ssl.methods.method import LossAndFigures, Method
    from napari_hcs_qc.study.ssl.pretrain_settings import Pretraining

_FEWEST_AT_ONCE = 8


class Stepper:
    """Encoder, method and optimiser, which take steps together."""

    def __init__(
        self,
        network: TrainableEncoder,
        method: Method,
        settings: Pretraining,
        world: World,
        job: Job,
        warn: Callable[[str], None],
    ) -> None:
        self.network, self.method, self.settings, self.world = network, method, settings, world
        self.device = network.device
        self.warn = warn
        parts = (network.module, method)
        self.parameters = [
            weights for part in parts for weights in part.parameters() if weights.requires_grad
        ]
        self.optimiser = make_optimiser(self.parameters, settings)
        self.precision = _precision(self.device)
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.precision == torch.float16)
        self.crops_at_once = 0
        # A pass on a GPU is over before a person notices; on several ranks all must come to it.
        stops_within = self.device.type == "cpu" and world.size == 1
        self.job = job if stops_within else NO_JOB
        if stops_within:
            _ask_backwards(network.module, job)
        self._unfinished = False
        self._statistics = [
            (buffer, torch.empty_like(buffer))
            for part in parts
            for layer in part.modules()
            if isinstance(layer, nn.modules.batchnorm._BatchNorm)
            for buffer in layer.buffers(recurse=False)
        ]

    # ---- a step --------------------------------------------------------------------------

    def backward(self, views: Tensor, rows: Tensor, epoch: int, step: int) -> LossAndFigures:
        """Set the gradients of the global batch; `advance` follows."""
        for now, before in self._statistics:
            before.copy_(now)
        self._unfinished = True
        loss, figures = self._gradients(views, rows, epoch, step)
        self.world.average_gradients(self.parameters)
        self.scaler.unscale_(self.optimiser)
        return loss, figures

    def advance(self, epoch: int, rate: float) -> None:
        """Follow the gradients at a learning rate."""
        self.method.mask_gradients(epoch)
        if self.settings.clip_norm:
            nn.utils.clip_grad_norm_(self.parameters, self.settings.clip_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.method.after_step()
        self._unfinished = False

    def undo(self) -> None:
        """Go back to the end of the last whole step, where one was begun.

        Beside gradients, a pass changes running statistics; a memory bank gets what the same step
        puts there again.
        """
        if self._unfinished:
            self._restore_statistics()
            self._unfinished = False

    def norms(self) -> dict[str, float]:
        """Give the norms of the gradients: the encoder's, and those of each part of the method."""
        square = sum(norm**2 for norm in gradient_norms(self.network.module).values())
        return {"encoder": math.sqrt(square), **gradient_norms(self.method)}

    def autocast(self) -> AbstractContextManager[Any]:
        """Run the encoder in its precision."""
        if self.precision == torch.float32:
            return nullcontext()
        return torch.autocast("cuda", dtype=self.precision)

    def _gradients(self, views: Tensor, rows: Tensor, epoch: int, step: int) -> LossAndFigures:
        """Set the gradients of a batch; with less memory, in pieces."""
        while True:
            self.optimiser.zero_grad(set_to_none=True)
            try:
                if self.crops_at_once:
                    return self._in_pieces(views, rows, epoch, step)
                return self._at_once(views, rows, epoch, step)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._explain_memory(views, error)
            # Out of the except clause, so that the failed pass's tensors are free.
            self._restore_statistics()
            before = self.crops_at_once or views.shape[0] * views.shape[1]
            self.crops_at_once = max(_FEWEST_AT_ONCE, (before + 1) // 2)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self.warn(
                f"Memory on {self.device} is too small for a batch of {views.shape[1]} cells: its "
                f"crops go through the network {self.crops_at_once} at a time, which takes a third "
                "longer, and batch normalisation uses that many. The loss is that of the whole "
                "batch."
            )

    def _explain_memory(self, views: Tensor, error: BaseException) -> None:
        side = views.shape[-1]
        if self.world.size > 1:
            raise HcsQcError(
                f"There is not enough memory on {self.device} for {views.shape[1]} cells of {side} "
                f"× {side} px in each of {self.world.size} processes; use a smaller batch "
                "(--batch-size) or more processes."
            ) from error
        if self.crops_at_once == _FEWEST_AT_ONCE:
            raise HcsQcError(
                f"There is not enough memory on {self.device} to train {self.network.name} on "
                f"{_FEWEST_AT_ONCE} crops of {side} × {side} px; close other programs, or use a "
                "smaller --input-px or another device."
            ) from error

    def _at_once(self, views: Tensor, rows: Tensor, epoch: int, step: int) -> LossAndFigures:
        with self.autocast():
            features = self.network.features(views.flatten(0, 1)[:, None], self.job)
        shaped = features.view(*views.shape[:2], -1)
        loss, figures = self.method.loss(shaped, rows, epoch, step)
        torch.autograd.backward(self.scaler.scale(loss))
        return loss.detach(), figures

    def _in_pieces(self, views: Tensor, rows: Tensor, epoch: int, step: int) -> LossAndFigures:
        pieces = torch.split(views.flatten(0, 1)[:, None], self.crops_at_once)
        with torch.no_grad(), self.autocast():
            parts = [self.network.features(piece, self.job) for piece in pieces]
        self._restore_statistics()  # the second pass brings them up to date
        features = torch.cat(parts).to(torch.get_default_dtype()).requires_grad_()
        shaped = features.view(*views.shape[:2], -1)
        loss, figures = self.method.loss(shaped, rows, epoch, step)
        torch.autograd.backward(self.scaler.scale(loss))
        assert features.grad is not None
        for piece, gradient in zip(
            pieces, torch.split(features.grad, self.crops_at_once), strict=True
        ):
            with self.autocast():
                again = self.network.features(piece, self.job)
            torch.autograd.backward(again, gradient.to(again.dtype))
        return loss.detach(), figures

    def _restore_statistics(self) -> None:
        for now, before in self._statistics:
            now.copy_(before)

    # ---- state ---------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Give everything that a step changes, on the CPU but for what the optimiser holds."""
        method = self.method.state_dict()
        return {
            "encoder": self.network.state(),
            "method": {name: value.detach().cpu() for name, value in method.items()},
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "crops_at_once": self.crops_at_once,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self.network.load(state["encoder"])
        self.method.load_state_dict(state["method"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.crops_at_once = int(state["crops_at_once"])


def _precision(device: torch.device) -> torch.dtype:
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def _ask_backwards(module: nn.Module, job: Job) -> None:
    """Make a stop possible within a backward pass."""

    def listen(_module: nn.Module, _arguments: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.requires_grad:
            tensor: Any = output
            tensor.register_hook(lambda _gradient: job.check())

    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(listen)


def make_optimiser(
    parameters: Sequence[nn.Parameter], settings: Pretraining
) -> torch.optim.Optimizer:
    """Make the optimiser of some settings.

    SGD decays all weights, as solo-learn does it; AdamW leaves biases and normalisations out, whose
    size means nothing.
    """
    if settings.optimiser == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
    groups: list[dict[str, Any]] = [
        {"params": [weights for weights in parameters if weights.ndim > 1]},
        {"params": [weights for weights in parameters if weights.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.lr,
        betas=(settings.momentum, 0.999),
        weight_decay=settings.weight_decay,
        # All in one pass over the memory: some 2 % of a step of 64 cells on a CPU.
        fused=True,
    )


def rate_at(step: int, steps_per_epoch: int, settings: Pretraining) -> float:
    """Give the learning rate of a step, which counts from 0 over the whole training.

    A line from `warmup_start_lr` to `lr` over the warm-up epochs, at most half of all, then a
    cosine to `min_lr` (Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983).
    """
    total = settings.epochs * steps_per_epoch
    warm_up = min(settings.warmup_epochs * steps_per_epoch, total / 2)
    if step < warm_up:
        share = step / warm_up
        return settings.warmup_start_lr + share * (settings.lr - settings.warmup_start_lr)
    share = (step - warm_up) / max(1.0, total - warm_up)
    return settings.min_lr + (settings.lr - settings.min_lr) * 0.5 * (
        1 + math.cos(math.pi * min(1.0, share))
    )
