"""What one viewer is working on: what is open and shown, and what people and the machine say."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Any

from napari_hcs_qc.assay.annotations.annotation import Annotation
from napari_hcs_qc.assay.scoring.review_queue import review_queue
from napari_hcs_qc.assay.views.annotation_summary import to_take_back
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.gui.session.assay_session import AssaySession

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from qtpy.QtCore import QObject

    from napari_hcs_qc.assay.annotations.annotation_cache import PlateSite
    from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate
    from napari_hcs_qc.assay.scoring.review_queue import QueueEntry
    from napari_hcs_qc.assay.store.saved_model import Model
    from napari_hcs_qc.plates.plate import SiteKey

_WATCH_LOST_MS = 60_000  # between looks at a journal that could not be read


class Session(AssaySession):
    """The state that all widgets of one viewer share, and the only place that changes it.

    Widgets call its methods and follow its signals, see `AssaySession`; the viewer's layers are
    kept by `SiteView`. Everything a person says goes into the journal first; signals follow when
    it is there.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._annotator = getpass.getuser()
        self._watch_ms = self._watch.interval()
        self._queue_of: tuple[ScoredPlate, ...] = ()
        self._queue: tuple[QueueEntry, ...] = ()
        self._watch.timeout.connect(self._look_at_journal)

    # ---- what the person says ------------------------------------------------------------

    @property
    def annotator(self) -> str:
        """Name under which annotations and verdicts are recorded."""
        return self._annotator

    @annotator.setter
    def annotator(self, name: str) -> None:
        if name.strip() and name.strip() != self._annotator:
            self._annotator = name.strip()
            self.person_changed.emit()

    @property
    def is_blind(self) -> bool:
        """Whether predictions are hidden, so that they do not sway the annotator."""
        return self._is_blind

    @is_blind.setter
    def is_blind(self, blind: bool) -> None:
        if blind != self._is_blind:
            self._is_blind = blind
            self.person_changed.emit()

    def annotate(
        self,
        site: SiteKey,
        positions: Iterable[tuple[float, float]],
        cls: str | None,
        kind: str | None = None,
        note: str | None = None,
    ) -> bool:
        """Record what the annotator says of cells of one site, as one action."""
        shown = self.open_plate
        if shown is None or shown.plate is None:
            return False
        name = shown.plate.name
        try:
            annotations = [
                Annotation(
                    plate=name,
                    well=site.well,
                    site=site.site,
                    y_px=y_px,
                    x_px=x_px,
                    cls=cls,
                    kind=kind,
                    note=note,
                )
                for y_px, x_px in positions
            ]
        except HcsQcError as error:
            self.told.emit("error", str(error))
            return False
        return self.annotate_cells(annotations)

    def take_back(self, site: SiteKey, indices: Sequence[int]) -> bool:
        """Take back what the annotator said of cells of a site, wherever they had clicked."""
        state, live, cells = self.state, self.live, self.cells_of(site)
        if state is None or live is None or cells is None:
            return False
        rows = cells.rows[list(indices)]
        words = list(to_take_back(state, live.table, rows[rows >= 0], self._annotator))
        words += [
            Annotation(
                plate=state.plate.name,
                well=site.well,
                site=site.site,
                y_px=float(cells.yx_px[index, 0]),
                x_px=float(cells.yx_px[index, 1]),
                cls=None,
            )
            for index in indices
            if cells.rows[index] < 0
        ]
        if not words:
            self.told.emit("info", f"{self._annotator} has said nothing of this cell.")
            return False
        return self.annotate_cells(words)

    def annotate_cells(self, annotations: Sequence[Annotation]) -> bool:
        """Record annotations of any sites as one action, see `annotate`."""
        live = self.live
        if live is None or not annotations:
            return False
        return self._said(lambda: live.annotate(annotations, self._annotator))

    def undo(self) -> bool:
        """Take back the annotator's last action, an annotation or a verdict."""
        live = self.live
        return live is not None and self._said(lambda: live.undo(self._annotator), "undo")

    def redo(self) -> bool:
        """Put back what was undone last."""
        live = self.live
        return live is not None and self._said(lambda: live.redo(self._annotator), "redo")

    def decide(
        self,
        plate: str,
        well: str,
        verdict: str | None,
        *,
        site: int | None = None,
        note: str | None = None,
        seen: Mapping[str, str | float | bool] | None = None,
    ) -> bool:
        """Record a verdict on a well or site; see `annotate` for the outcome."""
        live = self.live
        if live is None:
            return False
        try:
            live.journal.verdict(
                plate, well, verdict, reviewer=self._annotator, site=site, note=note, seen=seen
            )
        except HcsQcError as error:
            self.told.emit("error", str(error))
            return False
        self._verdicts_are_new()
        return True

    def _said(self, act: Any, word: str = "") -> bool:
        try:
            changed = act()
        except HcsQcError as error:
            self.told.emit("error", str(error))
            return False
        if changed is None:
            self.told.emit("info", f"There is nothing of {self._annotator} to {word}.")
            return False
        if changed:
            self._announce(changed)
        else:  # an undone verdict
            self._verdicts_are_new()
        return True

    def _verdicts_are_new(self) -> None:
        if self._read_verdicts():
            self.verdicts_changed.emit()

    def _read_verdicts(self) -> bool:
        live = self.live
        assert live is not None
        try:
            verdicts = live.journal.verdicts()
        except HcsQcError as error:
            self.told.emit("error", str(error))
            return False
        self._scored = {
            name: scored.with_verdicts(verdicts) for name, scored in self._scored.items()
        }
        return True

    def _look_at_journal(self) -> None:
        """Take in what another window or a command has recorded meanwhile."""
        live = self.live
        if live is None or not live.has_changed():
            return
        try:
            changed = live.reload()
        except HcsQcError as error:
            if self._watch.interval() != _WATCH_LOST_MS:  # told once, not every few seconds
                self._watch_ms = self._watch.interval()
                self._watch.setInterval(_WATCH_LOST_MS)
                self.told.emit("error", str(error))
            return
        if self._watch.interval() == _WATCH_LOST_MS:
            self._watch.setInterval(self._watch_ms)
        if changed:
            self._announce(changed)
        self._verdicts_are_new()

    def _announce(self, changed: frozenset[PlateSite]) -> None:
        if self._annotated is not None and self.plate is not None:
            sites = [one.site for one in changed if one.plate == self.plate.name]
            for site in sites:
                self._gathered.pop(site, None)
            if len(sites) == 1:  # the site on screen, most often: its cells are wanted anyway
                cells = self.cells_of(sites[0])
                if cells is not None:
                    self._annotated.take(cells)
            else:
                self._annotated.update(sites)
        self.annotations_changed.emit(changed)

    # ---- what the machine says -----------------------------------------------------------

    @property
    def threshold(self) -> float:
        """P(abnormal) from which a cell counts as abnormal."""
        return self._threshold

    def set_threshold(self, threshold: float) -> None:
        """Change the threshold; cells follow at once, the wells when they are judged anew."""
        if threshold == self._threshold:
            return
        self._threshold = threshold
        self.threshold_changed.emit(threshold)

    @property
    def queue(self) -> tuple[QueueEntry, ...]:
        """Wells to be reviewed, of all plates, as judged and decided now."""
        scored = self.all_scored
        if scored != self._queue_of:
            self._queue_of, self._queue = scored, review_queue(scored)
        return self._queue

    def scored_anew(self, scored: Mapping[str, ScoredPlate], model: Model | None = None) -> None:
        """Take in how plates are judged now."""
        if model is not None:
            self._model, self._measured = model, {}
        new = {name: self._as_measured(name, one) for name, one in scored.items()}
        self._scored = {**self._scored, **new}
        self._read_verdicts()
        self.scored_changed.emit()

    def novelty_is_known(self, model: Model, measured: Mapping[str, ScoredPlate]) -> None:
        """Take in how unlike the annotated cells each cell is, as a model has it."""
        if self._model is None or self._model.id != model.id:
            return  # another one has come into use meanwhile
        self._measured = {**self._measured, **measured}
        self._scored = {name: self._as_measured(name, one) for name, one in self._scored.items()}
        self.novelty_changed.emit()

    def _as_measured(self, name: str, scored: ScoredPlate) -> ScoredPlate:
        """Give what is judged with what was measured while it was being judged anew."""
        measured, prediction = self._measured.get(name), scored.prediction
        if measured is None or prediction.is_novelty_measured:
            return scored
        if measured.prediction.model != prediction.model:
            return scored
        return scored.with_novelty(measured.state, measured.prediction)

    def model_is_measured(self, model: Model) -> None:
        """Take in the model in use with its figures."""
        self._model = model

    def embedded(self, rows: Mapping[str, NDArray[np.floating[Any]]]) -> None:
        """Take in embeddings of plates that were loaded or computed."""
        self._embeddings = dict(rows)
        self.find_starting_cells()
        self.embeddings_changed.emit()
