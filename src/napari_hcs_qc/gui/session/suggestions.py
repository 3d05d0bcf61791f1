"""Which cell to annotate next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_hcs_qc.assay.views.first_cells import (
    N_STARTING,
    starting_cells,
    starting_cells_by_score,
)
from napari_hcs_qc.assay.views.gallery_order import suggest_next
from napari_hcs_qc.plates.plate import SiteKey

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_hcs_qc.gui.session.background_jobs import BackgroundJobs
    from napari_hcs_qc.gui.session.selection import Selection
    from napari_hcs_qc.gui.session.session_annotations import SessionAnnotations
    from napari_hcs_qc.gui.session.session_models import SessionModels
    from napari_hcs_qc.gui.session.target import Target


class Suggestions(QObject):
    """Suggests cells of the plate shown, each once."""

    message = Signal(str, str)

    def __init__(
        self,
        jobs: BackgroundJobs,
        selection: Selection,
        models: SessionModels,
        annotations: SessionAnnotations,
        target: Target,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._jobs, self._selection = jobs, selection
        self._models, self._annotations, self._target = models, annotations, target
        self._seen: list[int] = []
        self._starting: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        selection.plate_changed.connect(self._show_plate)
        models.embeddings_changed.connect(self._find_starting_cells)
        models.scored_changed.connect(self._start_by_score)

    def show_next(self) -> None:
        """Show the cell whose annotation would improve the model most; a key then acts on it."""
        state, annotated = self._selection.state, self._annotations.rows
        plate, scored = self._selection.plate, self._models.scored
        if state is None or annotated is None or plate is None:
            self.message.emit(
                "info", ("There are no cells to suggest yet; find the cells of the plate first.")
            )
            return
        p_abnormal = np.full(len(state.plate_cells.cells), np.nan)
        if scored is not None and not self._annotations.is_blind:
            p_abnormal = scored.prediction.table["p_abnormal"].to_numpy()[: len(p_abnormal)]
        suggestion = suggest_next(
            p_abnormal,
            np.array([cls is not None for cls in annotated.classes], dtype=bool),
            state.by_site.code,
            left_out=state.is_cut[: len(annotated.classes)],
            seen=self._seen,
            starting=self._starting,
            threshold=self._models.threshold,
        )
        if suggestion is None:
            self.message.emit(
                "info",
                "Every cell of this plate that the image border does not cut was annotated or "
                "suggested.",
            )
            return
        self._seen.append(suggestion.row)
        cell = state.plate_cells.cells.iloc[suggestion.row]
        site = SiteKey(str(cell["well"]), int(cell["site"]))
        y_px, x_px = float(cell["y_px"]), float(cell["x_px"])
        self._annotations.expect(plate.name, site, y_px, x_px, suggestion.chosen)
        self._selection.go_to_cell(plate.name, site, y_px, x_px)
        self._target.then(self.show_next)

    def _show_plate(self) -> None:
        self._seen, self._starting = [], np.empty(0, dtype=np.int64)
        self._find_starting_cells()

    def _find_starting_cells(self) -> None:
        """Choose in the background which cells of the plate shown are annotated first."""
        if self._start_by_score():
            return
        embeddings, name = self._models.embeddings, self._selection.plate_name
        annotated = self._annotations.rows
        if embeddings is None or annotated is None or self._selection.state is None:
            return
        if sum(cls is not None for cls in annotated.classes) >= N_STARTING:
            return
        job = self._jobs.start(
            "Starting cells",
            starting_cells,
            embeddings,
            slot="starting",
            quiet=True,
            among=np.flatnonzero(~self._selection.state.is_cut[: len(annotated.classes)]),
        )
        job.finished.connect(lambda rows: self._start_with(name, rows))
        job.failed.connect(lambda text: self.message.emit("warning", text))

    def _start_with(self, plate: str | None, rows: NDArray[np.int64]) -> None:
        if plate == self._selection.plate_name and not self._start_by_score():
            self._starting = rows

    def _start_by_score(self) -> bool:
        """Choose them at once, where the plate was scored before any annotation."""
        model, scored = self._models.model, self._models.scored
        if model is None or scored is None or not model.manifest.is_before_annotations:
            return False
        if model.manifest.rule is not None:  # which says yes or no, so that no cell is more likely
            return False
        state = scored.state
        whole = np.flatnonzero(~state.is_cut[: len(state.plate_cells.cells)])
        self._starting = starting_cells_by_score(
            scored.prediction.table["p_abnormal"].to_numpy(np.float64), among=whole
        )
        return True
