"""The plate and the site that a session shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qtpy.QtCore import QObject, Signal

from napari_hcs_qc.plates.site_cache import SiteCache

if TYPE_CHECKING:
    from napari_hcs_qc.assay.store.plate_state import PlateState
    from napari_hcs_qc.assay.views.open_assay import OpenPlate
    from napari_hcs_qc.gui.session.session_assay import SessionAssay
    from napari_hcs_qc.plates.plate import Plate, SiteKey


class CellId(NamedTuple):
    """A cell of the plate shown, whatever list it is in."""

    site: SiteKey
    cell: int | tuple[float, float]  # `cell_id` of a found cell; (y, x) of one that people added


class Selection(QObject):
    """Which plate, site and cell are looked at."""

    plate_changed = Signal()
    site_changed = Signal(object)
    cell_chosen = Signal(object)

    def __init__(self, assay: SessionAssay, parent: QObject) -> None:
        super().__init__(parent)
        self._assay = assay
        self._plate_name: str | None = None
        self._site: SiteKey | None = None
        self._cache: SiteCache | None = None

    @property
    def plate_name(self) -> str | None:
        """Name of the plate shown."""
        return self._plate_name

    @property
    def open_plate(self) -> OpenPlate | None:
        """The plate shown, with what is known of it."""
        return self._assay.plate(self._plate_name)

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
    def cache(self) -> SiteCache | None:
        """Pixels of the plate shown."""
        return self._cache

    @property
    def site(self) -> SiteKey | None:
        """The site shown."""
        return self._site

    def show_plate(self, name: str, site: SiteKey | None = None) -> None:
        """Show another plate of the assay, at a site or else its first."""
        shown = self._assay.plate(name)
        if shown is None:
            return
        self.leave()
        self._plate_name = name
        if shown.plate is not None:
            projection = "max" if shown.state is None else shown.state.plate_cells.projection
            self._cache = SiteCache(shown.plate, projection=projection)
        self.plate_changed.emit()
        if shown.plate is not None and shown.plate.sites:
            self.go_to(site or shown.plate.sites[0])

    def leave(self) -> None:
        """Show no plate; the signals are left to the caller."""
        if self._cache is not None:
            self._cache.close(timeout_s=0)  # a disk that hangs must not hang the window
        self._cache, self._plate_name, self._site = None, None, None

    def go_to(self, site: SiteKey) -> None:
        """Show a site of the plate."""
        if self.plate is not None:
            self._site = site
            self.site_changed.emit(site)

    def go_to_cell(self, plate: str, site: SiteKey, y_px: float, x_px: float) -> None:
        """Show a cell in its site."""
        if plate != self._plate_name:
            self.show_plate(plate, site)
        elif site != self._site:
            self.go_to(site)
        self.cell_chosen.emit((y_px, x_px))

    def step(self, by: int) -> None:
        """Show the next site of the plate, or the one before."""
        if self.plate is not None and self._site is not None:
            sites = self.plate.sites
            self.go_to(sites[(sites.index(self._site) + by) % len(sites)])
