"""The self-supervised methods by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.study.ssl.methods.deepclusterv2 import DeepClusterV2
from napari_hcs_qc.study.ssl.methods.swav import SwAV
from napari_hcs_qc.study.ssl.methods.two_views import BarlowTwins, SimCLR, VICReg
from napari_hcs_qc.study.ssl.pretrain_settings import METHOD_NAMES

if TYPE_CHECKING:
    from napari_hcs_qc.study.ssl.distributed import World
    from napari_hcs_qc.study.ssl.methods.method import Method
    from napari_hcs_qc.study.ssl.pretrain_settings import Pretraining

_METHODS: dict[str, type[Method]] = {
    "simclr": SimCLR,
    "barlow-twins": BarlowTwins,
    "vicreg": VICReg,
    "deepclusterv2": DeepClusterV2,
    "swav": SwAV,
}


def make_method(
    name: str, n_features: int, settings: Pretraining, n_cells: int, world: World, seed: int
) -> Method:
    """Make a method with its first weights, which follow from `seed` alone."""
    if name not in _METHODS:
        raise HcsQcError(
            f"{name!r} is not a self-supervised method. Available: {', '.join(METHOD_NAMES)}."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _METHODS[name](n_features, settings, n_cells, world, seed)
