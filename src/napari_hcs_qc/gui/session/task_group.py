"""What the starters of long work share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_hcs_qc.workflow import desk_steps

if TYPE_CHECKING:
    from napari_hcs_qc.gui.session.session import Session


class TaskGroup(QObject):
    """Starts work of one session in the background.

    Every job works on what was frozen when it started. What fails gives a message and changes
    nothing.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session

    def refuse(self, reason: str) -> None:
        """Show why something is not started."""
        self._session.message.emit("warning", reason)

    def freeze(self) -> desk_steps.Frozen | None:
        """Give what a job works on; None, with the reason, where there is nothing to work on."""
        session = self._session
        folder, cache = session.assay.folder, session.annotations.cache
        if folder is None or cache is None:
            self.refuse("Open an assay first.")
            return None
        if not folder.path.is_dir():  # else what is written would create it, and empty
            self.refuse(f"The folder of the assay, {folder.path}, no longer exists; restore it.")
            return None
        states = {
            plate.name: plate.state for plate in session.assay.plates if plate.state is not None
        }
        if not states:
            self.refuse("No cells have been found yet; find the cells of the plate first.")
            return None
        options = session.options.with_weights(session.options.value())
        if options is None:
            return None
        return desk_steps.Frozen(
            folder=folder,
            states=states,
            annotations=cache.table,
            options=options,
            threshold=session.models.threshold,
        )
