"""The model of a session: its predictions, scores and threshold, and the embeddings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_hcs_qc.assay.scoring.review_queue import well_entries
from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate
    from napari_hcs_qc.assay.scoring.review_queue import QueueEntry
    from napari_hcs_qc.assay.store.saved_model import Model
    from napari_hcs_qc.assay.views.open_assay import OpenAssay
    from napari_hcs_qc.gui.session.selection import Selection
    from napari_hcs_qc.gui.session.session_assay import SessionAssay


class SessionModels(QObject):
    """The model in use and how it scores the plates."""

    scored_changed = Signal()
    novelty_changed = Signal()
    threshold_changed = Signal(float)
    verdicts_changed = Signal()
    embeddings_changed = Signal()
    message = Signal(str, str)

    def __init__(self, assay: SessionAssay, selection: Selection, parent: QObject) -> None:
        super().__init__(parent)
        self._assay, self._selection = assay, selection
        self._model: Model | None = None
        self._scored: dict[str, ScoredPlate] = {}
        self._with_novelty: dict[str, ScoredPlate] = {}  # as the model in use measured it
        self._embeddings: dict[str, NDArray[np.floating[Any]]] = {}
        self._threshold = 0.5
        self._wells_of: tuple[ScoredPlate, ...] = ()
        self._wells: tuple[QueueEntry, ...] = ()

    def set_assay(self, opened: OpenAssay | None) -> None:
        """Begin with what an assay had when it was opened; no signal is sent."""
        self._model = None if opened is None else opened.model
        self._scored, self._with_novelty, self._embeddings = {}, {}, {}
        if opened is not None:
            self._threshold = opened.threshold
            for name, plate in opened.plates.items():
                self.set_plate(name, plate.scored)

    def set_plate(self, name: str, scored: ScoredPlate | None) -> None:
        """Use the scores that a plate was opened with; no signal is sent."""
        if scored is not None:
            self._scored[name] = scored

    # ---- what the model predicts ---------------------------------------------------------

    @property
    def model(self) -> Model | None:
        """The model whose predictions are shown."""
        return self._model

    @property
    def scored(self) -> ScoredPlate | None:
        """The plate shown as the model in use scores it."""
        name = self._selection.plate_name
        return None if name is None else self._scored.get(name)

    @property
    def by_plate(self) -> dict[str, ScoredPlate]:
        """All scored plates by their name in the assay, in its order."""
        names = [plate.name for plate in self._assay.plates]
        return {name: self._scored[name] for name in names if name in self._scored}

    @property
    def all_scored(self) -> tuple[ScoredPlate, ...]:
        """All scored plates, in the order of the assay."""
        return tuple(self.by_plate.values())

    @property
    def queue(self) -> tuple[QueueEntry, ...]:
        """Wells to be reviewed, of all plates, with the scores and verdicts of now."""
        return tuple(entry for entry in self.wells if entry.is_queued)

    @property
    def wells(self) -> tuple[QueueEntry, ...]:
        """All wells of the scored plates, with the scores and verdicts of now."""
        scored = self.all_scored
        if scored != self._wells_of:
            self._wells_of, self._wells = scored, well_entries(scored)
        return self._wells

    def set_scored(self, scored: Mapping[str, ScoredPlate], model: Model | None = None) -> None:
        """Show new scores, and with `model` those of another model."""
        if model is not None:
            self._model, self._with_novelty = model, {}
        new = {name: self._add_measured(name, plate) for name, plate in scored.items()}
        self._scored = {**self._scored, **new}
        self._read_verdicts()
        self.scored_changed.emit()

    def set_novelty(self, model: Model, measured: Mapping[str, ScoredPlate]) -> None:
        """Show the novelty of the cells, unless another model came into use meanwhile."""
        if self._model is None or self._model.id != model.id:
            return
        self._with_novelty = {**self._with_novelty, **measured}
        self._scored = {
            name: self._add_measured(name, plate) for name, plate in self._scored.items()
        }
        self.novelty_changed.emit()

    def set_figures(self, model: Model) -> None:
        """Keep the model in use with its figures, with which its plates are to be scored again."""
        self._model = model
        self._scored = {
            name: self._add_measured(name, plate) for name, plate in self._scored.items()
        }

    def _add_measured(self, name: str, scored: ScoredPlate) -> ScoredPlate:
        """Keep the figures and the novelty that were measured while the plate was being scored."""
        model = self._model
        if model is not None and model.id == scored.prediction.model:
            figures = model.manifest.cross_validation
            scored = scored if scored.figures is figures else replace(scored, figures=figures)
        measured, prediction = self._with_novelty.get(name), scored.prediction
        if measured is None or prediction.is_novelty_measured:
            return scored
        if measured.prediction.model != prediction.model:
            return scored
        return scored.with_novelty(measured.state, measured.prediction)

    # ---- threshold, verdicts, embeddings -------------------------------------------------

    @property
    def threshold(self) -> float:
        """P(abnormal) from which a cell counts as abnormal."""
        return self._threshold

    def set_threshold(self, threshold: float) -> None:
        """Change the threshold; cells follow at once, the wells when they are scored again."""
        if threshold != self._threshold:
            self._threshold = threshold
            self.threshold_changed.emit(threshold)

    def read_verdicts(self) -> None:
        """Show the verdicts that are in the journal."""
        if self._read_verdicts():
            self.verdicts_changed.emit()

    def _read_verdicts(self) -> bool:
        cache = self._assay.annotation_cache
        assert cache is not None
        try:
            verdicts = cache.verdicts
        except HcsQcError as error:
            self.message.emit("error", str(error))
            return False
        self._scored = {name: plate.with_verdicts(verdicts) for name, plate in self._scored.items()}
        return True

    @property
    def embeddings(self) -> NDArray[np.floating[Any]] | None:
        """Rows of the found cells of the plate shown; None until they were loaded or computed."""
        name = self._selection.plate_name
        return None if name is None else self._embeddings.get(name)

    def set_embeddings(self, rows: Mapping[str, NDArray[np.floating[Any]]]) -> None:
        """Keep embeddings of plates that were loaded or computed."""
        self._embeddings = dict(rows)
        self.embeddings_changed.emit()
