"""The sites of a well side by side, their thumbnails read in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_hcs_qc.assay.views.montage import site_pictures
from napari_hcs_qc.gui.canvas.layers import picture_style
from napari_hcs_qc.gui.plate.thumbnails import SiteStrip

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_hcs_qc.assay.scoring.plate_scores import ScoredPlate
    from napari_hcs_qc.gui.session.session import Session
    from napari_hcs_qc.plates.plate import SiteKey


class SitePictures(QWidget):
    """A strip of the sites of one well of the plate shown."""

    activated = Signal(object)

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._well: str | None = None
        self._source: object = None
        self._slot = f"sites {id(self)}"
        self._strip = SiteStrip()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._strip)
        self._strip.value_changed.connect(self.activated)
        session.selection.site_changed.connect(self._follow)

    def value(self) -> SiteKey | None:
        """Give the site that is marked."""
        return self._strip.value()

    def set_well(self, well: str | None, scored: ScoredPlate | None) -> None:
        """Show the sites of a well of the plate on screen; None shows nothing."""
        session = self._session
        shown, cache = session.selection.open_plate, session.selection.cache
        is_known = well is not None and shown is not None and shown.plate is not None
        sites: list[SiteKey] = []
        if is_known and shown is not None and shown.plate is not None:
            sites = [site for site in shown.plate.sites if site.well == well]
        flagged: set[SiteKey] = set()
        unreadable: set[SiteKey] = set()
        verdicts: dict[SiteKey, str] = {}
        if scored is not None:
            table = scored.scores.sites
            mine = table[(table["well"] == well) & table["is_flagged"]]
            flagged = {site for site in sites if site.site in set(mine["site"])}
            on_sites = scored.verdicts[scored.verdicts["well"] == well].dropna(subset=["site"])
            numbers = dict(zip(on_sites["site"].astype(int), on_sites["verdict"], strict=True))
            verdicts = {site: numbers[site.site] for site in sites if site.site in numbers}
        if session.selection.state is not None:
            unreadable = {
                site for site in sites if site in session.selection.state.plate_cells.unreadable
            }
        is_same = well == self._well and self._source is cache
        self._well, self._source = well, cache
        was_blocked = self._strip.blockSignals(True)  # only what the person does is signalled
        self._strip.set_sites(sites, flagged, unreadable, verdicts)
        self._strip.blockSignals(was_blocked)
        if is_same and sites:
            return
        self._follow(session.selection.site)
        if not sites or cache is None or shown is None or shown.plate is None:
            return
        if shown.ranges is None:
            return
        job = session.jobs.start(
            f"Sites of {well}",
            site_pictures,
            sites,
            cache,
            shown.ranges,
            picture_style(shown.plate),
            slot=self._slot,
            quiet=True,
        )
        job.finished.connect(self._show)

    def _show(self, pictures: dict[SiteKey, NDArray[np.uint8] | None]) -> None:
        for site, picture in pictures.items():
            if picture is not None:
                self._strip.set_picture(site, picture)

    def _follow(self, site: SiteKey | None) -> None:
        if site is not None and site.well == self._well:
            was_blocked = self._strip.blockSignals(True)
            self._strip.set_value(site)
            self._strip.blockSignals(was_blocked)
