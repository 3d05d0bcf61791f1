"""The self-supervised methods by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.ssl.barlow_twins import BarlowTwins
from napari_hcs_qc.ssl.deepclusterv2 import DeepClusterV2
from napari_hcs_qc.ssl.settings import METHOD_NAMES
from napari_hcs_qc.ssl.simclr import SimCLR
from napari_hcs_qc.ssl.swav import SwAV
from napari_hcs_qc.ssl.vicreg import VICReg

if TYPE_CHECKING:
    from napari_hcs_qc.ssl.distributed import World
    from napari_hcs_qc.ssl.method import Method
    from napari_hcs_qc.ssl.settings import Pretraining

_METHODS: dict[str, type[Method]] = dict(
    zip(METHOD_NAMES, (SimCLR, BarlowTwins, VICReg, DeepClusterV2, SwAV), strict=True)
)


def make_method(
    name: str,
    n_features: int,
    settings: Pretraining,
    n_cells: int,
    world: World,
    seed: int,
) -> Method:
    """Make a method with its first weights, which follow from `seed` alone.

    Raises
    ------
    HcsQcError
        When there is no method of this name.
    """
    if name not in _METHODS:
        raise HcsQcError(
            f"{name!r} is not a self-supervised method. Known are: {', '.join(METHOD_NAMES)}."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _METHODS[name](n_features, settings, n_cells, world, seed)
