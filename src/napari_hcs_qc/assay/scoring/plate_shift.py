"""How unlike a plate is to those that its model was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hcs_qc.assay.embeddings.embed_plate import embed_plate
from napari_hcs_qc.assay.scoring.saved_prediction import (
    PlateContent,
    PredictionDocument,
    ShiftRecord,
)
from napari_hcs_qc.evaluation.shift import MIN_REFERENCE, Shift, ShiftDetector, measure_shift
from napari_hcs_qc.files import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.assay.store.saved_model import Model
    from napari_hcs_qc.encoders.encoder import Encoder
    from napari_hcs_qc.job import Job

_CELLS = 2000
"""Cells of a plate that are enough to tell whether it is unlike another."""


@dataclass(frozen=True, eq=False)
class ShiftReference:
    """What plates are compared with, so that the training plates need not be at hand."""

    # (n, n_features), embeddings of a sample of the training plates' cells
    rows: NDArray[np.float32]
    wells: NDArray[np.str_]  # (n,), their wells, ``plate/A01``
    plates: list[PlateContent]


class ShiftMeter:
    """Compares plates with those that a model was trained on.

    Only found cells count, so the answer does not depend on the head nor on annotations: one that
    an earlier model of the same plates was given is taken over.
    """

    def __init__(
        self,
        assay: AssayFolder,
        model: Model,
        encoder: Encoder,
        state_of: Callable[[str], PlateState],
        reference: ShiftReference | None = None,
    ) -> None:
        self._assay, self._model, self._encoder = assay, model, encoder
        self._state_of = state_of
        self._reference = reference
        self._detector: ShiftDetector | None = None
        self._training = None if reference is None else reference.plates

    def measure(self, state: PlateState, rows: NDArray[np.floating[Any]], job: Job) -> ShiftRecord:
        """Measure how unlike a plate is."""
        of = self._address(state)
        known = self._known(state, of)
        if known is not None:
            return known
        reference = self.reference(job)
        job.check()
        chosen = _sample(len(state.plate_cells.cells), self._model.manifest.seed)
        new = np.asarray(rows[chosen], dtype=np.float32)
        new = new[np.isfinite(new).all(axis=1)]
        shift = self._scored(reference, new)
        return ShiftRecord(
            value=_number(shift.value),
            threshold=_number(shift.threshold),
            is_novel=bool(shift.is_novel),
            sentence=f"Plate {state.plate.name}: {shift.sentence}",
            of=of,
        )

    def _scored(self, reference: ShiftReference, new: NDArray[np.float32]) -> Shift:
        seed = self._model.manifest.seed
        if len(reference.rows) < MIN_REFERENCE:
            return measure_shift(reference.rows, new, seed)  # says that it cannot be said
        if self._detector is None:
            # Fitting takes seconds, and a screen has many plates.
            self._detector = ShiftDetector(seed).fit(reference.rows, reference.wells)
        return self._detector.score(new)

    def reference(self, job: Job) -> ShiftReference:
        """Give what plates are compared with; sampled once."""
        if self._reference is None:
            self._reference = self._sampled(job)
        return self._reference

    def _sampled(self, job: Job) -> ShiftReference:
        """Sample the training plates; their embeddings lie in the store already."""
        parts, wells = [], []
        for name in self._model.manifest.plate_names:
            state = self._state_of(name)
            stores = self._assay.embeddings_folder
            embedded = embed_plate(
                state, self._model.recipe, self._encoder, stores, try_again=False, job=job
            )
            chosen = _sample(len(state.plate_cells.cells), self._model.manifest.seed)
            sampled = np.asarray(embedded.rows[chosen], dtype=np.float32)
            usable = np.isfinite(sampled).all(axis=1)
            parts.append(sampled[usable])
            wells.append(state.groups(state.plate_cells.cells["well"].iloc[chosen[usable]]))
        return ShiftReference(
            np.concatenate(parts), np.concatenate(wells), self._training_address()
        )

    def _training_address(self) -> list[PlateContent]:
        if self._training is None:
            self._training = sorted(
                (
                    state.plate.fingerprint,
                    state.plate_cells.ranges.fingerprint,
                    len(state.plate_cells.cells),
                )
                for state in map(self._state_of, self._model.manifest.plate_names)
            )
        return self._training

    def _address(self, state: PlateState) -> str:
        return fingerprint(
            {
                "plate": [state.plate.fingerprint, len(state.plate_cells.cells)],
                "ranges": state.plate_cells.ranges.fingerprint,
                "training": self._training_address(),
                "recipe": self._model.recipe.fingerprint,
                "encoder": self._encoder.fingerprint,
                "seed": self._model.manifest.seed,
            }
        )

    def _known(self, state: PlateState, of: str) -> ShiftRecord | None:
        folder = self._assay.predictions_folder(state.plate.name)
        for path in sorted(folder.glob("*.json"), reverse=True):
            document = PredictionDocument.load_if_valid(path)
            shift = None if document is None else document.shift
            if shift is not None and shift.of == of:
                return shift
        return None


def _sample(n: int, seed: int) -> NDArray[np.int64]:
    if n <= _CELLS:
        return np.arange(n, dtype=np.int64)
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(n, _CELLS, replace=False)).astype(np.int64)


def _number(value: float) -> float | None:
    """Give a number that JSON can hold; None where a plate has too few cells for one."""
    return float(value) if np.isfinite(value) else None
