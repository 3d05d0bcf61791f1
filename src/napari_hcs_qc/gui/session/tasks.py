"""The long work that a session can start: cells, embeddings, retraining, judging, export."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_hcs_qc.assay.models.encoder_speed import measure_encoder
from napari_hcs_qc.assay.models.train_options import (
    TrainOptions,
    chosen_options,
    save_options,
    with_own_weights,
)
from napari_hcs_qc.assay.store.assay_folder import AssayBusyError
from napari_hcs_qc.assay.store.saved_model import read_manifest
from napari_hcs_qc.encoders.registry import DEFAULT_ENCODER
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.heads.head_registry import FINE_TUNED
from napari_hcs_qc.study.ssl.pretrain_assay import pretrain_encoder
from napari_hcs_qc.workflow import desk_steps, model_history
from napari_hcs_qc.workflow.measuring import add_novelty

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.saved_model import Model
    from napari_hcs_qc.assay.views.open_assay import OpenPlate
    from napari_hcs_qc.gui.session.background_jobs import BackgroundJob
    from napari_hcs_qc.gui.session.session import Session
    from napari_hcs_qc.study.ssl.pretrain_assay import PretrainOptions
    from napari_hcs_qc.study.ssl.training_report import Report
    from napari_hcs_qc.workflow.training import Trained

_PATIENCE_S = 2.0  # when an assay is closed, for another process that is writing
_SETTLE_MS = 400
"""After the last move of the threshold, or the last click, before what is slow follows."""


class Tasks(QObject):
    """Starts the work of one session in the background, and brings its results home.

    Every job works on what was frozen when it started. What fails tells why and changes nothing.
    """

    options_changed = Signal()
    model_changed = Signal()
    exported = Signal(object)

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self._options = TrainOptions()
        self.next_note = ""
        self._auto_every = 0
        self._clicks_since = 0
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(_SETTLE_MS)
        self._settle.timeout.connect(lambda: self._keep_threshold())
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_SETTLE_MS)
        self._pause.timeout.connect(lambda: self.score_again())
        self._score_once_more = False
        self._is_unkept = False
        self._is_closing = False
        session.assay_changed.connect(self._assay_changed)
        session.threshold_changed.connect(self._threshold_changed)
        session.annotations_changed.connect(self._annotated)
        session.closing.connect(self._close)
        self._known: AssayFolder | None = None
        self._embedded_with: TrainOptions | None = None

    # ---- choices -------------------------------------------------------------------------

    @property
    def options(self) -> TrainOptions:
        """Encoder, recipe and head that are chosen for the assay."""
        return self._options

    def choose(self, options: TrainOptions) -> None:
        """Choose encoder, recipe and head; remembered with the assay."""
        if options == self._options:
            return
        self._options = options
        assay = self._session.assay
        if assay is not None:
            try:
                save_options(assay, options)
            except HcsQcError as error:
                self._session.told.emit("warning", f"The choice is not remembered: {error}")
        self.options_changed.emit()

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
    def embedded_with(self) -> TrainOptions | None:
        """What the session's embeddings were computed with; None before there are any."""
        return self._embedded_with

    # ---- work ----------------------------------------------------------------------------

    def find_cells(self) -> BackgroundJob | None:
        """Find the cells of the plate shown."""
        session = self._session
        shown, assay, live = session.open_plate, session.assay, session.live
        if shown is None or assay is None or live is None:
            self._refuse("Open a plate first.")
            return None
        name = shown.name
        job = self._start(
            f"Finding the cells of {name}", desk_steps.find_cells, assay, name, live, slot="cells"
        )
        job.finished.connect(lambda found: self._found_cells(name, found))
        return job

    def embed(self) -> BackgroundJob | None:
        """Compute the embeddings of all plates with the chosen encoder and recipe."""
        frozen = self._freeze()
        if frozen is None:
            return None
        chosen = self._options
        name = chosen.encoder or DEFAULT_ENCODER
        job = self._start(f"Embedding cells with {name}", desk_steps.embed, frozen, slot="embed")
        job.finished.connect(lambda rows: self._embedded(chosen, rows))
        return job

    def find_embeddings(self) -> BackgroundJob | None:
        """Load the encoder, and the embeddings that are on disk, so that Retrain need not wait."""
        frozen = self._freeze()
        if frozen is None:
            return None
        job = self._start(
            "Loading embeddings", desk_steps.find_embeddings, frozen, slot="embed", quiet=True
        )
        chosen = self._options
        job.finished.connect(lambda rows: self._embedded(chosen, rows) if rows else None)
        return job

    def pretrain(
        self,
        options: PretrainOptions,
        *,
        on_report: Callable[[Report], None],
        is_paused: Callable[[], bool],
    ) -> BackgroundJob | None:
        """Train an encoder on the assay's own cells; gives an `OwnEncoder`.

        `on_report` and `is_paused` are called in the worker's thread.
        """
        frozen = self._freeze()
        if frozen is None:
            return None
        return self._start(
            f"Training the encoder {options.encoder_name}",
            pretrain_encoder,
            frozen.folder,
            options,
            slot="pretrain",
            on_report=on_report,
            is_paused=is_paused,
        )

    def measure_speed(self, options: TrainOptions) -> BackgroundJob:
        """Measure the encoder of some options on this machine; gives an `EncoderSpeed`."""
        name = options.encoder or DEFAULT_ENCODER
        found = self._with_own_weights(options) or options
        return self._start(f"Speed of {name}", measure_encoder, found, slot="speed")

    def retrain(self) -> BackgroundJob | None:
        """Fit the head on all annotations and judge every plate with it.

        The figures follow in a job of their own. The model in use serves until the new one is
        complete.
        """
        self._keep_threshold()
        frozen = self._freeze()
        if frozen is None:
            return None
        before, note = self._clicks_since, self.next_note.strip()
        for slot in ("figures", "novelty"):
            running = self._session.jobs.newest(slot)
            if running is not None:  # of a model that is about to be replaced; it takes the time
                running.cancel()
        job = self._start("Retraining", desk_steps.train_and_score, frozen, note, slot="retrain")
        job.finished.connect(lambda made: self._retrained(frozen, made, before, note))
        return job

    def measure(
        self, frozen: desk_steps.Frozen | None = None, *, after_s: float = 0.0
    ) -> BackgroundJob | None:
        """Cross-validate the model in use; may wait until the window has drawn what is new."""
        model = self._session.model
        frozen = frozen or self._freeze()
        if frozen is None or model is None:
            return None
        job = self._start(
            f"Figures of model {model.id}",
            desk_steps.measure_model,
            frozen,
            model.id,
            slot="figures",
            after_s=after_s,
        )
        job.finished.connect(self._measured)
        job.cancelled.connect(lambda: self._measured_in_part(model))
        return job

    def measure_novelty(self, *, after_s: float = 0.0) -> BackgroundJob | None:
        """Measure which cells are unlike the annotated ones, where that was not done yet."""
        session = self._session
        model = session.model
        missing = {
            name: scored
            for name, scored in session.scored_plates.items()
            if not scored.prediction.is_novelty_measured
        }
        if model is None or not missing:
            return None
        frozen = self._freeze()
        if frozen is None:
            return None
        job = self._start(
            "Cells unlike the annotated ones",
            add_novelty,
            frozen.folder,
            model,
            missing,
            device=frozen.options.device,
            slot="novelty",
            quiet=True,
            after_s=after_s,
        )
        job.finished.connect(lambda found: session.novelty_is_known(model, found))
        return job

    def restore(self, model: str) -> BackgroundJob | None:
        """Use an older model again, until the next retraining."""
        frozen = self._freeze()
        if frozen is None:
            return None
        # Of one slot with retraining: of the two, the model asked for last is used.
        job = self._start(
            f"Restoring model {model}", desk_steps.restore_model, frozen, model, slot="retrain"
        )
        job.finished.connect(lambda made: self._restored(frozen, made))
        return job

    def list_models(self) -> BackgroundJob | None:
        """List the models of the assay; gives `ModelLine` objects, newest first."""
        assay = self._session.assay
        if assay is None:
            return None
        return self._start("Models", model_history.list_models, assay, slot="models", quiet=True)

    def set_note(self, model: str, note: str) -> BackgroundJob | None:
        """Keep a note with a model."""
        assay = self._session.assay
        if assay is None:
            return None
        job = self._start(
            f"Note of model {model}",
            model_history.set_note,
            assay,
            model,
            note,
            slot=f"note {model}",
        )
        job.finished.connect(lambda _: self.model_changed.emit())
        job.failed.connect(lambda _: self.model_changed.emit())  # what was kept is shown again
        return job

    def compare(self, older: str, newer: str) -> BackgroundJob | None:
        """Compare two models; gives a `Comparison`."""
        frozen = self._freeze()
        if frozen is None:
            return None
        title = f"Comparing models {older} and {newer}"
        return self._start(title, desk_steps.compare_models, frozen, older, newer, slot="compare")

    def score_again(self) -> BackgroundJob | None:
        """Judge all plates anew at the threshold and annotations of now.

        While that runs, further wishes wait and become one: a slider asks many times a second.
        """
        if self._session.model is None or not self._session.all_scored:
            return None
        if self._session.jobs.newest("score") is not None:
            self._score_once_more = True
            return None
        frozen = self._freeze()
        if frozen is None:
            return None
        self._score_once_more = False
        model = self._session.model
        scored = self._session.scored_plates
        job = self._start(
            "Judging", desk_steps.score_again, frozen, scored, slot="score", quiet=True
        )
        job.finished.connect(lambda scored: self._scored(model, scored))
        return job

    def export(self, out: Path, *, exclude_unreviewed: bool = False) -> BackgroundJob | None:
        """Write tables and report of all plates to a folder."""
        frozen = self._freeze()
        if frozen is None:
            return None
        if self._session.model is None:
            self._refuse("There is no model yet; annotate cells and press Retrain.")
            return None
        self._keep_threshold()
        job = self._start(
            "Exporting",
            desk_steps.write_results,
            frozen,
            self._session.scored_plates,
            out,
            slot="export",
            exclude_unreviewed=exclude_unreviewed,
        )
        job.finished.connect(self._exported)
        return job

    # ---- inside --------------------------------------------------------------------------

    def _start(
        self, title: str, function: Any, *args: Any, slot: str = "", **kwargs: Any
    ) -> BackgroundJob:
        job = self._session.jobs.start(title, function, *args, slot=slot or title, **kwargs)
        job.failed.connect(lambda text: self._session.told.emit("error", text))
        return job

    def _refuse(self, text: str) -> None:
        self._session.told.emit("warning", text)

    def _freeze(self) -> desk_steps.Frozen | None:
        session = self._session
        if session.assay is None or session.live is None:
            self._refuse("Open an assay first.")
            return None
        if not session.assay.path.is_dir():  # else what is written would make it anew, and empty
            self._refuse(f"The folder of the assay, {session.assay.path}, is gone; bring it back.")
            return None
        states = {one.name: one.state for one in session.plates if one.state is not None}
        if not states:
            self._refuse("No cells are known yet; find the cells of the plate first.")
            return None
        options = self._with_own_weights(self._options)
        if options is None:
            return None
        return desk_steps.Frozen(
            folder=session.assay,
            states=states,
            annotations=session.live.table,
            options=options,
            threshold=session.threshold,
        )

    def _with_own_weights(self, options: TrainOptions) -> TrainOptions | None:
        """Add the weights of an encoder of the assay; None, and told, where it is damaged."""
        assay = self._session.assay
        try:
            return options if assay is None else with_own_weights(assay, options)
        except HcsQcError as error:
            self._refuse(str(error))
            return None

    def _found_cells(self, name: str, found: OpenPlate) -> None:
        self._session.plate_is_new(name, found)
        self._session.told.emit("info", _cells_found(found))

    def _retrained(self, frozen: desk_steps.Frozen, made: Trained, before: int, note: str) -> None:
        self._clicks_since -= before
        if self.next_note.strip() == note:  # else another was begun meanwhile
            self.next_note = ""
        self._session.scored_anew(made.scored, made.model)
        self.model_changed.emit()
        if self._session.embeddings is None:
            self.embed()  # they are on disk now; the gallery sorts by them
        self._catch_up(frozen)
        self.measure_novelty(after_s=_SETTLE_MS / 1000)
        if frozen.options.head not in FINE_TUNED:  # whose figures take minutes: asked for
            self.measure(frozen, after_s=_SETTLE_MS / 1000)

    def _restored(
        self, frozen: desk_steps.Frozen, made: tuple[Model, Mapping[str, ScoredPlate]]
    ) -> None:
        model, scored = made
        self._session.scored_anew(scored, model)
        self.model_changed.emit()
        self._catch_up(frozen)
        self.measure_novelty()

    def _catch_up(self, frozen: desk_steps.Frozen) -> None:
        """Judge again where the person has gone on while a job worked on what was frozen."""
        session = self._session
        is_past = session.live is not None and session.live.table is not frozen.annotations
        if is_past or session.threshold != frozen.threshold:
            self.score_again()

    def _embedded(
        self, options: TrainOptions, rows: Mapping[str, NDArray[np.floating[Any]]]
    ) -> None:
        self._embedded_with = options
        self._session.embedded(rows)

    def _measured(self, model: Model) -> None:
        if self._session.model is not None and self._session.model.id == model.id:
            self._session.model_is_measured(model)
        self.model_changed.emit()

    def _measured_in_part(self, model: Model) -> None:
        """Take in the figures that were kept before the rest was cancelled."""
        assay = self._session.assay
        if assay is None or self._is_closing:
            return
        try:
            manifest = read_manifest(assay.models_folder / model.id)
        except HcsQcError:  # another assay is open by now
            return
        if manifest.created == model.manifest.created:
            self._measured(replace(model, manifest=manifest))

    def _close(self) -> None:
        self._is_closing = True

    def _exported(self, paths: tuple[Path, ...]) -> None:
        self.exported.emit(paths)
        self._session.told.emit("info", f"{len(paths)} files written to {paths[-1].parent}.")

    def _assay_changed(self) -> None:
        assay = self._session.assay
        if assay is self._known:
            return
        self._keep_threshold(_PATIENCE_S)  # of the assay before, whose jobs are over
        self._known = assay
        self._clicks_since = 0
        self.next_note = ""
        self._is_unkept = False
        self._embedded_with = None
        self._options = self._options_of(assay)
        self.options_changed.emit()
        self.model_changed.emit()
        if self._session.model is not None and self._session.all_scored:
            self.find_embeddings()
            self.measure_novelty()

    def _scored(self, model: Model, scored: dict[str, ScoredPlate]) -> None:
        if self._session.model is model:
            self._session.scored_anew(scored)
        else:  # another model has come into use meanwhile
            self._score_once_more = True
        if self._score_once_more:
            # Not from within the signal of the job that has just ended.
            QTimer.singleShot(0, self.score_again)

    def _threshold_changed(self, _threshold: float) -> None:
        self._is_unkept = True
        self._settle.start()
        self.score_again()

    def _options_of(self, assay: AssayFolder | None) -> TrainOptions:
        if assay is None:
            return TrainOptions()
        try:
            return chosen_options(assay)
        except HcsQcError as error:
            self._refuse(str(error))
            return TrainOptions()

    def _keep_threshold(self, patience_s: float = 0.0) -> None:
        self._settle.stop()
        assay = self._known
        if not self._is_unkept or assay is None:
            return
        try:
            with assay.lock(timeout_s=patience_s):
                assay.update_settings(threshold=self._session.threshold)
        except AssayBusyError as error:
            if not patience_s:  # cells are being found, say; the window need not wait for that
                self._settle.start()
                return
            self._refuse(f"The threshold is not remembered: {error}")
        except HcsQcError as error:
            self._session.told.emit("warning", f"The threshold is not remembered: {error}")
        self._is_unkept = False

    def _annotated(self, _changed: object) -> None:
        self._clicks_since += 1
        if self._auto_every and self._clicks_since >= self._auto_every:
            if self._session.jobs.newest("retrain") is None:
                self.retrain()
        elif self._session.model is not None:
            self._pause.start(_SETTLE_MS)  # what people say counts for wells, once the hand rests


def _cells_found(found: OpenPlate) -> str:
    if found.state is None:
        return found.problem or f"No cells were found on {found.name}."
    n_unread = len(found.state.found.unreadable)
    unread = f"; {n_unread} sites could not be read" if n_unread else ""
    return f"{len(found.state.found.cells):,} cells found on {found.name}{unread}."
