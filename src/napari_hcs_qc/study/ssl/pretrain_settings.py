"""What a self-supervised training is run with: the paper's settings, and ours.

Sources of the preset ``paper``: [1]_ for what it states (ResNet18 to 512, layers 2048 wide,
temperature 0.07, batch 128, 5 epochs, SGD 0.001 with momentum 0.9, one warm-up epoch and a cosine,
500 prototypes, 10 iterations of k-means, queue 2560, the augmentations); where it is silent, the
defaults of solo-learn [2]_ in 2022, which it was run with: weight decay 1e-4, warm-up from 3e-5,
projections to 128 (SimCLR, DeepClusterV2, SwAV) or 2048 (Barlow Twins, VICReg), Barlow's λ 0.0051
and loss scale 0.024, VICReg's 25, 25, 1, SwAV's ε 0.05, 3 iterations of Sinkhorn, prototypes frozen
for one epoch and queue from epoch 15 on (that is never, in 5 epochs), DeepClusterV2 with three
heads. The rate is taken as the paper states it; solo-learn multiplies what it is given by the batch
size over 256, so that half of it may have been meant. The shift (up to 1/16 of the side) and the
scale (± 10 %) are those of albumentations' ``ShiftScaleRotate``, each with probability 1/2.

The preset ``default`` corrects the traps of short trainings on small plates: the bank of
DeepClusterV2 is filled before the first epoch, SwAV's queue starts after a quarter of the training,
VICReg's gradients are clipped, and AdamW makes steps that do not depend on the scale of the loss.
LARS, which the papers take for batches of thousands, is not there: a plate's batches are hundreds.

.. [1] Masud, Cohen et al., "Comparison of semi-supervised learning methods for High Content
   Screening quality control", 2022.
.. [2] da Costa et al., "solo-learn: A library of self-supervised methods for visual representation
   learning", JMLR 23, 2022.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import ConfigDict, Field, model_validator

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.study.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Method = Literal["simclr", "barlow-twins", "vicreg", "deepclusterv2", "swav"]
METHOD_NAMES: tuple[str, ...] = get_args(Method)
PRESET_NAMES = ("default", "paper")

DEFAULT_METHOD = "deepclusterv2"
"""The one whose encoder was better than an untrained network where all were measured."""

BETTER_THAN_UNTRAINED = frozenset({("deepclusterv2", "default")})
"""Methods and presets of which that is known: 4,000 nuclei of BBBC022 at 64 px, 5 epochs, linear
head and kNN by well on 288 annotated cells, against five untrained ResNet18
(benchmarks/README.md)."""

_Count = Annotated[int, Field(ge=1)]
_Natural = Annotated[int, Field(ge=0)]
_Size = Annotated[float, Field(ge=0)]
_Positive = Annotated[float, Field(gt=0)]
_Share = Annotated[float, Field(ge=0, le=1)]


class Pretraining(Settings):
    """One self-supervised training."""

    model_config = ConfigDict(strict=True)
    title: ClassVar[str] = "The training settings"

    method: Method
    preset: str = "default"  # which preset it was made from; changes do not alter it
    epochs: _Count = 5  # passes over all cells
    # Cells of one step on all ranks together; each gives two views
    batch_size: Annotated[int, Field(ge=2)] = 128
    optimiser: Literal["sgd", "adamw"] = "sgd"
    lr: _Positive = 0.001
    momentum: _Size = 0.9
    weight_decay: _Size = 1e-4
    # The rate rises linearly from `warmup_start_lr` to `lr`, then falls to `min_lr` by a cosine
    warmup_epochs: _Size = 1.0
    warmup_start_lr: _Size = 3e-5
    min_lr: _Size = 0.0
    clip_norm: _Size = 0.0  # gradients longer than this are shortened to it; 0 leaves them
    rotate90: _Share = 0.5  # probability of each part of the dihedral augmentation
    flip: _Share = 0.5
    transpose: _Share = 0.5
    shift: _Share = 0.0625  # largest shift as a share of the side, largest change of scale
    scale: _Share = 0.1
    shift_scale: _Share = 0.5  # probability of shift and scale
    hidden: _Count = 2048  # width of the projector's inner layers, and of its output
    projected: Annotated[int, Field(ge=2)] = 128
    layers: _Count = 2  # number of the projector's linear layers
    batch_norm: bool = True  # whether batch normalisation follows the projector's inner layers
    temperature: _Positive = 0.07  # of SimCLR's similarities, of the softmax over prototypes
    redundancy: _Size = 0.0051  # Barlow Twins' λ
    loss_scale: _Positive = 0.024  # factor of Barlow Twins' loss
    invariance: _Size = 25.0  # VICReg's three weights
    variance: _Size = 25.0
    covariance: _Size = 1.0
    # Number of prototypes of a head; see `prototypes_for`
    prototypes: Annotated[int, Field(ge=2)] = 500
    heads: _Count = 3  # number of DeepClusterV2's heads, each with a clustering of its own
    kmeans_iterations: _Count = 10  # of DeepClusterV2's clustering before each epoch
    fill_bank: bool = False  # whether DeepClusterV2's bank is filled before the first epoch
    # Cells that SwAV's assignments take into account beside the batch, 0 is none; from which epoch
    queue: _Natural = 2560
    queue_start: _Natural | None = 15
    # Smoothness of SwAV's assignments and how often rows and columns are balanced
    sinkhorn_epsilon: _Positive = 0.05
    sinkhorn_iterations: _Count = 3
    freeze_prototypes: _Natural = 1  # epochs during which SwAV's prototypes stay as they are

    @model_validator(mode="after")
    def _check_momentum(self) -> Self:
        if self.optimiser == "adamw" and self.momentum >= 1:
            raise ValueError(f"momentum is {self.momentum:g}, expected less than 1 with adamw.")
        return self

    @property
    def first_queue_epoch(self) -> int:
        """From which epoch on SwAV's assignments take the queue into account."""
        if self.queue_start is not None:
            return self.queue_start
        return max(self.freeze_prototypes + 1, math.ceil(self.epochs / 4))

    def prototypes_for(self, n_cells: int) -> int:
        """Give the number of prototypes for so many cells: at least 10 cells for each.

        The preset ``paper`` keeps its number as long as there is a cell for each.
        """
        most = n_cells if self.preset == "paper" else n_cells // 10
        return min(self.prototypes, max(2, most))


def preset(method: str, name: str = "default", **changes: Any) -> Pretraining:
    """Give the settings of a preset, with some changed."""
    if method not in METHOD_NAMES:
        raise HcsQcError(
            f"{method!r} is not a self-supervised method. Available: {', '.join(METHOD_NAMES)}."
        )
    if name not in PRESET_NAMES:
        raise HcsQcError(f"{name!r} is not a preset. Available: {', '.join(PRESET_NAMES)}.")
    return PRESETS[method, name].with_changes(**changes)


def measured_text(method: str, name: str) -> str:
    """Say how a preset did where all were measured, for a person who is to choose one."""
    if (method, name) in BETTER_THAN_UNTRAINED:
        return "Better than an untrained network on BBBC022 (4,000 cells, 5 epochs)."
    return (
        "Not better than an untrained network on BBBC022 (4,000 cells, 5 epochs); "
        f"{DEFAULT_METHOD} was."
    )


def _presets() -> Iterator[Pretraining]:
    wide: dict[str, Any] = {"projected": 2048, "layers": 3}
    projectors = {"simclr": {"batch_norm": False}, "barlow-twins": wide, "vicreg": wide}
    for method in get_args(Method):
        yield Pretraining(method=method, preset="paper", **projectors.get(method, {}))
    # AdamW: its step does not depend on the scale of the loss, which under plain SGD makes Barlow
    # Twins' step some 40 times smaller. Warm-up and clipping keep VICReg's first steps finite.
    ours: dict[str, Any] = {
        "epochs": 20,
        "batch_size": 256,
        "optimiser": "adamw",
        "lr": 1e-3,
        "weight_decay": 0.01,
        "warmup_start_lr": 1e-6,
        "rotate90": 0.75,
        "shift_scale": 1.0,
        "scale": 0.2,
    }
    by_method: dict[str, dict[str, Any]] = {
        "simclr": {"temperature": 0.1, "batch_norm": True},
        "barlow-twins": {"loss_scale": 1.0},
        "vicreg": {"clip_norm": 10.0},
        "deepclusterv2": {"temperature": 0.1, "fill_bank": True},
        # The queue starts when the prototypes have settled and still serves most epochs.
        "swav": {"temperature": 0.1, "queue_start": None},
    }
    for method in get_args(Method):
        yield Pretraining(
            method=method, **{**projectors.get(method, {}), **ours, **by_method[method]}
        )


PRESETS: dict[tuple[str, str], Pretraining] = {
    (settings.method, settings.preset): settings for settings in _presets()
}
"""The settings by method and name of the preset."""


@dataclass(frozen=True, kw_only=True)
class PretrainOptions:
    """What is trained without labels."""

    method: str = DEFAULT_METHOD  # one of `METHOD_NAMES`
    preset: str = "default"  # ``"default"`` or ``"paper"``
    # Settings that differ from the preset, by name, such as ``{"epochs": 10}``
    changes: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None  # of the encoder
    plates: tuple[str, ...] | None = None  # names of the plates; None takes all of the assay
    n_cells: int | None = None  # how many cells are drawn from all of these plates; None takes all
    # Crop recipe and its colours, as in `TrainOptions`: the one the encoder is meant for
    recipe: str | None = None
    # Crop recipe and its colours, as in `TrainOptions`: the one the encoder is meant for
    rgb: tuple[str, ...] = ()
    input_px: int | None = None  # side of the crops that are trained on
    start_from: str | None = None  # see `napari_hcs_qc.study.ssl.start_weights.start_from`
    start_weights: Path | None = None  # see `napari_hcs_qc.study.ssl.start_weights.start_from`
    seed: int = 0  # of everything random
    device: str = "auto"  # ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``
    again: bool = False  # train anew where there is an encoder of that name

    @property
    def encoder_name(self) -> str:
        """What the encoder is called."""
        return self.name or (self.method if self.preset == "default" else f"{self.method}-paper")

    @property
    def settings(self) -> Pretraining:
        """The settings of the training."""
        return preset(self.method, self.preset, **self.changes)
