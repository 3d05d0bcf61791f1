"""The prior of each plate of an assay: what is known of its cells before any annotation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_hcs_qc.assay.embeddings.embed_plate import stored_plate
from napari_hcs_qc.assay.embeddings.plate_sample import N_CELLS, cell_traits
from napari_hcs_qc.heads.prior.plate_prior import MIN_CELLS, RESIDUAL_ALONE, PlatePrior
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.encoder import Encoder
    from napari_hcs_qc.heads.prior.linear_prior import LinearPrior

    Floats = NDArray[np.float64]

# Of nuclei in fluorescence it was 0.08 at most on 15 plates, of the same images made brightfield
# 0.42 at least.
_BRIGHTEST_GROUND = 0.25

_SEED = 0  # the same cells for every model of a plate
_MOST_KNOWN = 8
_CELLS_OF_WELL = 200  # that tell whether it looks like artefacts as a whole; 50 tell it by chance
_ROWS_AT_ONCE = 65536
_known: dict[tuple[Path, str], _OfPlate] = {}


@dataclass(eq=False)
class _OfPlate:
    """The prior of one plate, and the scores of its found cells once somebody asks for them."""

    prior: PlatePrior | None
    scores: Floats | None = None


@dataclass(frozen=True, eq=False)
class PlatePriors:
    """The priors of some plates, made by `find_plate_priors`."""

    linear: LinearPrior | None  # what all have learned of artefacts; None for the residual alone
    by_plate: Mapping[str, PlatePrior]

    @property
    def name(self) -> str:
        """Name of the prior."""
        return prior_name(self.linear)

    def offsets(
        self, embeddings: NDArray[np.floating[Any]], plates: Iterable[str], wells: Iterable[str]
    ) -> Floats:
        """Offsets for a head, ``(n_cells,)``, of cells of plates and their wells."""
        of_plates, of_wells = np.array([*plates], dtype=str), np.array([*wells], dtype=str)
        offsets = np.empty(len(embeddings))
        for plate in np.unique(of_plates).tolist():
            mine = of_plates == plate
            scores = self.by_plate[plate].score(embeddings[mine], of_wells[mine])
            offsets[mine] = as_offset(scores)
        return offsets


def prior_name(linear: LinearPrior | None) -> str:
    """Name a prior for people and files."""
    return RESIDUAL_ALONE if linear is None else linear.name


def as_offset(scores: Floats) -> Floats:
    """Log-odds of the second class in the order of the alphabet, which is normal."""
    return -scores


def out_of_range(state: PlateState) -> str:
    """Say why priors do not hold for the images of a plate; empty where they may.

    They know light on dark ground. In brightfield and phase contrast the ground lies between the
    dark and the bright parts of the cells.
    """
    cells = state.plate_cells
    light = cells.ranges.channels[state.plate.channel_index(cells.channel)]
    means = cells.cells["mean_intensity"].to_numpy(np.float64)
    is_lit = means > light.high  # where most sites are empty, the range is that of their noise
    if light.ground <= _BRIGHTEST_GROUND or is_lit.sum() > len(means) / 2:
        return ""
    return (
        f"Plate {state.plate.name}: channel {cells.channel} is bright where it is empty (grey "
        f"value {light.background:g}, in a range of {light.low:g} to {light.high:g}), as in "
        "brightfield. Only artefacts of fluorescence on dark ground are known"
    )


def why_no_prior(state: PlateState) -> str:
    """Say why a plate whose cells are embedded has no prior; empty where it has one."""
    n_whole = int((~state.plate_cells.cells["is_cut"]).sum())
    few = (
        f"Plate {state.plate.name} has {count_of(n_whole, 'whole cell')}; {MIN_CELLS} are needed "
        "to know what its usual cells look like"
    )
    return out_of_range(state) or (few if n_whole < MIN_CELLS else "")


def find_plate_priors(
    states: Iterable[PlateState],
    recipe: CropRecipe,
    encoder: Encoder,
    stores: Path,
    linear: LinearPrior | None,
) -> PlatePriors | None:
    """Give the priors of plates; None where one is not embedded or has none."""
    by_plate = {}
    for state in states:
        prior = prior_of_plate(state, recipe, encoder, stores, linear)
        if prior is None:
            return None
        by_plate[state.plate.name] = prior
    return PlatePriors(linear, by_plate) if by_plate else None


def prior_offsets(
    state: PlateState,
    rows: NDArray[np.floating[Any]],
    recipe: CropRecipe,
    encoder: Encoder,
    stores: Path,
    linear: LinearPrior | None,
    job: Job = NO_JOB,
) -> Floats | None:
    """Give the offsets of the cells of an embedded plate; None where it has no prior.

    `rows` are their embeddings: of all, those of the cells that people added last, or of the found
    ones alone. What is asked again is remembered.
    """
    known = _of_plate(state, recipe, encoder, stores, linear)
    if known is None or known.prior is None:
        return None
    n_found = len(state.plate_cells.cells)
    if known.scores is None:
        wells = state.plate_cells.cells["well"].to_numpy(str)
        parts = [np.empty(0)]
        for start in range(0, n_found, _ROWS_AT_ONCE):
            job.check()
            job.report(start, n_found, "comparing cells with their plate")
            part = slice(start, min(start + _ROWS_AT_ONCE, n_found))
            parts.append(known.prior.score(rows[part], wells[part]))
        known.scores = np.concatenate(parts)
    wells_of_added = state.cells["well"].iloc[n_found : len(rows)].to_numpy(str)
    added = known.prior.score(rows[n_found:], wells_of_added)
    return as_offset(np.concatenate([known.scores, added]))


def prior_of_plate(
    state: PlateState,
    recipe: CropRecipe,
    encoder: Encoder,
    stores: Path,
    linear: LinearPrior | None,
) -> PlatePrior | None:
    """Give the prior of an embedded plate; None where it has none."""
    known = _of_plate(state, recipe, encoder, stores, linear)
    return None if known is None else known.prior


def _of_plate(
    state: PlateState,
    recipe: CropRecipe,
    encoder: Encoder,
    stores: Path,
    linear: LinearPrior | None,
) -> _OfPlate | None:
    store = stored_plate(state, recipe, encoder, stores)
    if store is None:
        return None
    key = store.folder, "" if linear is None else linear.document.weights_sha256
    if key not in _known:
        rows = store.embeddings
        whole = np.flatnonzero(~state.plate_cells.cells["is_cut"].to_numpy(bool))
        chosen = np.sort(np.random.default_rng(_SEED).permutation(whole)[:N_CELLS])
        sample = np.asarray(rows[chosen], dtype=np.float32)
        columns = _nuclear_columns(state, recipe, encoder)
        is_known = not out_of_range(state)
        areas = cell_traits(state)[chosen, 1]
        prior = PlatePrior.fit(sample, linear, 0, columns, areas) if is_known else None
        if prior is not None:
            wells = state.plate_cells.cells["well"].to_numpy(str)
            prior = prior.with_wells(rows, wells, _some_of_each(wells, whole))
        while len(_known) >= _MOST_KNOWN:
            _known.pop(next(iter(_known)))
        _known[key] = _OfPlate(prior)
    return _known[key]


def _some_of_each(wells: NDArray[np.str_], whole: NDArray[np.int64]) -> NDArray[np.int64]:
    """Choose some cells of each well among the whole ones; their rows in order."""
    shuffled = np.random.default_rng([_SEED, 1]).permutation(whole)
    by_well = pd.Series(shuffled).groupby(wells[shuffled])
    return np.sort(by_well.head(_CELLS_OF_WELL).to_numpy())


def _nuclear_columns(
    state: PlateState, recipe: CropRecipe, encoder: Encoder
) -> NDArray[np.int64] | None:
    """Features of the channel of the nuclei, which priors are of; None where all are."""
    n_channels = len(state.plate.channels)
    if n_channels == 1 or recipe.channels != "each":
        return None
    nuclear = state.plate.channel_index(state.plate_cells.channel)
    # Views are one scale after another, and of each scale one channel after another.
    views = nuclear + n_channels * np.arange(len(recipe.scales))
    columns = views[:, np.newaxis] * encoder.n_features + np.arange(encoder.n_features)
    return columns.reshape(-1)
