"""Cells that are trained on beside the annotated ones; who makes them is found by `plugins`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.plugins import SIMULATED_CELLS, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_hcs_qc.assay.embeddings.training_set import AnnotatedCells, MoreCells
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.cells.recipe import CropRecipe
    from napari_hcs_qc.encoders.encoder import Encoder
    from napari_hcs_qc.heads.head_registry import Head
    from napari_hcs_qc.job import Job


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
    ) -> MoreCells:
        """Make as many abnormal cells as there are annotated ones, and embed them."""


def simulated_cells() -> ExtraCells:
    """Load what makes simulated cells."""
    source: ExtraCells = load(SIMULATED_CELLS)
    return source


class WithMoreCells:
    """A head that is also fitted on more cells, of the wells that it is fitted on.

    So a cross-validation that keeps wells whole keeps them whole for these as well. Where it has to
    part wells, those that are not whole have no part in it.
    """

    def __init__(
        self,
        head: Head,
        more: MoreCells,
        groups: NDArray[np.str_],
    ) -> None:
        self.head, self.more = head, more
        self._n_in_well = Counter(groups.tolist())  # annotated cells of each, all that there are

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        offset: ArrayLike | None = None,
    ) -> Self:
        """Fit the head, beside an offset where it has the priors."""
        if groups is None:
            raise HcsQcError("More cells are chosen by well; give the well of each cell.")
        wells = np.asarray(groups)
        fitted = Counter(wells.tolist())
        whole = [well for well, n in fitted.items() if n == self._n_in_well[well]]
        mine = np.isin(self.more.groups, whole)
        self.head.fit(
            np.concatenate([np.asarray(X), self.more.embeddings[mine]]),
            np.concatenate([np.asarray(y), self.more.classes[mine]]),
            groups=np.concatenate([wells, self.more.groups[mine]]),
            **self._with_offset(offset, mine),
        )
        self.classes_ = self.head.classes_
        return self

    def _with_offset(
        self, offset: ArrayLike | None, mine: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.float64]]:
        if offset is None:
            return {}
        own = self.more.offset
        if own is None and mine.any():
            raise ValueError("The annotated cells have an offset, the cells beside them have none.")
        return {"offset": np.concatenate([np.asarray(offset), [] if own is None else own[mine]])}

    def predict_proba(self, X: ArrayLike, offset: ArrayLike | None = None) -> NDArray[Any]:
        """Give the probabilities of the head."""
        known = {} if offset is None else {"offset": offset}
        probabilities: NDArray[Any] = self.head.predict_proba(X, **known)
        return probabilities
