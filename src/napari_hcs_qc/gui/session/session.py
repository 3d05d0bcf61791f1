"""What one viewer is working on, made of parts: assay, selection, models, annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_hcs_qc.assay.store.open_windows import OpenWindows
from napari_hcs_qc.assay.views.open_assay import open_assay
from napari_hcs_qc.gui.refit.live_predictions import LivePredictions
from napari_hcs_qc.gui.session.background_jobs import BackgroundJobs
from napari_hcs_qc.gui.session.chosen_options import ChosenOptions
from napari_hcs_qc.gui.session.selection import Selection
from napari_hcs_qc.gui.session.session_annotations import SessionAnnotations
from napari_hcs_qc.gui.session.session_assay import SessionAssay
from napari_hcs_qc.gui.session.session_models import SessionModels
from napari_hcs_qc.gui.session.suggestions import Suggestions
from napari_hcs_qc.gui.session.target import Target

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate
    from napari_hcs_qc.assay.views.open_assay import OpenAssay, OpenPlate
    from napari_hcs_qc.gui.session.background_jobs import BackgroundJob
    from napari_hcs_qc.plates.plate import SiteKey

_RECORDING = "recording an annotation"
_SETTLE_MS = 50  # the image is painted by then, also without a graphics card


class Session(QObject):
    """The state that all panels of one viewer share; its parts have what is shown, and signals.

    Panels call methods of the parts and follow their signals, and never another panel; the
    viewer's layers are kept by `SiteView`.
    """

    message = Signal(str, str)  # level and text
    message_over = Signal(str)  # the text of a message whose cause is gone
    settled = Signal()  # soon after annotations, scores, novelty or verdicts changed
    closing = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.jobs = BackgroundJobs(self)
        self.assay = SessionAssay(self)
        self.selection = Selection(self.assay, self)
        self.models = SessionModels(self.assay, self.selection, self)
        self.annotations = SessionAnnotations(self.assay, self.selection, self.models, self)
        # First of all that follow annotations: the others show what it makes of them.
        self.live = LivePredictions(self.jobs, self.selection, self.models, self.annotations, self)
        self.target = Target(self.selection, self.annotations, self)
        self.suggestions = Suggestions(
            self.jobs, self.selection, self.models, self.annotations, self.target, self
        )
        self.options = ChosenOptions(self.assay, self)
        for part in (self.models, self.annotations, self.target, self.suggestions, self.options):
            part.message.connect(self.message)
        # Of jobs by their slots, and of the last key that did nothing, until one succeeds.
        self._failures: dict[str, str] = {}
        for part in (self.annotations, self.target):
            part.message.connect(self._note_failure)
        self.annotations.changed.connect(lambda _: self._end_failure(_RECORDING))
        self._open_windows: OpenWindows | None = None
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(_SETTLE_MS)
        self._settle.timeout.connect(self.settled)
        for signal in (
            self.annotations.changed,
            self.models.scored_changed,
            self.models.novelty_changed,
            self.models.verdicts_changed,
        ):
            signal.connect(self._unsettle)

    @property
    def shown_scored(self) -> ScoredPlate | None:
        """The plate shown as the model in use scores it; None in blind mode, which hides that."""
        return None if self.annotations.is_blind else self.models.scored

    @property
    def is_settled(self) -> bool:
        """Whether `settled` has followed what changed last."""
        return not self._settle.isActive()

    def _unsettle(self, *_: object) -> None:
        if not self._settle.isActive():  # not put off for as long as somebody clicks
            self._settle.start()

    def start(
        self, title: str, function: Any, *args: Any, failure: str = "error", **kwargs: Any
    ) -> BackgroundJob:
        """Start a background job; a message of the level `failure` follows where it fails."""
        job = self.jobs.start(title, function, *args, **{"slot": title, **kwargs})
        slot = job.slot
        job.failed.connect(lambda text: self._fail(slot, failure, text))
        job.finished.connect(lambda _: self._end_failure(slot))
        return job

    def _fail(self, slot: str, level: str, text: str) -> None:
        self._failures[slot] = text
        self.message.emit(level, text)

    def _note_failure(self, _level: str, text: str) -> None:
        self._failures[_RECORDING] = text

    def _end_failure(self, slot: str) -> None:
        text = self._failures.pop(slot, "")
        if text:
            self.message_over.emit(text)

    def open(self, path: Path, plate: str | None = None) -> BackgroundJob:
        """Open an assay in the background; the one that is open is closed when this is ready."""
        job = self.start(f"Opening {path.name}", open_assay, path, slot="open")
        job.finished.connect(lambda opened: self.set_assay(opened, plate))
        return job

    def set_assay(self, opened: OpenAssay, plate: str | None = None) -> None:
        """Work on an assay that was opened."""
        if self.assay.folder is not None:
            self.close_assay()
        self.assay.set_value(opened)
        self.models.set_assay(opened)
        self._open_windows = OpenWindows.enter(opened.folder.path)
        for person in self._open_windows.others:
            self.message.emit(
                "warning",
                f"This assay is also open in another window ({person}). Each window shows the "
                "annotations of both; train in one of them only.",
            )
        for problem in (opened.problem, *(plate.problem for plate in opened.plates.values())):
            if problem:
                self.message.emit("warning", problem)
        unlisted = self.annotations.unlisted_kinds()
        if unlisted:
            self.message.emit(
                "warning",
                f"Annotations have kinds that this assay does not list: {', '.join(unlisted)}. "
                "Add them with + in the Annotate panel.",
            )
        self.annotations.watch.start()
        self.assay.changed.emit()
        with_images = [name for name, item in opened.plates.items() if item.plate is not None]
        if plate is not None and plate in opened.plates:
            self.selection.show_plate(plate)
        elif with_images:
            self.selection.show_plate(with_images[0])

    def set_plate(self, plate: OpenPlate) -> None:
        """Show what has become known of a plate, such as its cells."""
        if self.assay.folder is None:
            return
        self.assay.set_plate(plate)
        self.models.set_plate(plate.name, plate.scored)
        self.assay.changed.emit()
        selection = self.selection
        if selection.plate_name in (plate.name, None):
            site = selection.site
            selection.show_plate(plate.name)
            if site is not None and selection.plate is not None and site in selection.plate.sites:
                selection.go_to(site)

    def go_to_annotated(self, plate: str, site: SiteKey, y_px: float, x_px: float) -> None:
        """Show a cell in its site, by the name of its plate in annotations and models."""
        for item in self.assay.plates:  # a folder may have been renamed since
            if item.plate is not None and item.plate.name == plate:
                self.selection.go_to_cell(item.name, site, y_px, x_px)
                return
        self.message.emit(
            "info",
            f"The images of plate {plate} are not open, so its cell cannot be shown; set their "
            "path with hcs-qc relocate.",
        )

    def close_assay(self) -> None:
        """End all work on the assay; every annotation is on the disk already."""
        if self.assay.folder is None:
            return
        self.annotations.watch.stop()
        self._settle.stop()
        self.jobs.cancel_all()
        self.selection.leave()
        if self._open_windows is not None:
            self._open_windows.leave()
            self._open_windows = None
        self.assay.set_value(None)
        self.models.set_assay(None)
        self.selection.site_changed.emit(None)
        self.selection.plate_changed.emit()
        self.assay.changed.emit()

    def close(self) -> None:
        """End everything, when the viewer closes."""
        self.closing.emit()
        self.jobs.close()
        self.close_assay()
