"""Cells that are trained on beside the annotated ones; who makes them is found by `plugins`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.heads.linear.scoring import ABNORMAL
from napari_hcs_qc.plugins import SIMULATED_CELLS, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_hcs_qc.assay.embeddings.training_set import AnnotatedCells
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.encoder import Encoder
    from napari_hcs_qc.heads.head_registry import Head
    from napari_hcs_qc.job import Job


@dataclass(frozen=True, eq=False)
class Simulated:
    """Simulated abnormal cells, embedded."""

    features: NDArray[np.float32]  # ``(n, n_features)`` float32
    groups: NDArray[np.str_]  # well of the annotated cell that each was made of, as ``plate/A01``


class ExtraCells(Protocol):
    """Makes cells to train on."""

    def check(self, kinds: Sequence[str]) -> None:
        """Refuse kinds that there are not."""

    def make(
        self,
        states: Sequence[PlateState],
        annotated: AnnotatedCells,
        recipe: CropRecipe,
        encoder: Encoder,
        kinds: Sequence[str],
        seed: int,
        job: Job,
    ) -> Simulated:
        """Make as many abnormal cells as there are annotated ones, and embed them."""


def simulated_cells() -> ExtraCells:
    """Load what makes simulated cells."""
    source: ExtraCells = load(SIMULATED_CELLS)
    return source


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
        probabilities: NDArray[Any] = self.head.predict_proba(X)
        return probabilities
