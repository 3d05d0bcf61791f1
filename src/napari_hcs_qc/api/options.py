"""Options of the steps, gathered from the parameters of the public functions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hcs_qc.assay.models.train_options import TrainOptions


def train_options(
    *,
    encoder: str | None,
    weights: str | Path | None,
    recipe: str | None,
    rgb: Sequence[str],
    head: str,
    simulated: Sequence[str],
    seeds: int,
    seed: int,
    device: str,
    backend: str,
) -> TrainOptions:
    """Gather what `Assay.train` and `run` are given."""
    from napari_hcs_qc.assay.models.train_options import TrainOptions

    if seeds < 1:
        raise HcsQcError(f"The number of seeds is {seeds}; at least 1 was expected.")
    return TrainOptions(
        encoder=encoder,
        weights=None if weights is None else Path(weights),
        recipe=recipe,
        rgb=tuple(rgb),
        head=head,
        seed=seed,
        n_seeds=seeds,
        device=device,
        simulated=tuple(simulated),
        backend=backend,
    )
