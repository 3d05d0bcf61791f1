"""One training loop for all self-supervised methods."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from safetensors.torch import save

from napari_hcs_qc.encoders.embed.crop_reader import CropReader
from napari_hcs_qc.errors import HcsQcError, Problem
from napari_hcs_qc.job import NO_JOB, Cancelled, Job, duration
from napari_hcs_qc.study.ssl.augmented_views import draw_views, make_views
from napari_hcs_qc.study.ssl.collapse_watch import (
    Observation,
    effective_rank,
    must_stop,
    warnings_before,
    warnings_of,
)
from napari_hcs_qc.study.ssl.crop_stream import Reading
from napari_hcs_qc.study.ssl.distributed import by_each_batch_alone, over_all_ranks
from napari_hcs_qc.study.ssl.methods.method_registry import make_method
from napari_hcs_qc.study.ssl.training_state import (
    Meter,
    Neighbours,
    Progress,
    Report,
    find_neighbours,
    loss_curve,
    read_checkpoint,
    write_checkpoint,
)
from napari_hcs_qc.study.ssl.training_step import Stepper, rate_at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_hcs_qc.encoders.embed.crop_reader import Batch
    from napari_hcs_qc.encoders.trainable import TrainableEncoder
    from napari_hcs_qc.study.ssl.crop_stream import CropStream
    from napari_hcs_qc.study.ssl.pretrain_settings import Pretraining

OnReport: TypeAlias = Callable[[Report], None]
"""Called after each epoch, and every few seconds between."""

CHECKPOINT_S = 120.0
"""A run that is killed loses no more than so many seconds of work."""

_REPORT_S = 2.0
_OBSERVED_STEPS = 10
_LATEST = 20
_SAMPLE_CELLS = 256
_QUERIES, _NEIGHBOURS = 6, 7
_POLL_S = 0.05


@dataclass(frozen=True, kw_only=True)
class History:
    """How a training went, as the encoder's manifest keeps it."""

    epochs: list[dict[str, float | None]]  # figures of each
    curve: list[list[float]]  # step and loss
    warnings: list[tuple[int, str]]  # step and sentence
    n_steps: int
    seconds: float
    crops_per_s: float
    device: str
    precision: str
    n_processes: int
    crops_at_once: int | None


@dataclass(frozen=True, eq=False)
class Pretrained:
    """What a `Training` made."""

    weights: bytes  # of the whole architecture, as the bytes of a safetensors file
    history: History
    warnings: tuple[str, ...]  # what was wrong from the start, and what still was at the end


class Training:
    """Train an encoder on unlabelled cells: make one and `run` it.

    On a CPU the same arguments give the same weights to the last digit, also after a stop or a
    kill. On CUDA the network runs in half precision and the loss in single.

    Where the memory of a single process does not suffice for a batch, its crops go through the
    network in pieces, twice: once for the features, of which the loss gives the gradients, and
    once more to pass these on (Gao et al. 2021, https://arxiv.org/abs/2101.06983). The loss is
    still that of the whole batch; batch normalisations then see a piece. The pieces are halved
    until they fit, and the history tells it.
    """

    def __init__(
        self,
        stream: CropStream,
        network: TrainableEncoder,
        settings: Pretraining,
        *,
        seed: int = 0,
        checkpoint: Path | None = None,
        checkpoint_s: float = CHECKPOINT_S,
        key: str = "",
        on_report: OnReport | None = None,
        job: Job = NO_JOB,
        is_paused: Callable[[], bool] = lambda: False,
    ) -> None:
        self.stream, self.network, self.settings = stream, network, settings
        self.seed, self.world, self.device = seed, stream.world, network.device
        self.checkpoint, self.checkpoint_s, self.key = checkpoint, checkpoint_s, key
        self.job, self.on_report, self.is_paused = job, on_report, is_paused
        # With several ranks all stop at the same step, see `_between_steps`.
        self._reader_job = job if self.world.size == 1 else NO_JOB
        self.n_steps = settings.epochs * stream.n_steps
        over_all_ranks(network.module, self.world)
        self.method = make_method(
            settings.method, network.n_features, settings, stream.n_cells, self.world, seed
        ).to(self.device)
        self.progress = Progress(key=key)
        self.stepper = Stepper(
            network, self.method, settings, self.world, job, lambda text: self._warn([text])
        )
        self.meter = Meter(self.method.n_views * stream.batch_size)
        self._pending: list[Tensor] = []
        self._figures: dict[str, float] = {}
        self._initial_warnings = warnings_before(settings, stream.n_cells)
        self._current_warnings: list[str] = []
        self._sample: Tensor | None = None
        self._seconds_before = 0.0

    # ---- the loop ------------------------------------------------------------------------

    def run(self) -> Pretrained:
        self._resume()
        self._warn(self._initial_warnings)
        try:
            while len(self.progress.epochs) < self.settings.epochs:
                self._epoch(len(self.progress.epochs))
        except Cancelled:
            self._roll_back()
            self._write()
            raise
        self.job.report(self.n_steps, self.n_steps, "Trained")
        return self._finished()

    def _epoch(self, number: int) -> None:
        begun = self.meter.seconds
        prepared: dict[str, float] = {}
        # A stop may have come when all steps were done, and the look around was not.
        if self.progress.step < (number + 1) * self.stream.n_steps:
            self._report_progress(f"Preparing epoch {number + 1} of {self.settings.epochs}")
            self.network.set_training(batch_statistics=True)
            self.method.train()
            prepared = self.method.begin_epoch(number, self._embed, self.job)
            self._figures.update(prepared)
            self._steps(number)
        self._end_epoch(number, prepared, self.meter.seconds - begun)

    def _steps(self, number: int) -> None:
        """Take the steps of an epoch that are still to be taken."""
        plan = self.stream.plan(number, self.progress.left_out)
        size, first = self.stream.batch_size, self.progress.step % self.stream.n_steps
        chunks = [
            (number * self.stream.n_steps + step, plan[step * size : (step + 1) * size])
            for step in range(first, self.stream.n_steps)
        ]
        written = time.monotonic()
        reported = written - _REPORT_S
        with CropReader(Reading(self.stream.batches), chunks) as reader:
            while (batch := reader.next_batch(self._reader_job)) is not None:
                self._between_steps()
                self._step(batch, number)
                now = time.monotonic()
                if now - reported >= _REPORT_S:
                    reported = now
                    self._send_report(None)
                if now - written >= self.checkpoint_s:
                    self._write()
                    written = time.monotonic()

    def _between_steps(self) -> None:
        if self.world.any(self.job.is_cancelled, self.device):
            raise Cancelled
        if not self.is_paused():
            return
        began = time.perf_counter()
        self._write()
        self._report_progress("Paused")
        while self.is_paused():
            self.job.check()
            time.sleep(_POLL_S)
        self.meter.paused(time.perf_counter() - began)

    def _end_epoch(self, number: int, prepared: dict[str, float], seconds: float) -> None:
        self._read_pending()
        self._share_left_out()
        neighbours, rank = self._look_at_sample()
        losses = self.progress.losses[number * self.stream.n_steps :]
        self._observe(number, rank=rank)
        figures = {
            "loss": float(np.mean(losses)),
            "seconds": round(seconds, 2),
            "crops_per_s": round(self.meter.crops_per_s, 1),
            "rank": math.nan if rank is None else round(rank, 2),
            **{name: round(value, 5) for name, value in {**self._figures, **prepared}.items()},
        }
        self.progress.epochs.append(
            {name: value if math.isfinite(value) else None for name, value in figures.items()}
        )
        self.progress.left_out = sorted(self.stream.left_out)
        self._send_report(neighbours)
        self._write()

    # ---- one step ------------------------------------------------------------------------

    def _step(self, batch: Batch, epoch: int) -> None:
        step, stepper = self.progress.step, self.stepper
        rows, views = self._views_of(batch, step)
        loss, figures = stepper.backward(views, rows, epoch, step)
        self._pending.append(loss)
        is_watched = step % _OBSERVED_STEPS == 0
        # Reading a number waits for a GPU.
        if is_watched or self.device.type == "cpu":
            self._read_pending()
        if is_watched or not math.isfinite(self.progress.losses[-1]):
            self._figures.update({name: float(value) for name, value in figures.items()})
            self._observe(epoch, gradients=stepper.norms())
        stepper.advance(epoch, rate_at(step, self.stream.n_steps, self.settings))
        self.progress.step = step + 1
        self.meter.step_done()
        self._report_progress()

    def _views_of(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        # Drawn by step and for the batch of all ranks: nothing to keep, and the same for any rank.
        generator = torch.Generator().manual_seed(_mixed(self.seed, step))
        size = self.stream.batch_size
        draws = draw_views(size, self.settings, generator, self.method.n_views)
        draws = draws.part(self.world.share(size))
        crops = batch.crops
        if self.device.type == "cuda":
            crops = crops.pin_memory()
        views = make_views(crops.to(self.device, non_blocking=True), draws)
        return _rows(batch.rows).to(self.device), views

    # ---- all cells, and a few of them ----------------------------------------------------

    def _embed(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Give rows and features of this rank's share of all cells, see `ssl.method.Embed`."""
        chunks = self.stream.everything(self.stream.batch_size)
        done, total = 0, sum(len(rows) for _, rows in chunks)
        with CropReader(Reading(self.stream.batches_of), chunks) as reader:
            while (batch := reader.next_batch(self._reader_job)) is not None:
                done += batch.n_cells
                self.job.report(done, total, "Embedding all cells before the first epoch")
                if not len(batch.rows):
                    continue
                # By the statistics of the batch, as in training: the running ones say nothing yet.
                with (
                    torch.no_grad(),
                    by_each_batch_alone(self.network.module),
                    self.stepper.autocast(),
                ):
                    # A batch normalisation cannot do with one crop alone.
                    crops = batch.crops.repeat(2, 1, 1, 1) if len(batch.rows) == 1 else batch.crops
                    features = self.network.features(crops[:, None], self.stepper.job)
                yield _rows(batch.rows), features[: len(batch.rows)]

    def _look_at_sample(self) -> tuple[Neighbours | None, float | None]:
        """Show a few cells with those most alike, and measure in how many directions they vary."""
        if not self.world.first:
            return None, None
        if self._sample is None:
            chunks = [(0, self.stream.few(_SAMPLE_CELLS))]
            (batch,) = self.stream.batches_of(chunks)
            self._sample = batch.crops
        if len(self._sample) < 2:
            return None, None
        with self.network.as_it_is():
            parts = [
                self.network.features(part[:, None], self.stepper.job).float().cpu()
                for part in torch.split(self._sample, self.stepper.crops_at_once or 32)
            ]
            features = torch.cat(parts)
        rank = effective_rank(features)
        return find_neighbours(self._sample, features, _QUERIES, _NEIGHBOURS), rank

    def _share_left_out(self) -> None:
        """Let every rank leave out what one of them could not read."""
        if self.world.size == 1:
            return
        mine = torch.zeros(self.stream.n_sites, device=self.device)
        mine[list(self.stream.left_out)] = 1
        for site in torch.nonzero(self.world.sum(mine)).flatten().tolist():
            self.stream.left_out.setdefault(
                site, Problem(f"site {site}", "could not be read by another process")
            )

    # ---- reports and warnings ------------------------------------------------------------

    def _read_pending(self) -> None:
        if self._pending:
            # One wait for the device, not one for each step.
            self.progress.losses.extend(torch.stack(self._pending).tolist())
            self._pending.clear()

    def _observe(
        self, epoch: int, gradients: dict[str, float] | None = None, rank: float | None = None
    ) -> None:
        is_frozen = epoch < self.settings.freeze_prototypes
        observation = Observation(
            epoch=epoch,
            step=self.progress.step,
            losses=self.progress.losses[-_LATEST:],
            chance=self.method.chance(self.stream.batch_size),
            figures=dict(self._figures),
            gradients=gradients or {},
            rank=rank,
            frozen=frozenset(["prototypes"] if is_frozen else []),
        )
        self._current_warnings = warnings_of(observation)
        self._warn(self._current_warnings)
        # With a scaler gradients overflow now and then; it skips such a step by itself.
        if self.stepper.scaler.is_enabled() and math.isfinite(observation.losses[-1]):
            return
        if must_stop(observation):
            raise HcsQcError(f"{self.settings.method}: {' '.join(self._current_warnings)}")

    def _warn(self, sentences: list[str]) -> None:
        known = {_pattern(sentence) for _, sentence in self.progress.warnings}
        self.progress.warnings.extend(
            (self.progress.step, sentence)
            for sentence in sentences
            if _pattern(sentence) not in known
        )

    def _report_progress(self, message: str = "") -> None:
        progress, meter = self.progress, self.meter
        if not message:
            epoch = min(progress.step // self.stream.n_steps + 1, self.settings.epochs)
            loss = f", loss {progress.losses[-1]:.3f}" if progress.losses else ""
            message = f"{self.settings.method}: epoch {epoch} of {self.settings.epochs}{loss}"
            if meter.crops_per_s:
                message += f", {meter.crops_per_s:,.0f} crops/s, {duration(self._left_s)} left"
        self.job.report(progress.step, self.n_steps, message)

    @property
    def _left_s(self) -> float:
        return (self.n_steps - self.progress.step) * self.meter.seconds_per_step

    def _send_report(self, neighbours: Neighbours | None) -> None:
        if self.on_report is None:
            return
        progress = self.progress
        self.on_report(
            Report(
                epoch=len(progress.epochs),
                n_epochs=self.settings.epochs,
                step=progress.step,
                n_steps=self.n_steps,
                curve=loss_curve(progress.losses),
                crops_per_s=self.meter.crops_per_s,
                seconds_left=self._left_s,
                warnings=tuple(sentence for _, sentence in progress.warnings),
                neighbours=neighbours,
            )
        )

    # ---- state ---------------------------------------------------------------------------

    def _roll_back(self) -> None:
        self.stepper.undo()
        self._read_pending()
        del self.progress.losses[self.progress.step :]

    def _write(self) -> None:
        if self.checkpoint is None or not self.world.first:
            return
        self._read_pending()
        progress = self.progress
        progress.seconds = self._seconds_before + self.meter.seconds
        progress.unreadable = [
            (site, problem.where, problem.what)
            for site, problem in sorted(self.stream.left_out.items())
        ]
        write_checkpoint(self.checkpoint, progress, self.stepper.state())

    def _resume(self) -> None:
        """Go on where a checkpoint of the same key was written; every rank reads it."""
        if self.checkpoint is None:
            return
        saved = read_checkpoint(self.checkpoint, self.key)
        if saved is None:
            return
        self.progress, state = saved
        self.stepper.load(state)
        self._seconds_before = self.progress.seconds
        for site, where, what in self.progress.unreadable:
            self.stream.left_out[site] = Problem(where, what)

    def _finished(self) -> Pretrained:
        progress = self.progress
        curve = loss_curve(progress.losses)
        history = History(
            epochs=progress.epochs,
            curve=[[round(step, 1), round(loss, 5)] for step, loss in curve.tolist()],
            warnings=progress.warnings,
            n_steps=progress.step,
            seconds=round(self._seconds_before + self.meter.seconds, 1),
            crops_per_s=round(self.meter.crops_per_s, 1),
            device=str(self.device),
            precision=str(self.stepper.precision).removeprefix("torch."),
            n_processes=self.world.size,
            crops_at_once=self.stepper.crops_at_once or None,
        )
        warnings = (*self._initial_warnings, *self._current_warnings)
        return Pretrained(save(self.network.state()), history, warnings)


def _rows(rows: NDArray[np.intp]) -> Tensor:
    return torch.from_numpy(rows.astype(np.int64))


def _mixed(seed: int, step: int) -> int:
    """Seed of a step, so that one that is taken up again is drawn as it would have been."""
    return int(np.random.SeedSequence([seed, 5, step]).generate_state(1, np.uint64)[0] >> 1)


def _pattern(sentence: str) -> str:
    """Give a sentence without its numbers: with it, a warning is known again."""
    return re.sub(r"[\d.,%]+", "#", sentence)
