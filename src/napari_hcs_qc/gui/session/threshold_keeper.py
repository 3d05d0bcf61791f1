"""Saves the threshold with the assay, once it rests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

from napari_hcs_qc.assay.store.assay_folder import AssayBusyError
from napari_hcs_qc.errors import HcsQcError

if TYPE_CHECKING:
    from napari_hcs_qc.assay.store.assay_folder import AssayFolder
    from napari_hcs_qc.gui.session.session import Session

SETTLE_MS = 400
"""After the last move of the threshold, or the last click, before what is slow follows."""

_PATIENCE_S = 2.0  # when an assay is closed, for another process that is writing


class ThresholdKeeper(QObject):
    """Writes the threshold of a session to its assay."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self._folder: AssayFolder | None = None
        self._is_unsaved = False
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLE_MS)
        self._settle.timeout.connect(self.save)
        session.assay.changed.connect(self._assay_changed)
        session.models.threshold_changed.connect(self._moved)

    def save(self, patience_s: float = 0.0) -> None:
        """Save the threshold now, if it has moved."""
        self._settle.stop()
        if not self._is_unsaved or self._folder is None:
            return
        try:
            with self._folder.lock(timeout_s=patience_s):
                self._folder.update_settings(threshold=self._session.models.threshold)
        except AssayBusyError as error:
            if (
                not patience_s
            ):  # while cells are being found, for example; the window need not wait for that
                self._settle.start()
                return
            self._warn(error)
        except HcsQcError as error:
            self._warn(error)
        self._is_unsaved = False

    def _warn(self, error: HcsQcError) -> None:
        self._session.message.emit("warning", f"The threshold could not be saved: {error}")

    def _moved(self) -> None:
        self._is_unsaved = True
        self._settle.start()

    def _assay_changed(self) -> None:
        if self._session.assay.folder is not self._folder:
            self.save(_PATIENCE_S)  # of the assay before, whose jobs are over
            self._folder = self._session.assay.folder
            self._is_unsaved = False
