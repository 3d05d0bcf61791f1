"""The annotations of a session: who annotates, what was annotated, undo and redo."""

from __future__ import annotations

import getpass
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_hcs_qc.assay.annotations.annotation import Annotation, annotations_at
from napari_hcs_qc.assay.annotations.annotation_cache import PlateSite
from napari_hcs_qc.assay.annotations.kinds import listed_kinds
from napari_hcs_qc.assay.scoring.review_queue import seen_now
from napari_hcs_qc.assay.views.annotated_rows import AnnotatedRows, OwnAnnotations
from napari_hcs_qc.assay.views.annotation_summary import to_take_back
from napari_hcs_qc.assay.views.site_cells import SiteCells, site_cells
from napari_hcs_qc.errors import HcsQcError
from napari_hcs_qc.text import a_few
from napari_hcs_qc.text_columns import rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.annotations.annotation_cache import AnnotationCache
    from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate
    from napari_hcs_qc.gui.session.selection import CellId, Selection
    from napari_hcs_qc.gui.session.session_assay import SessionAssay
    from napari_hcs_qc.gui.session.session_models import SessionModels
    from napari_hcs_qc.plates.plate import SiteKey

_WATCH_MS = 3000  # between looks at the journal, which another program may write to
_WATCH_LOST_MS = 60_000  # while it cannot be read


class SessionAnnotations(QObject):
    """Records annotations and verdicts: in the journal first, signals follow when it is there."""

    changed = Signal(object)
    person_changed = Signal()
    message = Signal(str, str)

    def __init__(
        self, assay: SessionAssay, selection: Selection, models: SessionModels, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._assay, self._selection, self._models = assay, selection, models
        self._annotator = getpass.getuser()
        self._is_blind = False
        self._suggested: dict[tuple[Any, ...], str] = {}
        self._rows: AnnotatedRows | None = None
        self._gathered: dict[SiteKey, tuple[ScoredPlate | None, SiteCells]] = {}
        # Brings the predictions of the cells of a site up to what was annotated since.
        self.adjust: Callable[[SiteCells], SiteCells] = lambda cells: cells
        self.watch = QTimer(self)
        self.watch.setInterval(_WATCH_MS)
        self._watch_ms = _WATCH_MS
        self.watch.timeout.connect(self.read_journal)
        selection.plate_changed.connect(self._show_plate)

    # ---- who -----------------------------------------------------------------------------

    @property
    def annotator(self) -> str:
        """Name under which annotations and verdicts are recorded."""
        return self._annotator

    @annotator.setter
    def annotator(self, name: str) -> None:
        if name.strip() and name.strip() != self._annotator:
            self._annotator = name.strip()
            self._show_plate()
            self.person_changed.emit()

    @property
    def is_blind(self) -> bool:
        """Whether predictions, flags and the annotations of others are hidden from the person."""
        return self._is_blind

    @is_blind.setter
    def is_blind(self, blind: bool) -> None:
        if blind != self._is_blind:
            self._is_blind = blind
            self._show_plate()
            self.person_changed.emit()

    # ---- what is annotated ---------------------------------------------------------------

    @property
    def cache(self) -> AnnotationCache | None:
        """All annotations of the assay."""
        return self._assay.annotation_cache

    @property
    def shown(self) -> AnnotationCache | OwnAnnotations | None:
        """The annotations that the person may see: in blind mode only their own."""
        cache = self.cache
        return (
            cache if cache is None or not self._is_blind else OwnAnnotations(cache, self._annotator)
        )

    @property
    def rows(self) -> AnnotatedRows | None:
        """The annotation of each found cell of the plate shown."""
        return self._rows

    def cells_of(self, site: SiteKey) -> SiteCells | None:
        """Gather the cells of a site of the plate shown; None before cells were found."""
        state, cache, scored = self._selection.state, self.shown, self._models.scored
        if state is None or cache is None:
            return None
        known = self._gathered.get(site)
        if known is not None and known[0] is scored:
            return self.adjust(known[1])
        shown = self._selection.open_plate
        assert shown is not None
        # The journal knows a plate by the name it was opened with.
        name = shown.name if shown.plate is None else shown.plate.name
        annotated = cache.columns_at(PlateSite(name, site))
        shape = state.plate.layout.shape
        cells = site_cells(state.plate_cells, state.by_site, site, annotated, scored, shape)
        self._gathered = {site: (scored, cells)}  # the site on screen, most often
        return self.adjust(cells)

    def _show_plate(self) -> None:
        state, cache = self._selection.state, self.shown
        self._gathered, self._rows = {}, None
        if state is not None and cache is not None:
            self._rows = AnnotatedRows(state.plate.name, state.plate_cells, state.by_site, cache)

    def unlisted_kinds(self) -> tuple[str, ...]:
        """Kinds that annotations have and the assay does not list, as in one put together anew."""
        if self.cache is None:
            return ()
        listed = {kind.name for kind in self._assay.kinds}
        return tuple(sorted(set(self.cache.table["kind"].dropna()) - listed))

    # ---- annotating ----------------------------------------------------------------------

    def annotate(
        self,
        site: SiteKey,
        positions: Iterable[tuple[float, float]],
        cls: str | None,
        kind: str | None = None,
        note: str | None = None,
    ) -> bool:
        """Annotate places of one site, as one action."""
        plate = self._selection.plate
        if plate is None:
            return False
        try:
            annotations = _on_site(plate.name, site, positions, cls, kind, note)
        except HcsQcError as error:
            self.message.emit("error", str(error))
            return False
        return self._annotate(annotations)

    def annotate_cells(
        self,
        cells: Collection[CellId],
        cls: str | None,
        kind: str | None = None,
        note: str | None = None,
    ) -> bool:
        """Annotate cells of the plate shown, as one action; None takes the annotator's back.

        That is wherever in a found cell the annotator had clicked.
        """
        state, cache = self._selection.state, self.cache
        if state is None or cache is None:
            return False
        rows = np.array(sorted(c.cell for c in cells if isinstance(c.cell, int)), dtype=np.int64)
        added = sorted((c.site, c.cell) for c in cells if not isinstance(c.cell, int))
        plate = state.plate.name
        annotations = (
            to_take_back(state, cache.table, rows, self._annotator)
            if cls is None
            else annotations_at(plate, state.plate_cells.cells.iloc[rows], cls, kind)
        )
        annotations += tuple(
            item for site, place in added for item in _on_site(plate, site, [place], cls, kind)
        )
        if note is not None:
            annotations = tuple(replace(item, note=note) for item in annotations)
        if not annotations:
            these = "this cell" if len(cells) == 1 else "these cells"
            self.message.emit("info", f"{self._annotator} has not annotated {these}.")
            return False
        before = self._n_conflicts(rows)
        is_recorded = self._annotate(annotations)
        n_new = self._n_conflicts(rows) - before
        if n_new > 0:
            cells_are = "This cell is" if n_new == 1 else f"{n_new:,} of these cells are"
            self.message.emit(
                "info",
                f"{cells_are} annotated otherwise by somebody else, and left out of training until "
                "you agree; the Annotate panel lists such cells.",
            )
        return is_recorded

    def _n_conflicts(self, rows: NDArray[np.int64]) -> int:
        """Count the cells about which people disagree, as far as the person may see it."""
        return 0 if self._rows is None else int((self._rows.classes[rows] == "conflict").sum())

    def annotate_rows(self, rows: NDArray[np.int64], classes: Sequence[str]) -> bool:
        """Annotate found cells of the plate shown, each as its class, as one action."""
        state = self._selection.state
        if state is None:
            return False
        cells, plate = state.plate_cells.cells.iloc[rows], state.plate.name
        annotations = annotations_at(plate, cells, "normal")
        return self._annotate(
            [replace(item, cls=cls) for item, cls in zip(annotations, classes, strict=True)]
        )

    def _annotate(self, annotations: Sequence[Annotation]) -> bool:
        cache = self.cache
        if cache is None or not annotations or not self._are_listed(annotations):
            return False
        # A suggested cell stays one, whatever is said of it later: figures leave it out.
        recorded = [
            replace(
                annotation,
                chosen=cache.chosen_at(annotation.place)
                or self._suggested.get(annotation.place, "hand"),
            )
            for annotation in annotations
        ]
        return self._record(lambda: cache.annotate(recorded, self._annotator)) is not None

    def expect(self, plate: str, site: SiteKey, y_px: float, x_px: float, chosen: str) -> None:
        """Remember how a cell was chosen that is suggested, see `Annotation.chosen`."""
        (place,) = _on_site(plate, site, [(y_px, x_px)], None)
        self._suggested[place.place] = chosen

    def undo(self) -> bool:
        """Undo the annotator's last action, an annotation or a verdict."""
        cache = self.cache
        return cache is not None and self._step(cache.undo, "undo")

    def redo(self) -> bool:
        """Redo what was undone last."""
        cache = self.cache
        return cache is not None and self._step(cache.redo, "redo")

    def _step(self, act: Callable[[str], frozenset[PlateSite] | None], verb: str) -> bool:
        """Undo or redo; says what changed where the person may not be looking."""
        before = self._verdicts()
        changed = self._record(lambda: act(self._annotator), verb)
        plate = self._selection.plate  # the journal knows it by its own name
        shown = None if plate is None else (plate.name, self._selection.site)
        wells = {row[:2] for row in before ^ self._verdicts()}
        if changed and shown not in changed:
            wells = {(place.plate, str(place.site)) for place in changed}
        if wells:
            what = "annotations of" if changed else "the verdict on"
            where = a_few(sorted(f"{name} {place}" for name, place in wells))
            self.message.emit("info", f"{verb.capitalize()} changed {what} {where}.")
        return changed is not None

    def _verdicts(self) -> frozenset[tuple[Any, ...]]:
        """Give plate, well, site and verdict of what was decided, as it was read last."""
        tables = [scored.verdicts for scored in self._models.all_scored]
        columns = ("plate", "well", "site", "verdict")
        return frozenset(row for table in tables for row in rows_of(table, columns))

    def decide(
        self,
        plate: str,
        well: str,
        verdict: str | None,
        *,
        site: int | None = None,
        note: str | None = None,
    ) -> bool:
        """Record a verdict on a well or site, with what the machine says of it now."""
        cache = self.cache
        if cache is None:
            return False
        scored = {item.state.plate.name: item for item in self._models.all_scored}.get(plate)
        try:
            seen = None if scored is None else seen_now(scored, well, site)
            cache.journal.verdict(
                plate, well, verdict, reviewer=self._annotator, site=site, note=note, seen=seen
            )
        except HcsQcError as error:
            self.message.emit("error", str(error))
            return False
        self._models.read_verdicts()
        return True

    def _are_listed(self, annotations: Sequence[Annotation]) -> bool:
        """Whether the assay has the kinds of annotations; says what it lacks."""
        kinds = {annotation.kind for annotation in annotations if annotation.kind is not None}
        try:
            listed_kinds(kinds, self._assay.kinds)
        except HcsQcError as error:
            self.message.emit("error", str(error))
            return False
        return True

    def _record(
        self, act: Callable[[], frozenset[PlateSite] | None], verb: str = ""
    ) -> frozenset[PlateSite] | None:
        """Do what writes to the journal and show it; None, and a message, when nothing was done."""
        try:
            changed = act()
        except HcsQcError as error:
            self.message.emit("error", str(error))
            return None
        if changed is None:
            self.message.emit("info", f"{self._annotator} has nothing to {verb}.")
        elif changed:
            self._announce(changed)
        else:  # an undone verdict
            self._models.read_verdicts()
        return changed

    def read_journal(self) -> None:
        """Show what another window or a command has recorded meanwhile."""
        cache = self.cache
        if cache is None or not cache.has_changed():
            return
        try:
            changed = cache.reload()
            if self.unlisted_kinds():
                self._assay.read_kinds()
        except HcsQcError as error:
            if self.watch.interval() != _WATCH_LOST_MS:  # reported once, not every few seconds
                self._watch_ms = self.watch.interval()
                self.watch.setInterval(_WATCH_LOST_MS)
                self.message.emit("error", str(error))
            return
        if self.watch.interval() == _WATCH_LOST_MS:
            self.watch.setInterval(self._watch_ms)
        if changed:
            self._announce(changed)
        self._models.read_verdicts()

    def _announce(self, changed: frozenset[PlateSite]) -> None:
        plate = self._selection.plate
        if self._rows is not None and plate is not None:
            sites = [place.site for place in changed if place.plate == plate.name]
            for site in sites:
                self._gathered.pop(site, None)
            if len(sites) == 1:  # the site on screen, most often: its cells are needed anyway
                cells = self.cells_of(sites[0])
                if cells is not None:
                    self._rows.take(cells)
            else:
                self._rows.update(sites)
        self.changed.emit(changed)


def _on_site(
    plate: str,
    site: SiteKey,
    positions: Iterable[Iterable[float]],
    cls: str | None,
    kind: str | None = None,
    note: str | None = None,
) -> list[Annotation]:
    return [
        Annotation(
            plate=plate,
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
