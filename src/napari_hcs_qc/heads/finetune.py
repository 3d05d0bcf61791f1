"""Fine-tuning: the encoder and a dense layer on it, trained together on annotated crops."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import torch
from torch.nn import functional

from napari_hcs_qc.cells.augmentation import augment_crops
from napari_hcs_qc.encoders.embed.crop_workers import MAX_WORKERS, start_pool
from napari_hcs_qc.encoders.encoder import is_out_of_memory
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.heads.check_annotated import check_labels
from napari_hcs_qc.heads.dense import DenseHead
from napari_hcs_qc.heads.finetune_state import TrainingState, read_state, write_state
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import ArrayLike
    from torch import Tensor

    from napari_hcs_qc.encoders.encoder import Encoder
    from napari_hcs_qc.encoders.trainable import TrainableEncoder

_EVALUATED_PER_TRAINED = 2
"""Cells evaluated in one pass, for each that is trained in one."""

_T = TypeVar("_T")

_CPU_CELLS = 8
"""Cells in one pass on a CPU: a pass cannot be stopped half way, and this many take 0.3 s."""


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """How an encoder is fine-tuned."""

    epochs: int  # passes over the annotated cells
    optimiser: Literal["sgd", "adamw"]  # ``"sgd"`` (with `momentum`) or ``"adamw"``
    learning_rate: float  # of the dense layer
    encoder_rate: float  # of the encoder's last stage
    depth_decay: float = 1.0
    milestones: tuple[int, ...] = ()  # epochs after which the rates are divided by ten
    momentum: float = 0.9  # of the optimiser
    weight_decay: float = 0.0  # of the optimiser
    batch_size: int = 32  # cells in a step
    min_steps: int = 0  # fewest steps of the optimiser
    n_frozen: int = 0
    warm_start: bool = True  # whether the layer is fitted on the frozen features first
    batch_statistics: bool = False
    augment: bool = True
    shift: float = 0.05
    zoom: float = 0.1
    balance: bool = True


CHECKPOINT_EVERY_S = 5.0
"""Seconds of training that a stop may cost; a state is 100 MB, an epoch can take half a second."""

MIN_FOR_STATISTICS = 32
"""Of fewer cells the mean and variance would say more about these cells than about the plate."""

PRESETS: dict[str, FineTuning] = {
    "finetune": FineTuning(
        epochs=12,
        optimiser="adamw",
        learning_rate=1e-3,
        encoder_rate=1e-4,
        depth_decay=0.8,
        weight_decay=0.01,
        min_steps=40,
        n_frozen=3,
    ),
    # Masud, Cohen et al. (2022): SGD 0.001, momentum 0.9, tenfold less at epochs 25 and 40 of
    # 50, all weights, one dense layer of two outputs. The batch of 32 is that of its linear head.
    "finetune-paper": FineTuning(
        epochs=50,
        optimiser="sgd",
        learning_rate=1e-3,
        encoder_rate=1e-3,
        milestones=(25, 40),
        warm_start=False,
        batch_statistics=True,
        augment=False,
        balance=False,
    ),
}
"""Settings by the name of the head."""


@dataclass(frozen=True, eq=False)
class FineTuned:
    """What `fine_tune` made."""

    encoder: Encoder  # with the new weights, ready to embed
    weights: bytes  # these, as the bytes of a safetensors file that `load_encoder` takes
    head: DenseHead  # the dense layer on the encoder's features
    history: dict[str, Any]


def fine_tune(
    network: TrainableEncoder,
    crops: Tensor,
    classes: ArrayLike,
    groups: ArrayLike | None,
    settings: FineTuning,
    *,
    sides: tuple[float, ...],
    seed: int = 0,
    checkpoint: Path | None = None,
    key: str = "",
    job: Job = NO_JOB,
) -> FineTuned:
    """Train an encoder and a dense layer on annotated crops.

    On a CPU the same arguments give the same weights to the last digit, also after a stop.
    """
    training = _Training(network, crops, classes, groups, settings, sides, seed, job.silent())
    return training.run(checkpoint, key, job)


class _Training:
    """The state of one training; made and used by `fine_tune`."""

    def __init__(
        self,
        network: TrainableEncoder,
        crops: Tensor,
        classes: ArrayLike,
        groups: ArrayLike | None,
        settings: FineTuning,
        sides: tuple[float, ...],
        seed: int,
        job: Job,
    ) -> None:
        self.classes, codes = check_labels(classes)
        self.groups = None if groups is None else np.asarray(groups)
        n_wells = len(codes) if self.groups is None else len(self.groups)
        if not len(crops) == len(codes) == n_wells:
            raise HcsQcError(
                f"{len(crops)} crops, {len(codes)} classes and {n_wells} wells were given; there "
                "must be one of each for every annotated cell."
            )
        self.network, self.crops, self.settings = network, crops, settings
        self.sides, self.seed, self.job = sides, seed, job
        self.codes = torch.from_numpy(codes)
        self.uses_statistics = settings.batch_statistics and len(codes) >= MIN_FOR_STATISTICS
        device = network.device
        self.cells_at_once = (
            min(settings.batch_size, _CPU_CELLS) if device.type == "cpu" else settings.batch_size
        )
        if self.uses_statistics:
            # The statistics are those of the whole batch; the last may have a cell more.
            self.cells_at_once = settings.batch_size + 1
        n_steps = len(self._batches(torch.Generator()))
        self.n_epochs = max(settings.epochs, math.ceil(settings.min_steps / n_steps))
        self.n_steps = n_steps * self.n_epochs
        self._make_layer()
        self._make_optimiser(n_steps)
        self._parameters = [
            parameter for group in self.optimiser.param_groups for parameter in group["params"]
        ]
        self._pool: ThreadPoolExecutor | None = None

    # ---- what is trained -----------------------------------------------------------------

    def _make_layer(self) -> None:
        """Make the dense layer ``outputs = ((features - centre) * scale) @ weight.T + bias``."""
        generator = torch.Generator().manual_seed(self.seed)
        if self.settings.warm_start:
            features = self._features(torch.arange(len(self.codes))).numpy()
            head = DenseHead(random_state=self.seed)
            head.fit(features, self.codes.numpy(), self.groups)
            centre, spread = features.mean(axis=0), features.std(axis=0)
            spread = np.where(spread > 0, spread, 1.0)
            weight = torch.from_numpy(head.coef_ * spread).float()
            bias = torch.from_numpy(head.intercept_ + head.coef_ @ centre).float()
            self.centre = torch.from_numpy(centre)
            self.scale = torch.from_numpy((1 / spread).astype(np.float32))
        else:
            n_features = self._features(torch.arange(1)).shape[1]
            # torch's own initial distribution, drawn from our generator.
            bound = n_features**-0.5
            weight = torch.empty(len(self.classes), n_features)
            bias = torch.empty(len(self.classes))
            weight.uniform_(-bound, bound, generator=generator)
            bias.uniform_(-bound, bound, generator=generator)
            self.centre, self.scale = torch.zeros(n_features), torch.ones(n_features)
        device = self.network.device
        self.centre, self.scale = self.centre.to(device), self.scale.to(device)
        self.weight = weight.to(device).requires_grad_()
        self.bias = bias.to(device).requires_grad_()

    def _make_optimiser(self, steps_per_epoch: int) -> None:
        settings = self.settings
        depths = self.network.depths()
        n_frozen = min(settings.n_frozen, len(depths) - 1)
        groups: list[dict[str, Any]] = [
            {"params": [self.weight, self.bias], "lr": settings.learning_rate, "weight_decay": 0.0}
        ]
        for depth, parameters in enumerate(depths):
            if depth < n_frozen:
                for parameter in parameters:
                    parameter.requires_grad_(False)
                continue
            rate = settings.encoder_rate * settings.depth_decay ** (len(depths) - 1 - depth)
            groups.append({"params": parameters, "lr": rate, "weight_decay": settings.weight_decay})
        if settings.optimiser == "sgd":
            self.optimiser: torch.optim.Optimizer = torch.optim.SGD(
                groups, momentum=settings.momentum
            )
        else:
            self.optimiser = torch.optim.AdamW(groups)
        total, milestones = self.n_steps, settings.milestones

        def factor(step: int) -> float:
            if milestones:
                return float(0.1 ** sum(step >= epoch * steps_per_epoch for epoch in milestones))
            rise = min(1.0, (step + 1) / max(1.0, total / 10))
            return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))

        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, factor)
        self.scaler = torch.amp.GradScaler("cuda", enabled=self._precision() == torch.float16)

    # ---- training ------------------------------------------------------------------------

    def run(self, checkpoint: Path | None, key: str, job: Job) -> FineTuned:
        n_threads = torch.get_num_threads()
        shares_work = self.network.device.type == "cpu" and not self.uses_statistics
        if n_threads < 2 or not shares_work:
            return self._run(checkpoint, key, job)
        # A thread for each piece of a batch, as for encoding: see `crop_workers`.
        with start_pool(min(n_threads, MAX_WORKERS), n_threads) as self._pool:
            return self._run(checkpoint, key, job)

    def _run(self, checkpoint: Path | None, key: str, job: Job) -> FineTuned:
        state = TrainingState(key)
        if checkpoint is not None:
            state = read_state(checkpoint, key, self._restore) or state
        step, written_at = state.epoch * (self.n_steps // self.n_epochs), time.monotonic()
        while state.epoch < self.n_epochs:
            self.network.set_training(batch_statistics=self.uses_statistics)
            generator = torch.Generator().manual_seed(_mixed(self.seed, state.epoch))
            losses = []
            for batch in self._batches(generator):
                self.job.check()
                job.report(step, self.n_steps, _progress_text(state, self.n_epochs))
                losses.append(self._step(batch, generator))
                step += 1
            state.losses.append(float(np.mean(losses)))
            is_due = time.monotonic() - written_at >= CHECKPOINT_EVERY_S
            if checkpoint is not None and (is_due or state.epoch == self.n_epochs):
                write_state(checkpoint, state, self._everything())
                written_at = time.monotonic()
        job.report(self.n_steps, self.n_steps, "Fine-tuned")
        return self._finished(state)

    def _step(self, batch: Tensor, generator: torch.Generator) -> float:
        """Take one step of the optimiser; with less memory, in smaller passes."""
        crops = self.crops[batch]
        if self.settings.augment:
            shift, zoom = self.settings.shift, self.settings.zoom
            crops = augment_crops(crops, self.sides, shift=shift, zoom=zoom, generator=generator)
        loss = self._within_memory(partial(self._gradients, crops, self.codes[batch]))
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.schedule.step()
        return loss

    def _within_memory(self, work: Callable[[], _T]) -> _T:
        """Do what takes `cells_at_once` through the network; with less memory, fewer at once."""
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self.cells_at_once == 1:
                    raise HcsQcError(
                        f"There is not enough memory on {self.network.device} to fine-tune "
                        f"{self.network.name} on a single cell; close other programs, or use "
                        "another device or the linear head."
                    ) from error
            # Out of the except clause, so that the failed pass's tensors are free.
            self.cells_at_once = (self.cells_at_once + 1) // 2
            if self.network.device.type == "cuda":
                torch.cuda.empty_cache()

    def _gradients(self, crops: Tensor, codes: Tensor) -> float:
        """Set the gradients of a batch, gathered in the order of its pieces, whoever was first."""
        # Of equal size: with 10 cells, 5 for each of two threads and not 8 and 2.
        n_pieces = math.ceil(len(crops) / self.cells_at_once)
        pieces = torch.tensor_split(crops, n_pieces), torch.tensor_split(codes, n_pieces)
        work = partial(self._gradients_of, n_cells=len(crops))
        run = map if self._pool is None else self._pool.map
        total = 0.0
        self.optimiser.zero_grad(set_to_none=True)
        for loss, gradients in run(work, *pieces):
            total += loss
            for parameter, gradient in zip(self._parameters, gradients, strict=True):
                if gradient is not None:
                    old = parameter.grad
                    parameter.grad = gradient if old is None else old.add_(gradient)
        if not math.isfinite(total):
            raise HcsQcError(
                f"Fine-tuning {self.network.name} gave a loss that is not a number; its weights "
                "may be damaged, or the learning rate is too high."
            )
        return total / len(crops)

    def _gradients_of(
        self, crops: Tensor, codes: Tensor, n_cells: int
    ) -> tuple[float, tuple[Tensor | None, ...]]:
        with self._autocast():
            features = self.network.features(crops, self.job)
        loss = functional.cross_entropy(
            self._outputs(features.float()), codes.to(features.device), reduction="sum"
        )
        scaled = self.scaler.scale(loss / n_cells)
        return float(loss.detach()), torch.autograd.grad(
            scaled, self._parameters, allow_unused=True
        )

    def _batches(self, generator: torch.Generator) -> list[Tensor]:
        if not self.settings.balance:
            order = torch.randperm(len(self.codes), generator=generator)
        else:
            half = int(torch.bincount(self.codes).max())
            drawn = []
            for code in range(len(self.classes)):
                own = torch.nonzero(self.codes == code).flatten()
                rounds = [
                    own[torch.randperm(len(own), generator=generator)]
                    for _ in range(math.ceil(half / len(own)))
                ]
                drawn.append(torch.cat(rounds)[:half])
            order = torch.stack(drawn, dim=1).flatten()
        batches = list(torch.split(order, self.settings.batch_size))
        if self.uses_statistics and len(batches) > 1 and len(batches[-1]) < 2:
            # One cell has no variance.
            batches[-2:] = [torch.cat(batches[-2:])]
        return batches

    # ---- evaluating ----------------------------------------------------------------------

    def _outputs(self, features: Tensor) -> Tensor:
        return (features - self.centre) * self.scale @ self.weight.T + self.bias

    def _features(self, rows: Tensor) -> Tensor:
        return self._within_memory(partial(self._features_of, rows))

    def _features_of(self, rows: Tensor) -> Tensor:
        # Without gradients a cell takes a fraction of the memory.
        at_once = _EVALUATED_PER_TRAINED * self.cells_at_once
        with self.network.as_it_is():
            parts = [
                self.network.features(self.crops[part], self.job).float().cpu()
                for part in torch.split(rows, at_once)
            ]
        return torch.cat(parts)

    def _precision(self) -> torch.dtype:
        if self.network.device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16

    def _autocast(self) -> AbstractContextManager[Any]:
        precision = self._precision()
        if precision == torch.float32:
            return nullcontext()
        return torch.autocast("cuda", dtype=precision)

    # ---- state ---------------------------------------------------------------------------

    def _learnt(self) -> dict[str, Tensor]:
        layer = {"layer.weight": self.weight, "layer.bias": self.bias}
        own = {name: value.detach().cpu().clone() for name, value in layer.items()}
        return {**own, **{f"encoder.{k}": v.clone() for k, v in self.network.state().items()}}

    def _load_learnt(self, learnt: dict[str, Tensor]) -> None:
        prefix = "encoder."
        self.network.load(
            {k.removeprefix(prefix): v for k, v in learnt.items() if k.startswith(prefix)}
        )
        with torch.no_grad():
            self.weight.copy_(learnt["layer.weight"])
            self.bias.copy_(learnt["layer.bias"])

    def _everything(self) -> dict[str, Any]:
        return {
            "learnt": self._learnt(),
            "standard": {"centre": self.centre.cpu(), "scale": self.scale.cpu()},
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "cells_at_once": self.cells_at_once,
        }

    def _restore(self, kept: dict[str, Any]) -> None:
        self._load_learnt(kept["learnt"])
        device = self.network.device
        self.centre = kept["standard"]["centre"].to(device)
        self.scale = kept["standard"]["scale"].to(device)
        self.optimiser.load_state_dict(kept["optimiser"])
        self.schedule.load_state_dict(kept["schedule"])
        self.scaler.load_state_dict(kept["scaler"])
        self.cells_at_once = int(kept["cells_at_once"])

    def _finished(self, state: TrainingState) -> FineTuned:
        encoder, weights = self.network.frozen()
        head = DenseHead(random_state=self.seed)
        layer = self.weight.detach().cpu().double().numpy()
        scale, centre = (tensor.cpu().double().numpy() for tensor in (self.scale, self.centre))
        head.classes_, head.n_features_in_ = self.classes, layer.shape[1]
        head.coef_ = layer * scale
        head.intercept_ = self.bias.detach().cpu().double().numpy() - head.coef_ @ centre
        history = {
            "settings": asdict(self.settings),
            "seed": self.seed,
            "epochs": state.epoch,
            "losses": state.losses,
            "batch_statistics": self.uses_statistics,
            "device": str(self.network.device),
            "cells_at_once": self.cells_at_once,
        }
        return FineTuned(encoder, weights, head, history)


def _mixed(seed: int, epoch: int) -> int:
    """Seed of an epoch, so that one that is taken up again is drawn as it would have been."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)


def _progress_text(state: TrainingState, n_epochs: int) -> str:
    loss = f", loss {state.losses[-1]:.3f}" if state.losses else ""
    return f"Fine-tuning: epoch {state.epoch + 1} of {n_epochs}{loss}"
