"""Warns early that a training goes wrong: figures in, sentences out.

The training loop collects an `Observation` every few steps; nothing here touches the network, but
for `gradient_norms` and `effective_rank`, which the loop calls to get figures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from torch import Tensor, nn

    from napari_hcs_qc.study.ssl.pretrain_settings import Pretraining

LEAST_SPREAD = 0.1
"""Of `spread`: about 1 is all directions alike, 0 a single point."""

LEAST_RANK = 3.0
"""Of `effective_rank`, where there are more dimensions and cells than ten times that."""

PATIENCE_STEPS = 100
"""Every training starts at chance: so many steps are waited for."""

_NEAR_CHANCE = 0.01
_ENTROPY_OF_ALL = 0.999


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What the loop has observation lately."""

    epoch: int  # counts from 0
    step: int  # counts from 0 over the whole training
    losses: Sequence[float]  # the latest losses, one a step, the newest last; some 20 are enough
    # The loss of a method that tells nothing apart (`Method.chance`), None without such a level
    chance: float | None = None
    # The newest figures of the method, see there
    figures: Mapping[str, float] = field(default_factory=dict)
    # Norms by part of the network (`gradient_norms`), before any were masked
    gradients: Mapping[str, float] = field(default_factory=dict)
    rank: float | None = None  # `effective_rank` of the encoder's output of some 100 cells or more
    # Parts that this epoch does not train: their gradients say nothing
    frozen: frozenset[str] = frozenset()


def warnings_of(observation: Observation) -> list[str]:
    """Say what is wrong, one sentence with its number for each; nothing when all is well."""
    return [
        *_about_losses(observation),
        *_about_gradients(observation),
        *_about_embeddings(observation),
        *_about_assignments(observation),
    ]


def must_stop(observation: Observation) -> bool:
    """Say whether going on is of no use: the last loss or a gradient is not a number."""
    return bool(_not_finite(observation.losses[-1:]) or _not_finite(observation.gradients.values()))


def warnings_before(settings: Pretraining, n_cells: int) -> list[str]:
    """Say what of the settings will go wrong with so many cells, before any time is spent."""
    return list(_about_settings(settings, n_cells))


def gradient_norms(module: nn.Module) -> dict[str, float]:
    """Give the Euclidean norm of the gradients of each child and each own parameter of a module."""
    import torch

    squares: dict[str, Tensor] = {}
    for name, parameter in module.named_parameters():
        if parameter.grad is not None:
            part = name.partition(".")[0]
            square = parameter.grad.detach().float().square().sum()
            squares[part] = squares[part] + square if part in squares else square
    if not squares:
        return {}
    # One wait for the device, not one for each part.
    norms = torch.stack(list(squares.values())).sqrt().tolist()
    return dict(zip(squares, norms, strict=True))


def effective_rank(embeddings: Tensor) -> float:
    """Say in how many directions embeddings vary [1]_: 1 is a line, 0 no variation at all.

    The exponential of the entropy of the singular values, which are divided by their sum; the
    mean embedding is taken off first.

    References
    ----------
    .. [1] Roy, Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007.
    """
    import torch

    embeddings = embeddings.detach()
    centred = embeddings.double() - embeddings.double().mean(0)
    if not bool(centred.isfinite().all()):
        return math.nan
    values = torch.linalg.svdvals(centred)
    total = values.sum()
    # What is left of equal rows is rounding.
    if total <= 1e-9 * embeddings.double().norm().clamp_min(1e-300):
        return 0.0
    return float(torch.special.entr(values / total).sum().exp())


def _not_finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if not math.isfinite(value)]


def _about_losses(seen: Observation) -> Iterator[str]:
    wrong = _not_finite(seen.losses)
    if wrong:
        yield (
            f"The loss is {wrong[-1]} at step {seen.step}: the training has diverged. Use a lower "
            "learning rate, a longer warm-up or clipped gradients (clip_norm), and start from the "
            "last checkpoint."
        )
        return
    if seen.chance is None or not seen.losses or seen.step < PATIENCE_STEPS:
        return
    mean = math.fsum(seen.losses) / len(seen.losses)
    if abs(mean - seen.chance) <= _NEAR_CHANCE * seen.chance:
        yield (
            f"After {seen.step} steps the loss is {mean:.3f}, and guessing gives "
            f"{seen.chance:.3f}: nothing has been learnt so far. Check the learning rate and the "
            "augmented views."
        )


def _about_gradients(seen: Observation) -> Iterator[str]:
    for part, norm in seen.gradients.items():
        if not math.isfinite(norm):
            yield (
                f"The gradient of the {part} is {norm} at step {seen.step}: this step would "
                "corrupt the weights."
            )
        elif norm == 0 and part not in seen.frozen:
            yield f"The gradient of the {part} is 0 at step {seen.step}: it learns nothing."


def _about_embeddings(seen: Observation) -> Iterator[str]:
    for name, text in (("feature_std", "embeddings"), ("projection_std", "projections")):
        spread = seen.figures.get(name)
        if spread is not None and spread < LEAST_SPREAD:
            yield (
                f"The {text} of different cells point in almost the same direction: their spread "
                f"is {spread:.3f}, where 1 is all directions and less than {LEAST_SPREAD:g} a "
                "collapse."
            )
    if seen.rank is not None and seen.rank < LEAST_RANK:
        yield (
            f"The embeddings vary in {seen.rank:.1f} directions only (effective rank): the encoder "
            "collapses."
        )


def _about_assignments(seen: Observation) -> Iterator[str]:
    targets = seen.figures.get("targets")
    if targets is not None and targets < 0.5:
        what = "No cell has" if targets == 0 else f"Only {targets:.0%} of the cells have"
        yield f"{what} a cluster as target: epoch {seen.epoch + 1} trains almost nothing."
    used = seen.figures.get("used_prototypes")
    if used is not None and used < 0.1:
        yield f"Only {used:.1%} of the prototypes are used: the cells form few clusters."
    entropy = seen.figures.get("assignment_entropy")
    if entropy is not None and entropy > _ENTROPY_OF_ALL:
        yield (
            f"Cells are assigned to all prototypes equally (entropy {entropy:.4f} of 1): the "
            "targets are uninformative."
        )


def _about_settings(settings: Pretraining, n_cells: int) -> Iterator[str]:
    epochs = settings.epochs
    # Fewer cells than a batch are one batch, see `CropStream`.
    steps = max(1, n_cells // settings.batch_size)
    batch = min(settings.batch_size, n_cells)
    if steps * epochs < PATIENCE_STEPS:
        yield (
            f"{n_cells} cells, {epochs} epochs and batches of {batch} make {steps * epochs} steps "
            f"in all; fewer than {PATIENCE_STEPS} change an encoder little. Use more epochs, "
            "smaller batches or more cells."
        )
    if settings.warmup_epochs > epochs / 2:
        yield (
            f"The warm-up takes {settings.warmup_epochs:g} of {epochs} epochs: the learning rate "
            "is reached late, and only for a short time."
        )
    yield from _about_method(settings, n_cells)


def _about_method(settings: Pretraining, n_cells: int) -> Iterator[str]:
    method = settings.method
    if method == "swav":
        yield from _about_queue(settings, n_cells)
    if method in ("swav", "deepclusterv2"):
        count = settings.prototypes_for(n_cells)
        if count > n_cells // 5:
            yield f"{count} prototypes for {n_cells} cells: clusters of fewer than 5 cells."
    if method == "deepclusterv2" and not settings.fill_bank:
        yield (
            "The first epoch has no clusters and trains nothing, as in the original; the preset "
            "default fills the memory bank first."
        )
    if method == "barlow-twins" and settings.optimiser == "sgd" and settings.loss_scale < 0.1:
        yield (
            f"The loss is scaled by {settings.loss_scale:g}, and so is every step of plain SGD: "
            f"{1 / settings.loss_scale:.0f} times smaller than the learning rate suggests."
        )
    if method == "vicreg" and settings.warmup_epochs == 0 and not settings.clip_norm:
        yield "VICReg without warm-up (0 epochs) and without clipped gradients often becomes NaN."


def _about_queue(settings: Pretraining, n_cells: int) -> Iterator[str]:
    count, start = settings.prototypes_for(n_cells), settings.first_queue_epoch
    in_view = settings.batch_size
    if settings.queue and start >= settings.epochs:
        yield (
            f"The queue starts with epoch {start + 1}, but the training has {settings.epochs}: it "
            f"is never used, and each batch of {in_view} alone is spread over {count} prototypes."
        )
    elif settings.queue and start < settings.freeze_prototypes:
        yield (
            f"The queue starts with epoch {start + 1}, while the prototypes are frozen for "
            f"{settings.freeze_prototypes}: it will disturb the training."
        )
    elif not settings.queue and in_view < count:
        yield f"Each batch of {in_view} alone is spread over {count} prototypes, without a queue."
