"""Thumbnails of wells in a table: the worst site of each, read when its row is in sight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer
from qtpy.QtGui import QPixmap

from napari_hcs_qc.assay.views.montage import site_pictures
from napari_hcs_qc.gui.canvas.layers import picture_style
from napari_hcs_qc.gui.widgets.controls import to_image
from napari_hcs_qc.plates.plate import SiteKey

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_hcs_qc.gui.review.review_table import ReviewTable
    from napari_hcs_qc.gui.session.session import Session

_LOOK_MS = 150  # once a hand that scrolls rests
_LONGER_PX = 64


class WellPictures(QObject):
    """Puts them into the rows of a table, for wells of the plate on screen."""

    def __init__(self, session: Session, table: ReviewTable) -> None:
        super().__init__(table)
        self._session, self._table = session, table
        self._is_on = False
        self._pictures: dict[SiteKey, QPixmap | None] = {}
        self._plate: object = None
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(_LOOK_MS)
        self._later.timeout.connect(self._request)
        bar = table.verticalScrollBar()
        assert bar is not None
        bar.valueChanged.connect(self.refresh)
        table.rows_changed.connect(self.refresh)
        session.selection.plate_changed.connect(self.refresh)

    def set_on(self, is_on: bool) -> None:
        """Show pictures, in rows high enough for them, or none."""
        self._is_on = is_on
        self._table.set_tall(is_on)
        self.refresh()

    def refresh(self, *_: object) -> None:
        """Show what there is, and soon what is missing in sight."""
        if self._plate is not self._session.selection.plate:
            self._plate, self._pictures = self._session.selection.plate, {}
        if self._is_on:
            self._write()
            self._later.start()

    def _sites(self) -> dict[int, SiteKey]:
        """Give the sites of the rows in sight that are of the plate on screen."""
        plate = self._session.selection.plate
        entries = self._table.entries
        return {
            row: SiteKey(entries[row].well, entries[row].worst_site)
            for row in self._table.rows_in_sight()
            if plate is not None and entries[row].plate == plate.name
        }

    def _write(self) -> None:
        for row, site in self._sites().items():
            picture = self._pictures.get(site)
            if picture is not None:
                self._table.set_picture(row, picture)

    def _request(self) -> None:
        session = self._session
        shown, cache = session.selection.open_plate, session.selection.cache
        missing = [site for site in self._sites().values() if site not in self._pictures]
        if not self._is_on or not missing or cache is None or shown is None:
            return
        if shown.plate is None or shown.ranges is None:
            return
        job = session.jobs.start(
            "Pictures of wells",
            site_pictures,
            missing,
            cache,
            shown.ranges,
            picture_style(shown.plate),
            longer_px=_LONGER_PX,
            slot="well pictures",
            quiet=True,
        )
        job.finished.connect(self._take)

    def _take(self, pictures: dict[SiteKey, NDArray[np.uint8] | None]) -> None:
        for site, picture in pictures.items():
            known = None if picture is None else QPixmap.fromImage(to_image(picture))
            self._pictures[site] = known
        self._write()
