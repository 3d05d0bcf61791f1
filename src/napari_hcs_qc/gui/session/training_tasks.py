"""The long work on models: retraining, figures, novelty, scores, the models before."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer, Signal

from napari_hcs_qc.assay.embeddings.plate_priors import out_of_range, why_no_prior
from napari_hcs_qc.assay.store.saved_model import model_folders
from napari_hcs_qc.gui.session.task_group import TaskGroup
from napari_hcs_qc.gui.session.threshold_keeper import SETTLE_MS
from napari_hcs_qc.heads.head_names import FINE_TUNED
from napari_hcs_qc.workflow import desk_steps, model_history

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qtpy.QtCore import SignalInstance

    from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate
    from napari_hcs_qc.assay.store.saved_model import Model
    from napari_hcs_qc.gui.session.background_jobs import BackgroundJob
    from napari_hcs_qc.gui.session.session import Session
    from napari_hcs_qc.gui.session.tasks import Tasks
    from napari_hcs_qc.workflow.training import Trained

_PAINTED_MS = 100  # after a site is in the layers


class TrainingTasks(TaskGroup):
    """Starts the work on models; the one in use serves until a new one is complete."""

    model_changed = Signal()

    def __init__(self, session: Session, tasks: Tasks) -> None:
        super().__init__(session)
        self._tasks = tasks
        self.next_note = ""
        self._auto_every = 0
        self._clicks_since = 0
        self._folder = session.assay.folder
        self._score_once_more = False
        self._is_closing = False
        self._waits_for_drawing, self._is_drawn = False, threading.Event()
        self._is_drawn.set()
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(SETTLE_MS)
        self._pause.timeout.connect(self.score_again)
        session.assay.changed.connect(self._assay_changed)
        session.models.threshold_changed.connect(self._setting_changed)
        session.assay.include_cut_changed.connect(self._setting_changed)
        session.annotations.changed.connect(self._annotated)
        session.models.embeddings_changed.connect(self._score_before_annotations)
        session.closing.connect(self._close)

    @property
    def auto_retrain_every(self) -> int:
        """After how many annotations the head is trained again by itself; 0 for never."""
        return self._auto_every

    @auto_retrain_every.setter
    def auto_retrain_every(self, n: int) -> None:
        self._auto_every = max(0, n)

    @property
    def clicks_since_training(self) -> int:
        """Annotation actions since the model in use was trained, in this session."""
        return self._clicks_since

    @property
    def will_score(self) -> bool:
        """Whether scores will follow the last annotation, once the hand rests."""
        return self._pause.isActive()

    # ---- the model in use ----------------------------------------------------------------

    def retrain(self) -> BackgroundJob | None:
        """Fit the head on all annotations and score every plate with it; the figures follow."""
        self._tasks.threshold.save()
        frozen = self.freeze()
        if frozen is None:
            return None
        n_clicks, note = self._clicks_since, self.next_note.strip()
        for slot in ("figures", "novelty"):
            running = self._session.jobs.newest(slot)
            if running is not None:  # of a model that is about to be replaced; it takes the time
                running.cancel()
        job = self._session.start(
            "Retraining", desk_steps.train_and_score, frozen, note, slot="retrain"
        )
        job.finished.connect(lambda made: self._retrained(frozen, made, n_clicks, note))
        return job

    def _score_before_annotations(self) -> None:
        """Score the plates as soon as they are embedded, where no model ever did."""
        session = self._session
        folder, models = session.assay.folder, session.models
        is_first = folder is not None and not model_folders(folder.models_folder)
        if not is_first or models.model is not None or session.jobs.newest("retrain") is not None:
            return
        frozen = self.freeze()
        if frozen is None:
            return
        for state in frozen.states.values():
            reason = out_of_range(state)
            if reason:
                session.message.emit("warning", f"{reason}; annotate cells, and press Retrain.")
        # With few cells nothing is known of the plate; annotations are, with fewest.
        if all(why_no_prior(state) for state in frozen.states.values()):
            return
        job = session.start(
            "First classification", desk_steps.score_before_annotations, frozen, slot="retrain"
        )
        job.finished.connect(lambda made: self._scored_before_annotations(frozen, made))

    def _scored_before_annotations(self, frozen: desk_steps.Frozen, made: Trained) -> None:
        self._session.models.set_scored(made.scored, made.model)
        self.model_changed.emit()
        self._catch_up(frozen)
        self._session.message.emit("info", made.model.manifest.origin)

    def measure(
        self, frozen: desk_steps.Frozen | None = None, *, after_s: float = 0.0
    ) -> BackgroundJob | None:
        """Cross-validate the model in use; may wait until the window has drawn what is new."""
        model = self._session.models.model
        frozen = frozen or self.freeze()
        if frozen is None or model is None or model.manifest.is_before_annotations:
            return None
        job = self._session.start(
            f"Figures of model {model.id}",
            desk_steps.measure_model,
            frozen,
            model.id,
            slot="figures",
            after_s=after_s,
        )
        job.finished.connect(lambda measured: self._measured(frozen, measured))
        return job

    def _measure_curve(self, frozen: desk_steps.Frozen, model: Model) -> None:
        """Measure the learning curve, which takes longer than the figures that it follows."""
        if not model.manifest.has_curve:
            return
        job = self._session.start(
            f"Learning curve of model {model.id}",
            desk_steps.measure_curve,
            frozen,
            model.id,
            slot="figures",
        )
        job.finished.connect(self._show_figures)

    def measure_novelty(
        self, *, after_s: float = 0.0, after: threading.Event | None = None
    ) -> BackgroundJob | None:
        """Measure the novelty of the cells, where that was not done yet."""
        models = self._session.models
        model = models.model
        missing = {
            name: scored
            for name, scored in models.by_plate.items()
            if not scored.prediction.is_novelty_measured
        }
        if model is None or not missing:
            return None
        frozen = self.freeze()
        if frozen is None:
            return None
        job = self._session.start(
            "Computing novelty",
            desk_steps.measure_novelty,
            frozen,
            model,
            missing,
            slot="novelty",
            quiet=True,
            after_s=after_s,
            after=after,
        )
        job.finished.connect(lambda measured: models.set_novelty(model, measured))
        return job

    def score_again(self) -> BackgroundJob | None:
        """Score all plates at the threshold and annotations of now.

        While that runs, further calls wait and become a single one: a slider calls many times a
        second.
        """
        models = self._session.models
        if models.model is None or not models.all_scored:
            return None
        if self._session.jobs.newest("score") is not None:
            self._score_once_more = True
            return None
        frozen = self.freeze()
        if frozen is None:
            return None
        self._score_once_more = False
        model = models.model
        job = self._session.start(
            "Classifying",
            desk_steps.score_again,
            frozen,
            models.by_plate,
            slot="score",
            quiet=True,
        )
        job.finished.connect(lambda scored: self._scored(model, scored))
        return job

    # ---- the models before ---------------------------------------------------------------

    def restore(self, model: str) -> BackgroundJob | None:
        """Use an older model again, until the next retraining."""
        frozen = self.freeze()
        if frozen is None:
            return None
        # Of one slot with retraining: of the two, the model that was requested last is used.
        job = self._session.start(
            f"Restoring model {model}", desk_steps.restore_model, frozen, model, slot="retrain"
        )
        job.finished.connect(lambda made: self._restored(frozen, made))
        return job

    def list_models(self) -> BackgroundJob | None:
        """List the models of the assay; gives `ModelLine` objects, newest first."""
        folder = self._session.assay.folder
        if folder is None:
            return None
        return self._session.start(
            "Models", model_history.list_models, folder, slot="models", quiet=True
        )

    def set_note(self, model: str, note: str) -> BackgroundJob | None:
        """Keep a note with a model."""
        folder = self._session.assay.folder
        if folder is None:
            return None
        slot = f"note {model}"
        job = self._session.start(
            f"Note of model {model}", model_history.set_note, folder, model, note, slot=slot
        )
        job.finished.connect(lambda _: self.model_changed.emit())
        job.failed.connect(lambda _: self.model_changed.emit())  # the saved note is shown again
        return job

    def compare(self, older: str, newer: str) -> BackgroundJob | None:
        """Compare two models; gives a `Comparison`."""
        frozen = self.freeze()
        if frozen is None:
            return None
        title = f"Comparing models {older} and {newer}"
        return self._session.start(
            title, desk_steps.compare_models, frozen, older, newer, slot="compare"
        )

    # ---- results -------------------------------------------------------------------------

    def _retrained(
        self, frozen: desk_steps.Frozen, made: Trained, n_clicks: int, note: str
    ) -> None:
        self._clicks_since -= n_clicks
        if self.next_note.strip() == note:  # else another was begun meanwhile
            self.next_note = ""
        self._session.models.set_scored(made.scored, made.model)
        self.model_changed.emit()
        if self._session.models.embeddings is None:
            self._tasks.embed()  # they are on disk now; the gallery sorts by them
        self._catch_up(frozen)
        self.measure_novelty(after_s=SETTLE_MS / 1000)
        if frozen.options.head not in FINE_TUNED:  # whose figures take minutes: on request
            self.measure(frozen, after_s=SETTLE_MS / 1000)

    def _restored(
        self, frozen: desk_steps.Frozen, made: tuple[Model, Mapping[str, ScoredPlate]]
    ) -> None:
        model, scored = made
        self._session.models.set_scored(scored, model)
        self.model_changed.emit()
        self._catch_up(frozen)
        self.measure_novelty()

    def _catch_up(self, frozen: desk_steps.Frozen) -> None:
        """Score again where the person has gone on while a job worked on what was frozen."""
        session = self._session
        cache = session.annotations.cache
        is_past = cache is not None and cache.table is not frozen.annotations
        settings = (session.models.threshold, session.assay.include_cut)
        if is_past or settings != (frozen.threshold, frozen.include_cut):
            self.score_again()

    def _measured(self, frozen: desk_steps.Frozen, model: Model) -> None:
        if self._show_figures(model):
            self.score_again()  # the true shares of wells are known with them
            self._measure_curve(frozen, model)

    def _show_figures(self, model: Model) -> bool:
        """Show what was measured of a model, if that is still in use; tell whether it is."""
        in_use = self._session.models.model
        is_in_use = in_use is not None and in_use.id == model.id
        if is_in_use:
            self._session.models.set_figures(model)
        self.model_changed.emit()
        return is_in_use

    def _scored(self, model: Model, scored: dict[str, ScoredPlate]) -> None:
        if self._session.models.model is model:
            self._session.models.set_scored(scored)
        else:  # another model has come into use meanwhile
            self._score_once_more = True
        if self._score_once_more:
            # Not from within the signal of the job that has just ended.
            QTimer.singleShot(0, self.score_again)

    # ---- following the session -----------------------------------------------------------

    def _assay_changed(self) -> None:
        folder = self._session.assay.folder
        if folder is self._folder:
            return
        self._folder = folder
        self._clicks_since = 0
        self.next_note = ""
        self.model_changed.emit()
        models = self._session.models
        if self._waits_for_drawing:
            self._is_drawn.clear()
        if models.model is not None and models.all_scored:
            self._tasks.find_embeddings(after=self._is_drawn)
            self.measure_novelty(after=self._is_drawn)

    def wait_for_drawing(self, shown: SignalInstance) -> None:
        """Load embeddings only once the first site of an assay is drawn.

        What is imported for them would hold the picture up for seconds.
        """
        self._waits_for_drawing = True
        painted = QTimer(self)
        painted.setSingleShot(True)
        painted.setInterval(_PAINTED_MS)
        painted.timeout.connect(self._is_drawn.set)
        shown.connect(lambda _: painted.start())

    def _annotated(self) -> None:
        self._clicks_since += 1
        if self._auto_every and self._clicks_since >= self._auto_every:
            if self._session.jobs.newest("retrain") is None:
                self.retrain()
        elif self._session.models.model is not None:
            self._pause.start()  # annotations count for wells, once the hand rests

    def _setting_changed(self, _: object) -> None:
        self.score_again()

    def _close(self) -> None:
        self._is_closing = True
        self._pause.stop()  # or it would act on a session that is gone
