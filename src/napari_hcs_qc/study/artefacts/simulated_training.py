"""Simulated abnormal cells beside the annotated ones, for kinds that an assay has no cells of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_hcs_qc.assay.embeddings.training_set import MoreCells
from napari_hcs_qc.heads.linear.scoring import ABNORMAL, NORMAL
from napari_hcs_qc.job import NO_JOB, Job
from napari_hcs_qc.study.artefacts.artefact_cells import ArtefactCells
from napari_hcs_qc.study.artefacts.artefact_kinds import apply_artefact, get_kinds
from napari_hcs_qc.study.benchmark.sources import cells_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hcs_qc.assay.embeddings.training_set import AnnotatedCells
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.encoder import Encoder

TRAIN_SEVERITY = (0.5, 1.0)
"""Simulated cells that are trained on have a severity drawn evenly from this range."""

_BATCH = 64


def simulated_cells(
    states: Sequence[PlateState],
    annotated: AnnotatedCells,
    recipe: CropRecipe,
    encoder: Encoder,
    kinds: Sequence[str],
    seed: int,
    job: Job = NO_JOB,
) -> MoreCells:
    """Apply artefacts to as many normal cells as there are abnormal annotated ones; embed them.

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
            scene = apply_artefact(
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
    embeddings, offset = np.concatenate(parts), None
    if annotated.priors is not None:
        plates = [states[made.plate_of(int(row))].plate.name for row in rows]
        wells = [made.cells.where[int(row)][1].well for row in rows]
        offset = annotated.priors.offsets(embeddings, plates, wells)
    return MoreCells(embeddings, np.full(n, ABNORMAL), made.cells.groups[rows], offset)


class _SimulatedCells:
    """What `napari_hcs_qc.assay.models.extra_cells.ExtraCells` asks for."""

    def check(self, kinds: Sequence[str]) -> None:
        get_kinds(kinds)

    make = staticmethod(simulated_cells)


SIMULATED_CELLS = _SimulatedCells()
