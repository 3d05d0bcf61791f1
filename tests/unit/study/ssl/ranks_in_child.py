"""Steps of all five methods, alone or as one of several ranks.

`test_ranks.py` runs this file as ranks, started as `torchrun` would start them, and calls
`train_all` itself as one process. Argument: the file for the results of rank 0.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_hcs_qc.study.ssl.distributed import (
    World,
    by_each_batch_alone,
    join_world,
    over_all_ranks,
)
from napari_hcs_qc.study.ssl.methods.method_registry import make_method
from napari_hcs_qc.study.ssl.pretrain_settings import METHOD_NAMES, preset

if TYPE_CHECKING:
    from collections.abc import Iterator

N_CELLS, BATCH, SIDE, EPOCHS, STEPS = 60, 10, 6, 2, 2


def train_all(world: World) -> dict[str, Tensor]:
    """Give gradients and states of all methods by name."""
    found: dict[str, Tensor] = {}
    for method in METHOD_NAMES:
        # In double precision, rounding does not grow over the steps; in single, one step is told.
        for words, dtype in (("double", torch.float64), ("single", torch.float32)):
            results = _train(method, world, dtype)
            found |= {f"{method} {words} {key}": value for key, value in results.items()}
    return found


def _encoder() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3),
            nn.BatchNorm2d(12, momentum=None),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )


def _train(name: str, world: World, dtype: torch.dtype) -> dict[str, Tensor]:
    settings = preset(
        name,
        hidden=16,
        projected=8,
        prototypes=5,
        queue=16,
        queue_start=1,
        batch_size=BATCH,
    )
    encoder = over_all_ranks(_encoder(), world).to(dtype)
    method = make_method(name, 12, settings, N_CELLS, world, seed=3).to(dtype)
    parameters = [*encoder.named_parameters(), *method.named_parameters()]
    generator = torch.Generator().manual_seed(7)
    cells = torch.randn(N_CELLS, 1, SIDE, SIDE, generator=generator, dtype=dtype)
    found: dict[str, Tensor] = {}

    def embed() -> Iterator[tuple[Tensor, Tensor]]:
        # The same batches, dealt out: 5 of them, so that ranks have different numbers.
        for rows in torch.arange(N_CELLS).split(12)[world.rank :: world.size]:
            with torch.no_grad(), by_each_batch_alone(encoder):
                features = encoder(cells[rows])
            yield rows, features

    epochs, steps = (EPOCHS, STEPS) if dtype == torch.float64 else (1, 1)
    for epoch in range(epochs):
        for key, value in method.begin_epoch(epoch, embed).items():
            found[f"{epoch} {key}"] = torch.tensor(value)
        order = torch.randperm(N_CELLS, generator=generator)
        for step in range(steps):
            rows = order[step * BATCH : (step + 1) * BATCH]
            noise = torch.randn(2, BATCH, 1, SIDE, SIDE, generator=generator, dtype=dtype)
            views = cells[rows] + 0.5 * noise
            own = slice(BATCH * world.rank // world.size, BATCH * (world.rank + 1) // world.size)
            local = views[:, own]
            features = torch.stack([encoder(view) for view in local])
            for _, one in parameters:
                one.grad = None
            loss, figures = method.loss(features, rows[own], epoch, epoch * steps + step)
            loss.backward()
            world.average_gradients(one for _, one in parameters)
            method.mask_gradients(epoch)
            at = f"{epoch}.{step}"
            found[f"{at} loss"] = loss.detach()
            for key, value in figures.items():
                if key != "feature_std":  # of this rank's cells
                    found[f"{at} {key}"] = value
            for key, one in parameters:
                if one.grad is not None:
                    found[f"{at} gradient of {key}"] = one.grad.clone()
            # Plain gradient descent: torch.optim takes 2 s to import.
            with torch.no_grad():
                for _, one in parameters:
                    if one.grad is not None:
                        one -= 0.01 * one.grad
            method.after_step()
    for part, module in (("encoder", encoder), ("method", method)):
        found |= {f"{part} {key}": value for key, value in module.state_dict().items()}
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    with join_world(on_gpu=False) as here:
        results = train_all(here)
        results["stop"] = torch.tensor(here.any(here.rank == here.size - 1))
        here.wait()
        if here.first:
            torch.save(results, Path(sys.argv[1]))
