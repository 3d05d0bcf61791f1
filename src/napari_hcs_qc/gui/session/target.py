"""The cells that a key acts on: one object that everybody asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QApplication, QMessageBox

from napari_hcs_qc.gui.session.selection import CellId
from napari_hcs_qc.gui.widgets.following import is_open
from napari_hcs_qc.text import count_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_hcs_qc.assay.views.site_cells import SiteCells
    from napari_hcs_qc.gui.session.selection import Selection
    from napari_hcs_qc.gui.session.session_annotations import SessionAnnotations
    from napari_hcs_qc.plates.plate import SiteKey

    Sight = Callable[[frozenset[CellId]], frozenset[CellId]]

_MANY = 500  # cells; to annotate more at once is asked about first
_NONE: frozenset[CellId] = frozenset()


class Target(QObject):
    """The cells that a key or a button annotates; image and gallery draw them in a bright frame.

    That is the cell under the pointer once the mouse has moved, else what is selected. Several
    selected cells do not give way to the pointer until they were annotated. What is out of sight,
    in the image and the gallery, is no target.
    """

    changed = Signal()
    selected = Signal()
    message = Signal(str, str)

    def __init__(
        self, selection: Selection, annotations: SessionAnnotations, parent: QObject
    ) -> None:
        super().__init__(parent)
        self.goes_on = True  # after a class key, to the next cell that is suggested
        self._shown, self._annotations = selection, annotations
        self._cells = self._selection = _NONE
        self._site: SiteKey | None = None  # of what was selected in the image
        self._is_annotated = False  # what is selected, since it was
        self._next: Callable[[], object] | None = None
        self._here: dict[CellId, int] = {}  # cells of the site on screen, and their indices
        self._on_screen: SiteCells | None = None
        self._pointer: tuple[float, float] | None = None
        self._has_moved = False  # the pointer, since cells were selected
        self._sights: list[Sight] = []
        selection.plate_changed.connect(self._plate_changed)
        selection.site_changed.connect(self._site_changed)
        selection.cell_chosen.connect(self._select_at)

    # ---- what it is ----------------------------------------------------------------------

    @property
    def cells(self) -> frozenset[CellId]:
        """The cells that a key acts on now."""
        return self._cells

    @property
    def selection(self) -> frozenset[CellId]:
        """The cells that are selected, whether a key would act on them now or not."""
        return self._selection

    @property
    def is_of_image(self) -> bool:
        """Whether the cells were selected in the image, and not in the gallery."""
        return self._site is not None

    def here(self, cells: frozenset[CellId]) -> dict[CellId, int]:
        """Give those that are at the site on screen, with their indices there."""
        return {cell: index for cell, index in self._here.items() if cell in cells}

    def in_sight(self, cells: frozenset[CellId]) -> frozenset[CellId]:
        """Give those that can be seen now, in the image or the gallery."""
        if not cells:
            return _NONE
        self._sights = [sight for sight in self._sights if is_open(_owner(sight))]
        return _NONE.union(*(sight(cells) for sight in self._sights))

    # ---- what it follows -----------------------------------------------------------------

    def add_sight(self, sight: Sight) -> None:
        """Ask this, too, which of some cells can be seen, until its widget is closed."""
        self._sights.append(sight)

    def show(self, cells: SiteCells | None) -> None:
        """Take the cells of the site that is on screen now; None for none."""
        self._on_screen = cells
        self._here = {}
        if cells is not None:
            self._here = {cell_id(cells, index): index for index in range(len(cells))}
        # An added cell goes with its last annotation.
        gone = {
            cell
            for cell in self._selection
            if cells is not None and cell.site == cells.site and cell not in self._here
        }
        if gone:
            self._selection -= gone
            self.selected.emit()
        self.refresh()

    def point(self, yx_px: tuple[float, float] | None, *, has_moved: bool = False) -> None:
        """Follow the pointer over the image; None when it is elsewhere."""
        self._pointer = yx_px
        self._has_moved |= has_moved
        if has_moved and self._is_annotated and self._pointed() not in self._selection:
            self.select(())  # it has served: what is pointed at beside a cell hits nothing
        self.refresh()

    def select(self, cells: Iterable[CellId], site: SiteKey | None = None) -> None:
        """Select these cells and no others; with the site where that is done in its image."""
        self._site = site
        self._next, self._is_annotated, self._has_moved = None, False, False
        self._selection = frozenset(cells)
        self.selected.emit()
        self.refresh()

    def then(self, show_next: Callable[[], object]) -> None:
        """Call this once the cells selected now are annotated."""
        self._next = show_next

    def refresh(self) -> None:
        """Look again at what is pointed at and in sight."""
        cells = self._now()
        if cells is not self._cells and cells != self._cells:
            self._cells = cells
            self.changed.emit()

    def _now(self) -> frozenset[CellId]:
        pointed, selected = self._pointed(), self._selection
        gives_way = self._has_moved and (len(selected) < 2 or self._is_annotated)
        is_beside = pointed is not None and pointed not in selected
        if self.in_sight(selected) and not (gives_way and is_beside):
            return selected
        return _NONE if pointed is None else frozenset((pointed,))

    def _pointed(self) -> CellId | None:
        cells = self._on_screen
        if cells is None or self._pointer is None or self._is_loading:
            return None
        index = cells.nearest(*self._pointer)
        return None if index is None else cell_id(cells, index)

    @property
    def _is_loading(self) -> bool:
        return self._on_screen is not None and self._on_screen.site != self._shown.site

    def _plate_changed(self) -> None:
        self.select(())

    def _site_changed(self, site: SiteKey | None) -> None:
        if self._site not in (None, site):
            self.select(())
        self.refresh()

    def _select_at(self, yx_px: tuple[float, float]) -> None:
        site = self._shown.site
        cells = None if site is None else self._annotations.cells_of(site)
        index = None if cells is None else cells.nearest(*yx_px)
        self.select(() if cells is None or index is None else (cell_id(cells, index),), site)

    # ---- annotating ----------------------------------------------------------------------

    def annotate(self, cls: str | None, kind: str | None = None) -> bool:
        """Annotate the cells, as one action; None takes the annotator's annotations back."""
        cells = self._cells
        if not cells:
            self.message.emit("info", self._why_none())
            return False
        if len(cells) > _MANY and not _is_confirmed(len(cells), cls):
            return False
        if not self._annotations.annotate_cells(cells, cls, kind):
            return False
        if cells == self._selection:
            # The pointer takes over when it is moved from here, not by where it happens to rest.
            self._is_annotated, self._has_moved = True, False
            self.selected.emit()
            following = self._next
            if cls and self.goes_on and following and is_open(_owner(following)):
                following()
        return True

    def _why_none(self) -> str:
        if self._is_loading:
            return "The site is still being read; press the key when it is shown."
        if self._selection:
            cells = count_of(len(self._selection), "cell")
            return f"What is selected ({cells}) is out of view; show it, then press the key."
        return "Point at a cell, or select cells in the image or the gallery, then press the key."


def cell_id(cells: SiteCells, index: int) -> CellId:
    """Tell a cell of a site apart from all others of the plate."""
    row = int(cells.rows[index])
    y_px, x_px = cells.yx_px[index].tolist()
    return CellId(cells.site, row if row >= 0 else (y_px, x_px))


def _owner(method: Callable[..., object]) -> object:
    return getattr(method, "__self__", None)


def _is_confirmed(n_cells: int, cls: str | None) -> bool:
    text = f"Label {n_cells:,} cells as {cls}" if cls else f"Remove {n_cells:,} annotations"
    window = QApplication.activeWindow()
    answer = QMessageBox.question(window, "Many cells", f"{text}? You can undo this.")
    return bool(answer == QMessageBox.StandardButton.Yes)
