"""Where the model in use is wrong: its annotated cells on a map, and pictures of its errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from qtpy.QtWidgets import QWidget

from napari_hcs_qc.assay.views.held_out_errors import HeldOutErrors, held_out_errors
from napari_hcs_qc.gui.session.threshold_keeper import SETTLE_MS
from napari_hcs_qc.gui.train.cell_map import CellMap
from napari_hcs_qc.gui.train.error_pictures import ErrorPictures
from napari_hcs_qc.gui.widgets.controls import lay_out, name_parts
from napari_hcs_qc.gui.widgets.following import follow
from napari_hcs_qc.plates.plate import SiteKey

if TYPE_CHECKING:
    from napari_hcs_qc.assay.store.model_manifest import TrainingCell
    from napari_hcs_qc.assay.store.saved_model import Model
    from napari_hcs_qc.gui.canvas.workspace import Workspace

_Wanted: TypeAlias = "tuple[str, Model | None, float]"  # why nothing; of what, at which threshold
_NOT_KNOWN = "It is not known which cells the figures of this model are of; retrain to see them."
_TOO_FEW = "A map needs more annotated cells, in more wells."


class ModelErrors(QWidget):
    """Shows the errors as the report does; computes them while it is in sight."""

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session = workspace.session
        self._wanted: _Wanted | None = None  # what is to be shown
        self._cells: tuple[TrainingCell, ...] = ()  # by the rows of what is shown
        self.map = CellMap()
        self.alarms, self.misses = ErrorPictures(), ErrorPictures()
        self._parts = (self.map, self.alarms, self.misses)
        lay_out(self, (self.map, 3), (self.alarms, 2), (self.misses, 2))
        name_parts(self)
        for part in self._parts:
            part.activated.connect(self._go_to)
        for signal in (
            session.assay.changed,
            session.models.threshold_changed,
            session.annotations.person_changed,
            workspace.training.model_changed,
        ):
            signal.connect(self.refresh)

    def showEvent(self, event: Any) -> None:
        """Catch up with what came while nobody looked."""
        super().showEvent(event)
        self.refresh()

    def refresh(self, *_: object) -> None:
        """Show the errors of the model in use at the threshold of now, once it rests."""
        session = self._session
        model, threshold = session.models.model, session.models.threshold
        wanted = (self._why_none(model), model, threshold)
        if not self.isVisible() or wanted == self._wanted:
            return
        has_moved = self._wanted is not None and self._wanted[:2] == wanted[:2]
        self._wanted = wanted
        if wanted[0] or model is None:
            self._show(wanted, HeldOutErrors())
            return
        if not has_moved:
            self.map.set_value(None, "Looking for errors…")
        states = [item.state for item in session.assay.plates if item.state is not None]
        job = session.start(
            f"Errors of model {model.id}",
            held_out_errors,
            model,
            threshold,
            {state.plate.name: state for state in states},
            slot="errors",
            quiet=True,
            failure="warning",
            after_s=SETTLE_MS / 1000 if has_moved else 0.0,
        )
        follow(job.finished, self, lambda errors: self._show(wanted, errors))
        follow(job.failed, self, lambda text: self.map.set_value(None, text))

    def _show(self, wanted: _Wanted, errors: HeldOutErrors) -> None:
        if wanted != self._wanted:  # blind since, for example
            return
        why_none, model, _ = wanted
        self._cells = () if model is None else model.manifest.training_cells
        if not why_none:
            why_none = _TOO_FEW if errors.examples else _NOT_KNOWN
        self.map.set_value(errors.map, why_none)
        shown = errors.examples or (None, None)
        for part, examples in zip((self.alarms, self.misses), shown, strict=True):
            part.set_value(examples)

    def _why_none(self, model: Model | None) -> str:
        if self._session.annotations.is_blind:
            return "Blind mode hides predictions and flags."
        if model is None or model.manifest.is_before_annotations:
            return "No model was trained on annotations yet."
        if model.manifest.cross_validation is None:
            return f"Model {model.id} is not yet cross-validated."
        return ""

    def _go_to(self, row: int) -> None:
        for part in self._parts:
            part.set_current(row)
        cell = self._cells[row]
        site = SiteKey(cell.well, cell.site)
        self._session.go_to_annotated(cell.plate, site, cell.y_px, cell.x_px)
