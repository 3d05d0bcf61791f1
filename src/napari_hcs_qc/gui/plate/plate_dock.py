"""The plate panel: open, look over the wells, go to a site."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_hcs_qc.assay.scoring.well_values import MEASURES, well_values
from napari_hcs_qc.gui.canvas.workspace import workspace_of
from napari_hcs_qc.gui.plate import plate_opening
from napari_hcs_qc.gui.plate.plate_map import PlateMap
from napari_hcs_qc.gui.plate.recent import recent_assays
from napari_hcs_qc.gui.plate.site_pictures import SitePictures
from napari_hcs_qc.gui.session.job_bar import JobBar

if TYPE_CHECKING:
    import napari.components

    from napari_hcs_qc.gui.canvas.workspace import Workspace
    from napari_hcs_qc.plates.plate import SiteKey


class PlateDock(QWidget):
    """Plate map, sites of the well, and the way in."""

    value_changed = Signal(object)

    # The annotation is what napari looks for, letter by letter, to pass its viewer.
    def __init__(
        self, viewer: napari.components.ViewerModel, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._workspace: Workspace = workspace_of(viewer)
        session = self._workspace.session
        self.setAcceptDrops(True)
        self._open = QToolButton()
        self._open.setText("Open")
        # napari's style leaves no room for the arrow beside the word.
        self._open.setStyleSheet("QToolButton { padding-right: 14px; }")
        self._open.setToolTip("Open an assay, create one from a plate, or open a recent one.")
        self._open.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._menu = QMenu(self._open)
        self._menu.aboutToShow.connect(self._fill_menu)
        self._open.setMenu(self._menu)
        self._plates = QComboBox()
        self._plates.setToolTip("Plate of the assay to show.")
        self._plates.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self._plates.setMinimumContentsLength(8)
        self._measure = QComboBox()
        for key, measure in MEASURES.items():
            self._measure.addItem(measure.title, key)
            self._measure.setItemData(self._measure.count() - 1, measure.tooltip, 3)  # Qt.ToolTip
        self._measure.setToolTip("Value that colours the wells.")
        self._is_stand_in = False  # the cell count, as long as there are no predictions
        self._map = PlateMap()
        self._sites = SitePictures(session)
        self._where = QLabel()
        self._where.setToolTip("The site on screen.")
        self._find = QPushButton("Find cells")
        self._find.setToolTip(
            "Find the nuclei of every site and measure image quality; needed once per plate."
        )
        self._jobs = JobBar(session.jobs, ("open", "open sample", "cells"))
        self._lay_out()

        self._plates.activated.connect(self._choose_plate)
        self._measure.currentIndexChanged.connect(self._colour)
        self._map.current_changed.connect(self._go_to_well)
        self._map.value_changed.connect(self.value_changed)
        self._sites.activated.connect(session.go_to)
        self._find.clicked.connect(lambda: self._workspace.tasks.find_cells())
        session.assay_changed.connect(self._assay_changed)
        session.plate_changed.connect(self._plate_changed)
        session.site_changed.connect(self._site_changed)
        session.scored_changed.connect(self._scored_changed)
        session.novelty_changed.connect(self._novelty_changed)
        session.verdicts_changed.connect(self._colour)
        session.annotations_changed.connect(self._annotations_changed)
        self._assay_changed()
        self._plate_changed()

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.addWidget(self._open)
        top.addWidget(self._plates, 1)
        top.addWidget(QLabel("Colour"))
        top.addWidget(self._measure, 1)
        steps = QHBoxLayout()
        for text, tip, by in (
            ("◀", "Previous site (key [ on the canvas)", -1),
            ("▶", "Next site (key ] on the canvas)", 1),
        ):
            button = QToolButton()
            button.setText(text)
            button.setToolTip(tip)
            button.clicked.connect(lambda _checked=False, by=by: self._workspace.session.step(by))
            steps.addWidget(button)
        where = QVBoxLayout()
        where.addWidget(self._where)
        where.addLayout(steps)
        where.addWidget(self._find)
        where.addStretch(1)
        below = QHBoxLayout()
        below.addWidget(self._sites, 1)
        below.addLayout(where)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 4, 6, 4)
        layout.setSpacing(4)
        layout.addLayout(top)
        layout.addWidget(self._map, 1)
        layout.addLayout(below)
        layout.addWidget(self._jobs)

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
        session = self._workspace.session
        self._menu.clear()
        self._menu.addAction("Open assay…", lambda: plate_opening.ask_for_assay(session, self))
        self._menu.addAction(
            "New assay from a plate…", lambda: plate_opening.ask_for_plate(session, None, self)
        )
        add = self._menu.addAction(
            "Add a plate to this assay…",
            lambda: plate_opening.ask_for_plate(session, None, self, add=True),
        )
        close = self._menu.addAction("Close assay", session.close_assay)
        for action in (add, close):
            if action is not None:
                action.setEnabled(session.assay is not None)
        self._menu.addSeparator()
        for path in recent_assays():
            text = f"{path.name}  ({path.parent})".replace("&", "&&")
            self._menu.addAction(
                text, lambda path=path: plate_opening.open_assay_folder(session, path)
            )

    def dragEnterEvent(self, event: Any) -> None:
        """Take files and folders."""
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: Any) -> None:
        """Open the first file or folder that was dropped."""
        paths = [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]
        if paths:
            event.acceptProposedAction()
            plate_opening.open_path(self._workspace.session, Path(paths[0]), self)

    # ---- following the session -----------------------------------------------------------

    def _assay_changed(self) -> None:
        session = self._workspace.session
        self._plates.clear()
        for one in session.plates:
            self._plates.addItem(one.name if one.plate is not None else f"⚠ {one.name}", one.name)
        self._plates.setEnabled(self._plates.count() > 0)
        if not self._plates.count():
            self._plates.setPlaceholderText("no assay is open")

    def _choose_plate(self, index: int) -> None:
        self._workspace.session.show_plate(str(self._plates.itemData(index)))

    def _plate_changed(self) -> None:
        session = self._workspace.session
        shown, plate = session.open_plate, session.plate
        self._find.setVisible(plate is not None and session.state is None)
        if plate is None:
            self._map.set_plate(None)
            self._where.setText("" if shown is None else shown.problem)
            self._sites.set_well(None, None)
            return
        if shown is not None:
            self._plates.setCurrentIndex(self._plates.findData(shown.name))
        unreadable: dict[str, str] = {}
        if session.state is not None:
            bad = session.state.found.unreadable
            for well in plate.wells:
                sites = [site for site in plate.sites if site.well == well]
                if all(site in bad for site in sites):
                    unreadable[well] = bad[sites[0]]
        self._map.set_plate(plate.shape, frozenset(plate.wells), unreadable)
        if session.scored is None and self.measure() != "cell_count" and session.state is not None:
            self.set_measure("cell_count")
            self._is_stand_in = True
        self._colour()

    def _scored_changed(self) -> None:
        session = self._workspace.session
        if self._is_stand_in and session.scored is not None and self.measure() == "cell_count":
            self.set_measure("share_abnormal")  # what the person has waited for
            self._is_stand_in = False
        self._colour()
        if session.site is not None:  # other sites may be flagged now
            self._sites.set_well(session.site.well, session.scored)

    def _novelty_changed(self) -> None:
        if self.measure() == "novelty":
            self._colour()

    def _annotations_changed(self, _changed: object) -> None:
        if self.measure() == "annotations":
            self._colour()

    def _colour(self, *_: object) -> None:
        session = self._workspace.session
        if session.plate is None:
            return
        live = session.live
        values = well_values(
            self.measure(),
            session.plate,
            found=None if session.state is None else session.state.found,
            scored=session.scored,
            annotations=None if live is None else live.table,
        )
        self._map.set_values(values)
        scored = session.scored
        if scored is None:
            self._map.set_marks(frozenset(), {})
            return
        wells = scored.scores.wells
        wells = wells[wells["is_flagged"]]
        flagged = dict(zip(wells["well"], wells["flag_reason"], strict=True))
        whole = scored.verdicts[scored.verdicts["site"].isna()]
        self._map.set_marks(flagged, dict(zip(whole["well"], whole["verdict"], strict=True)))

    def _go_to_well(self, well: str) -> None:
        session = self._workspace.session
        if session.plate is None or (session.site is not None and session.site.well == well):
            return
        sites = [site for site in session.plate.sites if site.well == well]
        if not sites:
            return
        worst = sites[0]
        if session.scored is not None:
            wells = session.scored.scores.wells
            numbers = wells.loc[wells["well"] == well, "worst_site"].to_numpy()
            worst = next((site for site in sites if site.site in numbers), worst)
        session.go_to(worst)

    def _site_changed(self, site: SiteKey | None) -> None:
        if site is None:
            self._where.setText("")
            return
        was_blocked = self._map.blockSignals(True)
        self._map.set_current(site.well)
        self._map.blockSignals(was_blocked)
        self._where.setText(f"{site.well}, site {site.site}")
        self._sites.set_well(site.well, self._workspace.session.scored)
