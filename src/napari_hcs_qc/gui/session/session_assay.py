"""The assay of a session: its folder and its plates."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_hcs_qc.assay.annotations.kinds import BUILT_IN_KINDS

if TYPE_CHECKING:
    from napari_hcs_qc.assay.annotations.annotation_cache import AnnotationCache
    from napari_hcs_qc.assay.annotations.kinds import Kind
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.assay.views.open_assay import OpenAssay, OpenPlate


class SessionAssay(QObject):
    """What is open; `Session` opens and closes it."""

    changed = Signal()
    kinds_changed = Signal()
    include_cut_changed = Signal(bool)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._opened: OpenAssay | None = None
        self._kinds_shown = self.kinds
        self.changed.connect(self._show_kinds)

    @property
    def folder(self) -> AssayFolder | None:
        """The open assay."""
        return None if self._opened is None else self._opened.folder

    @property
    def plates(self) -> tuple[OpenPlate, ...]:
        """Its plates."""
        return () if self._opened is None else tuple(self._opened.plates.values())

    @property
    def annotation_cache(self) -> AnnotationCache | None:
        """Its annotations."""
        return None if self._opened is None else self._opened.live

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Kinds of abnormal cells of the open assay; without one those of every assay."""
        return BUILT_IN_KINDS if self.folder is None else self.folder.kinds

    def add_kind(self, kind: Kind) -> None:
        """Add a kind to the open assay."""
        if self.folder is not None:
            self.folder.add_kind(kind.name, kind.colour, kind.key)
            self._show_kinds()

    def remove_kind(self, name: str) -> None:
        """Remove a kind that people added and that no annotation has."""
        if self.folder is not None:
            self.folder.remove_kind(name)
            self._show_kinds()

    def read_kinds(self) -> None:
        """Show kinds that another window or a command has added."""
        if self.folder is not None:
            self.folder.reload()
            self._show_kinds()

    def _show_kinds(self) -> None:
        if self.kinds != self._kinds_shown:
            self._kinds_shown = self.kinds
            self.kinds_changed.emit()

    @property
    def include_cut(self) -> bool:
        """Whether cells that the image border cuts are trained on and counted as others are."""
        return self.folder is not None and self.folder.include_cut

    def set_include_cut(self, include_cut: bool) -> None:
        """Train on and count cut cells, or leave them out; kept with the assay."""
        if self._opened is None or include_cut == self.include_cut:
            return
        self._opened.folder.update_settings(include_cut=include_cut)
        plates = {
            name: plate
            if plate.state is None
            else replace(plate, state=replace(plate.state, include_cut=include_cut))
            for name, plate in self._opened.plates.items()
        }
        self._opened = replace(self._opened, plates=plates)
        self.include_cut_changed.emit(include_cut)

    def plate(self, name: str | None) -> OpenPlate | None:
        """Give a plate by its name."""
        return None if self._opened is None or name is None else self._opened.plates.get(name)

    def set_value(self, opened: OpenAssay | None) -> None:
        """Work on another assay; `changed` is left to the session, whose other parts come first."""
        self._opened = opened

    def set_plate(self, plate: OpenPlate) -> None:
        """Replace what is known of a plate."""
        if self._opened is not None:
            plates = {**self._opened.plates, plate.name: plate}
            self._opened = replace(self._opened, plates=plates)
