"""Simulated abnormal cells beside the annotated ones, for kinds that an assay has no cells of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.heads.linear.scoring import ABNORMAL, NORMAL
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.study.artefacts.artefact_cells import ArtefactCells
from napari_hcs_qc.study.artefacts.artefact_kinds import get_kinds, spoil
from napari_hcs_qc.study.benchmark.sources import cells_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_hcs_qc.assay.embeddings.training_set import AnnotatedCells
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.encoder import Encoder
    from napari_hcs_qc.heads.head_registry import Head

TRAIN_SEVERITY = (0.5, 1.0)
"""Simulated cells that are trained on have a severity drawn evenly from this range."""

_BATCH = 64


@dataclass(frozen=True, eq=False)
class Simulated:
    """Simulated abnormal cells, embedded."""

    features: NDArray[np.float32]  # ``(n, n_features)`` float32
    groups: NDArray[np.str_]  # well of the annotated cell that each was made of, as ``plate/A01``


def simulated_cells(
    states: Sequence[PlateState],
    annotated: AnnotatedCells,
    recipe: CropRecipe,
    encoder: Encoder,
    kinds: Sequence[str],
    seed: int,
    job: Job = NO_JOB,
) -> Simulated:
    """Spoil normal annotated cells, as many as there are abnormal ones, and embed them.

    Dead cells are drawn, not pasted, so that no pixel of an annotated cell of another well has a
    part in them.
    """
    chosen = get_kinds(kinds)
    made = ArtefactCells(cells_of(tuple(states), "training", with_unreadable=True), recipe)
    rng = np.random.default_rng([seed, 2])
    normal = annotated.rows[annotated.classes == NORMAL]
    n = len(annotated.classes) - len(normal)
    rows = rng.choice(normal, n, replace=n > len(normal))
    numbers, severities = rng.integers(len(chosen), size=n), rng.uniform(*TRAIN_SEVERITY, n)
    made.load(np.unique(rows).tolist(), job)
    parts = []
    for start in range(0, n, _BATCH):
        job.report(start, n, "Embedding simulated cells")
        scenes = []
        for place in range(start, min(start + _BATCH, n)):
            job.check()
            row, kind = int(rows[place]), chosen[int(numbers[place])]
            # The place tells copies of the same cell apart.
            scene = spoil(
                made.scene(row),
                kind,
                float(severities[place]),
                seed=seed,
                cell=f"{made.cells.ids[row]}/{place}",
            )
            scenes.append((made.plate_of(row), scene))
        crops = made.crops(scenes)
        encoded = encoder.encode(crops.flatten(0, 1), job=job)
        parts.append(encoded.reshape(len(crops), -1).numpy())
    return Simulated(np.concatenate(parts), made.cells.groups[rows])


class WithSimulated:
    """A head that is also fitted on the simulated cells of the wells that it is fitted on.

    So a cross-validation that keeps wells whole keeps them whole for these as well.
    """

    def __init__(self, head: Head, simulated: Simulated) -> None:
        self.head, self.simulated = head, simulated

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Fit the head."""
        if groups is None:
            raise HcsQcError("Simulated cells are chosen by well; give the well of each cell.")
        wells = np.asarray(groups)
        mine = np.isin(self.simulated.groups, wells)
        self.head.fit(
            np.concatenate([np.asarray(X), self.simulated.features[mine]]),
            np.concatenate([np.asarray(y), np.full(int(mine.sum()), ABNORMAL)]),
            groups=np.concatenate([wells, self.simulated.groups[mine]]),
        )
        self.classes_ = self.head.classes_
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Give the probabilities of the head."""
        found: NDArray[Any] = self.head.predict_proba(X)
        return found
