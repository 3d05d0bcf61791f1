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
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from napari_hcs_qc.errors import HcsQcError, Problem, ProblemsError
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

METHOD_NAMES = ("simclr", "barlow-twins", "vicreg", "deepclusterv2", "swav")
PRESET_NAMES = ("default", "paper")

DEFAULT_METHOD = "deepclusterv2"
"""The one whose encoder was better than an untrained network where all were measured."""

BETTER_THAN_UNTRAINED = frozenset({("deepclusterv2", "default")})
"""Methods and presets of which that is known: 4,000 nuclei of BBBC022 at 64 px, 5 epochs, linear
head and kNN by well on 288 annotated cells, against five untrained ResNet18
(benchmarks/README.md)."""

OPTIMISERS = ("sgd", "adamw")


@dataclass(frozen=True)
class Pretraining:
    """One self-supervised training."""

    method: str  # one of `METHOD_NAMES`
    preset: str = "default"  # which preset it was made from; changes do not alter it
    epochs: int = 5  # passes over all cells
    batch_size: int = 128  # cells of one step on all ranks together; each gives two views
    optimiser: Literal["sgd", "adamw"] = "sgd"  # ``sgd`` or ``adamw``
    lr: float = 0.001  # of the optimiser
    momentum: float = 0.9  # of the optimiser
    weight_decay: float = 1e-4  # of the optimiser
    # The rate rises linearly from `warmup_start_lr` to `lr`, then falls to `min_lr` by a cosine
    warmup_epochs: float = 1.0
    # The rate rises linearly from `warmup_start_lr` to `lr`, then falls to `min_lr` by a cosine
    warmup_start_lr: float = 3e-5
    # The rate rises linearly from `warmup_start_lr` to `lr`, then falls to `min_lr` by a cosine
    min_lr: float = 0.0
    clip_norm: float = 0.0  # gradients longer than this are shortened to it; 0 leaves them
    rotate90: float = 0.5  # probability of each part of the dihedral augmentation
    flip: float = 0.5  # probability of each part of the dihedral augmentation
    transpose: float = 0.5  # probability of each part of the dihedral augmentation
    shift: float = 0.0625  # largest shift as a share of the side, largest change of scale
    scale: float = 0.1  # largest shift as a share of the side, largest change of scale
    shift_scale: float = 0.5  # probability of shift and scale
    hidden: int = 2048  # width of the projector's inner layers, and of its output
    projected: int = 128  # width of the projector's inner layers, and of its output
    layers: int = 2  # number of the projector's linear layers
    batch_norm: bool = True  # whether batch normalisation follows the projector's inner layers
    temperature: float = 0.07  # of SimCLR's similarities, of the softmax over prototypes
    redundancy: float = 0.0051  # barlow Twins' λ
    loss_scale: float = 0.024  # factor of Barlow Twins' loss
    invariance: float = 25.0  # VICReg's three weights
    variance: float = 25.0  # VICReg's three weights
    covariance: float = 1.0  # VICReg's three weights
    prototypes: int = 500  # number of prototypes of a head; see `prototypes_for`
    heads: int = 3  # number of DeepClusterV2's heads, each with a clustering of its own
    kmeans_iterations: int = 10  # of DeepClusterV2's clustering before each epoch
    fill_bank: bool = False  # whether DeepClusterV2's bank is filled before the first epoch
    queue: int = 2560  # cells that SwAV's assignments take into account beside the batch; 0 is none
    queue_start: int | None = 15  # epoch from which on they do
    # Smoothness of SwAV's assignments and how often rows and columns are balanced
    sinkhorn_epsilon: float = 0.05
    # Smoothness of SwAV's assignments and how often rows and columns are balanced
    sinkhorn_iterations: int = 3
    freeze_prototypes: int = 1  # epochs during which SwAV's prototypes stay as they are

    def __post_init__(self) -> None:
        problems = list(_problems_of(self))
        if problems:
            raise ProblemsError(
                f"The training settings have {count_of(len(problems), 'problem')}", problems
            )

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

    def with_changes(self, **changes: Any) -> Pretraining:
        """Give these settings with some changed."""
        return replace(self, **_known(changes))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Pretraining:
        """Read what `to_dict` gave."""
        if "method" not in data:
            raise HcsQcError("The training settings have no method.")
        return cls(**_known(data))


def preset(method: str, name: str = "default", **changes: Any) -> Pretraining:
    """Give the settings of a preset, with some changed."""
    if method not in METHOD_NAMES:
        raise HcsQcError(
            f"{method!r} is not a self-supervised method. Available: {', '.join(METHOD_NAMES)}."
        )
    if name not in PRESET_NAMES:
        raise HcsQcError(f"{name!r} is not a preset. Available: {', '.join(PRESET_NAMES)}.")
    return PRESETS[method, name].with_changes(**changes)


def measured_words(method: str, name: str) -> str:
    """Say how a preset did where all were measured, for a person who is to choose one."""
    if (method, name) in BETTER_THAN_UNTRAINED:
        return "Better than an untrained network on BBBC022 (4,000 cells, 5 epochs)."
    return (
        "Not better than an untrained network on BBBC022 (4,000 cells, 5 epochs); "
        f"{DEFAULT_METHOD} was."
    )


def _presets() -> Iterator[Pretraining]:
    wide: dict[str, Any] = {"projected": 2048, "layers": 3}
    plain: dict[str, Any] = {"batch_norm": False}
    own: dict[str, dict[str, Any]] = {
        "simclr": plain,
        "barlow-twins": wide,
        "vicreg": wide,
        "deepclusterv2": {},
        "swav": {},
    }
    for method, values in own.items():
        yield Pretraining(method, "paper", **values)
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
    better: dict[str, dict[str, Any]] = {
        "simclr": {"temperature": 0.1, "batch_norm": True},
        "barlow-twins": {"loss_scale": 1.0},
        "vicreg": {"clip_norm": 10.0},
        "deepclusterv2": {"temperature": 0.1, "fill_bank": True},
        # The queue starts when the prototypes have settled and still serves most epochs.
        "swav": {"temperature": 0.1, "queue_start": None},
    }
    for method, values in own.items():
        yield Pretraining(method, "default", **{**values, **ours, **better[method]})


def _known(data: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(data) - {one.name for one in fields(Pretraining)})
    if unknown:
        raise HcsQcError(
            f"Unknown training settings {', '.join(map(repr, unknown))}. Available: "
            + ", ".join(one.name for one in fields(Pretraining))
            + "."
        )
    return dict(data)


_AT_LEAST: dict[str, float] = {
    "epochs": 1,
    "batch_size": 2,
    "momentum": 0,
    "weight_decay": 0,
    "warmup_epochs": 0,
    "warmup_start_lr": 0,
    "min_lr": 0,
    "clip_norm": 0,
    "hidden": 1,
    "projected": 2,
    "layers": 1,
    "redundancy": 0,
    "invariance": 0,
    "variance": 0,
    "covariance": 0,
    "prototypes": 2,
    "heads": 1,
    "kmeans_iterations": 1,
    "queue": 0,
    "queue_start": 0,
    "sinkhorn_iterations": 1,
    "freeze_prototypes": 0,
}
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "int | None": (int,),
    "bool": (bool,),
    "float": (int, float),
}
_ABOVE_ZERO = ("lr", "temperature", "loss_scale", "sinkhorn_epsilon")
_SHARES = ("rotate90", "flip", "transpose", "shift", "scale", "shift_scale")


def _is_a(kind: str, value: object) -> bool:
    if isinstance(value, bool):
        return kind == "bool"
    return isinstance(value, _TYPES.get(kind, (str,)))


def _problems_of(settings: Pretraining) -> Iterator[Problem]:
    if settings.method not in METHOD_NAMES:
        yield Problem(
            "method", f"is {settings.method!r}, expected one of {', '.join(METHOD_NAMES)}."
        )
    if settings.optimiser not in OPTIMISERS:
        yield Problem(
            "optimiser", f"is {settings.optimiser!r}, expected one of {', '.join(OPTIMISERS)}."
        )
    for one in fields(settings):
        value: Any = getattr(settings, one.name)
        if one.name == "queue_start" and value is None:
            continue
        if not _is_a(str(one.type), value):
            yield Problem(one.name, f"is {value!r}, expected a value of type {one.type}.")
            continue
        if one.name in _AT_LEAST and not value >= _AT_LEAST[one.name]:
            yield Problem(one.name, f"is {value}, expected at least {_AT_LEAST[one.name]:g}.")
        if one.name in _ABOVE_ZERO and not value > 0:
            yield Problem(one.name, f"is {value}, expected more than 0.")
        if one.name in _SHARES and not 0 <= value <= 1:
            yield Problem(one.name, f"is {value}, expected a share between 0 and 1.")
    if settings.optimiser == "adamw" and not settings.momentum < 1:
        yield Problem("momentum", f"is {settings.momentum}, expected less than 1.")


PRESETS: dict[tuple[str, str], Pretraining] = {(one.method, one.preset): one for one in _presets()}
"""The settings by method and name of the preset."""
