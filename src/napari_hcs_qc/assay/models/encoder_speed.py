"""How quick an encoder is on this machine."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_hcs_qc.assay.models.train_options import requested_encoder, requested_recipe
from napari_hcs_qc.encoders.registry import load_encoder
from napari_hcs_qc.job import NO_JOB, Job

if TYPE_CHECKING:
    from napari_hcs_qc.assay.models.train_options import TrainOptions

_WARM_UP = 16
_BATCH = 32
_LONG_ENOUGH_S = 1.5


@dataclass(frozen=True, kw_only=True)
class EncoderSpeed:
    """What was measured of an encoder."""

    name: str  # of the encoder
    device: str  # where it ran: ``"cpu"``, ``"cuda"`` or ``"mps"``
    n_features: int  # length of a crop's vector with the recipe's stages
    crops_per_s: float  # crops encoded a second
    backend: str = "torch"  # what ran it
    note: str = ""  # why that is not the requested backend; empty when it is

    @property
    def ran_on(self) -> str:
        """Device and backend as text."""
        return self.device if self.backend == "torch" else f"{self.device}, {self.backend}"

    def seconds_for(self, n_cells: int, n_views: int) -> float:
        """Seconds that so many cells take, each seen `n_views` times."""
        return n_cells * n_views / self.crops_per_s


def measure_encoder(options: TrainOptions, *, job: Job = NO_JOB) -> EncoderSpeed:
    """Load the encoder of some options and measure it on noise, for some two seconds."""
    import torch

    recipe = requested_recipe(options)
    name = options.encoder_name
    # Not the cached one: to measure another must not push out the one that retraining uses.
    encoder = requested_encoder(options, load=load_encoder, job=job)
    job.report(0, 0, f"Measuring {name}")
    side = recipe.input_px
    crops = torch.rand((_BATCH, 1, side, side), generator=torch.Generator().manual_seed(0))
    encoder.encode(crops[:_WARM_UP], job=job)
    n, elapsed, started = 0, 0.0, time.perf_counter()
    while elapsed < _LONG_ENOUGH_S:
        job.check()
        n += len(encoder.encode(crops, job=job))
        elapsed = time.perf_counter() - started
    return EncoderSpeed(
        name=name,
        device=encoder.device.type,
        n_features=encoder.n_features,
        crops_per_s=n / elapsed,
        backend=encoder.backend,
        note=encoder.backend_note,
    )
