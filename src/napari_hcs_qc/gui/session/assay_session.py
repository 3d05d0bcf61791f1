"""The assay that a viewer has open, and the plate and site that it shows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_hcs_qc.assay.annotations.annotation_cache import PlateSite
from napari_hcs_qc.assay.store.open_windows import OpenWindows
from napari_hcs_qc.assay.views.annotated_rows import AnnotatedRows
from napari_hcs_qc.assay.views.first_cells import N_STARTING, starting_cells
from napari_hcs_qc.assay.views.gallery_order import suggest_next
from napari_hcs_qc.assay.views.open_assay import OpenAssay, OpenPlate, open_assay
from napari_hcs_qc.assay.views.site_cells import SiteCells, site_cells
from napari_hcs_qc.gui.session.background_jobs import BackgroundJobs
from napari_hcs_qc.plates.plate import SiteKey
from napari_hcs_qc.plates.site_cache import SiteCache

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_hcs_qc.assay.annotations.annotation_cache import AnnotationCache
    from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.assay.store.saved_model import Model
    from napari_hcs_qc.gui.session.background_jobs import BackgroundJob
    from napari_hcs_qc.plates.plate import Plate

_WATCH_MS = 3000
_SETTLE_MS = 50  # the image is painted by then, also without a graphics card


class AssaySession(QObject):
    """What is open and shown; `Session` adds what people and the machine say of it."""

    assay_changed = Signal()
    plate_changed = Signal()
    site_changed = Signal(object)
    annotations_changed = Signal(object)
    scored_changed = Signal()
    novelty_changed = Signal()
    threshold_changed = Signal(float)
    verdicts_changed = Signal()
    cell_chosen = Signal(object)
    person_changed = Signal()
    embeddings_changed = Signal()
    settled = Signal()
    told = Signal(str, str)
    closing = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.jobs = BackgroundJobs(self)
        self._open: OpenAssay | None = None
        self._open_windows: OpenWindows | None = None
        self._plate_name: str | None = None
        self._site: SiteKey | None = None
        self._cache: SiteCache | None = None
        self._annotated: AnnotatedRows | None = None
        self._suggested: list[int] = []
        self._starting: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._gathered: dict[SiteKey, tuple[ScoredPlate | None, SiteCells]] = {}
        self._scored: dict[str, ScoredPlate] = {}
        self._measured: dict[
            str, ScoredPlate
        ] = {}  # with the column `novelty`, by the model in use
        self._model: Model | None = None
        self._embeddings: dict[str, NDArray[np.floating[Any]]] = {}
        self._threshold = 0.5
        self._is_blind = False
        self._watch = QTimer(self)  # of the journal, while an assay is open
        self._watch.setInterval(_WATCH_MS)
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(_SETTLE_MS)
        self._settle.timeout.connect(self.settled)
        for signal in (
            self.annotations_changed,
            self.scored_changed,
            self.novelty_changed,
            self.verdicts_changed,
        ):
            signal.connect(self._unsettle)

    # ---- the assay -----------------------------------------------------------------------

    @property
    def assay(self) -> AssayFolder | None:
        """The open assay."""
        return None if self._open is None else self._open.folder

    @property
    def plates(self) -> tuple[OpenPlate, ...]:
        """Plates of the open assay."""
        return () if self._open is None else tuple(self._open.plates.values())

    @property
    def live(self) -> AnnotationCache | None:
        """What people have said."""
        return None if self._open is None else self._open.live

    @property
    def model(self) -> Model | None:
        """The model whose predictions are shown."""
        return self._model

    def open(self, path: Path, plate: str | None = None) -> BackgroundJob:
        """Open an assay in the background; the one that is open is closed when this is ready."""
        job = self.jobs.start(f"Opening {path.name}", open_assay, path, slot="open")
        job.finished.connect(lambda found: self.take(found, plate))
        job.failed.connect(lambda text: self.told.emit("error", text))
        return job

    def take(self, found: OpenAssay, plate: str | None = None) -> None:
        """Work on an assay that was opened."""
        if self._open is not None:
            self.close_assay()
        self._open = found
        self._model = found.model
        self._scored = {
            name: one.scored for name, one in found.plates.items() if one.scored is not None
        }
        self._threshold = found.threshold
        self._open_windows = OpenWindows.enter(found.folder.path)
        for person in self._open_windows.others:
            self.told.emit(
                "warning",
                f"This assay is also open in another window ({person}). Annotations of both are "
                "kept and appear in either; train in one of them only.",
            )
        for problem in (found.problem, *(one.problem for one in found.plates.values())):
            if problem:
                self.told.emit("warning", problem)
        self._watch.start()
        self.assay_changed.emit()
        names = [name for name, one in found.plates.items() if one.plate is not None]
        if plate is not None and plate in found.plates:
            self.show_plate(plate)
        elif names:
            self.show_plate(names[0])

    def close_assay(self) -> None:
        """End all work on the assay and forget it; everything said is on the disk already."""
        if self._open is None:
            return
        self._watch.stop()
        self._settle.stop()
        self.jobs.cancel_all()
        self._leave_plate()
        if self._open_windows is not None:
            self._open_windows.leave()
            self._open_windows = None
        self._open, self._model = None, None
        self._scored, self._measured, self._embeddings = {}, {}, {}
        self.site_changed.emit(None)
        self.plate_changed.emit()
        self.assay_changed.emit()

    def close(self) -> None:
        """End everything, when the viewer closes."""
        self.closing.emit()
        self.jobs.close()
        self.close_assay()

    # ---- the plate and the site ----------------------------------------------------------

    @property
    def open_plate(self) -> OpenPlate | None:
        """The plate shown, with what is known of it."""
        if self._open is None or self._plate_name is None:
            return None
        return self._open.plates.get(self._plate_name)

    @property
    def plate(self) -> Plate | None:
        """The images of the plate shown."""
        shown = self.open_plate
        return None if shown is None else shown.plate

    @property
    def state(self) -> PlateState | None:
        """The plate shown with its cells, and the annotations as they were when it was loaded."""
        shown = self.open_plate
        return None if shown is None else shown.state

    @property
    def scored(self) -> ScoredPlate | None:
        """The plate shown as the model in use judges it."""
        return None if self._plate_name is None else self._scored.get(self._plate_name)

    @property
    def scored_plates(self) -> dict[str, ScoredPlate]:
        """All judged plates by their name in the assay, in its order."""
        return {one.name: self._scored[one.name] for one in self.plates if one.name in self._scored}

    @property
    def all_scored(self) -> tuple[ScoredPlate, ...]:
        """All judged plates, in the order of the assay."""
        return tuple(self.scored_plates.values())

    @property
    def embeddings(self) -> NDArray[np.floating[Any]] | None:
        """Rows of the found cells of the plate shown; None until they were loaded or computed."""
        return None if self._plate_name is None else self._embeddings.get(self._plate_name)

    @property
    def annotated(self) -> AnnotatedRows | None:
        """What people say of each found cell of the plate shown."""
        return self._annotated

    @property
    def cache(self) -> SiteCache | None:
        """Pixels of the plate shown."""
        return self._cache

    @property
    def site(self) -> SiteKey | None:
        """The site shown."""
        return self._site

    def show_plate(self, name: str) -> None:
        """Show another plate of the assay, at its first site."""
        if self._open is None or name not in self._open.plates:
            return
        self._leave_plate()
        self._plate_name = name
        shown = self._open.plates[name]
        if shown.plate is not None:
            projection = "max" if shown.state is None else shown.state.found.projection
            self._cache = SiteCache(shown.plate, projection=projection)
        if shown.state is not None:
            found = shown.state.found
            self._annotated = AnnotatedRows(
                shown.state.plate.name, found, shown.state.by_site, self._open.live
            )
        self.plate_changed.emit()
        self.find_starting_cells()
        if shown.plate is not None and shown.plate.sites:
            self.go_to(shown.plate.sites[0])

    def plate_is_new(self, name: str, loaded: OpenPlate) -> None:
        """Take in what has become known of a plate, such as its cells."""
        if self._open is None:
            return
        self._open = replace(self._open, plates={**self._open.plates, name: loaded})
        if loaded.scored is not None:
            self._scored[name] = loaded.scored
        self.assay_changed.emit()
        if name == self._plate_name or self._plate_name is None:
            site = self._site
            self.show_plate(name)
            if site is not None and self.plate is not None and site in self.plate.sites:
                self.go_to(site)

    def go_to(self, site: SiteKey) -> None:
        """Show a site of the plate."""
        if self.plate is None:
            return
        self._site = site
        self.site_changed.emit(site)

    def go_to_cell(self, plate: str, site: SiteKey, y_px: float, x_px: float) -> None:
        """Show a cell in its site."""
        if plate != self._plate_name:
            self.show_plate(plate)
        if site != self._site:
            self.go_to(site)
        self.cell_chosen.emit((y_px, x_px))

    def go_to_suggested(self) -> None:
        """Show the cell whose annotation would teach the model most."""
        state, said, plate = self.state, self._annotated, self.plate
        if state is None or said is None or plate is None:
            self.told.emit("info", "There are no cells to suggest yet; find the cells first.")
            return
        p_abnormal = np.full(len(state.found.cells), np.nan)
        if self.scored is not None and not self._is_blind:
            p_abnormal = self.scored.prediction.table["p_abnormal"].to_numpy()[: len(p_abnormal)]
        row = suggest_next(
            p_abnormal,
            np.array([word is not None for word in said.classes], dtype=bool),
            state.by_site.code,
            seen=self._suggested,
            starting=self._starting,
            threshold=self._threshold,
        )
        if row is None:
            self.told.emit("info", "Every cell of this plate was annotated or suggested.")
            return
        self._suggested.append(row)
        cell = state.found.cells.iloc[row]
        site = SiteKey(str(cell["well"]), int(cell["site"]))
        self.go_to_cell(plate.name, site, float(cell["y_px"]), float(cell["x_px"]))

    def find_starting_cells(self) -> None:
        """Choose in the background which cells of the plate shown are annotated first."""
        rows, name = self.embeddings, self._plate_name
        said = self._annotated
        if rows is None or said is None:
            return
        if sum(word is not None for word in said.classes) >= N_STARTING:
            return
        job = self.jobs.start("Starting cells", starting_cells, rows, slot="starting", quiet=True)
        job.finished.connect(lambda found: self._begin_with(name, found))
        job.failed.connect(lambda text: self.told.emit("warning", text))

    def _begin_with(self, plate: str | None, rows: NDArray[np.int64]) -> None:
        if plate == self._plate_name:
            self._starting = rows

    def step(self, by: int) -> None:
        """Show the next site of the plate, or the one before."""
        if self.plate is None or self._site is None:
            return
        sites = self.plate.sites
        self.go_to(sites[(sites.index(self._site) + by) % len(sites)])

    def cells_of(self, site: SiteKey) -> SiteCells | None:
        """Gather the cells of a site of the plate shown; None before cells were found."""
        state, live = self.state, self.live
        if state is None or live is None:
            return None
        known = self._gathered.get(site)
        if known is None or known[0] is not self.scored:
            said = live.at_site(self._where(site))
            cells = site_cells(state.found, state.by_site, site, said, self.scored)
            self._gathered = {site: (self.scored, cells)}  # the site on screen, most often
            return cells
        return known[1]

    def _where(self, site: SiteKey) -> PlateSite:
        shown = self.open_plate
        assert shown is not None
        # The journal knows a plate by the name it was opened with.
        return PlateSite(shown.name if shown.plate is None else shown.plate.name, site)

    @property
    def is_settled(self) -> bool:
        """Whether `settled` has followed what changed last."""
        return not self._settle.isActive()

    def _unsettle(self, *_: object) -> None:
        if not self._settle.isActive():  # not put off for as long as somebody clicks
            self._settle.start()

    def _leave_plate(self) -> None:
        if self._cache is not None:
            self._cache.close(timeout_s=0)  # a disk that hangs must not hang the window
        self._cache, self._annotated = None, None
        self._suggested, self._gathered = [], {}
        self._starting = np.empty(0, dtype=np.int64)
        self._plate_name, self._site = None, None
