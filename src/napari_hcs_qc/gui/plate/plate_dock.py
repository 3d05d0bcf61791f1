"""The plate panel: open, look over the wells, go to a site."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QPoint, QPointF, Qt, Signal
from qtpy.QtWidgets import QLabel, QMenu, QToolButton

from napari_hcs_qc.assay.scoring.well_values import MEASURES, well_values
from napari_hcs_qc.gui.annotate import annotation_files
from napari_hcs_qc.gui.canvas.dock import Dock
from napari_hcs_qc.gui.keys.key_names import AFTER, BEFORE
from napari_hcs_qc.gui.keys.own_keys import shown
from napari_hcs_qc.gui.plate import plate_opening
from napari_hcs_qc.gui.plate.plate_map import PlateMap
from napari_hcs_qc.gui.plate.recent import recent_assays
from napari_hcs_qc.gui.plate.site_pictures import SitePictures
from napari_hcs_qc.gui.plate.well_marks import SITE_EXCLUDED
from napari_hcs_qc.gui.review.well_menu import show_well_menu
from napari_hcs_qc.gui.session.job_bar import JobBar
from napari_hcs_qc.gui.widgets.controls import combo_box, push_button, row, tool_button
from napari_hcs_qc.gui.widgets.following import follow
from napari_hcs_qc.workflow.cell_options import known_nuclear_channel

if TYPE_CHECKING:
    from napari_hcs_qc.plates.plate import SiteKey


_BLIND_MEASURES = ("cell_count", "annotations")  # which tell nothing of a model


class PlateDock(Dock):
    """Plate map, sites of the well, and the way in."""

    value_changed = Signal(object)

    def _make(self) -> None:
        session = self._session
        self.setAcceptDrops(True)
        self._is_stand_in = False  # the cell count, as long as there are no predictions
        self._make_widgets()
        self._back = tool_button("◀", "", lambda: session.selection.step(-1))
        self._forward = tool_button("▶", "", lambda: session.selection.step(1))
        self._lay_out(
            row(self._open, (self._plates, 1)),
            row(QLabel("Colour"), (self._measure, 1)),
            (self._map, 1),
            row(self._back, self._forward, (self._where, 1), self._find),
            self._sites,
            self._jobs,
        )
        self._plates.activated.connect(self._choose_plate)
        self._measure.currentIndexChanged.connect(self._colour)
        self._map.current_changed.connect(self._go_to_well)
        self._map.value_changed.connect(self.value_changed)
        self._map.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self._map.customContextMenuRequested.connect(self._show_menu)
        self._sites.activated.connect(session.selection.go_to)
        session.assay.changed.connect(self._assay_changed)
        session.selection.plate_changed.connect(self._plate_changed)
        session.selection.site_changed.connect(self._site_changed)
        session.models.scored_changed.connect(self._scored_changed)
        follow(session.models.novelty_changed, self, lambda: self._colour_if("novelty"))
        session.models.verdicts_changed.connect(self._scored_changed)
        follow(session.annotations.changed, self, lambda _: self._colour_if("annotations"))
        session.annotations.person_changed.connect(self._person_changed)
        self._assay_changed()
        self._plate_changed()
        self._site_changed(session.selection.site)

    def _make_widgets(self) -> None:
        self._open = tool_button(
            "Open", "Open an assay, create one from a plate, or open a recent one."
        )
        # napari's style leaves no room for the arrow beside the text.
        self._open.setStyleSheet("QToolButton { padding-right: 14px; }")
        self._open.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._menu = QMenu(self._open)
        self._menu.aboutToShow.connect(self._fill_menu)
        self._open.setMenu(self._menu)
        self._plates = combo_box({}, "Plate of the assay to show.", least=8)
        measures = {key: (measure.title, measure.tooltip) for key, measure in MEASURES.items()}
        self._measure = combo_box(measures, "Value that colours the wells.")
        self._map = PlateMap()
        self._sites = SitePictures(self._session)
        self._where = QLabel()
        self._where.setToolTip("The site on screen.")
        self._find = push_button(
            "Find cells",
            "Find the nuclei of every site and measure image quality; needed once per plate.",
            self._find_cells,
        )
        self._jobs = JobBar(self._session.jobs, ("open", "open sample", "cells", "crops"))

    def _write_keys(self) -> None:
        self._back.setToolTip(f"Previous site (key {shown(BEFORE)}).")
        self._forward.setToolTip(f"Next site (key {shown(AFTER)}).")

    def set_alone(self, is_alone: bool) -> None:
        """Offer the rest of the desk, and show what is running: on the desk the guide does."""
        super().set_alone(is_alone)
        self._jobs.setVisible(is_alone)

    # ---- value ---------------------------------------------------------------------------

    def value(self) -> tuple[str, ...]:
        """Give the wells that are selected."""
        return tuple(self._map.value())

    def set_value(self, wells: tuple[str, ...]) -> None:
        """Select wells."""
        self._map.set_value(wells)

    def measure(self) -> str:
        """Give the key of the measure that colours the wells."""
        return str(self._measure.currentData())

    def set_measure(self, key: str) -> None:
        """Colour the wells by another measure."""
        self._measure.setCurrentIndex(self._measure.findData(key))

    @property
    def plate_map(self) -> PlateMap:
        """The map."""
        return self._map

    # ---- opening -------------------------------------------------------------------------

    def _fill_menu(self) -> None:
        session = self._session
        self._menu.clear()
        self._menu.addAction("Open assay…", lambda: plate_opening.ask_for_assay(session, self))
        self._menu.addAction(
            "New assay from a plate…", lambda: plate_opening.ask_for_plate(session, None, self)
        )
        add = self._menu.addAction(
            "Add a plate to this assay…",
            lambda: plate_opening.ask_for_plate(session, None, self, add=True),
        )
        plate = self._plates.currentData()
        of_assay = [
            add,
            self._menu.addAction(
                "Plate map…", lambda: plate_opening.ask_for_platemap(session, self)
            ),
            self._menu.addAction(
                "Import annotations…", lambda: annotation_files.ask_for_annotations(session, self)
            ),
            self._menu.addAction(
                "Export annotations…",
                lambda: annotation_files.ask_where_annotations_go(session, self),
            ),
            self._menu.addAction(
                "Write crops of annotated cells…",
                lambda: annotation_files.ask_where_crops_go(session, "annotated", self),
            ),
            self._menu.addAction(
                "Write crops of all cells…",
                lambda: annotation_files.ask_where_crops_go(session, "predicted", self),
            ),
            self._menu.addAction("Close assay", session.close_assay),
        ]
        self._menu.addSeparator()
        name = str(plate or "the plate").replace("&", "&&")
        of_plate = [
            self._menu.addAction(f"Find the cells of {name}…", self._ask_for_cells),
            self._menu.addAction(
                f"Locate {name} (folder)…", lambda: plate_opening.ask_where(session, plate, self)
            ),
            self._menu.addAction(
                f"Locate {name} (table)…",
                lambda: plate_opening.ask_where(session, plate, self, file=True),
            ),
            self._menu.addAction(
                f"Remove {name}…", lambda: plate_opening.ask_to_remove(session, plate, self)
            ),
        ]
        is_open = session.assay.folder is not None
        for actions, is_offered in ((of_assay, is_open), (of_plate, is_open and plate is not None)):
            for action in actions:
                if action is not None:
                    action.setEnabled(is_offered)
        self._menu.addSeparator()
        for path in recent_assays():
            text = f"{path.name}  ({path.parent})".replace("&", "&&")
            self._menu.addAction(
                text, lambda path=path: plate_opening.open_assay_folder(session, path)
            )

    def _find_cells(self) -> None:
        """Find the cells; where no channel is named like a nuclear stain, ask which it is."""
        plate, folder = self._session.selection.plate, self._session.assay.folder
        is_clear = (
            plate is None
            or folder is None
            or len(plate.channels) == 1
            or known_nuclear_channel(plate, folder.settings) is not None
        )
        if is_clear:
            self._workspace.tasks.find_cells()
        else:
            self._ask_for_cells()

    def _ask_for_cells(self) -> None:
        plate_opening.ask_for_cells(self._workspace.tasks, self._session, self)

    def dragEnterEvent(self, event: Any) -> None:
        """Take files and folders."""
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: Any) -> None:
        """Open the first file or folder that was dropped."""
        paths = [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]
        if paths:
            event.acceptProposedAction()
            plate_opening.open_path(self._session, Path(paths[0]), self)

    # ---- following the session -----------------------------------------------------------

    def _assay_changed(self) -> None:
        self._plates.clear()
        for item in self._session.assay.plates:
            title = item.name if item.plate is not None else f"⚠ {item.name}"
            self._plates.addItem(title, item.name)
        self._plates.setEnabled(self._plates.count() > 0)
        if not self._plates.count():
            self._plates.setPlaceholderText("no assay is open")

    def _choose_plate(self, index: int) -> None:
        self._session.selection.show_plate(str(self._plates.itemData(index)))

    def _plate_changed(self) -> None:
        selection = self._session.selection
        shown, plate, state = selection.open_plate, selection.plate, selection.state
        self._find.setVisible(plate is not None and state is None)
        if plate is None:
            self._map.set_plate(None)
            self._where.setText("" if shown is None else shown.problem)
            self._sites.set_well(None, None)
            return
        if shown is not None:
            self._plates.setCurrentIndex(self._plates.findData(shown.name))
        unreadable: dict[str, str] = {}
        if state is not None:
            bad = state.plate_cells.unreadable
            for well in plate.wells:
                sites = [site for site in plate.sites if site.well == well]
                if all(site in bad for site in sites):
                    unreadable[well] = bad[sites[0]]
        self._map.set_plate(plate.shape, frozenset(plate.wells), unreadable)
        is_scored = self._session.shown_scored is not None
        if not is_scored and self.measure() != "cell_count" and state is not None:
            self.set_measure("cell_count")
            self._is_stand_in = True
        self._colour()

    def _person_changed(self) -> None:
        """Show what blind mode lets the person see: no predictions, flags and verdicts."""
        if self._session.annotations.is_blind and self.measure() not in _BLIND_MEASURES:
            self.set_measure("cell_count")
            self._is_stand_in = True
        model: Any = self._measure.model()
        for index in range(self._measure.count()):
            is_offered = self._measure.itemData(index) in _BLIND_MEASURES
            model.item(index).setEnabled(is_offered or not self._session.annotations.is_blind)
        self._scored_changed()

    def _scored_changed(self) -> None:
        scored, site = self._session.shown_scored, self._session.selection.site
        if self._is_stand_in and scored is not None and self.measure() == "cell_count":
            self.set_measure("share_abnormal")  # what the person has waited for
            self._is_stand_in = False
        self._colour()
        if site is not None:  # other sites may be flagged now
            self._sites.set_well(site.well, scored)

    def _colour_if(self, measure: str) -> None:
        if self.measure() == measure:
            self._colour()

    def _colour(self, *_: object) -> None:
        session = self._session
        plate, state = session.selection.plate, session.selection.state
        cache, scored = session.annotations.shown, session.shown_scored
        if plate is None:
            return
        values = well_values(
            self.measure(),
            plate,
            plate_cells=None if state is None else state.plate_cells,
            scored=scored,
            annotations=None if cache is None else cache.table,
        )
        self._map.set_values(values)
        if scored is None:
            self._map.set_marks({}, {})
            return
        wells = scored.scores.wells
        wells = wells[wells["is_flagged"]]
        flagged = dict(zip(wells["well"], wells["flag_reason"], strict=True))
        is_whole = scored.verdicts["site"].isna()
        whole, single = scored.verdicts[is_whole], scored.verdicts[~is_whole]
        # A word on the whole well stands above those on its sites.
        marks = dict.fromkeys(single.loc[single["verdict"] == "exclude", "well"], SITE_EXCLUDED)
        self._map.set_marks(
            flagged, marks | dict(zip(whole["well"], whole["verdict"], strict=True))
        )

    def _show_menu(self, point: QPoint) -> None:
        """Open the menu of the well under the mouse, or of all that are selected with it."""
        well, chosen = self._map.grid().well_at(QPointF(point)), self._map.value()
        if well is None or well not in self._map.imaged:
            return
        wells = (well, *(other for other in chosen if other != well and well in chosen))
        show_well_menu(
            self._session, wells, self._map.mapToGlobal(point), self, self._map.set_current
        )

    def _go_to_well(self, well: str) -> None:
        selection, scored = self._session.selection, self._session.shown_scored
        plate, shown = selection.plate, selection.site
        if plate is None or (shown is not None and shown.well == well):
            return
        sites = [site for site in plate.sites if site.well == well]
        if not sites:
            return
        worst = sites[0]
        if scored is not None:
            wells = scored.scores.wells
            numbers = wells.loc[wells["well"] == well, "worst_site"].to_numpy()
            worst = next((site for site in sites if site.site in numbers), worst)
        selection.go_to(worst)

    def _site_changed(self, site: SiteKey | None) -> None:
        if site is None:
            self._where.setText("")
            return
        self._map.set_current(site.well)
        self._where.setText(f"{site.well}, site {site.site}")
        self._sites.set_well(site.well, self._session.shown_scored)
